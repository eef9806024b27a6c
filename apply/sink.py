"""What a target must offer. Straight-line code that raises; control flow lives in the service.

Life of a sink in the service: made once per process → `load_offsets` at each assignment → per batch: `prepare` for
tables or versions not seen before, `apply` for every table of the batch, `stage_offsets`, `flush` → `close`.
`rollback` undoes what is not flushed. Calls come one at a time, though not all in one thread. Any call may be repeated
with the same rows: that changes nothing (Invariant 6).

There are four kinds, told apart by `Capabilities`. A sink with transactions writes rows and offsets together
(`stores_offsets`). One that keeps the state of tables without transactions guards each row by its commit sequence
(`origins`). One that keeps every change (`history`) appends them, and is told their places in Kafka; where it can write
something only if it is not there yet, it names it by them. For these two the group's offsets, committed after `flush`,
are the checkpoint: what follows one of the earlier flushes comes again, in other batches. The fourth, a history that
stores offsets, is given nothing that precedes those which it has told at the assignment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from schemas.changes import Row
from schemas.errors import TailraceError
from schemas.large_values import LargeValue
from schemas.row_forms import StagedForm
from schemas.table import TableName, TableSchema


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Origin(NamedTuple):
    """Where a change comes from: what versions, names and metadata at a target are made of."""

    partition: TopicPartition
    offset: int
    seq: int
    """The commit sequence: greater than that of every earlier change of the same row."""
    commit_ts_us: int
    """When the source committed it, microseconds since the epoch."""
    txid: int | None
    lsn: int | None = None
    """Its place in the source's log, where the engine has such numbers."""
    op: str = ""
    """What was done, as envelopes say it."""
    before: Row | None = None
    """The old row, as far as the log held it."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """How much a sink would like to be given before it is flushed: then its files are few and large.

    It is flushed when one of the two is reached, and whenever the service has to.
    """

    bytes: int
    """Size of the records in Kafka."""
    interval_s: float
    reads_only: bool = False
    """Only rows of full loads are waited for: a batch that has none is flushed, unless some have been gathered."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a sink can do, as data. Decides what the service and the conformance suite ask of it."""

    stores_offsets: bool
    """Offsets are written in the same transaction as the rows."""
    truncates: bool
    alters: bool
    keyless: bool
    """Tables without a key are applied with multiset semantics."""
    history: bool = False
    """Every change of every table comes in `sequence`, in order for each partition, truncates (`t`) too; the rows are
    as the version that wrote them has them. Nothing waits at barriers, and nothing but `prepare`, `apply` and `flush`
    is asked about tables."""
    origins: bool = False
    """Batches have `origins`."""
    rolls_back: bool = True
    """What is not flushed is undone by `rollback`, and by a crash, and is not to be seen before."""
    exactly_once: bool = True
    """Changes that come again leave no trace. False, for a `history` only: they are there twice, with one sequence."""
    stages: bool = False
    """It is a `StagingSink`."""
    shares: bool = False
    """It is a `SharingSink`."""
    finds: bool = False
    """It is a `FindingSink`."""
    clears: bool = False
    """It is a `ClearingSink`."""
    streams: bool = False
    """It is a `StreamingSink`."""
    refers: bool = False
    """Rows may refer to rows of other tables: one is there until its end even where its values must be made up."""
    groups: bool = False
    """It is a `GroupingSink`."""
    commit_order: bool = False
    """For a `history`: one applier gives it all partitions, and what comes between two flushes precedes, in the order
    of the source's commits, all that comes later. Then it may store no offsets, and transactions may be cut."""
    gathering: Gathering | None = None
    """What to wait for before `flush`; None: nothing, each batch is flushed."""


