"""What the tests of the PostgreSQL source share: settings, and reading its log up to where it ends now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from capture.source import LogReader, Source
from capture.sources.postgresql.snapshot import PostgresqlSnapshotReader
from capture.sources.postgresql.source import PostgresqlDatabase
from schemas.changes import Change, Commit, Heartbeat, LogMessage, Row, RowChanges, Truncate
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.position import Position
from schemas.settings import Settings, parse
from schemas.table import TableSchema
from tests.kit.servers import Database

DEADLINE_S = 300.0


def settings_for(database: Database, replication: str, *tables: str, **source: object) -> Settings:
    """Return the settings of a replication of these tables."""
    return parse(
        {
            "name": replication,
            "kafka": {"bootstrap.servers": "127.0.0.1:1"},
            "source": {**database.settings, "tables": list(tables) or ["public.*"], **source},
        }
    )


def section(settings: Settings) -> PostgresqlSource:
    """Return the source's section, which is PostgreSQL's here."""
    assert isinstance(settings.source, PostgresqlSource)
    return settings.source


def database_of(settings: Settings) -> PostgresqlDatabase:
    """Connect."""
    return PostgresqlDatabase(section(settings), settings.slot, settings.publication)


def read_to_end(source: Source, log: LogReader, *, rows_max: int | None = None) -> list[Change]:
    """Read until the log is read to where the source ends now, or until enough rows were returned.

    Runs come whole, however the polls cut them: see `joined`.
    """
    end = source.current_position().commit
    changes: list[Change] = []
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        part = log.poll(1.0)
        changes += part
        if rows_max is not None and len(rows_of(changes)) >= rows_max:
            return joined(changes)
        if any(isinstance(c, Commit | Heartbeat) and c.position.commit >= end for c in part):
            return joined(changes)
    raise AssertionError(f"the log was not read to its end within {DEADLINE_S} s")


def joined(changes: Iterable[Change]) -> list[Change]:
    """Join runs of the same table and transaction that follow each other: where one is cut is chance."""
    whole: list[Change] = []
    for change in changes:
        last = whole[-1] if whole else None
        if (
            isinstance(change, RowChanges)
            and isinstance(last, RowChanges)
            and (last.table, last.txn) == (change.table, change.txn)
        ):
            last.ops.extend(change.ops)
            last.before.extend(change.before)
            last.after.extend(change.after)
        else:
            whole.append(change)
    return whole


@dataclass
class Captured:
    """A database with a source whose slot begins behind the set-up."""

    database: Database
    settings: Settings
    source: PostgresqlDatabase
    tables: list[TableSchema]
    start: Position

    def open(self, position: Position | None = None, *, binary: bool = True) -> LogReader:
        return self.source.open_log(position or self.start, self.tables, binary=binary)

    def changes(self, position: Position | None = None, *, binary: bool = True) -> list[Change]:
        log = self.open(position, binary=binary)
        try:
            return read_to_end(self.source, log)
        finally:
            log.close()


Capture = Callable[..., Captured]


def rows_of(changes: Iterable[Change], table: str | None = None) -> list[tuple[str, Row | None, Row | None]]:
    """Return (op, before, after) of every row change, in order."""
    return [
        row
        for change in changes
        if isinstance(change, RowChanges) and table in (None, change.table.name.table)
        for row in zip(change.ops, change.before, change.after, strict=True)
    ]


def position_after(changes: Sequence[Change], start: Position) -> Position:
    """Return the position behind these changes, as the capture service counts it."""
    position = start
    for change in changes:
        if isinstance(change, Commit | Heartbeat):
            position = change.position
        elif isinstance(change, RowChanges):
            position = Position(position.commit, position.row + len(change.ops))
        elif isinstance(change, Truncate) or (isinstance(change, LogMessage) and change.txn is not None):
            position = Position(position.commit, position.row + 1)
    return position


def load(settings: Settings, table: TableSchema, chunk_rows: int = 1000) -> list[Row]:
    """Read a table whole, chunk by chunk."""
    reader = PostgresqlSnapshotReader(section(settings))
    try:
        return [
            row for chunk in reader.plan(table, chunk_rows) for batch in reader.read(table, chunk, 100) for row in batch
        ]
    finally:
        reader.close()
