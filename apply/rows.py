"""Writes the rows of one batch within the target's open transaction, in an order that keys and foreign keys allow.

Referred-to tables come first, and all deletes before the first insert. Rows that only conflict are tried again: what
stood in their way may have been written after them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import groupby

from apply.batching.batch import Batch, Segment
from apply.error_handling.conflicts import Conflicts, Contradiction
from apply.error_handling.succession import Rejected, barred, followers, places, refused_before, still_refused
from apply.prepared import PreparedTables
from apply.sink import Rejection, Sink, TableBatch
from schemas.errors import ErrorKind
from schemas.table import TableName


class Rows:
    """What a sink is given of the rows of a batch. `rank` orders tables: those that others refer to come first."""

    def __init__(
        self, sink: Sink, prepared: PreparedTables, conflicts: Conflicts, rank: Callable[[TableName], int]
    ) -> None:
        self._sink = sink
        self._prepared = prepared
        self._conflicts = conflicts
        self._rank = rank

    def write(self, batch: Batch) -> tuple[list[Rejected], list[Contradiction]]:
        """Write all segments; return the rows that the target refuses, and those that contradict what it has."""
        rejected, contradicted = self._write_levels(batch)
        return self._try_again(batch, still_refused(batch, rejected)), contradicted

    def _write_levels(self, batch: Batch) -> tuple[list[Rejected], list[Contradiction]]:
        rejected, contradicted = list[Rejected](), list[Contradiction]()
        for level in _levels(batch, self._rank):
            for segment in level:
                refused = refused_before(batch, segment, rejected)
                contradicted += self._conflicts.find(self._sink, segment, refused)
            # Deletes everywhere before the first insert, children before parents: so that keys can move.
            halves = [(segment, self._fill(segment)) for segment in level]
            for segment, full in reversed(halves):
                if full.deletes:
                    rejected += self._apply(segment, _only_deletes(full))
            for segment, full in halves:
                if full.upserts or full.updates or full.sequence:
                    rejected += self._apply(segment, _without_deletes(full), barred(batch, segment, rejected))
        return rejected, contradicted

    def _try_again(self, batch: Batch, rejected: list[Rejected]) -> list[Rejected]:
        """Write rows again that only conflicted: what stood in their way may have been written after them, as when a
        parent goes whose child moves to another one.
        """
        while True:
            conflicts = [one for one in rejected if _may_pass(*one)]
            if not conflicts:
                return rejected
            left = [one for one in rejected if not _may_pass(*one)]
            left += self._again(conflicts)
            left += followers(batch, rejected, left)
            if places(left) == places(rejected):
                return left
            rejected = left

    def _again(self, rejected: list[Rejected]) -> list[Rejected]:
        """Write some rows once more; return those that are refused again."""
        left: list[Rejected] = []
        for segment, group in groupby(rejected, key=lambda one: one[0]):
            full, chosen = self._fill(segment), dict[str, list[int]]()
            for _, rejection in group:
                chosen.setdefault(rejection.kind, []).append(rejection.index)
            some = TableBatch(full.table, values=full.values)
            for kind, indexes in chosen.items():
                getattr(some, kind).extend(getattr(full, kind)[i] for i in indexes)
                if full.origins:
                    some.origins[kind] = [full.origins[kind][i] for i in indexes]
            left += [
                (s, replace(again, index=chosen[again.kind][again.index])) for s, again in self._apply(segment, some)
            ]
        return left

    def _fill(self, segment: Segment) -> TableBatch:
        is_new = segment.fresh and not segment.net.sequential and self._prepared.was_empty(segment.target.name)
        full = segment.projection.batch(segment.net.batch(fresh=is_new))
        if self._sink.capabilities.origins:
            full.origins = segment.origins()
        full.values = tuple(segment.values.values())
        return full

    def _apply(self, segment: Segment, batch: TableBatch, closed: Collection[int] = ()) -> list[Rejected]:
        """Write all but those updates that are closed."""
        if not closed:
            return [(segment, rejection) for rejection in self._sink.apply(batch)]
        free = [i for i in range(len(batch.updates)) if i not in closed]
        origins = {k: [o[i] for i in free] if k == "updates" else o for k, o in batch.origins.items()}
        some = replace(batch, updates=[batch.updates[i] for i in free], origins=origins)
        return [
            (segment, replace(r, index=free[r.index]) if r.kind == "updates" else r) for r in self._sink.apply(some)
        ]


def _levels(batch: Batch, rank: Callable[[TableName], int]) -> list[list[Segment]]:
    """Return the segments in rounds: the first of every table, then the second ones; referred-to tables first."""
    rounds: list[list[Segment]] = []
    for segments in batch.segments.values():
        for i, segment in enumerate(segments):
            while len(rounds) <= i:
                rounds.append([])
            rounds[i].append(segment)
    for one in rounds:
        one.sort(key=lambda s: rank(s.target.name))
    return rounds


def _without_deletes(full: TableBatch) -> TableBatch:
    if not full.deletes:
        return full
    return replace(full, deletes=[])


def _only_deletes(full: TableBatch) -> TableBatch:
    return TableBatch(full.table, deletes=full.deletes, origins=full.origins)


def _may_pass(segment: Segment, rejection: Rejection) -> bool:
    return rejection.error.kind is ErrorKind.ROW_CONFLICT and not segment.net.sequential
