"""Writes one batch in one transaction of the target: tables in the order of their foreign keys, offsets, flush.

Runs in a thread of its own, one job at a time, so that the next batch is decoded while the server merges this one.
It never decides what to do about an error: it rolls back and tells.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import NamedTuple, cast

from apply.batching.batch import Batch, Record, Segment
from apply.error_handling.conflicts import Conflicts, Contradiction
from apply.error_handling.parking import QUEUED, Identity, ParkedRecord
from apply.error_handling.policies import DeadLetters, Policies, PolicyEnforcer
from apply.error_handling.succession import Rejected, keys_of
from apply.grouping import Grouping, Load
from apply.outcome import Outcome, Place, Wait, place_of
from apply.prepared import PreparedTables
from apply.rows import Rows
from apply.sink import SharingSink, Sink, TopicPartition
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
        self._enforcer = PolicyEnforcer(policies)
        self.prepared = PreparedTables(sink, self.grouping)
        self._rows = Rows(sink, self.prepared, Conflicts(policies.contradictions), rank)
        self._rank = rank
        self._carried: dict[TopicPartition, int] = {}
        self.is_open = False
        """Whether the target holds batches that a later one commits. Nobody else may use the sink then."""
        self.patient = True
        """Whether batches are gathered for a sink that likes many of them at once."""
        self.ends_early = False
        """Whether what may settle a conflict is left out for now: it is parked then, whatever the policy says."""
        self._gathered_bytes = 0
        self._gathering_since = 0.0

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
            self._enforcer.settle(outcome)
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

    def follow(self, table: TableSchema) -> None:
        """Let the target's table be as a version has it of which there may be no row."""
        try:
            self.prepared.prepare(table)
            self.sink.flush()
        except BaseException:
            self._roll_back()
            raise

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
                self.prepared.prepare(table)
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
            self.prepared.prepare_new([load.table for load in loads])
            for load in loads:
                self.prepared.prepare(load.table)
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
        self.prepared.drop(table.name)

    def _write(self, batch: Batch, overdue: Container[Place], outcome: Outcome, *, whole: bool, deferred: bool) -> None:
        hit("apply.write.before")
        written = [segments[-1].target for segments in batch.segments.values()]
        if not self.is_open:
            self.prepared.prepare_new(written)
        for table in (*batch.truncated.values(), *written):
            self.prepared.prepare(table)
        if deferred:
            self.sink.defer()
        if batch.truncated:
            # Children first, for sinks that empty tables one after the other.
            self.sink.truncate(sorted(batch.truncated.values(), key=lambda t: self._rank(t.name), reverse=True))
        rejected, contradicted = self._rows.write(batch)
        final = self._judge(_with_records(batch, rejected), overdue, outcome)
        if outcome.conflicts or (outcome.waits and not batch.next):
            # Or what waits stands before all offsets, which would go back to it.
            return
        for wait in outcome.waits.values():
            partition, offset = place_of(wait.records[0])
            batch.next[partition] = min(offset, batch.next.get(partition, offset))
        if whole:
            # Before anything is said on the dead-letters topic: that is not rolled back with the batch.
            outcome.inconsistent = self.sink.check()
            if outcome.inconsistent is not None:
                return
        self._enforce_policies(batch, final, contradicted, outcome)
        hit("apply.write.after")
        self._carried |= batch.next
        if not whole or self._wants_more(batch):
            outcome.merged = True
            return
        batch.next, self._carried = self._carried, {}
        self._stage(batch.next or batch.standing)
        hit("apply.flush.before")
        # Invariant 3: only now may the group's offsets be committed.
        self.sink.flush()
        hit("apply.flush.after")
        self._gathered_bytes = 0
        outcome.written = True

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

    def _enforce_policies(
        self, batch: Batch, refused: list[_Refused], contradicted: list[Contradiction], outcome: Outcome
    ) -> None:
        """Park or let go what the target refuses for good, and what waits behind it."""
        parked: list[tuple[Record, str, str]] = []
        for one in contradicted:
            self._enforcer.enforce(*one, parked, outcome)
        for _, error, records in refused:
            if self.ends_early and error.kind is ErrorKind.ROW_CONFLICT:
                self._enforcer.park_early(error, records, parked)
            else:
                self._enforcer.enforce(self.policies.of(error), error, records, parked, outcome)
        for record, error in batch.refused:
            self._enforcer.enforce(self.policies.decode, error, [record], parked, outcome)
        parked += [(record, QUEUED, "") for record in batch.queued]
        if parked or batch.over:
            # From here until the end the partitions are ours: whoever lost them to another must not park what is
            # refused only because the other one has written on.
            self._stage(self._carried | batch.next or batch.standing)
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


def _with_records(batch: Batch, rejected: list[Rejected]) -> list[_Refused]:
    """Return with each rejection the records whose net effect was refused, in order; never none."""
    keys = [None if key is None else (s.topic, key) for (s, _), key in zip(rejected, keys_of(rejected), strict=True)]
    records = batch.of_keys({key for key in keys if key is not None}) if rejected else {}
    return [
        _Refused(s, r.error, [s.records[r.index]] if key is None else records[key])
        for (s, r), key in zip(rejected, keys, strict=True)
    ]
