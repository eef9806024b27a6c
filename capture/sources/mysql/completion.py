"""Looking up values that a row image left out: of inserts, whose columns had their default, and of key changes."""

from __future__ import annotations

from collections.abc import Callable

from capture.sources.mysql.catalog import quoted
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.literals import key_condition
from capture.sources.mysql.rows import compile_cells
from capture.sources.mysql.types import reader, selected
from schemas.changes import UNCHANGED, Row, RowChanges
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema


def complete(connected: Callable[[], Connection], changes: RowChanges, zero_dates: str) -> None:
    """Replace UNCHANGED in new rows of inserts and key changes by the source's present values, in place.

    A row that is gone keeps None there: its delete follows in the log.
    """
    table = changes.table
    for i, (before, after) in enumerate(zip(changes.before, changes.after, strict=True)):
        if after is None or UNCHANGED not in after or (before is None and changes.ops[i] != "c"):
            continue
        if any(after[k] is UNCHANGED for k in table.key) or not table.key:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                "the log has an insert without its key's values",
                remedy="set global binlog_row_image = 'FULL'",
                table=str(table.name),
            )
        found = _look_up(connected(), table, after, zero_dates)
        values = found if found is not None else (None,) * len(after)
        changes.after[i] = tuple(v if a is UNCHANGED else a for a, v in zip(after, values, strict=True))


def _look_up(connection: Connection, table: TableSchema, row: Row, zero_dates: str) -> Row | None:
    columns = ", ".join(selected(c.native, c.name) for c in table.columns)
    query = f"select {columns} from {quoted(table.name)} where {key_condition(table, row)}"
    read = compile_cells([reader(c.native, zero_dates) for c in table.columns])
    rows = [read(packet) for packet in connection.packets(query)]
    return rows[0] if rows else None
