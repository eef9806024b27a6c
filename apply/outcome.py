"""What became of a batch at the target."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from apply.batching.batch import Batch, Key, Record
from apply.error_handling.parking import ParkedRecord
from apply.sink import TopicPartition
from schemas.errors import TailraceError


class Place(NamedTuple):
    """Where a record stands."""

    partition: TopicPartition
    offset: int


def place_of(record: Record) -> Place:
    """Return where a record stands."""
    return Place(TopicPartition(record.topic(), record.partition()), record.offset())


class _Everything:
    """Holds every record."""

    def __contains__(self, place: object) -> bool:
        return True


EVERYTHING = _Everything()
"""As `overdue`: no conflict may pass by itself, since nobody else is behind."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The records of a key that cannot be written yet, in order, never none; and why."""

    records: list[Record]
    error: TailraceError

    @property
    def partition(self) -> TopicPartition:
        """Where they stand."""
        return place_of(self.records[0]).partition


@dataclass(slots=True)
class Outcome:
    """What became of a batch. With an error nothing of it is written.

    What waits is not written, and the offsets of its partitions stay before it: after a crash the rest is applied once
    more, which changes nothing. A table without a key has no such means: a conflict in it rolls all back (`written` is
    False).
    """

    batch: Batch
    error: TailraceError | None = None
    waits: dict[Key, Wait] = field(default_factory=dict)
    """What violates a unique or foreign key only because others are behind, perhaps."""
    conflicts: dict[TopicPartition, tuple[int, TailraceError]] = field(default_factory=dict)
    """By partition, the first record that does so of a table without a key."""
    parked: list[tuple[bytes | None, ParkedRecord]] = field(default_factory=list)
    written: bool = False
    """Whether the batch, up to `batch.next`, is durable, and so is what was merged before it."""
    merged: bool = False
    """Whether the batch is in the target's open transaction, to be committed with a later one."""
    inconsistent: TailraceError | None = None
    """What the target's constraints say of the whole, if they were to be asked at its end: then nothing is written."""
    duration_s: float = 0.0
    waited_s: float = 0.0
    """Of that, how long this process had nothing to do, in any thread, but wait for the target."""
    left_out: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """Changes that the policy let go, each of them logged, by topic, and whether it was for a conflict."""
    exceptions: list[tuple[Record, str, str]] = field(default_factory=list)
    """What was skipped or parked for an error: its last record, the error's message, and the place of the first one."""

    @property
    def skipped(self) -> dict[str, int]:
        """How many changes the policy let go, by topic."""
        counts: dict[str, int] = {}
        for (topic, _), count in self.left_out.items():
            counts[topic] = counts.get(topic, 0) + count
        return counts
