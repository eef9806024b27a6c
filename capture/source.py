"""What an engine must offer to be captured. Straight-line code that raises; control flow lives in the service.

Life of a source in the service: `connect` → `identity` → `findings` → `tables` → `open_log` → `poll` and
`acknowledge` in a loop → `close`. Snapshot readers live in processes of their own, made from the same settings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from schemas.changes import Change, Row, RowChanges, Transaction
from schemas.errors import TailraceError
from schemas.findings import Finding, Severity
from schemas.mappings.filters import RowFilter
from schemas.mappings.segments import Partition, Segment
from schemas.position import Position
from schemas.table import TableName, TableSchema

__all__ = [
    "RELOAD",
    "Capabilities",
    "Chunk",
    "Finding",
    "LogReader",
    "Severity",
    "Snapshot",
    "SnapshotReader",
    "Source",
]


RELOAD = (
    "`tailrace reset`, empty the targets' tables (else deleted rows stay, and rows without a key double), then run "
    "again: they are loaded anew"
)
"""The remedy where nothing can follow what was published."""

DDL_PREFIX = "tailrace.ddl"
"""Prefix of log messages that hold a DDL statement: a JSON document with `tag`, `statement` and `objects`."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, as data."""

    engine: str
    connector: str
    """What `source.connector` says in envelopes: Debezium's name of the engine."""
    truncates: bool
    schema_changes: bool
    counts_bytes: bool = True
    """Whether `commit` of a position counts bytes of log; else it counts transactions (MySQL: the size of a set)."""
    joins: bool = False
    """Whether its log readers are `JoiningLog`s."""


class Chunk(NamedTuple):
    """A range of a table, by key: `lower` < key <= `upper` in the order of the key; None is open.

    Bounds are text literals of the key's columns. A table without a key, or a small one, is one chunk that is open at
    both ends. Serialises as JSON.
    """

    number: int
    lower: tuple[str, ...] | None
    upper: tuple[str, ...] | None
    segment: Segment | None = None
    """The part of the table that the chunk is of; None: it is not cut into parts."""


WHOLE = Chunk(0, None, None)
"""The only chunk of a table that is not cut."""


class Snapshot(Protocol):
    """What a chunk's read could see of the transactions in the log. Picklable."""

    high: int
    """A log position (the `commit` of a `Position`): once the log is read up to here, every transaction that `sees`
    accepts has been read, save for such as only repeat what the chunk holds."""

    def sees(self, txn: Transaction) -> bool:
        """Tell whether the read saw what this transaction did."""
        ...

    def settled(self, txn: Transaction) -> bool:
        """Tell whether every snapshot taken from now on would see this transaction (it may be forgotten)."""
        ...


class UnreachableError(TailraceError):
    """A snapshot reader gets no connection: whatever the kind, it is no matter of one table."""


class LockedError(TailraceError):
    """Somebody else's lock is in the way: of one table, where a snapshot reader meets it. It says whose."""


class SnapshotReader(Protocol):
    """Reads tables in chunks. One instance per loader process, with a connection of its own.

    Connects when it is first asked for something; raises `UnreachableError` where it cannot.
    """

    def plan(self, table: TableSchema, chunk_rows: int, segments: Sequence[Segment] = ()) -> list[Chunk]:
        """Cut a table into chunks of about `chunk_rows` rows that together cover it whole, present and future; or its
        `segments`, by turns.
        """
        ...

    def partitions(self, table: TableSchema) -> list[Partition]:
        """Return the partitions of a table, and theirs, in an order that lasts. Asked where a rule is about them."""
        ...

    def read(
        self, table: TableSchema, chunk: Chunk, batch_rows: int, where: RowFilter | None = None
    ) -> Iterator[Sequence[Row]]:
        """Read a chunk in one statement and one snapshot; yield batches of rows. Memory is bounded by a batch.

        A batch may be unread (`UnreadRows`); looking at its rows raises DECODE then where they cannot be read.

        Rows that `where` does not take may be left out; whoever asks looks at those that come.
        Raises SOURCE_SCHEMA when the table no longer has the columns of `table`, or the partition of the chunk;
        LockedError where it cannot be read yet, after some seconds: other tables are asked for meanwhile.
        """
        ...

    def look(self) -> Snapshot:
        """Take a snapshot of now, read nothing in it, and end it. Asked between two reads."""
        ...

    def hold(self, tables: Sequence[TableSchema], chunk_rows: int) -> list[int]:
        """Take one snapshot for several tables; return the places of those that are read WHOLE in it, one by one: none
        that may have more than `chunk_rows` rows. An empty list is an answer, too.

        It is kept until `release`, or until something else is asked for. Waits for nobody's lock, since others may wait
        for those of ours. Raises where some table is in the way; then each is asked for alone.
        """
        ...

    def release(self) -> None:
        """Give up the snapshot that is held, if one is."""
        ...

    def snapshot(self) -> Snapshot:
        """Return the snapshot of the read under way or just ended; known from the first batch that `read` yields."""
        ...

    def close(self) -> None:
        """Close the connection. May be called twice."""
        ...


class LogReader(Protocol):
    """A stream of the source's log from a position on."""

    def poll(self, timeout_s: float) -> Sequence[Change]:
        """Return the next changes, in log order; at most some thousand rows. Empty after `timeout_s` without any.

        A long transaction is returned piece by piece: Begin, then RowChanges and others in several polls, then Commit.
        The rows that the start position says are behind already are skipped. Tables that the selection does not take
        never appear. An idle log yields Heartbeat now and then, at least every ten seconds.
        """
        ...

    def acknowledge(self, position: Position) -> None:
        """Tell the source that nothing before `position` will be asked for again. Invariant 1: called only when the
        checkpoint that names `position` is durable.
        """
        ...

    def close(self) -> None:
        """End the stream. May be called twice."""
        ...


