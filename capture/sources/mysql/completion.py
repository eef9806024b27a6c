"""Looking up values that a row image left out: of inserts, whose columns had their default, and of key changes.

A transaction stands in the log before others can see it. So rows are looked up in a snapshot that surely sees theirs:
else one would seem to be gone, or be the one that had its key before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from capture.sources.mysql.catalog import quoted
from capture.sources.mysql.connection import Connection, identifier
from capture.sources.mysql.literals import key_condition
from capture.sources.mysql.position import Place
from capture.sources.mysql.rows import compile_cells
from capture.sources.mysql.types import reader, selected
from runtime.clock import monotonic, sleep
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema

ROWS_PER_QUERY = 100
"""Each row that is found is compared with so many keys."""

VISIBLE_S = 60.0
"""How long a transaction of the log may take until it can be seen; semi-synchronous replication may hold it up."""
PAUSE_S = 0.01

BeginSnapshot = Callable[[Connection], Place]
"""Begins a consistent snapshot; returns a place in the log that it sees everything before."""

_PLACE = identifier("tailrace: place")


def complete(
    connected: Callable[[], Connection], begin_snapshot: BeginSnapshot, changes: RowChanges, zero_dates: str
) -> None:
    """Replace UNCHANGED in new rows of inserts and key changes by the source's present values, in place.

    A row that is gone keeps None there: its delete follows in the log. Raises SOURCE_CONNECTION where it cannot be seen
    in time whether it is gone.
    """
    table = changes.table
    wanted: dict[str, list[int]] = defaultdict(list)
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
        wanted[key_condition(table, after)].append(i)
    if not wanted:
        return
    connection = connected()
    try:
        _begin_behind(changes.txn, connection, begin_snapshot)
        found = _look_up_all(connection, table, [*wanted], zero_dates)
    finally:
        connection.run("commit")
    gone = (None,) * len(table.columns)
    for condition, places in wanted.items():
        values = found.get(condition, gone)
        for i in places:
            after = changes.after[i] or ()
            changes.after[i] = tuple(v if a is UNCHANGED else a for a, v in zip(after, values, strict=True))


def _begin_behind(txn: Transaction, connection: Connection, begin_snapshot: BeginSnapshot) -> None:
    """Begin a snapshot that sees a transaction."""
    deadline = monotonic() + VISIBLE_S
    while begin_snapshot(connection).size < txn.commit:
        connection.run("commit")
        if monotonic() > deadline:
            raise TailraceError(
                ErrorKind.SOURCE_CONNECTION,
                f"transaction {txn.id} is in the log, and has not become visible for {VISIBLE_S:.0f} s",
                remedy="see whether the server waits for a semi-synchronous replica",
            )
        sleep(PAUSE_S)


def _look_up_all(
    connection: Connection, table: TableSchema, conditions: Sequence[str], zero_dates: str
) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for start in range(0, len(conditions), ROWS_PER_QUERY):
        part = conditions[start : start + ROWS_PER_QUERY]
        found |= {part[place]: row for place, row in _look_up(connection, table, part, zero_dates).items()}
    return found


def _look_up(connection: Connection, table: TableSchema, conditions: Sequence[str], zero_dates: str) -> dict[int, Row]:
    """Return the rows that meet conditions, by the place of the condition. One row may meet several: collations."""
    columns = ", ".join(selected(c.native, c.name) for c in table.columns)
    places = " union all ".join(f"select {place} as {_PLACE}" for place in range(len(conditions)))
    meets = " ".join(f"when {place} then {condition}" for place, condition in enumerate(conditions))
    query = (
        f"select {_PLACE}, {columns} from {quoted(table.name)} join ({places}) as places"
        f" where ({' or '.join(f'({condition})' for condition in conditions)}) and case {_PLACE} {meets} end"
    )
    read = compile_cells([reader("int", zero_dates), *(reader(c.native, zero_dates) for c in table.columns)])
    return {row[0]: row[1:] for row in map(read, map(bytes, connection.packets(query)))}
