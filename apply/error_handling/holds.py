"""What keeps a partition from going on: a truncate (see `apply.truncates`), a suspension, or a conflict that may pass
where it is not enough that one key waits (a table without a key; all others: `apply.error_handling.waiting`). Also the
end of its load, where the service is to end before the changes since then.

A held partition is read up to the hold's offset and paused there; all others flow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from apply.barriers import barrier_of_truncate
from apply.cursors import Cursors
from apply.error_handling.waiting import Waiting
from apply.errors import SuspendingError, Suspensions
from apply.limits import Limits
from apply.outcome import Place
from apply.sink import TopicPartition
from apply.truncates import Truncate, Truncates
from runtime.logging import get_logger
from schemas.errors import TailraceError

log = get_logger(__name__)

CONFLICT_PAUSE_S = 0.1
CONFLICT_PAUSE_S_MAX = 2.0
BARRIER_PAUSE_S = 0.1


class HoldReason(StrEnum):
    """Why a partition is held."""

    TRUNCATE = "truncate"
    CONFLICT = "conflict"
    SUSPENDED = "suspended"
    LOADED = "loaded"


@dataclass(slots=True)
class Hold:
    """A partition stands at `offset`: nothing from there on is applied for now."""

    reason: HoldReason
    offset: int
    retry_at: float = 0.0
    """When to let it go on (conflict, suspended), or to ask the barrier again (truncate), by the monotonic clock."""
    truncate: Truncate | None = None
    """The one that waits for the others."""
    error: TailraceError | None = None
    """Of a conflict or a suspension: why."""
    of_table: bool = False
    """Of a suspension: whether it is one of the table, and not of this partition alone."""


class Violations:
    """How long records have violated a key for which others may only be late."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._since: dict[Place, tuple[float, int]] = {}

    def note(self, place: Place, now: float) -> float:
        """Count one more violation; return the pause before the next try."""
        since, times = self._since.get(place, (now, 0))
        self._since[place] = (since, times + 1)
        return float(min(CONFLICT_PAUSE_S * 2 ** min(times, 10), CONFLICT_PAUSE_S_MAX))

    def overdue(self, now: float) -> frozenset[Place]:
        """Return the records that have waited as long as the bound allows."""
        return frozenset(place for place, (since, _) in self._since.items() if now - since >= self._wait_s)

    def settle(self, partition: TopicPartition, offset: int) -> None:
        """Forget what stood below an offset that was written."""
        for place in [p for p in self._since if p.partition == partition and p.offset < offset]:
            del self._since[place]

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition that went to another applier."""
        for place in [p for p in self._since if p.partition == partition]:
            del self._since[place]

    def __len__(self) -> int:
        return len(self._since)


class Holds:
    """The holds of the partitions owned."""

    def __init__(self, cursors: Cursors, waiting: Waiting, truncates: Truncates, limits: Limits) -> None:
        self.by_partition: dict[TopicPartition, Hold] = {}
        self.violations = Violations(limits.conflict_wait_s)
        self.truncates = truncates
        self.superseded = truncates.superseded
        self.suspensions = Suspensions(stops=limits.table_errors_stop, attempts_max=limits.table_attempts_max)
        self.cursors = cursors
        self.waiting = waiting
        self._suspended_retry_s = limits.suspended_retry_s
        self.end_of: Callable[[TopicPartition], int | None] | None = None
        """Where a partition ends for this service, if that is known yet; None: it goes on for ever."""

    def is_held(self, partition: TopicPartition) -> bool:
        """Tell whether a partition has come to its hold."""
        hold = self.by_partition.get(partition)
        return hold is not None and self.cursors.positions.get(partition, 0) >= hold.offset

    def asks_barrier(self, now: float) -> bool:
        """Tell whether a partition is to ask a barrier."""
        return any(hold.reason is HoldReason.TRUNCATE and now >= hold.retry_at for hold in self.by_partition.values())

    @property
    def blocked(self) -> Collection[TopicPartition]:
        """Partitions that are held for another reason than that they are to end there."""
        return [p for p, hold in self.by_partition.items() if hold.reason is not HoldReason.LOADED]

    def not_awaited(self) -> Iterator[TopicPartition]:
        """Yield the partitions that are not waited for: held, but for those that have yet to come to their ends."""
        for partition, hold in self.by_partition.items():
            if hold.reason is not HoldReason.LOADED or self._has_ended(partition):
                yield partition

    def within(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the ends of partitions, none behind where it is to end here."""
        if self.end_of is None:
            return dict(ends)
        ended = {p: hold.offset for p, hold in self.by_partition.items() if hold.reason is HoldReason.LOADED}
        return {p: min(end, ended.get(p, end)) for p, end in ends.items()}

    def bounded(self, ends: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Return the ends of any partitions, none behind where it is to end by what is known of that now."""
        if (end_of := self.end_of) is None:
            return dict(ends)
        return {p: min(end, end_of(TopicPartition(*p)) or 0) for p, end in ends.items()}

    def suspended(self) -> dict[str, TailraceError]:
        """Return the suspended topics and why."""
        return {p.topic: h.error for p, h in self.by_partition.items() if h.reason is HoldReason.SUSPENDED and h.error}

    def suspension(self, partition: TopicPartition) -> TailraceError | None:
        """Return why a partition goes no further for now: it stands still itself, or is another applier's, and its
        table is suspended here.
        """
        own = self.by_partition.get(partition)
        holds = [own] if own is not None else []
        if partition not in self.cursors.positions:
            holds += [h for p, h in self.by_partition.items() if h.of_table and p.topic == partition.topic]
        return next((h.error for h in holds if h.reason is HoldReason.SUSPENDED), None)

    def truncate(self, partition: TopicPartition, offset: int, sequence: int, version: int) -> None:
        """Hold a partition at a truncate until every partition of its topic has come to it."""
        truncate = Truncate(barrier_of_truncate(partition.topic, sequence), version)
        self.by_partition[partition] = Hold(HoldReason.TRUNCATE, offset, truncate=truncate)

    def conflict(self, found: Mapping[TopicPartition, tuple[int, TailraceError]], now: float) -> None:
        """Hold partitions before records that violate a key, while the others go on."""
        for partition, (offset, error) in found.items():
            pause_s = self.violations.note(Place(partition, offset), now)
            self.by_partition[partition] = Hold(HoldReason.CONFLICT, offset, now + pause_s, error=error)
            log.debug("conflict waited out", topic=partition.topic, partition=partition.partition, offset=offset)

    def suspend(
        self, topic: str, error: TailraceError, now: float, at: tuple[TopicPartition, int] | None = None
    ) -> None:
        """Hold a table's partitions where they are flushed, or one of them at an offset; all others go on."""
        offsets = dict([at]) if at else {p: o for p, o in self.cursors.flushed.items() if p.topic == topic}
        for partition, offset in offsets.items():
            self.by_partition[partition] = Hold(
                HoldReason.SUSPENDED, offset, now + self._suspended_retry_s, error=error, of_table=at is None
            )
        log.error("table suspended", topic=topic, reason=str(error))

    def attend(self, now: float) -> dict[TopicPartition, int]:
        """Let go what may go on. Return offsets that truncates have led partitions to, not yet staged at the target.

        A truncate that is to be done is left for `truncates`. Raises SuspendingError for a table that others' rows
        have kept from being emptied for too long.
        """
        passed: dict[TopicPartition, int] = {}
        # One that an error has kept from being taken is found again.
        self.truncates.take_job()
        for partition, hold in list(self.by_partition.items()):
            if hold.reason is HoldReason.LOADED:
                self._extend(partition, hold)
                continue
            if now < hold.retry_at:
                continue
            if hold.reason is HoldReason.SUSPENDED:
                self.superseded.look(partition.topic)
            if hold.truncate is None:
                self._let_go(partition, hold.offset)
            elif self.is_held(partition) and self.waiting.supersede(partition):
                # The table is emptied next.
                passed[partition] = self.cursors.positions[partition]
            elif self.cursors.flushed[partition] >= hold.offset:
                truncate = hold.truncate
                self.truncates.end_parked(partition, hold.offset)
                refused, truncate.refused = truncate.refused, None
                if refused is not None:
                    self._wait_for_others(partition, hold, refused, now)
                elif self.truncates.is_passed(partition, truncate, partial(self._met, truncate)):
                    passed[partition] = self.cursors.flushed[partition] = hold.offset + 1
                    self._let_go(partition, hold.offset + 1)
                else:
                    # Asked again as soon as the writer is idle, where that is who is waited for.
                    hold.retry_at = now + (0.0 if self.truncates.has_job else BARRIER_PAUSE_S)
        return passed

    def _wait_for_others(self, partition: TopicPartition, hold: Hold, error: TailraceError, now: float) -> None:
        """Try a truncate later that rows of other tables forbid: what takes them away comes in other partitions."""
        place = Place(partition, hold.offset)
        if place in self.violations.overdue(now):
            raise SuspendingError(partition.topic, error) from error
        hold.retry_at = now + self.violations.note(place, now)

    def settle(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Forget the violations of what was written."""
        if len(self.violations):
            for partition, offset in offsets.items():
                self.violations.settle(partition, offset)

    def begin(self, starts: Mapping[TopicPartition, int]) -> None:
        """Take over partitions at these offsets: what was held below is forgotten, and they end where they are to."""
        self.cursors.begin(starts)
        for partition, offset in starts.items():
            hold = self.by_partition.get(partition)
            if hold is not None and hold.offset < offset:
                del self.by_partition[partition]
            self._bound(partition)

    def drop(self, partition: TopicPartition) -> None:
        """Let a partition go to another applier."""
        self.by_partition.pop(partition, None)
        self.violations.drop(partition)

    def _let_go(self, partition: TopicPartition, offset: int) -> None:
        del self.by_partition[partition]
        self._bound(partition)
        # A partition that was rewound comes by itself.
        if self.cursors.positions[partition] >= offset - 1:
            self.cursors.jump(partition, offset)

    def _bound(self, partition: TopicPartition) -> None:
        if self.end_of is not None and partition not in self.by_partition:
            self.by_partition[partition] = Hold(HoldReason.LOADED, self.end_of(partition) or 0)

    def _has_ended(self, partition: TopicPartition) -> bool:
        end = self.end_of(partition) if self.end_of is not None else None
        return end is not None and self.cursors.positions[partition] >= end

    def _extend(self, partition: TopicPartition, hold: Hold) -> None:
        """Let a partition go on to where it is to end, by what is known of that now."""
        assert self.end_of is not None, "somebody holds it there"
        end = self.end_of(partition) or 0
        if end > hold.offset:
            hold.offset = end
            self.cursors.jump(partition, self.cursors.positions[partition])

    def _met(self, truncate: Truncate) -> dict[TopicPartition, int]:
        """Return the partitions of ours that have come to a truncate, with the offsets behind it."""
        return {
            p: h.offset + 1
            for p, h in self.by_partition.items()
            if h.truncate == truncate and self.cursors.flushed.get(p) == h.offset
        }