class JoiningLog(LogReader, Protocol):
    """A log reader that can join small transactions."""

    joins: bool
    """Whether it may yield SmallTransactions. False until its caller says that it takes them."""


class Source(Protocol):
    """One database to capture."""

    capabilities: Capabilities

    def identity(self) -> dict[str, str]:
        """Name the log that positions belong to (PostgreSQL: system identifier, timeline, database, slot)."""
        ...

    def findings(self, tables: Sequence[TableSchema]) -> list[Finding]:
        """Check every prerequisite. Never changes anything."""
        ...

    def tables(self) -> list[TableSchema]:
        """Read the schemas of the selected tables, sorted by name, version 1 each.

        Views are among them (`is_view`) where they are selected and the mode loads tables; their rows are read by a
        `SnapshotReader`, and never come by the log.
        """
        ...

    def readable(self) -> list[TableSchema]:
        """Read the schemas of the selected tables whose rows can be read, those included that cannot be captured."""
        ...

    def row_estimates(self, tables: Sequence[TableSchema]) -> dict[TableName, int]:
        """Estimate the rows of each table from the catalogue; tables that it says nothing of are left out."""
        ...

    def prepare(self, tables: Sequence[TableSchema]) -> Position:
        """Make what the log needs (publication, slot) unless it is there. Return where a new slot starts.

        May be repeated.
        """
        ...

    def check_position(self, stored: dict[str, str], position: Position) -> None:
        """Raise SOURCE_LOG_LOST, with the gap and the remedy, unless the log still holds what follows `position`.

        The identity must still be the stored one, too.
        """
        ...

    def find_position(self, committed_from_us: int) -> Position:
        """Find where to begin so that the first transaction read is the first one that was committed at a moment (in
        microseconds since 1970) or later. Asked before `prepare`: makes nothing and confirms nothing.

        Raises SOURCE_LOG_LOST unless the log is known to reach back to the moment, CONFIGURATION if it is to come.
        """
        ...

    def marks(self, tables: Sequence[TableSchema]) -> dict[TableName, str]:
        """Return a text for each table whose log is sent only as long as somebody says so (PostgreSQL: publications).

        It is another one once that was interrupted. Kept in the checkpoint, for `check_published`.
        """
        ...

    def check_published(self, tables: Sequence[TableSchema], marks: Mapping[TableName, str]) -> None:
        """Raise PREREQUISITE unless the log is sent for all of these tables, of those that still exist; and was all the
        time since their `marks` were taken.

        Asked before `prepare` for tables that were captured before: `prepare` would add a table again that was taken
        out meanwhile, and hide that its changes are missing.
        """
        ...

    def open_log(self, position: Position, tables: Sequence[TableSchema]) -> LogReader:
        """Start reading after `position`; `tables` are the schema versions in force there."""
        ...

    def current_position(self) -> Position:
        """Return the log's end."""
        ...

    def visible_position(self) -> Position:
        """Return a position behind all that is visible at the source now. It may not be durable yet."""
        ...

    def has_table(self, name: TableName) -> bool:
        """Tell whether a table of this name exists now, whether or not it can be captured."""
        ...

    def retained_bytes(self) -> int | None:
        """Return how much log the source keeps for this replication, where it can tell."""
        ...

    def log_left_bytes(self) -> int | None:
        """Return how much more log may be written until the source gives up what it keeps for us; None: no bound."""
        ...

    def complete(self, changes: RowChanges) -> None:
        """Replace UNCHANGED in the new rows of key changes by the source's present values, in place.

        A key change becomes a delete and an insert, and an insert should be whole. That of a row that is gone keeps
        UNCHANGED: nobody can tell what it held, and its delete follows in the log. No other may, save in a table that
        is `untold` then: targets do without it.
        """
        ...

    def untold(self) -> Collection[TableName]:
        """Return, once, the tables of which `complete` could not tell values though their rows may be there: they are
        to be loaded again, by snapshots that are taken later, and must see the transactions of these rows.
        """
        ...

    def unseen(self, table: TableSchema) -> Collection[int]:
        """Return the transactions (`Transaction.xid`) that have changed a table, and that a snapshot of now may not see
        although they stand in the log: a load that begins behind what is published must. It asks again while it waits,
        and waits no more for those that are left out.

        None of a source whose snapshots see all that stands in the log before their `high`.
        """
        ...

    def format_position(self, position: Position) -> str:
        """Print a position as the engine's users know it."""
        ...

    def parse_position(self, text: str) -> Position:
        """Read what `format_position` prints. Raises CONFIGURATION."""
        ...

    def grants(self, tables: Sequence[TableSchema]) -> str:
        """Return the statements that give the configured role what capturing these tables needs, and nothing more."""
        ...

    def ddl_trigger(self) -> str:
        """Return the SQL that makes the source tell DDL statements by log messages with `DDL_PREFIX`; "" if it cannot.

        Only the text on the ddl topic depends on it, and how soon a change is noticed that no row follows.
        """
        ...

    def destroy(self) -> list[str]:
        """Remove what `prepare` made; return what was removed, in words."""
        ...

    def close(self) -> None:
        """Close all connections. May be called twice."""
        ...
