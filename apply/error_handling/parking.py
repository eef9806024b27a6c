"""Parked keys: a row that the target refuses waits on the dead-letters topic, and later changes of its key behind it.

The dead-letters topic of a target (one partition, kept for ever) is the queue and the state at once. Each parked record
is there with its original key and value, and headers that say where it stood and why it waits. An operator's answers
(`retry`, `skip`, `edit`) and the applier's (`released`, `refused`) are records of the same topic. A record is
identified by where it stood in its own topic, so that parking it twice, after a crash, is parking it once.

A row that violates a key where appliers are to end before the changes which may settle it (`apply.stop_before_changes`)
is parked, too, so that the load has an end; the appliers that go on with the changes try it again by themselves. In
commit order they try all that violated a key.

A key is over by itself when nothing that was refused of it counts any more: its row is deleted, or comes again with a
full load, or the table is emptied or dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.errors import ErrorKind

ACTION = "tailrace.action"
"""The header that says what a record of the dead-letters topic is."""

PARK, RETRY, SKIP, EDIT, RELEASED, REFUSED = "park", "retry", "skip", "edit", "released", "refused"
COMMANDS = (RETRY, SKIP, EDIT)
"""An operator's answers. That of an edit has the record's new value, which counts from then on."""

Identity = tuple[str, Any]
"""Topic and key; for a record without a key, topic and (partition, offset)."""


class ParkedRecord(NamedTuple):
    """A record that waits. `kind` and `message` say why; `queued` behind another one of its key."""

    topic: str
    partition: int
    offset: int
    kind: str
    message: str
    at: int
    """Its offset on the dead-letters topic."""
    timestamp_ms: int = 0

    @property
    def reference(self) -> str:
        """How the commands name the key that this record heads."""
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(slots=True)
class ParkedKey:
    """The queue of one key, in order."""

    topic: str
    key: bytes | None
    records: list[ParkedRecord] = field(default_factory=list)
    command: str | None = None
    """One of `COMMANDS`, where an operator has given one that is not carried out."""

    @property
    def partition(self) -> int:
        """The partition of the table's topic that the key belongs to."""
        return self.records[0].partition


RELEASED_MAX = 100_000
"""Records of which it is remembered that they are released, the last ones: by far more than are read again."""

QUEUED = "queued"
"""The kind of a record that waits only for the one before it."""

EARLY = "before-changes"
"""The kind of a record that violates a key, and that appliers which end before the changes since the load have left."""

CONFLICT = str(ErrorKind.ROW_CONFLICT)
"""The kind of any other record that violates a key."""

_STILL_EARLY = (EARLY, QUEUED, CONFLICT)


