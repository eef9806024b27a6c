"""Whether all that a waiting row could wait for has come: everybody is where the topics ended when it was asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from apply.batching.batch import Record
from apply.sink import TopicPartition
from runtime.logging import get_logger
from schemas.errors import TailraceError

log = get_logger(__name__)


class Progress(NamedTuple):
    """How far the applier of a partition has got."""

    durable: int
    """The next offset at the target."""
    written: int
    """Up to where all is durable but for what waits: it moves while rows that wait keep the other one back."""


Ends = Callable[[], Mapping[tuple[str, int], int]]
"""Returns the ends of all partitions of all tables' topics, records of open Kafka transactions included."""
Committed = Callable[[list[TopicPartition]], Mapping[Any, Progress]]
"""Returns what the group has committed."""

PATIENCE = 10
"""So many times `conflict_wait_s` is waited for what waits itself."""
SURVEY_S = 1.0
"""How often partitions are surveyed at most."""
INTERVAL_S = 0.5
"""How often other appliers' offsets are asked for."""


class Survey:
    """The ends of the topics at one moment, and the partitions that have yet to pass them.

    `strict`: a partition has passed when all of it is durable; else also if nothing is missing but what waits there.
    """

    def __init__(self, ends: Mapping[tuple[str, int], int], now: float, *, strict: bool = True) -> None:
        self.asked_at = now
        self._strict = strict
        self._ends = {TopicPartition(*p): end for p, end in ends.items() if end > 0}
        self._left = dict(self._ends)
        self._others: dict[TopicPartition, Progress] = {}
        """The furthest that other appliers have been seen at."""
        self._next_look = self._moved_at = now

    def part(self, records: list[Record]) -> list[Record]:
        """Return those records of a key, in order, that were in the topics at that moment."""
        end = self._ends.get(TopicPartition(records[0].topic(), records[0].partition()), 0)
        return [r for r in records if r.offset() < end]

    def rewind(self, owned: Iterable[TopicPartition]) -> None:
        """Partitions of this applier are read again from what is durable, and have yet to pass."""
        self._left.update({p: self._ends[p] for p in owned if p in self._ends})

    def passed(
        self,
        positions: Mapping[TopicPartition, int],
        eof: Mapping[Any, int],
        standing: Iterable[TopicPartition],
        committed: Committed,
        patience_s: float,
        now: float,
    ) -> bool:
        """Tell whether all have passed: but for partitions that are held, and for those of other appliers that have not
        moved for `patience_s`; for much longer, if rows wait there.
        """
        held = {*standing}
        left = self._left
        for partition in [p for p in left if p in positions]:
            if max(positions[partition], eof.get(partition, 0)) >= left[partition]:
                del left[partition]
        others = [p for p in left if p not in positions]
        if others and now >= self._next_look:
            self._next_look = now + INTERVAL_S
            self._look(committed(others), now)
        # What is held now may go on later, and has yet to pass then.
        missing = [p for p in left if p not in held or p not in positions]
        if any(p in positions for p in missing):
            return False
        waits = any(p in self._others and self._others[p].written > self._others[p].durable for p in missing)
        return not missing or now - self._moved_at >= (PATIENCE * patience_s if waits else patience_s)

    def _look(self, committed: Mapping[Any, Progress], now: float) -> None:
        # What comes after the ends is no progress towards them: two appliers, each with a row that waits, would wait
        # for each other as long as anything comes. Nor is what is gone over again: while a table that both have is
        # suspended, each goes back to what is durable with every try.
        left = self._left
        for pair, one in committed.items():
            partition = TopicPartition(*pair)
            seen = self._others.get(partition, Progress(-1, -1))
            best = Progress(max(seen.durable, one.durable), max(seen.written, min(one.written, left[partition])))
            if best != seen:
                self._others[partition], self._moved_at = best, now
            if (one.durable if self._strict else one.written) >= left[partition]:
                del left[partition]


class Surveys:
    """One survey after the other, for as long as it is asked."""

    def __init__(self, ends: Ends, committed: Committed, patience_s: float, *, strict: bool) -> None:
        self.passed: Survey | None = None
        """The last one whose ends everybody has passed."""
        self._ends = ends
        self._committed = committed
        self._patience_s = patience_s
        self._strict = strict
        self._survey: Survey | None = None
        self._next_at = 0.0
        self._owned: Collection[TopicPartition] = ()

    def attend(
        self,
        positions: Mapping[TopicPartition, int],
        eof: Mapping[Any, int],
        standing: Iterable[TopicPartition],
        now: float,
    ) -> bool:
        """Look; tell whether one more has been passed."""
        if positions.keys() != self._owned:
            # Whoever takes a partition over begins with what is durable.
            self._owned = set(positions)
            self._survey = self.passed = None
        try:
            if self._survey is None:
                if now >= self._next_at:
                    self._next_at = now + SURVEY_S
                    self._survey = Survey(self._ends(), now, strict=self._strict)
            elif self._survey.passed(positions, eof, standing, self._committed, self._patience_s, now):
                self.passed, self._survey = self._survey, None
                return True
        except TailraceError as error:
            # It concerns only when a row may be refused: later, then.
            self._survey = None
            log.info("partitions not surveyed", reason=error.message)
        return False

    def rewind(self) -> None:
        """The partitions of this applier are read again from what is durable: the last survey is open once more."""
        self._survey, self.passed = self._survey or self.passed, None
        if self._survey is not None:
            self._survey.rewind(self._owned)

    def rest(self) -> None:
        """There is nothing to know for now: the next survey is a new one."""
        self._survey = None
