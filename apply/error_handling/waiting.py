"""Rows that violate a unique or foreign key only because partitions stand at different moments: they wait here.

A key whose row cannot stand yet is written with a later batch, together with what came for it meanwhile; all other keys
of its partition go on. So no partition ever waits for another one, and two cannot wait for each other. What waits is
not durable: the partition's offset at the target stays before it, and whoever takes over reads it again.

A row is refused for good once it has waited for `conflict_wait_s` since its last change, *and* everybody has passed
what the topics held at that moment (`apply.error_handling.survey`), so that what it was to follow has come; *and* once
more what they held when it was tried after that: what it needed may have gone again by then, but so has its own next
change come. Nor is one refused that may wait for another one that waits and still changes, for ten times as long.

A key that changes all the time always has a last change which is too new for that. So when everybody has passed the
ends of some moment, but for what waits there, too, its changes up to these ends are tried by themselves: what they
needed has come. If they are refused whenever that is done, for ten times `conflict_wait_s`, they are refused for good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apply.batching.batch import Batch, Key, Record, size_of
from apply.error_handling.survey import PATIENCE, Committed, Ends, Survey, Surveys
from apply.outcome import Place, Wait, place_of
from apply.sink import TopicPartition

PAUSE_S = 0.1
PAUSE_S_MAX = 2.0
GATHER_S = 0.5
"""How long a batch grows that tries again what waits: rows that change places can only be written together."""
REMEMBERED = 1000
"""Changes that have waited, of which it is remembered since when, beside those that wait."""
NEVER = float("inf")
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
    """How long the oldest of them has waited."""


@dataclass(slots=True)
class Since:
    """Since when a change waits."""

    at: float
    vain: float = NEVER
    """When it was tried and refused although all had come that was published when it began to wait."""


@dataclass(slots=True)
class Try:
    """What the batch in the making, or in the writer's hands, takes of a key."""

    since: float
    """Since when the key has waited."""
    whole: bool
    """Whether these are all its changes."""
    surveyed: bool
    """Whether all are that there were when a survey began which has been passed."""
    complete: bool = False
    """Whether all has come that was published when its last change began to wait."""


