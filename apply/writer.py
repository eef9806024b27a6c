"""Writes one batch in one transaction of the target: tables in the order of their foreign keys, offsets, flush.

Runs in a thread of its own, one job at a time, so that the next batch is decoded while the server merges this one.
It never decides what to do about an error: it rolls back and tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import NamedTuple, cast

from apply.batching.batch import Batch, Record, Segment
from apply.grouping import Grouping, Load
from apply.outcome import Outcome, Place, Wait, place_of
from apply.sink import Rejection, SharingSink, Sink, TableBatch, TopicPartition
from apply.trouble.answers import Answers, DeadLetters, Policies
from apply.trouble.conflicts import Conflicts, Contradiction
from apply.trouble.parking import QUEUED, Identity, ParkedRecord
from apply.trouble.succession import Rejected, barred, followers, keys_of, places, refused_before, standing
from runtime import clock
from runtime.failpoints import hit
from runtime.logging import get_logger
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

log = get_logger(__name__)


class _Refused(NamedTuple):
    """What the target refused of a segment, why, and of which records it was the net effect."""

    segment: Segment
    error: TailraceError
    records: list[Record]


class Writer:
    """Owns the use of a sink. `rank` orders tables: those that others refer to come first."""

    def __init__(
        self, sink: Sink, dead_letters: DeadLetters, policies: Policies, rank: Callable[[TableName], int]
    ) -> None:
        self.sink = sink
        self.grouping = Grouping(sink)
        self._dead_letters = dead_letters
        self.policies = policies = policies.without_parking() if sink.capabilities.commit_order else policies
        """What holds at this sink."""
        self._answers = Answers(policies)
        self._conflicts = Conflicts(policies.contradictions)
        self._rank = rank
        self._carried: dict[TopicPartition, int] = {}
        self.is_open = False
        """Whether the target holds batches that a later one commits. Nobody else may use the sink then."""
        self.patient = True
        """Whether batches are gathered for a sink that likes many of them at once."""
        self._gathered_bytes = 0
        self._gathering_since = 0.0
        self._prepared: dict[TableName, int] = {}
        self._empty_at_first: dict[TableName, bool] = {}

    @property
    def gathering(self) -> bool:
        """Whether what is open waits only to become more."""
        return self.is_open and self.sink.capabilities.gathering is not None

    @property
    def due(self) -> bool:
        """Whether what was gathered is to be flushed now, even if nothing is added to it."""
        wanted = self.sink.capabilities.gathering
        if wanted is None or not self.is_open:
            return False
        return not self.patient or clock.monotonic() - self._gathering_since >= wanted.interval_s

    def write(
        self,
        batch: Batch,
        overdue: Container[Place] = frozenset(),
        *,
        whole: bool = True,
        deferred: bool = False,
        together: bool = False,
    ) -> Outcome:
        """Write a batch, or roll it back. Conflicts whose last record is in `overdue` have waited long enough to be
        errors.

        Not `whole`: the batch ends within a source transaction, and is committed together with a later one. `deferred`:
        the target's constraints need to hold only at the end of the whole. `together`: that is tried first, since rows
        may be in each other's way unless all are written.
        """
        if together:
            offsets = dict(batch.next)
            outcome = self.write(batch, whole=whole, deferred=True)
            if outcome.inconsistent is None:
                return outcome
            batch.next = offsets
        outcome = Outcome(batch)
        began, used, queued = clock.monotonic(), clock.cpu_s(), clock.queued_s()
        try:
            self._write(batch, overdue, outcome, whole=whole, deferred=deferred)
        except TailraceError as error:
            if deferred and error.kind is ErrorKind.ROW_CONFLICT and error.action is Action.RETRY:
                outcome.inconsistent = error
            else:
                outcome.error = error
        except BaseException:
            self.abandon()
            raise
        if outcome.written or outcome.merged:
            self.is_open = outcome.merged
            self._answers.settle(outcome)
        else:
            self.abandon()
        outcome.duration_s = clock.monotonic() - began
        # Waiting for a core, or for Python's lock, is no waiting for the target.
        busy_s = clock.cpu_s() - used + clock.queued_s() - queued
        outcome.waited_s = max(0.0, outcome.duration_s - busy_s)
        return outcome

    def run(self, job: Callable[[], None]) -> Outcome:
        """Do something else in the place of a batch; tell how it ended."""
        outcome = Outcome(Batch(), written=True)
        try:
            job()
        except TailraceError as error:
            outcome.error = error
        return outcome

    def abandon(self) -> None:
        """Undo what is in the target's open transaction."""
        self._carried.clear()
        self._gathered_bytes = 0
        self.is_open = False
        self._roll_back()

    def prepare(self, table: TableSchema) -> None:
        """Let the target take rows of this version. Called with nothing unflushed."""
        if self.has_prepared(table):
            return
        self.sink.prepare(table)
        self._note(table, partial(self.sink.is_empty, table))

    def _note(self, table: TableSchema, is_empty: Callable[[], bool]) -> None:
        hit("apply.prepare.after")
        if table.name not in self._prepared:
            self._empty_at_first[table.name] = is_empty()
        self._prepared[table.name] = table.version
        log.debug("table ready", table=str(table.name), version=table.version)

    def _prepare_new(self, tables: Iterable[TableSchema]) -> None:
        """Prepare tables that this process has never prepared, many at once. What is left is prepared one by one."""
        for table, is_empty in self.grouping.prepare([t for t in tables if t.name not in self._prepared]):
            self._note(table, partial(bool, is_empty))

    def has_prepared(self, table: TableSchema) -> bool:
        """Tell whether rows of this version can be written, as far as this process knows."""
        return self._prepared.get(table.name, 0) >= table.version

    def follow(self, table: TableSchema) -> None:
        """Let the target's table be as a version has it of which there may be no row."""
        try:
            self.prepare(table)
            self.sink.flush()
        except BaseException:
            self._roll_back()
            raise

    def forget(self) -> None:
        """Prepare every table anew: the connection may be another one, the target may have been restored."""
        self._prepared.clear()

    def stays(self, table: TableSchema, *, is_gone: bool) -> bool:
        """Tell whether a table's rows are left at the target although the source has dropped it, or begun it anew."""
        capabilities = self.sink.capabilities
        if capabilities.history:
            return True
        return capabilities.shares and cast("SharingSink", self.sink).stays(table, is_gone=is_gone)

    def truncate(self, barrier: str, table: TableSchema | None, offsets: Mapping[TopicPartition, int]) -> None:
        """Empty a table for all appliers, unless another one has: the work of a barrier that all have reached.

        None: a table that need not be emptied, since none of its rows will be left.
        """
        try:
            if table is not None:
                self.prepare(table)
            if self.sink.pass_barrier(barrier):
                if table is not None:
                    self.sink.truncate([table])
                self._stage(offsets)
                hit("apply.truncate.before")
                self.sink.flush()
                log.info("table truncated" if table else "truncate passed over", table=str(table and table.name))
            else:
                self.sink.rollback()
        except BaseException:
            self._roll_back()
            raise

    def end_parked(self, over: Mapping[Identity, ParkedRecord]) -> None:
        """Say that parked keys are over. Before the offsets pass what has ended them: else they would wait for ever."""
        if over:
            self._dead_letters.end(over)

    def complete_loads(self, loads: Sequence[Load]) -> None:
        """Finish the indexes and foreign keys of loaded tables, but of those that another applier has finished.

        All or none; several at a sink that groups.
        """
        try:
            self._prepare_new([load.table for load in loads])
            for load in loads:
                self.prepare(load.table)
            ours = self.grouping.pass_all([load.barrier for load in loads])
            if not ours:
                self.sink.rollback()
                return
            done = [load for load in loads if load.barrier in ours]
            self.grouping.complete(table for load in done for table in (load.table, *load.others))
            hit("apply.complete.before")
            self.sink.flush()
        except BaseException:
            self._roll_back()
            raise
        for load in done:
            log.info("load completed", table=str(load.table.name))

    def drop(self, barrier: str, table: TableSchema) -> None:
        """Drop a table whose last record all appliers have passed, unless another one has."""
        try:
            if self.sink.pass_barrier(barrier):
                self.sink.drop(table)
                self.sink.flush()
                log.info("table dropped", table=str(table.name))
            else:
                self.sink.rollback()
        except BaseException:
            self._roll_back()
            raise
        self._prepared.pop(table.name, None)
        self._empty_at_first.pop(table.name, None)

    def _write(self, batch: Batch, overdue: Container[Place], outcome: Outcome, *, whole: bool, deferred: bool) -> None:
        hit("apply.write.before")
        written = [segments[-1].target for segments in batch.segments.values()]
        if not self.is_open:
            self._prepare_new(written)
        for table in (*batch.truncated.values(), *written):
            self.prepare(table)
        if deferred:
            self.sink.defer()
        if batch.truncated:
            # Children first, for sinks that empty tables one after the other.
            self.sink.truncate(sorted(batch.truncated.values(), key=lambda t: self._rank(t.name), reverse=True))
        rejected, contradicted = self._write_levels(batch)
        rejected = self._try_again(batch, standing(batch, rejected))
        final = self._judge(_with_records(batch, rejected), overdue, outcome)
        if outcome.conflicts:
            return
        for wait in outcome.waits.values():
            partition, offset = place_of(wait.records[0])
            batch.next[partition] = min(offset, batch.next.get(partition, offset))
        if whole:
            # Before anything is said on the dead-letters topic: that is not rolled back with the batch.
            outcome.inconsistent = self.sink.check()
            if outcome.inconsistent is not None:
                return
        self._answer_all(batch, final, contradicted, outcome)
        hit("apply.write.after")
        self._carried |= batch.next
        if not whole or self._wants_more(batch):
            outcome.merged = True
            return
        batch.next, self._carried = self._carried, {}
        self._stage(batch.next)
        hit("apply.flush.before")
        # Invariant 3: only now may the group's offsets be committed.
        self.sink.flush()
        hit("apply.flush.after")
        self._gathered_bytes = 0
        outcome.written = True

    def _write_levels(self, batch: Batch) -> tuple[list[Rejected], list[Contradiction]]:
        """Write all segments; return the rows that the target refused, and those that contradict it."""
        rejected, contradicted = list[Rejected](), list[Contradiction]()
        for level in _levels(batch, self._rank):
            for segment in level:
                refused = refused_before(batch, segment, rejected)
                contradicted += self._conflicts.find(self.sink, segment, refused)
            # Deletes everywhere before the first insert, children before parents: so that keys can move.
            halves = [(segment, self._fill(segment)) for segment in level]
            for segment, full in reversed(halves):
                if full.deletes:
                    rejected += self._apply(segment, _only_deletes(full))
            for segment, full in halves:
                if full.upserts or full.updates or full.sequence:
                    rejected += self._apply(segment, _without_deletes(full), barred(batch, segment, rejected))
        return rejected, contradicted

    def _wants_more(self, batch: Batch) -> bool:
        wanted = self.sink.capabilities.gathering
        if wanted is None or not self.patient or not batch.next:
            return False
        if not self.is_open:
            if wanted.reads_only and not batch.has_reads:
                return False
            self._gathering_since = clock.monotonic()
        self._gathered_bytes += batch.byte_count
        return self._gathered_bytes < wanted.bytes and clock.monotonic() - self._gathering_since < wanted.interval_s

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
        fresh = (
            segment.fresh
            and segment.net.only_reads
            and not segment.net.sequential
            and self._empty_at_first.get(segment.target.name, False)
        )
        full = segment.projection.batch(segment.net.batch(fresh=fresh))
        if self.sink.capabilities.origins:
            full.origins = segment.origins()
        full.values = tuple(segment.values.values())
        return full

    def _apply(self, segment: Segment, batch: TableBatch, closed: Collection[int] = ()) -> list[Rejected]:
        """Write all but those updates that are closed."""
        if not closed:
            return [(segment, rejection) for rejection in self.sink.apply(batch)]
        free = [i for i in range(len(batch.updates)) if i not in closed]
        origins = {k: [o[i] for i in free] if k == "updates" else o for k, o in batch.origins.items()}
        some = replace(batch, updates=[batch.updates[i] for i in free], origins=origins)
        return [(segment, replace(r, index=free[r.index]) if r.kind == "updates" else r) for r in self.sink.apply(some)]

    def _judge(self, refused: list[_Refused], overdue: Container[Place], outcome: Outcome) -> list[_Refused]:
        """Find the conflicts that may pass; return what is refused for good."""
        final: list[_Refused] = []
        for one in refused:
            segment, error, records = one
            if error.kind is not ErrorKind.ROW_CONFLICT or place_of(records[-1]) in overdue:
                final.append(one)
            elif not segment.net.sequential:
                outcome.waits[segment.topic, records[0].key()] = Wait(records, error)
            else:
                place = place_of(records[0])
                first = outcome.conflicts.get(place.partition)
                if first is None or place.offset < first[0]:
                    outcome.conflicts[place.partition] = (place.offset, error)
        return final

    def _answer_all(
        self, batch: Batch, refused: list[_Refused], contradicted: list[Contradiction], outcome: Outcome
    ) -> None:
        """Park or let go what the target refuses for good, and what waits behind it."""
        parked: list[tuple[Record, str, str]] = []
        for one in contradicted:
            self._answers.answer(*one, parked, outcome)
        for _, error, records in refused:
            self._answers.answer(self.policies.of(error), error, records, parked, outcome)
        for record, error in batch.refused:
            self._answers.answer(self.policies.decode, error, [record], parked, outcome)
        parked += [(record, QUEUED, "") for record in batch.queued]
        if parked or batch.over:
            # From here until the end the partitions are ours: whoever lost them to another must not park what is
            # refused only because the other one has written on.
            self._stage(self._carried | batch.next)
            # Invariant 4: durable on the dead-letters topic before the offsets pass them at the target.
            self.end_parked(batch.over)
            outcome.parked = self._dead_letters.park(parked)
            hit("apply.park.after")

    def _stage(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.sink.capabilities.stores_offsets and offsets:
            self.sink.stage_offsets(offsets)

    def _roll_back(self) -> None:
        try:
            self.sink.rollback()
        except TailraceError as error:
            # The connection is gone, and with it the transaction.
            log.warning("rollback failed", reason=error.message)


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


def _with_records(batch: Batch, rejected: list[Rejected]) -> list[_Refused]:
    """Return with each rejection the records whose net effect was refused, in order; never none."""
    keys = [None if key is None else (s.topic, key) for (s, _), key in zip(rejected, keys_of(rejected), strict=True)]
    records = batch.of_keys({key for key in keys if key is not None}) if rejected else {}
    return [
        _Refused(s, r.error, [s.records[r.index]] if key is None else records[key])
        for (s, r), key in zip(rejected, keys, strict=True)
    ]
