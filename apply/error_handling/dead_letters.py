"""The dead-letters topic of a target in Kafka: written by appliers and operators, followed by both.

What its records mean is `apply.error_handling.parking`'s business.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from apply.batching.batch import Record
from apply.error_handling.parking import (
    ACTION,
    COMMANDS,
    EDIT,
    PARK,
    RELEASED,
    Identity,
    ParkedKey,
    ParkedRecord,
    ParkingLot,
)
from apply.error_handling.parking import headers_of as headers
from runtime import clock
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import Follower
from runtime.kafka.producer import PlainProducer
from runtime.kafka.ranges import read_ranges
from runtime.kafka.reassembly import LostRecord, Reassembly, SpooledRecord
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.parts import HEADER
from schemas.settings import Settings
from schemas.topics import dead_letters_topic, parts_topic

log = get_logger(__name__)

FLUSH_TIMEOUT_S = 60.0
FLUSH_BYTES = 4 << 20
"""Of so many bytes of records it is waited until Kafka has them: the producer's queue is small."""
OVERHEAD_BYTES = 4096
"""What headers and Kafka's own fields may add to a record."""
IN_PLACE = "tailrace.in-place"
"""The header of a parked record that is too large for this topic with headers on it: its value stands in its place in
the table's topic, for as long as retention keeps it there."""


class Letter(NamedTuple):
    """A parked record with its value, as it is read back: looks like a consumed record of its own topic."""

    place: tuple[str, int, int]
    original_key: bytes | None
    original_value: bytes | None
    lost: TailraceError | None = None
    """Why the value cannot be read any more."""

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.place[2]

    def key(self) -> bytes | None:
        return self.original_key

    def value(self) -> bytes | None:
        return self.original_value


