"""Reading the log of a database of a test's own to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from capture.sources.mysql.log import MysqlLog
from capture.sources.mysql.snapshot import MysqlSnapshotReader
from capture.sources.mysql.source import MysqlServer
from schemas.changes import Change, Commit, Heartbeat, LogMessage, Row, RowChanges, SchemaChange, Truncate
from schemas.position import Position
from schemas.table import TableSchema
from tests.kit.mysql import MysqlDatabase

DEADLINE_S = 480.0
SERVER_ID = 4_000_000_000

ON_OLDER_TOO = pytest.mark.parametrize("mysql_database", ["mariadb", "mysql", "mariadb10", "mysql8"], indirect=True)
"""Also on the older releases that can be had. What differs between releases is types, statements and snapshots."""

Flat = tuple[str, str, Row | None, Row | None]
"""Table, operation, old row, new row."""


class Reading:
    """A source over a database, and the position where the test began."""

    def __init__(self, database: MysqlDatabase, **settings: Any) -> None:
        self.database = database
        self.settings = database.source(**settings)
        self.reader = MysqlSnapshotReader(self.settings)
        self.source = MysqlServer(self.settings, SERVER_ID)
        self.tables: list[TableSchema] = self.source.tables()
        self.start = self.source.prepare(self.tables)

    def begin(self) -> None:
        """Start anew from now, with the tables as they are."""
        self.tables = self.source.tables()
        self.start = self.source.prepare(self.tables)

    @contextmanager
    def log(self, position: Position | None = None) -> Iterator[MysqlLog]:
        """Open the log at a position, or where the test began."""
        log = self.source.open_log(position or self.start, self.tables)
        try:
            yield log
        finally:
            log.close()

    def changes(self, position: Position | None = None) -> list[Change]:
        """Return what the log holds up to its present end."""
        end = self.source.current_position()
        with self.log(position) as log:
            return read_to(log, end)

    def flat(self, position: Position | None = None, *, told: bool = False) -> list[Flat]:
        """Return the row changes and truncates up to the log's present end, one by one."""
        return flatten(self.changes(position), told=told)

    def rows(self, table: TableSchema) -> list[Row]:
        """Read a table whole, chunk by chunk of three rows, and check that nothing comes twice."""
        chunks = self.reader.plan(table, 3)
        return [row for chunk in chunks for batch in self.reader.read(table, chunk, 2) for row in batch]

    def close(self) -> None:
        """Close the source."""
        self.reader.close()
        self.source.close()


@contextmanager
def without_gtids(database: MysqlDatabase) -> Iterator[None]:
    """Let MySQL write its log without GTIDs for a while. Whoever asks for sets of them later begins behind that."""
    database.execute("set global gtid_mode = ON_PERMISSIVE", "set global gtid_mode = OFF_PERMISSIVE")
    try:
        yield
    finally:
        database.execute("set global gtid_mode = ON_PERMISSIVE")
        # Whoever has gone may leave a transaction without one behind, which the server then refuses for.
        without = "show global status like 'ongoing_anonymous_transaction_count'"
        deadline = time.monotonic() + DEADLINE_S
        while (left := database.rows(without)) and left[0][1] != "0":
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        database.execute("set global gtid_mode = ON")
        database.forget_log()


def read_to(log: MysqlLog, end: Position) -> list[Change]:
    """Read until a position is reached."""
    found: list[Change] = []
    deadline = time.monotonic() + DEADLINE_S
    while True:
        for change in log.poll(1.0):
            found.append(change)
            if isinstance(change, Commit | Heartbeat) and change.position >= end:
                return found
        assert time.monotonic() < deadline, f"the log did not reach {end} in time; last of {len(found)}: {found[-1:]}"


def flatten(changes: list[Change], *, told: bool = False) -> list[Flat]:
    """Return row changes one by one, truncates as `t`, and schema changes as `s`; with `told` statements as `m`."""
    found: list[Flat] = []
    for change in changes:
        if isinstance(change, RowChanges):
            runs = zip(change.ops, change.before, change.after, strict=True)
            found += [(change.table.name.table, op, before, after) for op, before, after in runs]
        elif isinstance(change, Truncate):
            found += [(table.name.table, "t", None, None) for table in change.tables]
        elif isinstance(change, LogMessage) and told:
            found.append(("", "m", None, None))
        elif isinstance(change, SchemaChange):
            columns = None if change.after is None else tuple(c.name for c in change.after.columns)
            found.append((change.name.table, "s", None, columns))
    return found


def positions_in(changes: list[Change], start: Position) -> list[Position]:
    """Return every position that a capture could stop at."""
    found = [start]
    for change in changes:
        if isinstance(change, RowChanges):
            for _ in change.ops:
                found.append(found[-1].within(change.txn.id, 1))
        elif isinstance(change, Truncate) or (isinstance(change, LogMessage) and change.txn is not None):
            assert change.txn is not None
            found.append(found[-1].within(change.txn.id, 1))
        elif isinstance(change, Commit):
            found.append(change.position)
        elif isinstance(change, Heartbeat):
            found.append(max(found[-1], change.position))
    return found
