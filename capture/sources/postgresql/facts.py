"""What findings are judged by: the server's settings and what is there of ours, asked for in one round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from capture.sources.postgresql.catalog import RelationFacts
from capture.sources.postgresql.connection import classified
from capture.sources.postgresql.queries import published
from capture.sources.postgresql.server import Slot, read_slot
from schemas.table import TableName

_SERVER = """
select current_setting('server_version_num')::int4, current_setting('server_version'),
       current_setting('wal_level'), pg_is_in_recovery(), current_user::text,
       (select r.rolreplication or r.rolsuper from pg_roles r where r.rolname = current_user)
         or exists (select from pg_roles g where g.rolname = 'rds_replication' and pg_has_role(g.oid, 'member')),
       current_setting('max_replication_slots')::int4, (select count(*) from pg_replication_slots)::int4,
       current_setting('max_wal_senders')::int4,
       (select count(*) from pg_stat_activity where backend_type = 'walsender')::int4,
       has_database_privilege(current_database(), 'create'), current_setting('max_slot_wal_keep_size'),
       current_setting('server_encoding')
"""
_PUBLICATION = """
select pubviaroot, pubinsert and pubupdate and pubdelete and pubtruncate, pg_has_role(pubowner, 'usage')
  from pg_publication p where p.pubname = %(name)s
"""
_ROW_SECURITY = """
select n.nspname::text, c.relname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = any(%(oids)s::oid[]) and row_security_active(c.oid)
"""


@dataclass(frozen=True, slots=True)
class PublicationFacts:
    """A publication that is there."""

    via_root: bool
    publishes_rows: bool
    is_owner: bool
    members: frozenset[TableName]
    partial: frozenset[TableName] = frozenset()
    """Members of which only some rows or columns are published (PostgreSQL 15 and later)."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What was asked of the server."""

    version: int
    version_text: str
    wal_level: str
    is_standby: bool
    role: str
    may_replicate: bool
    slots_max: int
    slots: int
    senders_max: int
    senders: int
    may_create: bool
    """Whether the role may create objects in the database: a publication is one."""
    slot_wal_keep: str
    """`max_slot_wal_keep_size`; -1: no bound."""
    encoding: str
    slot: Slot | None
    publication: PublicationFacts | None
    row_security: frozenset[TableName]
    """Tables whose rows are filtered for this role."""


def read_facts(
    connection: psycopg.Connection[tuple[object, ...]],
    slot: str,
    publication: str,
    relations: Sequence[RelationFacts],
) -> ServerFacts:
    """Ask the server."""
    with classified("asking the source for its settings"):
        row: Any = connection.execute(_SERVER).fetchall()[0]
        found: list[tuple[Any, ...]] = connection.execute(_PUBLICATION, {"name": publication}).fetchall()
        query = published(connection.info.server_version)
        named: list[tuple[Any, ...]] = connection.execute(query, {"name": publication}).fetchall()
        secured: list[tuple[Any, ...]] = connection.execute(
            _ROW_SECURITY, {"oids": [r.oid for r in relations if r.kind in "rp"]}
        ).fetchall()
    facts = None
    if found:
        of_tables = {TableName(schema, table): is_partial for schema, table, _, is_partial in named}
        partial = frozenset(name for name, is_partial in of_tables.items() if is_partial)
        via_root, rows, is_owner = found[0]
        facts = PublicationFacts(via_root, rows, is_owner, frozenset(of_tables), partial)
    values: Any = (*row, read_slot(connection, slot), facts, frozenset(TableName(s, t) for s, t in secured))
    return ServerFacts(*values)
