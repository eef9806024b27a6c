"""Rows that violate a unique or foreign key only because partitions stand at different moments: they wait here.

A key whose row cannot stand yet is written with a later batch, together with what came for it meanwhile; all other keys
of its partition go on. So no partition ever waits for another one, and two cannot wait for each other. What waits is
not durable: the partition's offset at the target stays before it, and whoever takes over reads it again.

A row is refused for good once it has waited for `conflict_wait_s` since its last change, *and* everybody has passed
what the topics held at that moment (`apply.survey`), so that nothing it could wait for is still to come. Nor is one
refused that may wait for another one that waits and still changes, for ten times as long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apply.batch import Key, Record
from apply.outcome import Place, Wait, place_of
from apply.sink import TopicPartition
from apply.survey import Committed, Ends, Survey
from runtime.logging import get_logger
from schemas.errors import TailraceError

log = get_logger(__name__)

PAUSE_S = 0.1
PAUSE_S_MAX = 2.0
PATIENCE = 10
"""So many times `conflict_wait_s` a row waits beside others that wait for less."""
GATHER_S = 0.5
"""How long a batch grows that tries again what waits: rows that change places can only be written together."""
SURVEY_S = 1.0
"""How often partitions are surveyed at most."""
REMEMBERED = 1000
"""Changes that have waited, of which it is remembered since when, beside those that wait."""
RECORDS_MAX = 50_000
BYTES_MAX = 32 << 20
"""Invariant 8: with more in hand the partitions that are ahead are paused until half of it is gone."""


@dataclass(slots=True)
class Waits:
    """What waits for one reason, for who looks at it."""

    topic: str
    reason: str
    keys: int
    seconds: float
    """How long the oldest of them waits since its last change."""


class Waiting:
    """What waits. A batch takes all of it, or nothing, so that rows which need each other are written together."""

    def __init__(self, wait_s: float, ends: Ends, committed: Committed) -> None:
        self.keys: dict[Key, Wait] = {}
        self._wait_s = wait_s
        self._read_ends = ends
        self._committed = committed
        self._topics: set[str] = set()
        self._records = self._bytes = 0
        self._since: dict[Place, float] = {}
        """Since when a change, the last of its key, waits. Outlives that it is read again."""
        self._last: frozenset[Place] = frozenset()
        """The last change of each key that the batch in the making, or in the writer's hands, takes from here."""
        self._retry_at = self._gather_until = 0.0
        self._pause_s = PAUSE_S
        self._survey: Survey | None = None
        self._next_survey = 0.0
        self._surveyed_at = float("-inf")
        self.standing: Collection[TopicPartition] = ()
        """Partitions that must be paused, since too much waits."""

    def part(self, topic: str, records: list[Record]) -> tuple[list[Record], list[Record]]:
        """Return those of a topic's records whose keys wait, and the others."""
        if topic not in self._topics:
            return [], records
        keys = self.keys
        late = [r for r in records if (topic, r.key()) in keys]
        return (late, [r for r in records if (topic, r.key()) not in keys]) if late else ([], records)

    def extend(self, late: Sequence[Record]) -> None:
        """Let further changes of keys that wait queue behind them."""
        for record in late:
            self.keys[record.topic(), record.key()].records.append(record)
            self._count(record)
        if late and not self.standing:
            self._look()

    def hold(self, found: Mapping[Key, Wait], now: float) -> bool:
        """Let these keys wait, as the writer found them in a batch that is written; tell whether there are any.

        What was in that batch either waits again or is done.
        """
        if self._last:
            self._pause_s = PAUSE_S if len(found) < len(self._last) else min(2 * self._pause_s, PAUSE_S_MAX)
            self._retry_at = now + self._pause_s
            self._last = frozenset()
        elif not self.keys:
            self._retry_at = now + PAUSE_S
        for key, wait in found.items():
            self._put(key, wait)
            self._since.setdefault(place_of(wait.records[-1]), now)
        if len(self._since) > 2 * len(self.keys) + REMEMBERED:
            # One row that waits for long keeps the offsets of all that waited behind it.
            waiting = {place_of(wait.records[-1]) for wait in self.keys.values()}
            self._since = {place: at for place, at in self._since.items() if place in waiting}
        self._look()
        return bool(found)

    def due(self, now: float) -> bool:
        """Tell whether it is time to try again. Asked while the writer has nothing to do."""
        return bool(self.keys) and now >= self._retry_at

    def take(self, now: float) -> list[Record]:
        """Return all that waits, each partition's records in order, for the batch in the making."""
        # By offset, not by key: each change of versions makes a segment.
        records = sorted((r for wait in self.keys.values() for r in wait.records), key=lambda record: record.offset())
        self._last = frozenset(place_of(wait.records[-1]) for wait in self.keys.values())
        self._gather_until = now + GATHER_S
        self._clear()
        return records

    def gathering(self, positions: Mapping[TopicPartition, int], eof: Mapping[Any, int], now: float) -> bool:
        """Tell whether the batch that took what waits should still grow. `positions` are those that can go on."""
        return bool(self._last) and now < self._gather_until and any(eof.get(p, -1) < o for p, o in positions.items())

    @property
    def stuck(self) -> bool:
        """Whether the batch that takes what waits must do other than the last one, which settled nothing."""
        return bool(self._last) and self._pause_s > PAUSE_S

    def keep_before(self, offsets: dict[TopicPartition, int]) -> None:
        """Let the offsets that a batch is to store not pass what waits and is not in it."""
        for wait in self.keys.values():
            partition, offset = place_of(wait.records[0])
            if partition in offsets:
                offsets[partition] = min(offset, offsets[partition])

    def settle(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Forget since when what stood below offsets that were written has waited."""
        if self._since:
            self._since = {p: at for p, at in self._since.items() if p.offset >= offsets.get(p.partition, 0)}

    def overdue(self, now: float) -> frozenset[Place]:
        """Return the places of changes whose conflicts are errors by now, in the batch that is handed over next."""
        waited = {p: now - at for p in self._last if (at := self._since.get(p, now)) <= self._surveyed_at}
        due = {place for place, seconds in waited.items() if seconds >= self._wait_s}
        if len(due) < len(self._last):
            due = {place for place in due if waited[place] >= PATIENCE * self._wait_s}
        return frozenset(due)

    def survey(
        self,
        positions: Mapping[TopicPartition, int],
        eof: Mapping[Any, int],
        held: Iterable[TopicPartition],
        now: float,
    ) -> None:
        """Look whether everybody has passed what the topics held, while something waits. `held` stand still."""
        if not self._since:
            self._survey = None
            return
        try:
            if self._survey is None and now >= self._next_survey:
                self._next_survey = now + SURVEY_S
                self._survey = Survey(self._read_ends(), now)
            elif self._survey is not None and self._survey.passed(
                positions, eof, [*held, *self.standing], self._committed, self._wait_s, now
            ):
                self._surveyed_at, self._survey = self._survey.asked_at, None
        except TailraceError as error:
            # It concerns only when a row may be refused: later, then.
            self._survey = None
            log.info("partitions not surveyed", reason=error.message)

    def supersede(self, partition: TopicPartition) -> bool:
        """Forget what waits of a partition whose table is emptied next; tell whether there was any."""
        kept = {k: w for k, w in self.keys.items() if w.partition != partition}
        found = len(kept) < len(self.keys)
        if found:
            self._clear()
            for key, wait in kept.items():
                self._put(key, wait)
            self._look()
        return found

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition that went to another applier."""
        self.supersede(partition)
        self._since = {p: at for p, at in self._since.items() if p.partition != partition}
        self._survey = None

    def forget(self) -> None:
        """It is read again. How long it has waited is remembered."""
        self._last = frozenset()
        self._clear()
        self._look()

    def reasons(self, now: float) -> list[Waits]:
        """Return what waits, by table and reason."""
        found: dict[tuple[str, str], Waits] = {}
        for (topic, _), wait in self.keys.items():
            seconds = now - self._since.get(place_of(wait.records[-1]), now)
            one = found.setdefault((topic, wait.error.message), Waits(topic, wait.error.message, 0, 0.0))
            one.keys += 1
            one.seconds = max(one.seconds, seconds)
        return list(found.values())

    def __len__(self) -> int:
        return len(self.keys) or len(self._last)

    def _put(self, key: Key, wait: Wait) -> None:
        self.keys[key] = wait
        self._topics.add(key[0])
        for record in wait.records:
            self._count(record)

    def _count(self, record: Record) -> None:
        self._records += 1
        self._bytes += len(record.value() or b"")

    def _look(self) -> None:
        full = max(self._records / RECORDS_MAX, self._bytes / BYTES_MAX)
        crowded = full > 1 or (bool(self.standing) and full > 0.5)
        self.standing = {wait.partition for wait in self.keys.values()} if crowded else ()

    def _clear(self) -> None:
        self.keys.clear()
        self._topics.clear()
        self._records = self._bytes = 0