@dataclass(slots=True)
class TableBatch:
    """The net changes of one table, ready to write: each key stands in at most one of the first three lists.

    Order of writing: `deletes`, then `upserts`, then `updates`; so unique values can move between rows.
    For a table without a key, and for a sink that keeps a history, only `sequence` is used.
    """

    table: TableSchema
    upserts: Sequence[Row] = field(default_factory=list)
    """Whole rows: written whether or not the key is there. May be `apply.batching.staged_rows.StagedRows`."""
    updates: Sequence[Row] = field(default_factory=list)
    """Rows with UNCHANGED values: the other columns of an existing row are written; a missing row stays missing."""
    deletes: Sequence[Row] = field(default_factory=list)
    """Key values only, in key order."""
    sequence: list[tuple[str, Row | None, Row | None]] = field(default_factory=list)
    """(op, before, after) in order. Of a table without a key one delete removes exactly one equal row."""
    fresh: bool = False
    """Rows of a full load, none of which is in the target as far as one applier can tell: worth a try by the bulk
    loader. Some may be there nevertheless, and are overwritten like any others: a load that was begun again beside its
    rows sends each once more; and where offsets are not stored, an earlier owner may have written some before its first
    checkpoint, and do so even now if it lives."""
    origins: dict[str, list[Origin]] = field(default_factory=dict)
    """For sinks that ask for them: by list, the origin of each item's last change."""
    values: Sequence[LargeValue] = ()
    """For a `StreamingSink`: what stand-ins in rows are for. There may be more of them than rows have."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that the target refused while the others were written."""

    table: TableName
    kind: str
    """Which list of the batch: `upserts`, `updates`, `deletes` or `sequence`."""
    index: int
    error: TailraceError


class Arrival(StrEnum):
    """How far a barrier has come."""

    WAITING = "waiting"
    """Some partitions have not arrived."""
    READY = "ready"
    """All have arrived; whoever wins `pass_barrier` does the work."""
    PASSED = "passed"
    """The work is done and durable; everybody goes on."""

    @classmethod
    def of(cls, arrived_count: int, partition_count: int, *, is_passed: bool) -> Arrival:
        """Return how far a barrier has come, by the partitions that stand at it and those that are to come."""
        if is_passed:
            return cls.PASSED
        return cls.READY if arrived_count >= partition_count else cls.WAITING


class Arriving(NamedTuple):
    """A partition that stands at a barrier, and how many of its topic's are to come there."""

    barrier: str
    partition: TopicPartition
    partition_count: int


class Sink(Protocol):
    """One target, as one appliers' process sees it."""

    capabilities: Capabilities

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions and return the next offset of each that this target has seen.

        Claiming fences: a `flush` by an earlier owner of one of these partitions raises INVARIANT from now on.
        """
        ...

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that were taken away. What is not flushed of them has been rolled back before."""
        ...

    def prepare(self, table: TableSchema) -> None:
        """Make the table, or alter it, so that rows of this version can be written.

        Types first, then the table with keys, not-null and defaults; no secondary indexes or foreign keys. Raises
        TARGET_SCHEMA when the target's table cannot take these rows.
        """
        ...

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the target's table has no row: `fresh` batches are right only then."""
        ...

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch within the open transaction, set-wise. Rows that the target refuses are returned; the others
        are written.
        """
        ...

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables within the open transaction, all at once. Raises ROW_CONFLICT if rows of others forbid it."""
        ...

    def drop(self, table: TableSchema) -> None:
        """Drop a table that the source dropped. Called only where the policy says so."""
        ...

    def complete_load(self, table: TableSchema) -> None:
        """Make the secondary indexes and the foreign keys that a loaded table should have. May be repeated."""
        ...

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record, durably and at once, that `partition` stands at `barrier`; tell how far the barrier has come.

        A truncate (and whatever else concerns all partitions of a topic) waits at a barrier, in whatever process
        each partition is. Called with nothing unflushed, again and again until the barrier is passed.
        """
        ...

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed within the open transaction; False if somebody has passed it already.

        The caller that gets True does the barrier's work in the same transaction, so that it is done exactly once: of
        two callers the second waits for the first one's flush (then False) or rollback (then True). A sink without
        transactions may let both do the work; only the owner of a topic's first partition empties a table there.
        """
        ...

    def defer(self) -> None:
        """Let constraints that can wait hold at `check` only, in the transaction that is open or begins next."""
        ...

    def check(self) -> TailraceError | None:
        """Ask constraints that were deferred; return what one of them says. Then only `rollback` goes on from here."""
        ...

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write the next offsets within the open transaction (sinks that store offsets)."""
        ...

    def flush(self) -> None:
        """Make everything since the last flush durable. Invariant 3: only then may the group's offsets be committed."""
        ...

    def rollback(self) -> None:
        """Undo everything since the last flush. May be called at any time."""
        ...

    def forget(self) -> list[str]:
        """Remove what the target keeps about the replication (offsets, barriers); return what was removed, in words.

        Rows of tables stay.
        """
        ...

    def close(self) -> None:
        """Close the connection. May be called twice."""
        ...