class DeadLettersTopic:
    """One target's dead-letters topic, made where it is missing. `lot` is what `follow` has folded so far."""

    def __init__(self, settings: Settings, target: str) -> None:
        self._kafka = settings.kafka
        self._target = target
        self.name = dead_letters_topic(settings.name, target)
        spec = TopicSpec(
            self.name,
            partitions=1,
            cleanup="delete",
            config={"retention.ms": -1, "retention.bytes": -1},
            replication_factor=settings.topics.replication_factor,
        )
        topics = Topics(self._kafka)
        topics.ensure([spec])
        taken = int(topics.config(self.name).get("max.message.bytes", 1 << 20))
        sent = int(self._kafka.get("message.max.bytes", 1_000_000))
        self._reassembly = Reassembly(self._kafka, parts_topic(settings.name))
        self.restore: Callable[[bytes | None], bytes | None] = lambda value: value
        """Returns a record's value as it stands on its topic."""
        self._value_bytes_max = min(taken, sent, FLUSH_BYTES) - OVERHEAD_BYTES
        self.lot = ParkingLot()
        self._producer = PlainProducer(self._kafka)
        self._follower = Follower(self._kafka, self.name)

    def follow(self, *, to_end: bool = False) -> None:
        """Take in what has come; with `to_end`, all that is there now."""
        for record in self._follower.catch_up() if to_end else self._follower.poll():
            try:
                self.lot.fold(record.key, record.headers, record.offset, record.timestamp_ms)
            except (KeyError, ValueError) as error:
                # Invariant 4: nothing of ours has such headers; what a stranger wrote is left where it is.
                log.warning("foreign record among dead letters", offset=record.offset, reason=type(error).__name__)

    def park(self, records: Iterable[tuple[Record, str, str]]) -> list[tuple[bytes | None, ParkedRecord]]:
        """Write records with the kind and the message of why they wait; return once Kafka has them all."""
        parked: list[tuple[bytes | None, ParkedRecord]] = []
        size = 0
        for record, kind, message in records:
            topic, partition, offset, key = record.topic(), record.partition(), record.offset(), record.key()
            about = headers(PARK, topic, partition, offset, error=kind, message=message, sink=self._target)
            value = self.restore(record.value())
            if (
                isinstance(record, LostRecord | SpooledRecord)
                or len(key or b"") + len(value or b"") > self._value_bytes_max
            ):
                about.append((IN_PLACE, ""))
                value = None
            self._producer.produce(self.name, key, value, partition=0, headers=about)
            size += OVERHEAD_BYTES + len(value or b"")
            if size >= FLUSH_BYTES:
                self._producer.flush(FLUSH_TIMEOUT_S)
                size = 0
            parked.append((key, ParkedRecord(topic, partition, offset, kind, message, -1, clock.now_us() // 1000)))
        self._producer.flush(FLUSH_TIMEOUT_S)
        return parked

    def end(self, over: Mapping[Identity, ParkedRecord]) -> None:
        """Say of keys that what waits of them, through these records, counts no more; return once Kafka has it."""
        for number, ((_, key), record) in enumerate(over.items(), 1):
            about = headers(RELEASED, *record[:3], sink=self._target)
            self._producer.produce(self.name, key if isinstance(key, bytes) else None, None, partition=0, headers=about)
            if number * OVERHEAD_BYTES % FLUSH_BYTES == 0:
                self._producer.flush(FLUSH_TIMEOUT_S)
        self._producer.flush(FLUSH_TIMEOUT_S)
        log.info("parked keys are over", keys=len(over), topics=sorted({topic for topic, _ in over}))

    def answer(
        self, action: str, key: bytes | None, place: tuple[str, int, int], value: bytes | None = None, *, by: str = ""
    ) -> None:
        """Write an operator's command, or what came of it, for the key of the record that stood at `place`."""
        about = headers(action, *place, sink=self._target)
        if by:
            about.append(("tailrace.by", by))
        self._producer.produce(self.name, key, value, partition=0, headers=about)
        self._producer.flush(FLUSH_TIMEOUT_S)

    def letters(self, parked: ParkedKey) -> list[Letter]:
        """Read a key's records back, with their values, in order; those that are gone from their topics say so.

        Reads the topic anew: values are not kept in memory.
        """
        (letters,) = self.letters_of([parked])
        return letters

    def letters_of(self, keys: Sequence[ParkedKey]) -> list[list[Letter]]:
        """Read the records of several keys back at once, as `letters` does."""
        wanted = {record[:3] for parked in keys for record in parked.records}
        found: dict[tuple[str, int, int], Letter] = {}
        in_place: set[tuple[str, int, int]] = set()
        with closing(Follower(self._kafka, self.name)) as reader:
            for record in reader.catch_up():
                if record.headers.get(ACTION) not in (PARK, EDIT):
                    continue
                place = (
                    record.headers["tailrace.topic"],
                    int(record.headers["tailrace.partition"]),
                    int(record.headers["tailrace.offset"]),
                )
                if place in wanted and (place not in found or record.headers[ACTION] == EDIT):
                    found[place] = Letter(place, record.key, record.value)
                    (in_place.add if IN_PLACE in record.headers else in_place.discard)(place)
        return [
            [
                self._in_place(parked, place) if place in in_place or place not in found else found[place]
                for place in sorted(record[:3] for record in parked.records)
            ]
            for parked in keys
        ]

    def _in_place(self, parked: ParkedKey, place: tuple[str, int, int]) -> Letter:
        """Read a record where it stands in its own topic."""
        topic, partition, offset = place
        ((_, there),) = read_ranges(self._kafka, {(topic, partition): (offset, offset + 1)}).items()
        lost = TailraceError(
            ErrorKind.DECODE,
            f"the parked record is gone from {self.name}, or from its own topic",
            remedy="`skip` it, and reload the row",
        )
        if there:
            header = there[0].headers.get(HEADER)
            try:
                return Letter(place, there[0].key, there[0].value if header is None else self._reassembly.value(header))
            except TailraceError as error:
                if error.kind is not ErrorKind.DECODE:
                    raise
                lost = error
        # No value at all would be a tombstone.
        return Letter(place, parked.key, b"", lost)

    def close(self) -> None:
        """Let go of the clients. May be called twice."""
        self._reassembly.close()
        self._follower.close()
        self._producer.close()


def read_lot(settings: Settings, target: str) -> ParkingLot:
    """Return what waits now. For the command line, as the two below."""
    with closing(_open(settings, target)) as topic:
        return topic.lot


def read_record(settings: Settings, target: str, record: ParkedRecord) -> tuple[bytes | None, bytes | None]:
    """Return the original key and value of a record that waits. Raises DECODE when it is gone from the topic."""
    with closing(_open(settings, target)) as topic:
        letter = topic.letters(ParkedKey(record.topic, None, [record]))[0]
        if letter.lost is not None:
            raise letter.lost
        return letter.original_key, letter.original_value


def command(settings: Settings, target: str, reference: str, action: str, value: bytes | None = None) -> None:
    """Ask the appliers to `retry` a key's records in order, to `skip` the first one and apply the others, or to apply
    them with another `value` of the one that is referred to (`edit`).

    Raises CONFIGURATION for an unknown reference.
    """
    with closing(_open(settings, target)) as topic:
        found = topic.lot.find(reference)
        if found is None or action not in COMMANDS:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"nothing is parked under {reference!r}",
                remedy="`tailrace parked list` prints the references",
            )
        parked = found[1]
        record = parked.records[0]
        if action == EDIT:
            record = next(r for r in parked.records if r.reference == reference)
        topic.answer(action, parked.key, record[:3], value, by=f"{getpass.getuser()}@{socket.gethostname()}")


class Entry(NamedTuple):
    """What was done to parked records, by whom."""

    at_ms: int
    action: str
    reference: str
    """Of the record that it was done to; of a release, the last one."""
    by: str
    """Whose command it was; empty for what an applier did."""
    reason: str


def audit(settings: Settings, target: str) -> list[Entry]:
    """Return all that was ever parked, answered and released, in order."""
    settings.target(target)
    with closing(Follower(settings.kafka, dead_letters_topic(settings.name, target))) as reader:
        records = [record for record in reader.catch_up() if ACTION in record.headers]
    entries: list[Entry] = []
    parked: set[str] = set()
    for record in records:
        about = record.headers
        place = ":".join(about.get(f"tailrace.{part}", "?") for part in ("topic", "partition", "offset"))
        if about[ACTION] == PARK and place in parked:
            # Once more: an applier died, or tried in vain.
            continue
        parked.add(place)
        reason = ": ".join(filter(None, (about.get("tailrace.error"), about.get("tailrace.message"))))
        entries.append(Entry(record.timestamp_ms, about[ACTION], place, about.get("tailrace.by", ""), reason))
    return entries


def _open(settings: Settings, target: str) -> DeadLettersTopic:
    settings.target(target)
    topic = DeadLettersTopic(settings, target)
    topic.follow(to_end=True)
    return topic
