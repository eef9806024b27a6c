"""How far the full load of a table is, as it is kept in memory and in the checkpoints topic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from capture.source import Chunk
from schemas.changes import Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.segments import Segment, leaves_key, rule_of
from schemas.mappings.table_settings_rule import TableSettingsRule
from schemas.table import TableName, TableSchema

CHUNKS_MAX = 1 << 24
"""More chunks than any table is cut into: a checkpoint that speaks of more is damaged."""


SEGMENTED_VERSION = 2
"""The form of a plan with segments; one without is of form 1, which earlier releases read."""
PARTED_VERSION = 3
"""The form of a plan behind which partitions are to be loaded: an earlier release would forget them. (Of one that is of
partitions alone it loads the whole, or goes on with the segments.)"""

AGAIN_VERSION = 4
"""The form of a plan behind which the table is to be loaded from nothing: an earlier release would forget that."""

TOLD_MAX = 3
"""Of transactions that are waited for, in status."""


class LoadState(StrEnum):
    """The states of a table's load, in order."""

    PLANNED = "planned"
    """Known, not cut into chunks yet."""
    LOADING = "loading"
    """Cut into chunks, or (without a key) being read."""
    LOADED = "loaded"
    """Every row that was there is in the topic, before all changes that came later."""


@dataclass(slots=True, eq=False)
class TableLoad:
    """One table's load. `generation` counts how often it was begun from nothing."""

    table: TableSchema
    generation: int = 1
    state: LoadState = LoadState.PLANNED
    chunks: list[Chunk] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    """Indexes of the chunks that are published."""
    row_count: int = 0
    """Rows published."""
    attempts: int = 0
    """Failures in a row."""
    not_before_s: float = 0.0
    """Monotonic time before which nothing of it is tried again."""
    not_before_commit: int = 0
    """Log position before which nothing of it is tried again; no snapshot of it may have seen less of the log."""
    suspension: TailraceError | None = None
    """Why it stands still, where it does: it is tried again now and then."""

    parts: tuple[int, ...] = ()
    """The partitions that are loaded alone, since they brought rows along; empty: all there is."""
    later: tuple[int, ...] = ()
    """Partitions that are to be loaded so when the rest is."""
    again: bool = False
    """Whether it is to be loaded from nothing once it is loaded and has rested: see `rests`."""
    unseen: tuple[Transaction, ...] = ()
    """Transactions that every snapshot of it must see: what they did may be published."""
    rejections: int = 0
    """Chunks in a row whose snapshots did not see what they must."""

    waits_for: str | None = None
    """Whose lock is in the way of it, where one was when it was to be read last."""

    @property
    def name(self) -> TableName:
        """The table's name."""
        return self.table.name

    @property
    def is_complete(self) -> bool:
        """Whether all chunks are published."""
        return self.state is not LoadState.PLANNED and len(self.done) == len(self.chunks)

    def moves_rows(self, rules: Sequence[TableSettingsRule]) -> bool:
        """Tell whether rows may leave their segment without another key: as rules say, or said when it was cut."""
        inside = self.table.source_form
        cut = [chunk.segment for chunk in self.chunks if chunk.segment is not None]
        key = set(inside.key_names)
        return leaves_key(rule_of(rules, inside), inside) or any(not key.issuperset(s.columns) for s in cut)

    def begin_again(self, table: TableSchema, reached: int, parts: tuple[int, ...] = ()) -> None:
        """Forget all progress: every row, or those of `parts`, is published again, behind what was published of it up
        to `reached`.
        """
        self.table = table
        self.parts, self.later = parts, self.later if parts else ()
        self.not_before_commit = max(self.not_before_commit, reached)
        self.generation += 1
        self.state = LoadState.PLANNED
        self.chunks = []
        self.done = set()
        self.row_count = 0
        if self.suspension is not None:
            self.suspension, self.not_before_s = None, 0.0

    def wait_only_for(self, still: Iterable[int]) -> list[Transaction]:
        """Wait no more for transactions but these, and return those: each has ended, or is known by now not to have
        been published before.
        """
        still = set(still)
        gone = [txn for txn in self.unseen if txn.xid not in still]
        self.unseen = tuple(txn for txn in self.unseen if txn.xid in still)
        if self.unseen:
            ids = ", ".join(str(txn.xid) for txn in self.unseen[:TOLD_MAX])
            self.waits_for = f"{len(self.unseen)} transactions that may have written to it, as {ids}"
        return gone

    def plan_document(self) -> dict[str, Any]:
        """Return what changes seldom: state, generation and the chunks."""
        version = AGAIN_VERSION if self.again else PARTED_VERSION if self.later else 1
        document: dict[str, Any] = {"version": version, "state": str(self.state), "generation": self.generation}
        document["chunks"] = []
        document |= {name: list(numbers) for name in ("parts", "later") if (numbers := getattr(self, name))}
        if self.again:
            document["again"] = True
        if self.unseen:
            document["unseen"] = [txn.xid for txn in self.unseen]
        if self.state is not LoadState.LOADING:
            return document
        segments = dict.fromkeys(chunk.segment for chunk in self.chunks if chunk.segment is not None)
        if segments:
            # A release that does not know them would read the chunks of all segments as bounds of keys alone.
            document["version"] = max(version, SEGMENTED_VERSION)
            document["segments"] = [tuple(segment) for segment in segments]
        places = {segment: place for place, segment in enumerate(segments)}
        document["chunks"] = [
            [c.lower, c.upper] if c.segment is None else [c.lower, c.upper, places[c.segment]] for c in self.chunks
        ]
        return document

    def progress_document(self) -> dict[str, Any]:
        """Return what changes with each chunk. Done chunks are written as inclusive ranges of indexes."""
        return {"version": 1, "generation": self.generation, "done": _ranges(self.done), "rows": self.row_count}

    @classmethod
    def from_documents(cls, table: TableSchema, plan: dict[str, Any], progress: dict[str, Any] | None) -> TableLoad:
        """Return what the two documents say. Progress of another generation says nothing of this one.

        Raises DECODE for documents that are damaged.
        """
        try:
            return cls._of(table, plan, progress)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise TailraceError(
                ErrorKind.DECODE,
                "the checkpoint of a load cannot be read",
                remedy="`tailrace reset` begins anew; never write to this topic by hand",
                table=str(table.name),
            ) from error

    @classmethod
    def _of(cls, table: TableSchema, plan: dict[str, Any], progress: dict[str, Any] | None) -> TableLoad:
        load = cls(table, generation=plan["generation"], state=LoadState(plan["state"]))
        load.parts, load.later = (_numbers(plan.get(name, [])) for name in ("parts", "later"))
        load.again = bool(plan.get("again"))
        load.unseen = tuple(map(unseen_transaction, _numbers(plan.get("unseen", []))))
        segments = [Segment.read(segment) for segment in plan.get("segments", [])]
        load.chunks = [
            Chunk(index, _bound(lower), _bound(upper), *(segments[place] for place in places))
            for index, (lower, upper, *places) in enumerate(plan["chunks"])
        ]
        if progress is not None and progress["generation"] == load.generation:
            if any(not 0 <= first <= last < CHUNKS_MAX for first, last in progress["done"]):
                raise ValueError("no chunks of a table")
            load.done = {index for first, last in progress["done"] for index in range(first, last + 1)}
            load.row_count = int(progress["rows"])
        return load


def unseen_transaction(xid: int) -> Transaction:
    """Return a transaction of which nothing is known but its number."""
    return Transaction(str(xid), xid, 0, 0)


def _numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
        raise ValueError("no numbers")
    return tuple(values)


def _bound(values: Any) -> tuple[str, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("no bound of a key")
    return tuple(values)


def _ranges(indexes: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for index in sorted(indexes):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ranges
