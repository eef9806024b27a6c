"""The statements that give a role what capturing needs, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence

from capture.sources.postgresql.connection import identifier
from capture.sources.postgresql.publication import ensure_statement, table_list
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.table import TableName


def grants(
    settings: PostgresqlSource, publication: str, tables: Sequence[TableName], views: Sequence[TableName] = ()
) -> str:
    """Return the SQL that gives the role exactly what capturing needs, to be run by a superuser, once or more.

    The role is there: it is the one that asks.
    """
    role = identifier(settings.user)
    readable = sorted([*tables, *views])
    schemas = sorted({table.schema for table in readable})
    lines = [
        f"alter role {role} replication; -- on Amazon RDS: grant rds_replication to {role};",
        f"grant connect on database {identifier(settings.database)} to {role};",
        *(f"grant usage on schema {identifier(schema)} to {role};" for schema in schemas),
    ]
    if readable:
        lines.append(f"grant select on {table_list(readable)} to {role};")
    lines.append(ensure_statement(publication, tables))
    lines.append("-- and in the configuration: source.manage_publication: false")
    return "\n".join(lines)