class Waiting:
    """What waits. A batch takes all of it, or nothing, so that rows which need each other are written together."""

    def __init__(self, wait_s: float, ends: Ends, committed: Committed) -> None:
        self.keys: dict[Key, Wait] = {}
        self._wait_s = wait_s
        self._topics: set[str] = set()
        self._records = self._bytes = 0
        self._since: dict[Place, Since] = {}
        """Since when a change, the first or the last of its key, waits. Outlives that it is read again."""
        self._tries: dict[Place, Try] = {}
        """By the last change that is taken of it, each key that the batch takes from here."""
        self._retry_at = self._gather_until = 0.0
        self._pause_s = PAUSE_S
        self._surveys = Surveys(ends, committed, wait_s, strict=True)
        self._reached = Surveys(ends, committed, wait_s, strict=False)
        self._news: Survey | None = None
        """What has been passed since the last try."""
        self.to_pause: Collection[TopicPartition] = ()
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
            # A tombstone is no change.
            if record.value() is not None:
                self.keys[record.topic(), record.key()].records.append(record)
                self._count(record)
        if late and not self.to_pause:
            self._look()

    def hold(self, found: Mapping[Key, Wait], now: float) -> bool:
        """Let these keys wait, as the writer found them in a batch that is written; tell whether there are any.

        What was in that batch either waits again or is done.
        """
        tries, self._tries = self._tries, {}
        if tries:
            self._pause_s = PAUSE_S if len(found) < len(tries) else min(2 * self._pause_s, PAUSE_S_MAX)
            self._retry_at = now + self._pause_s
        elif not self.keys:
            self._retry_at = now + PAUSE_S
        for key, wait in found.items():
            self._since.setdefault(place_of(wait.records[0]), Since(now))
            last = place_of(wait.records[-1])
            since = self._since.setdefault(last, Since(now))
            if last in tries and tries[last].complete:
                since.vain = min(since.vain, now)
            self._put(key, wait)
        if len(self._since) > 4 * len(self.keys) + REMEMBERED:
            # One row that waits for long keeps the offsets of all that waited behind it.
            waiting = {place_of(r) for wait in self.keys.values() for r in (wait.records[0], wait.records[-1])}
            self._since = {place: at for place, at in self._since.items() if place in waiting}
        self._look()
        return bool(found)

    def due(self, now: float) -> bool:
        """Tell whether it is time to try again. Asked while the writer has nothing to do."""
        return bool(self.keys) and not self._tries and now >= self._retry_at

    def take(self, now: float, *, whole: bool) -> list[Record]:
        """Return what waits, each partition's records in order, for the batch in the making.

        Not `whole`: of keys that change all the time that which a new survey found, if there is one.
        """
        survey, self._news = None if whole else self._news, None
        waits, taken = list(self.keys.items()), list[Record]()
        self._clear()
        self._tries = {}
        self._gather_until = now + GATHER_S
        for key, wait in waits:
            since = self._waits_since(wait, now)
            found = [] if survey is None or now - since < self._wait_s else survey.part(wait.records)
            some = found or wait.records
            surveyed = bool(found) and survey is self._surveys.passed
            self._tries[place_of(some[-1])] = Try(since, len(some) == len(wait.records), surveyed)
            if len(some) < len(wait.records):
                self._put(key, Wait(wait.records[len(some) :], wait.error))
            taken += some
        # By offset, not by key: each change of versions makes a segment.
        return sorted(taken, key=lambda record: record.offset())

    def gathering(self, positions: Mapping[TopicPartition, int], eof: Mapping[Any, int], now: float) -> bool:
        """Tell whether the batch that took what waits should still grow. `positions` are those that can go on."""
        return bool(self._tries) and now < self._gather_until and any(eof.get(p, -1) < o for p, o in positions.items())

    @property
    def stuck(self) -> bool:
        """Whether the batch that takes what waits must do other than the last one, which settled nothing."""
        return bool(self._tries) and self._pause_s > PAUSE_S

    def keep_before(self, batch: Batch) -> None:
        """Let the offsets that a batch is to store not pass what waits and is not in it."""
        batch.reached = dict(batch.next)
        for wait in self.keys.values():
            partition, offset = place_of(wait.records[0])
            if partition in batch.next:
                batch.next[partition] = min(offset, batch.next[partition])

    def settle(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Forget since when what stood below offsets that were written has waited."""
        if self._since:
            self._since = {p: at for p, at in self._since.items() if p.offset >= offsets.get(p.partition, 0)}

    def overdue(self, now: float) -> frozenset[Place]:
        """Return the places of changes whose conflicts are errors by now, in the batch that is handed over next."""
        passed = self._surveys.passed
        asked_at = passed.asked_at if passed is not None else -NEVER
        waited: dict[Place, float] = {}
        for place, one in self._tries.items():
            since = self._since.get(place)
            if one.whole and since is not None and since.at <= asked_at:
                one.complete = True
                if since.vain <= asked_at:
                    waited[place] = now - since.at
        due = {place for place, seconds in waited.items() if seconds >= self._wait_s}
        if len(due) < len(self._tries):
            due = {place for place in due if waited[place] >= PATIENCE * self._wait_s}
        changing = {place for place, one in self._tries.items() if one.surveyed}
        return frozenset(due | {p for p in changing if now - self._tries[p].since >= PATIENCE * self._wait_s})

    def survey(
        self,
        positions: Mapping[TopicPartition, int],
        eof: Mapping[Any, int],
        held: Iterable[TopicPartition],
        now: float,
    ) -> None:
        """Look whether everybody has passed what the topics held, while something waits. `held` stand still."""
        if not self._since:
            self._surveys.rest()
            self._reached.rest()
            return
        standing = [*held, *self.to_pause]
        if now - next(iter(self._since.values())).at >= self._wait_s and self._reached.attend(
            positions, eof, standing, now
        ):
            self._news, self._retry_at = self._reached.passed, now
        if self._surveys.attend(positions, eof, standing, now):
            self._news, self._retry_at = self._surveys.passed, now

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

    def forget(self) -> None:
        """It is read again, and so are all partitions from what is durable. How long it has waited is remembered."""
        self._tries = {}
        self._news = None
        self._surveys.rewind()
        self._reached.rewind()
        self._clear()
        self._look()

    def reasons(self, now: float) -> list[Waits]:
        """Return what waits, by table and reason."""
        found: dict[tuple[str, str], Waits] = {}
        for (topic, _), wait in self.keys.items():
            seconds = now - self._waits_since(wait, now)
            one = found.setdefault((topic, wait.error.message), Waits(topic, wait.error.message, 0, 0.0))
            one.keys += 1
            one.seconds = max(one.seconds, seconds)
        return list(found.values())

    def __len__(self) -> int:
        return len(self.keys) or len(self._tries)

    def _waits_since(self, wait: Wait, now: float) -> float:
        since = self._since.get(place_of(wait.records[0]))
        return now if since is None else since.at

    def _put(self, key: Key, wait: Wait) -> None:
        """Let a key wait, before what of it waits already."""
        behind = self.keys.get(key)
        self.keys[key] = wait if behind is None else Wait(wait.records + behind.records, wait.error)
        self._topics.add(key[0])
        for record in wait.records:
            self._count(record)

    def _count(self, record: Record) -> None:
        self._records += 1
        self._bytes += size_of(record)

    def _look(self) -> None:
        full = max(self._records / RECORDS_MAX, self._bytes / BYTES_MAX)
        crowded = full > 1 or (bool(self.to_pause) and full > 0.5)
        self.to_pause = {wait.partition for wait in self.keys.values()} if crowded else ()

    def _clear(self) -> None:
        self.keys.clear()
        self._topics.clear()
        self._records = self._bytes = 0
