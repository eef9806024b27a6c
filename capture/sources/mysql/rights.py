"""What a user may not read of tables: a catalogue shows nothing else of it."""

from __future__ import annotations

from collections.abc import Collection

from capture.sources.mysql import queries
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.quoting import identifier
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName


def refuses(connection: Connection, name: TableName, what: str = "*") -> bool:
    """Tell whether the user may not read something of a table. What is not there is not refused."""
    try:
        connection.run(f"select {what} from {identifier(name.schema)}.{identifier(name.table)} limit 0")
    except TailraceError as error:
        if error.kind not in (ErrorKind.PREREQUISITE, ErrorKind.SOURCE_SCHEMA):
            raise
        return error.kind is ErrorKind.PREREQUISITE
    return False


def read_in_part(connection: Connection, names: Collection[TableName]) -> set[TableName]:
    """Return those tables of which the user may not read all columns. Seldom has anybody rights on columns."""
    if not names:
        return set()
    granted = {TableName(*map(str, row)) for row in connection.rows(queries.COLUMN_GRANTS)}
    return {name for name in names if name in granted and refuses(connection, name)}
