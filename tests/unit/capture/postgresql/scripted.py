"""A scripted stream for the log reader, and what its tests share."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import pack
from typing import TypeVar, cast

from capture.sources.postgresql.catalog import Catalog, RelationFacts
from capture.sources.postgresql.log import PostgresqlLog
from capture.sources.postgresql.replication import LogStream
from capture.sources.postgresql.types import TypeInfo, logical_type
from capture.sources.postgresql.versions import Versions
from schemas.changes import Change, Heartbeat, LogMessage, RowChanges, Truncate
from schemas.loopback import APPLIED_PREFIX
from schemas.position import Position
from schemas.selection import Selection
from schemas.table import Column, TableName, TableSchema
from tests.unit.capture.postgresql import wire

A, B, HIDDEN, ODD = 101, 102, 103, 104
XMLISH = 99
COLUMNS = [("id", wire.INT8, -1, True), ("v", wire.TEXT, -1, False)]
NATIVES = {wire.INT8: "bigint", wire.TEXT: "text", XMLISH: "oddity"}


T = TypeVar("T")


class FakeCatalog:
    """The catalogue of three tables, as far as the log asks for it."""

    def __init__(self) -> None:
        # A type with a send function that nobody can print: it forces the text form.
        self.types = {**wire.TYPES, XMLISH: TypeInfo(XMLISH, "odd", "oddity", "b", "oddity_send")}

    def consistently(self, read: Callable[[], T]) -> T:
        return read()

    def dropped_columns(self, oid: int) -> set[int]:
        return set()

    def load_types(self, oids: Iterable[int]) -> None:
        pass

    def natives(self, pairs: Sequence[tuple[int, int]]) -> list[str]:
        return [NATIVES.get(oid, "text") for oid, _ in pairs]

    def read_relation(self, oid: int) -> RelationFacts | None:
        return None

    def user_types(self, oids: Iterable[int]) -> tuple[()]:
        return ()


class FakeRaw:
    """libpq's connection: hands out messages."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def get_copy_data(self, _async: int) -> tuple[int, memoryview]:
        if not self.messages:
            return 0, memoryview(b"")
        message = self.messages.pop(0)
        # (Nothing, where it is empty: it has yet to arrive.)
        return len(message), memoryview(message)


class FakeStream:
    """A server that sends `transactions` from the position on, as a slot does."""

    def __init__(self, log: list[tuple[int, list[bytes]]], end: int) -> None:
        self.raw = FakeRaw()
        self._log = log
        self._end = end
        self.starts: list[tuple[int, bool]] = []
        self.sent: list[bytes] = []
        self._sockets = socket.socketpair()
        self.socket = self._sockets[0].fileno()

    def start(self, lsn: int, *, binary: bool) -> None:
        self.starts.append((lsn, binary))
        self.raw.messages = [m for commit, part in self._log if commit >= lsn for m in part]
        self.raw.messages.append(wire.keepalive(self._end))

    def receive(self) -> None:
        pass

    def check_warnings(self) -> None:
        pass

    def send(self, message: bytes) -> None:
        self.sent.append(message)

    def fail(self) -> None:
        raise AssertionError

    def close(self) -> None:
        for end in self._sockets:
            end.close()


def table_of(name: str) -> TableSchema:
    columns = tuple(
        Column(column, logical_type(wire.TYPES, oid, typmod), NATIVES[oid], not is_key)
        for column, oid, typmod, is_key in COLUMNS
    )
    return TableSchema(TableName("public", name), columns, (0,))


TABLES = [table_of("a"), table_of("b")]


def row_of(key: int, value: str | None = "x", *, binary: bool = True) -> bytes:
    if binary:
        return wire.row(wire.binary(pack(">q", key)), wire.binary(value.encode() if value is not None else None))
    return wire.row(wire.text(str(key)), wire.text(value))


def transactions_of(scripts: Sequence[Sequence[str]]) -> tuple[list[tuple[int, list[bytes]]], int]:
    """Make a log: a letter a change (a, b: a row of that table; u, k, d: an update of a row of a, of its key, and a
    delete; h: a row of a table that is not selected; t: truncate of a and h; m: a message; l: the mark of an applier),
    a word a transaction.
    """
    log: list[tuple[int, list[bytes]]] = []
    lsn = 1000
    key = 0
    for number, script in enumerate(scripts):
        messages = [wire.begin(lsn, number + 1)]
        for letter in script:
            key += 1
            oid = {"b": B, "h": HIDDEN}.get(letter, A)
            if letter not in "ml":
                name = {A: "a", B: "b", HIDDEN: "hidden"}[oid]
                messages += [wire.relation(oid, name, COLUMNS)] if number == 0 or letter == "t" else []
            if letter == "t":
                messages += [wire.relation(HIDDEN, "hidden", COLUMNS), wire.truncate(A, HIDDEN)]
            elif letter == "m":
                messages.append(wire.message("p", b"%d" % key))
            elif letter == "l":
                messages.append(wire.message(APPLIED_PREFIX, b"other"))
            elif letter == "u":
                messages.append(wire.update(oid, row_of(key)))
            elif letter == "k":
                messages.append(wire.update(oid, row_of(key), row_of(key - 1, None)))
            elif letter == "d":
                messages.append(wire.delete(oid, row_of(key, None)))
            else:
                messages.append(wire.insert(oid, row_of(key)))
        messages.append(wire.commit(lsn, lsn + 8))
        log.append((lsn, messages))
        lsn += 100
    return log, lsn


def with_announcements(log: list[tuple[int, list[bytes]]]) -> list[tuple[int, list[bytes]]]:
    """Announce all tables first in each transaction: whatever transaction a stream begins with, it knows them."""
    every = [wire.relation(oid, name, COLUMNS) for oid, name in ((A, "a"), (B, "b"), (HIDDEN, "hidden"))]
    return [(lsn, [messages[0], *every, *(m for m in messages[1:] if m[25:26] != b"R")]) for lsn, messages in log]


def open_log(
    stream: FakeStream, position: Position, tables: Sequence[TableSchema] = TABLES, *, skips_applied: bool = False
) -> PostgresqlLog:
    catalog = cast("Catalog", FakeCatalog())
    versions = Versions(
        catalog, Selection(["public.*", "!public.hidden"]), tables, lambda _txn: None, lambda: Position(0)
    )
    return PostgresqlLog(
        cast("LogStream", stream),
        versions,
        position,
        binary=True,
        check=lambda _names: None,
        skips_applied=skips_applied,
    )


def read_all(log: PostgresqlLog, end: int) -> list[Change]:
    changes: list[Change] = []
    while not any(isinstance(c, Heartbeat) and c.position.commit >= end for c in changes):
        changes += log.poll(0.0)
    log.close()
    return changes


def units_of(changes: Iterable[Change]) -> Iterator[object]:
    """Yield what counts, one by one."""
    for change in changes:
        if isinstance(change, RowChanges):
            yield from ((change.table.name.table, row) for row in change.after)
        elif isinstance(change, Truncate):
            yield "t", tuple(t.name.table for t in change.tables)
        elif isinstance(change, LogMessage):
            yield "m", change.content