class StagingSink(Sink, Protocol):
    """A sink that can be given most rows as it sends them, made straight of their records."""

    def staged_form(self, table: TableSchema) -> StagedForm | None:
        """Return how rows of this version are staged, by a guess if need be; None: they have to be rows.

        Called in another thread than the rest. A batch may come with another form than the one that holds by then: its
        rows can be read all the same.
        """
        ...


class GroupingSink(Sink, Protocol):
    """A sink at which many tables cost little more than one: in few statements, and one commit."""

    def prepare_all(self, tables: Sequence[TableSchema]) -> list[bool]:
        """Prepare tables, each of another name, as `prepare` does; tell of each whether it `is_empty`.

        Called with nothing unflushed. An error may be of any of them, and what it leaves undone of all.
        """
        ...

    def complete_all(self, tables: Sequence[TableSchema]) -> None:
        """Do for tables, each of another name, what `complete_load` does, within the open transaction."""
        ...

    def arrive_all(self, arrivals: Sequence[Arriving]) -> list[Arrival]:
        """Record arrivals, as `arrive` does."""
        ...

    def pass_all(self, barriers: Collection[str]) -> set[str]:
        """Mark barriers as passed within the open transaction, as `pass_barrier` does; return those that the caller
        has won.
        """
        ...


class StreamingSink(Sink, Protocol):
    """A sink that can write large values piece by piece: rows may have stand-ins for them (`schemas.large_values`)."""

    def takes_values(self, table: TableSchema) -> bool:
        """Tell whether rows of this version may have stand-ins, by a guess if need be.

        Called in another thread than the rest. `apply` raises TARGET_THROTTLED where the guess was wrong.
        """
        ...


class SharingSink(Sink, Protocol):
    """A sink at which several tables of the source may be one."""

    def stays(self, table: TableSchema, *, is_gone: bool) -> bool:
        """Tell whether a table's rows are left at the target although the source has dropped it (`is_gone`), or has
        begun it anew: others are in the target's table, too.
        """
        ...


class ClearingSink(Sink, Protocol):
    """A sink that can empty a part of a table."""

    def clear(self, table: TableSchema, values: Mapping[int, str | int]) -> None:
        """Take out the rows that have these values in these columns, within the open transaction.

        Raises ROW_CONFLICT if rows of other tables forbid it.
        """
        ...


class FindingSink(Sink, Protocol):
    """A sink that can say which rows it has."""

    def present(self, table: TableSchema, keys: Sequence[Row]) -> list[bool | None]:
        """Tell of each key whether the target has its row, in the open transaction; None where it cannot hold it, or
        where that says nothing.

        Keys are values in key order. Not asked of tables without one.
        """
        ...


OPTIONAL: Mapping[str, type] = {
    "stages": StagingSink,
    "shares": SharingSink,
    "finds": FindingSink,
    "clears": ClearingSink,
    "streams": StreamingSink,
    "groups": GroupingSink,
}
"""What a sink is, too, by the capability that says so."""


def lacking(sink: Sink) -> list[str]:
    """Return the methods that a sink should have by its capabilities, and has not: it was made for another version."""
    if not isinstance(getattr(sink, "capabilities", None), Capabilities):
        return ["capabilities"]
    protocols = [Sink, *(protocol for name, protocol in OPTIONAL.items() if getattr(sink.capabilities, name))]
    methods = [name for protocol in protocols for name in vars(protocol) if name[0] != "_"]
    return [name for name in methods if not callable(getattr(sink, name, None))]
