"""The applier: takes in records, hands batches to the writer, and answers whatever comes back.

One thread consumes and decodes; the writer's thread talks to the target; never two jobs at once. Whatever goes wrong,
the way on is the same: forget what is not flushed, ask the target where it stands, read again from there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from apply.batching.batch import Cut, Record, size_of
from apply.batching.builder import BatchBuilder
from apply.batching.versions import Versions
from apply.claims import Claims
from apply.commit_order import CommitOrder
from apply.cursors import Consumer, GroupCommits, Partition
from apply.error_handling.holds import Holds
from apply.error_handling.parking import ParkingLot
from apply.errors import SuspendingError
from apply.flow import Flow
from apply.limits import DEFAULT_LIMITS, Limits, Room, check_parked
from apply.order import KeyOrder
from apply.outcome import EVERYTHING, Outcome
from apply.recovery import Recovery
from apply.sink import TopicPartition
from apply.writer_thread import WriterThread
from runtime import clock
from runtime.failpoints import hit
from runtime.logging import get_logger
from runtime.retry import Backoff
from schemas.errors import Action, TailraceError

log = get_logger(__name__)

IDLE_WAIT_S = 0.2
HELD_WAIT_S = 0.05
BUSY_WAIT_S = 0.005
"""How long it is waited for the writer's answer at once, or for the rest of what cannot be handed over in parts."""
CONGESTED_WAIT_S = 0.05
CONGESTION_S = 1.0
"""After so long behind a slow target the consumer is served with everything paused: the group must hear from us."""
CONSUME_RECORDS_MAX = 2000