class ParkingLot:
    """What is parked now: the dead-letters topic, folded."""

    def __init__(self) -> None:
        self.keys: dict[Identity, ParkedKey] = {}
        self._topics: dict[str, int] = {}
        self._places: set[tuple[str, int, int]] = set()
        self._released: dict[tuple[str, int, int], None] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def record_count(self) -> int:
        """How many records wait."""
        return len(self._places)

    @property
    def early_count(self) -> int:
        """How many keys wait only for the changes since a load."""
        return sum(parked.records[0].kind == EARLY for parked in self.keys.values())

    def holds(self, topic: str) -> bool:
        """Tell whether any key of a topic is parked."""
        return topic in self._topics

    def is_parked(self, topic: str, key: bytes | None) -> bool:
        """Tell whether later changes of this key must queue."""
        return key is not None and (topic, key) in self.keys

    def has(self, topic: str, partition: int, offset: int) -> bool:
        """Tell whether this very record waits."""
        return (topic, partition, offset) in self._places

    def park(self, key: bytes | None, record: ParkedRecord) -> None:
        """Let a record wait. Repeating it changes nothing, but that what was left before the changes is tried again by
        itself no more once it was refused for itself.
        """
        place = record[:3]
        if place in self._released:
            return
        identity = _identity(key, record.topic, record.partition, record.offset)
        parked = self.keys.get(identity)
        if place in self._places:
            if parked is not None and record.kind not in _STILL_EARLY:
                parked.records = [_refused_since(r, record) if r[:3] == place else r for r in parked.records]
            return
        if parked is None:
            parked = self.keys[identity] = ParkedKey(record.topic, key)
            self._topics[record.topic] = self._topics.get(record.topic, 0) + 1
        parked.records.append(record)
        parked.records.sort(key=lambda r: r.offset)
        self._places.add(place)

    def command(self, identity: Identity, action: str) -> None:
        """Take an operator's answer. One for a key that does not wait is void."""
        if identity in self.keys:
            self.keys[identity].command = action

    def release(self, identity: Identity, through: int) -> None:
        """Forget a key's records up to the offset `through`: they are applied or skipped."""
        parked = self.keys.get(identity)
        if parked is None:
            return
        for record in parked.records:
            if record.offset <= through:
                self._places.discard(record[:3])
                # A record that an earlier owner parked late must not come back after its key was released.
                self._released[record[:3]] = None
        while len(self._released) > RELEASED_MAX:
            del self._released[next(iter(self._released))]
        parked.records = [r for r in parked.records if r.offset > through]
        parked.command = None
        if not parked.records:
            del self.keys[identity]
            self._topics[parked.topic] -= 1
            if not self._topics[parked.topic]:
                del self._topics[parked.topic]

    def settle(
        self,
        over: Mapping[Identity, ParkedRecord],
        parked: Collection[tuple[Any, ParkedRecord]],
        queued: Collection[Any] = (),
    ) -> bool:
        """Take in what a batch has brought to an end, and parked; tell whether the next one, in which so far `queued`
        records wait, is to be made anew: later changes of a key must queue now, or no more.
        """
        for identity, through in over.items():
            self.release(identity, through.offset)
        before = len(self)
        for key, record in parked:
            self.park(key, record)
        return len(self) > before or any((record.topic(), record.key()) in over for record in queued)

    def before(self, topic: str, partition: int, offset: int) -> dict[Identity, ParkedRecord]:
        """Return of each key of a partition the last record that waits and stands before an offset."""
        if not self.holds(topic):
            return {}
        found = {
            identity: self.last_before(identity, offset)
            for identity, parked in self.keys.items()
            if parked.topic == topic and parked.partition == partition
        }
        return {identity: record for identity, record in found.items() if record is not None}

    def last_before(self, identity: Identity, offset: int) -> ParkedRecord | None:
        """Return the last record of a key that waits and stands before an offset, if there is one."""
        parked = self.keys.get(identity)
        return next((r for r in reversed(parked.records) if r.offset < offset), None) if parked else None

    def refuse(self, identity: Identity) -> None:
        """Note that a command was carried out in vain: the target still refuses the row."""
        if identity in self.keys:
            self.keys[identity].command = None

    def fold(self, key: bytes | None, headers: Mapping[str, str], at: int, timestamp_ms: int) -> None:
        """Take in one record of the dead-letters topic. Raises KeyError or ValueError for a foreign one."""
        topic, partition, offset = (
            headers["tailrace.topic"],
            int(headers["tailrace.partition"]),
            headers["tailrace.offset"],
        )
        action = headers[ACTION]
        if action == PARK:
            words = map(_once, (topic, headers.get("tailrace.error", ""), headers.get("tailrace.message", "")))
            topic, kind, message = words
            self.park(key, ParkedRecord(topic, partition, int(offset), kind, message, at, timestamp_ms))
            return
        identity = _identity(key, topic, partition, int(offset))
        if action in COMMANDS:
            # Void for a record that waits no more: of its key another one may, which nobody has looked at.
            if self.has(topic, partition, int(offset)):
                self.command(identity, action)
        elif action == RELEASED:
            self.release(identity, int(offset))
        elif action == REFUSED:
            self.refuse(identity)
        else:
            raise ValueError(f"no such action: {action}")

    def commands(self, owned: Iterable[tuple[str, int]]) -> list[tuple[Identity, ParkedKey]]:
        """Return the keys of owned partitions that an operator's command waits for."""
        partitions = set(owned)
        return [
            (identity, parked)
            for identity, parked in self.keys.items()
            if parked.command is not None and (parked.topic, parked.partition) in partitions
        ]

    def early(
        self, owned: Iterable[tuple[str, int]], kinds: Collection[str] = frozenset({EARLY})
    ) -> dict[Identity, ParkedKey]:
        """Return the keys of owned partitions that are to be tried again by themselves: their first record's kinds."""
        partitions = set(owned)
        return {
            identity: parked
            for identity, parked in self.keys.items()
            if parked.records[0].kind in kinds
            # An operator's word comes first.
            and parked.command is None
            and (parked.topic, parked.partition) in partitions
        }

    def find(self, reference: str) -> tuple[Identity, ParkedKey] | None:
        """Return the key one of whose records has this reference."""
        for identity, parked in self.keys.items():
            if any(record.reference == reference for record in parked.records):
                return identity, parked
        return None


def headers_of(
    action: str, topic: str, partition: int, offset: int, **more: str
) -> list[tuple[str, str | bytes | None]]:
    """Return the headers of a record of the dead-letters topic."""
    found: list[tuple[str, str | bytes | None]] = [
        (ACTION, action),
        ("tailrace.topic", topic),
        ("tailrace.partition", str(partition)),
        ("tailrace.offset", str(offset)),
    ]
    return found + [(f"tailrace.{name}", value) for name, value in more.items()]


@lru_cache(1000)
def _once(words: str) -> str:
    """Return the same words: many records have them, and each would keep its own. (What Python 3.12 interns stays for
    ever.)
    """
    return words


def _refused_since(record: ParkedRecord, again: ParkedRecord) -> ParkedRecord:
    return record._replace(kind=again.kind, message=again.message) if record.kind == EARLY else record


def _identity(key: bytes | None, topic: str, partition: int, offset: int) -> Identity:
    return (topic, key) if key is not None else (topic, (partition, offset))
