"""A target for tests and for readers of `docs/plugins.md`: the rows of all tables, as documents in one table of SQLite.

It commits no offsets with its rows, as most servers of documents: each row is guarded by its commit sequence instead.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from apply.sink import Arrival, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.guarded import GuardedSink, KeyTexts, needs_key, sequence_of, table_findings
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema
from schemas.types.plain import canonical, plain

MAKE = """
create table if not exists arrived (owner, barrier, topic, partition, primary key (owner, barrier, topic, partition));
create table if not exists passed (owner, barrier, primary key (owner, barrier));
create table if not exists documents (place, key, seq integer, document, primary key (place, key));
"""


def open_sink(settings: Settings, target: str) -> ShelfSink:
    """See `apply.sinks`."""
    return ShelfSink(_path(settings, target), f"{settings.name}/{target}")


def open_reader(settings: Settings, target: str) -> Shelf:
    """See `apply.sinks`."""
    return Shelf(_path(settings, target))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """See `apply.sinks`."""
    _path(settings, target)
    return [found for _, _, found in table_findings(tables, lambda t: str(t.name), "a document", "options") if found]


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """See `apply.sinks`."""
    return []


def _path(settings: Settings, target: str) -> str:
    options: dict[str, Any] = getattr(settings.target(target), "options", {})
    if set(options) != {"path"}:
        raise TailraceError(ErrorKind.CONFIGURATION, f"targets.{target}.options: a shelf takes `path`, nothing else")
    return str(options["path"])


class Shelf:
    """The database; and what reads it for `tailrace verify`."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
        self._connection.executescript(MAKE)

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a statement finds."""
        return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done within, or undo it. One process at a time."""
        try:
            with self._connection:
                self._connection.execute("begin immediate")
                yield
        except sqlite3.OperationalError as error:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, f"the database is not usable ({error})") from error

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """See `RowReader`."""
        forms = [(column.name, canonical(column.type)) for column in table.columns]
        query = "select document from documents where place = ? and document is not null"
        for (document,) in self._connection.execute(query, (str(table.name),)):
            found = json.loads(document)
            yield tuple(None if found.get(name) is None else form(found[name]) for name, form in forms)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Barriers:
    """See `BarrierStore`. Another replication, or another target of this one, has barriers of the same names."""

    def __init__(self, shelf: Shelf, owner: str) -> None:
        self._shelf = shelf
        self._owner = owner

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival; tell how far the barrier has come."""
        with self._shelf.transaction():
            self._shelf.ask("insert or ignore into arrived values (?, ?, ?, ?)", self._owner, barrier, *partition)
            query = "select count(*) from arrived where owner = ? and barrier = ?"
            ((count,),) = self._shelf.ask(query, self._owner, barrier)
        return Arrival.of(count, partition_count, is_passed=self.is_passed(barrier))

    def is_passed(self, barrier: str) -> bool:
        """Tell whether somebody has passed a barrier."""
        return bool(self._shelf.ask("select 1 from passed where owner = ? and barrier = ?", self._owner, barrier))

    def set_passed(self, barrier: str) -> None:
        """Mark a barrier as passed."""
        with self._shelf.transaction():
            self._shelf.ask("insert or ignore into passed values (?, ?)", self._owner, barrier)

    def forget(self) -> list[str]:
        """Remove what is kept about the replication; return what was removed, in words."""
        for table in ("arrived", "passed"):
            self._shelf.ask(f"delete from {table} where owner = ?", self._owner)
        return ["removed barriers"]


class ShelfSink(GuardedSink):
    """What comes again, or late, is no newer than what is there. So a row that is deleted leaves its sequence."""

    def __init__(self, path: str, owner: str) -> None:
        self._shelf = Shelf(path)
        super().__init__(Barriers(self._shelf, owner))

    def prepare(self, table: TableSchema) -> None:
        """See `Sink`. Documents need no definition."""
        needs_key(table, "a document")

    def is_empty(self, table: TableSchema) -> bool:
        """See `Sink`."""
        return next(self._shelf.rows(table), None) is None

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch, all of it or nothing: a `TailraceError` that may pass brings it again."""
        place, keys = str(batch.table.name), KeyTexts(batch.table)
        forms = [(column.name, plain(column.type)) for column in batch.table.columns]
        with self._shelf.transaction():
            for i, key in enumerate(batch.deletes):
                self._put(place, keys.of_key(key), sequence_of(batch, "deletes", i), None)
            for kind in ("upserts", "updates"):
                for i, row in enumerate(getattr(batch, kind)):
                    known = [(n, f, v) for (n, f), v in zip(forms, row, strict=True) if v is not UNCHANGED]
                    document = {name: None if value is None else form(value) for name, form, value in known}
                    seq = sequence_of(batch, kind, i)
                    self._put(place, keys.of_row(row), seq, document, is_part=kind == "updates")
        return []

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """See `Sink`. Sequences stay: what comes late is older."""
        with self._shelf.transaction():
            for table in tables:
                self._shelf.ask("update documents set document = null where place = ?", str(table.name))

    def drop(self, table: TableSchema) -> None:
        """See `Sink`."""
        self.truncate([table])

    def complete_load(self, table: TableSchema) -> None:
        """See `Sink`. There are no indexes."""

    def close(self) -> None:
        """See `Sink`."""
        self._shelf.close()

    def _put(self, place: str, key: str, seq: int, known: dict[str, Any] | None, *, is_part: bool = False) -> None:
        query = "select seq, document from documents where place = ? and key = ?"
        for there, text in self._shelf.ask(query, place, key) or [(-1, None)]:
            # A part of a row does not bring one back that is gone.
            if there < seq and not (is_part and text is None):
                # A row of an older version lacks columns that the document has.
                document = None if known is None else json.dumps(json.loads(text or "{}") | known)
                self._shelf.ask("insert or replace into documents values (?, ?, ?, ?)", place, key, seq, document)