class Applier:
    """One member of a target's group. `step` does a little; the service calls it until it is time to stop."""

    def __init__(
        self,
        thread: WriterThread,
        versions: Versions,
        holds: Holds,
        lot: ParkingLot,
        *,
        backoff: Backoff,
        limits: Limits = DEFAULT_LIMITS,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self.thread, self.writer = thread, thread.writer
        self.versions, self.catalog = versions, versions.catalog
        self.holds, self.waiting, self.lot = holds, holds.waiting, lot
        self.cursors, sink = holds.cursors, self.writer.sink
        self.builder = BatchBuilder(
            versions, self.cursors.positions, lot, sink, self.waiting, decode_policy=self.writer.policies.decode
        )
        self.builder.limits, self.builder.superseded = holds.by_partition, holds.superseded
        self.order: KeyOrder | CommitOrder = KeyOrder()
        self.on_written: Callable[[Outcome], None] = lambda _outcome: None
        """Told of each batch that is durable."""
        self.on_trouble: Callable[[TailraceError], None] = lambda _error: None
        """Told of each error that is answered here, and does not end the service."""
        self.paused = False
        """Whether to stand still, as a member of the group."""
        self.resting = False
        """Whether somebody waits for the writer to be idle: no batch is handed over but to end what is open."""
        self.recovery = Recovery(backoff, monotonic)
        self.limits, self._room, self._monotonic = limits, Room(limits), monotonic
        self._group = GroupCommits()
        self._unclaimed: set[TopicPartition] = set()
        """Partitions owned that must be claimed at the target before anything of them is written."""
        self._rebalanced: set[TopicPartition] = set()
        """Partitions that came or went since the consumer was asked last."""
        self._flow = Flow(holds, self._unclaimed)
        self.claims = Claims(sink, self.builder.clean, self.cursors.ahead)
        self._has_answered = False
        """Whether the target ever has. It is asked before there are partitions: a refused login shows at once."""
        self._has_more = False
        """Whether the consumer gave all that it was asked for: there is a backlog."""
        self._writes_each_row = False
        """Whether constraints are checked with each row, to find those that break them."""
        self._is_kept = False
        """Whether a batch is not handed over although the writer is idle: it has to become more."""
        self._congested_since: float | None = None

    @property
    def idle(self) -> bool:
        """Whether the writer has nothing to do, and nothing is unflushed: only then may others use the sink."""
        return not self.thread.is_busy and not self.writer.is_open

    @property
    def healthy(self) -> bool:
        """Whether the target has answered, and every partition owned is claimed there."""
        return self._has_answered and not self._unclaimed

    @property
    def caught_up(self) -> bool:
        """Whether all that was taken in is durable."""
        left = self.builder.batch.next or self.cursors.seeks or self.order.pending or self.waiting
        return self.idle and self.healthy and not left

    @property
    def eof(self) -> dict[TopicPartition, int]:
        """Where the ends of partitions were met of which nothing that was consumed is kept back, or read again."""
        seeks, keeps = self.cursors.seeks, self.order.keeps
        return self.holds.within({p: o for p, o in self.consumer.eof.items() if not (p in seeks or keeps(p))})

    @property
    def reached(self) -> dict[TopicPartition, int]:
        """Up to where the partitions owned are durable."""
        return self.cursors.reached(self.eof, self.holds.blocked)

    def connect(self, consumer: Consumer) -> None:
        """Take the consumer, which is made with this object's callbacks, before the first `step`."""
        self.consumer = self._flow.consumer = consumer

    def step(self) -> None:
        """Receive, hand over, settle. Returns within a second. Raises what an operator must see to."""
        try:
            self._settle()
            if self.paused:
                self._stand_still()
                return
            if not self.thread.is_busy:
                self._flow.relieve()
            self._recover()
            now = self._monotonic()
            if self.idle and self.healthy and self.checkpoint(float("inf") if self.holds.asks_barrier(now) else now):
                # Whoever succeeds one that arrived at a barrier does not begin before it. Staged with the next batch.
                self.builder.batch.next.update(self.holds.attend(now))
                if (job := self.holds.truncates.take_job()) is not None:
                    self.in_background(job)
            self._flow.seek(self.order)
            if self._full() and self.order.ready:
                self._await_writer()
            else:
                self._receive()
            self._flow.seek(self.order)
            self._advance()
            self._try_waiting()
            self._submit()
        except BaseException as error:
            # What was consumed last may not have been taken in: nobody has reached an end that was met behind it.
            self.cursors.seeks.update(self.cursors.positions)
            if not isinstance(error, TailraceError):
                raise
            self.fail(error)

    def in_background(self, job: Callable[[], None]) -> None:
        """Let the writer's thread do whatever may take long, while records are taken in. Called when `idle`."""
        self.thread.start(self.writer.run, job)

    def drain(self) -> None:
        """Write what was taken in and commit the group's offsets: the last deed before the consumer is closed."""
        self._settle(block=True)
        self._has_more = False
        if self.healthy and not self.cursors.seeks and not self.paused:
            self._submit()
            self._settle(block=True)
        self.checkpoint()

    def rewind(self) -> None:
        """Forget what was taken in and is not durable; it is read again."""
        if self.writer.is_open:
            self.writer.abandon()
        self._forget_batch()
        self.cursors.rewind()

    def _forget_batch(self) -> None:
        self.builder.take()
        self.order.forget()
        self.waiting.forget()

    def checkpoint(self, now: float = float("inf")) -> bool:
        """Commit what is durable to the group, if it is time. False: it failed."""
        ends = self.order.ends(self.eof, self.cursors.flushed)
        return self._group.commit(self.consumer, ends, self.cursors, self.holds.blocked, now)

    # --- callbacks of the consumer -------------------------------------------------------------------------------

    def assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Claim partitions at the target; return where each begins. What fails here is tried again by `step`."""
        owned = [TopicPartition(*p) for p in partitions]
        self._rebalanced.update(owned)
        self._settle_quietly()
        try:
            starts = self.claims.claim(owned, self.order, self.consumer)
        except TailraceError as error:
            self._unclaimed.update(owned)
            self.thread.fail(error)
            return {}
        self._has_answered = True
        self.holds.begin(starts)
        return {(p.topic, p.partition): offset for p, offset in starts.items()}

    def revoked(self, partitions: list[Partition]) -> None:
        """Finish what is being written, commit, and let partitions go."""
        hit("apply.revoke.before")
        self._settle_quietly()
        self.checkpoint()
        self.lost(partitions)

    def lost(self, partitions: list[Partition]) -> None:
        """Let partitions go that another applier may have already."""
        self._settle_quietly()
        gone = {TopicPartition(*p) for p in partitions}
        self._rebalanced.update(gone)
        if not gone.isdisjoint(self.builder.batch.next) or self.writer.is_open:
            self.rewind()
        for partition in gone:
            for one in (self.cursors, self.holds, self.order, self.waiting, self._flow, self._group):
                one.drop(partition)
            self.builder.clean.discard(partition)
            self._unclaimed.discard(partition)
        self.writer.sink.release(sorted(gone))

    # --- taking in -----------------------------------------------------------------------------------------------

    def _full(self) -> bool:
        return self._room.left(self.builder.batch) <= 0

    def _receive(self) -> None:
        """Consume for a moment: the longer there is nothing to do, the longer; at most as much as still fits."""
        batch = self.builder.batch
        # What is missing may stand behind any number of records that are kept for later.
        room = min(max(1, self._room.left(batch)), CONSUME_RECORDS_MAX) if self.order.ready else CONSUME_RECORDS_MAX
        if not self._has_more:
            # An answer is noticed at once: what has come meanwhile follows without a pause.
            self.thread.wait(BUSY_WAIT_S)
        if batch.next or self.thread.is_busy or (self.writer.is_open and not self.writer.gathering):
            self._consume(room, BUSY_WAIT_S if self._is_kept else 0.0)
            return
        # The first record is not kept waiting for a second one longer than the linger says; it may fill a batch.
        wait_s = HELD_WAIT_S if self.holds.by_partition or not self.healthy else IDLE_WAIT_S
        if self._consume(1, wait_s) and room > 1 and not self._full():
            self._consume(min(room, self.limits.linger_rows) - 1, self.limits.linger_s)

    def _consume(self, max_records: int, timeout_s: float) -> bool:
        self._rebalanced.clear()
        bytes_max = self._room.bytes_left(self.builder.batch) if self.order.ready else self.limits.batch_bytes
        records = list(self.consumer.consume(max_records, timeout_s, bytes_max=bytes_max))
        self._has_more = len(records) == max_records > 1 or sum(map(size_of, records)) >= bytes_max
        if void := self.cursors.seeks.keys() | self._unclaimed | self._rebalanced:
            # A rebalance within the call: what it returned may be from before or after. It is read again.
            found = {TopicPartition(r.topic(), r.partition()) for r in records} & void
            records = [r for r in records if (r.topic(), r.partition()) not in void]
            self.cursors.seeks.update({p: self.cursors.positions[p] for p in found if p in self.cursors.positions})
        if records:
            self._take_in(self.order.admit(records))
            self._flow.pause_ahead(self.order)
        return bool(records)

    def _advance(self) -> None:
        """Let through what may follow, as far as a batch goes."""
        while self.healthy and not self.cursors.seeks:
            if (records := self.order.advance(self.consumer.eof, self._room.left(self.builder.batch))) is None:
                break
            self._take_in(records)
        self._flow.pause_ahead(self.order)

    def _take_in(self, records: list[Record]) -> None:
        self.builder.truncates_in_place = self.order.exact
        for partition, cut in self.builder.add(records).items():
            self._cut(partition, cut)
        self._room.learn(self.builder.batch)

    def _cut(self, partition: TopicPartition, cut: Cut) -> None:
        if cut.error is not None and self.order.exact:
            # One table cannot be left behind.
            raise cut.error
        if cut.truncate is not None:
            self.holds.truncate(partition, cut.offset, cut.truncate, cut.version)
        elif cut.error is not None:
            self.holds.suspend(partition.topic, cut.error, self._monotonic(), (partition, cut.offset))
        self.cursors.seeks[partition] = cut.offset
        # At once: within this step the consumer may be asked again.
        self._flow.seek(self.order)

    def _await_writer(self) -> None:
        """Wait a moment for a slow target, and keep up the membership meanwhile."""
        if not self.thread.is_busy:
            return
        now = self._monotonic()
        self._congested_since = self._congested_since or now
        self.thread.wait(CONGESTED_WAIT_S)
        if now - self._congested_since >= CONGESTION_S and not self.thread.is_done:
            self._flow.stop_all()
            self._consume(1, 0.0)

    def _stand_still(self) -> None:
        """Serve the group with everything paused; a partition that is new may bring a record before it is."""
        if self.writer.is_open:
            self.rewind()
        self._flow.stop_all()
        self._consume(1, IDLE_WAIT_S)

    # --- handing over --------------------------------------------------------------------------------------------

    def _try_waiting(self) -> None:
        """Let the batch in the making hold what waits, if it is time, or if it ends where all partitions are whole."""
        now = self._monotonic()
        self.waiting.survey(self.cursors.positions, self.eof, self.holds.not_awaited(), now)
        if self.idle and self.healthy and not self.cursors.seeks and (self.waiting.due(now) or self.order.exact):
            self.builder.again(self.waiting.take(now, whole=self.order.exact))

    def _submit(self) -> None:
        # Until it is handed over.
        self._is_kept = not self.thread.is_busy
        due = self.order.ready if self.builder.batch.next else self.writer.due
        rests = self.resting and not self.writer.is_open
        if self.thread.is_busy or not self.healthy or self.cursors.seeks or rests or not due:
            return
        if self._has_more and not self._full() and not self.holds.blocked:
            # A backlog: large batches cost the target less, and nobody waits for these rows in particular.
            return
        if not self._full() and (not self.order.whole or self._flow.gathering(self._monotonic())):
            return
        self._congested_since, self._is_kept = None, False
        whole, exact = self.order.whole, self.order.exact
        now, batch = self._monotonic(), self.builder.take()
        self.waiting.keep_before(batch)
        overdue = EVERYTHING if exact else self.holds.violations.overdue(now) | self.waiting.overdue(now)
        together = self.waiting.stuck and not overdue
        deferred = exact and not self._writes_each_row
        write = partial(self.writer.write, whole=whole, deferred=deferred, together=together)
        self.thread.start(write, batch, overdue)
        self.order.taken()

    def _settle(self, *, block: bool = False) -> None:
        """Take the writer's answer, if there is one."""
        outcome = self.thread.take(block=block)
        if outcome is None:
            return
        if outcome.error is not None:
            self.fail(outcome.error)
        elif outcome.inconsistent is not None:
            # Which rows are to blame shows when each is checked as it is written.
            self._writes_each_row = True
            log.info("written again row by row", reason=outcome.inconsistent.message)
            self.rewind()
        else:
            if outcome.conflicts:
                self.holds.conflict(outcome.conflicts, self._monotonic())
                self.rewind()
            elif outcome.batch.next and self.waiting.hold(outcome.waits, self._monotonic()):
                outcome.batch.leave(outcome.waits)
                # After a crash what follows a row that waits is applied once more: it is at the target already.
                self.builder.clean.difference_update(wait.partition for wait in outcome.waits.values())
            if outcome.written or outcome.merged:
                self._written(outcome)
            if outcome.waits:
                # It may find out that rows cannot be written: what was written is known by then.
                self.builder.part()

    def _settle_quietly(self) -> None:
        """The same within a callback of the consumer: what must be raised is raised by the next `step`."""
        try:
            self._settle(block=True)
        except TailraceError as error:
            self.thread.fail(error)

    def _written(self, outcome: Outcome) -> None:
        if outcome.written:
            self.cursors.settle(outcome.batch.next, outcome.batch.reached)
            self.holds.settle(outcome.batch.next)
            self.waiting.settle(outcome.batch.next)
            self.recovery.settle()
            self._writes_each_row = False
        is_changed = self.lot.settle(outcome.batch.over, outcome.parked, self.builder.batch.queued)
        self.on_written(outcome)
        if is_changed:
            # The batch in the making holds, or may hold, changes of a key that must queue now, or no more.
            self.rewind()
            check_parked(self.lot, self.limits, ends_early=self.writer.ends_early)

    # --- errors --------------------------------------------------------------------------------------------------

    def fail(self, error: TailraceError) -> None:
        """Roll back to what is durable, and do what the kind of error asks for. Raises what ends the service."""
        action = self.recovery.action_for(error)
        topic = error.topic if isinstance(error, SuspendingError) else self.catalog.topic_of(error.table)
        if action is Action.SUSPEND and self.order.exact:
            # Without one of its tables a transaction is not whole: all wait, unless its rows count no more.
            action = Action.RETRY
            self.holds.superseded.look(topic)
        if action is Action.SUSPEND and topic is not None and self.holds.suspensions.may(topic):
            self.on_trouble(error)
            # What is being written is either durable or rolled back before anything is read again.
            self._settle(block=True)
            self.holds.suspend(topic, error, self._monotonic())
            self.rewind()
        elif action is Action.RETRY:
            self.recovery.pause(error)
            self.on_trouble(error)
            self._unclaimed.update(self.cursors.positions)
            self._forget_batch()
        else:
            raise error

    def _recover(self) -> None:
        """Ask the target where it stands, and go on there."""
        if self.healthy or self.thread.is_busy:
            return
        if isinstance(self.order, CommitOrder):
            self._unclaimed.update(self.cursors.positions)
        owned = sorted(self._unclaimed)
        self.consumer.pause(owned)
        if not self.recovery.is_due:
            return
        self.writer.abandon()
        self.writer.prepared.forget()
        if isinstance(self.order, CommitOrder):
            self._forget_batch()
        starts = self.claims.claim(owned, self.order, self.consumer)
        if not self.writer.sink.capabilities.stores_offsets:
            starts = {p: self.cursors.flushed.get(p, offset) for p, offset in starts.items()}
        self.holds.begin(starts)
        self.cursors.seeks.update(starts)
        self._unclaimed.clear()
        self._has_answered = True
        self.recovery.answered()
        if owned:
            log.info("recovered", partitions=len(owned))
