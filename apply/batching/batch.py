"""A batch: records of many partitions, decoded and collapsed to net changes for each table.

One batch is one transaction at the target.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from apply.batching.first_changes import FirstChanges
from apply.batching.net_change import NetChanges
from apply.batching.projection import Projection
from apply.error_handling.parking import Identity, ParkedRecord
from apply.sink import Origin, TopicPartition
from runtime.kafka.reassembly import SpooledRecord
from schemas.changes import Row
from schemas.codecs import Decoder
from schemas.errors import TailraceError
from schemas.large_values import LargeValue
from schemas.table import TableSchema

if TYPE_CHECKING:
    from apply.error_handling.conflicts import Contradiction

Key = tuple[str, Any]
"""A topic, and the encoded key of a row of its table."""


class Record(Protocol):
    """A consumed record, as the Kafka client gives it."""

    def topic(self) -> Any: ...
    def partition(self) -> Any: ...
    def offset(self) -> Any: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...


def size_of(record: Record) -> int:
    """Return how many bytes a record's value has, in memory or in a file: what is bounded is both."""
    return len(record) if isinstance(record, SpooledRecord) else len(record.value() or b"")


@dataclass(slots=True)
class Segment:
    """The net changes of one version of one table within a batch."""

    topic: str
    target: TableSchema
    """The version that the target has to be prepared for."""
    projection: Projection
    net: NetChanges
    fresh: bool = True
    """Whether its partitions have held nothing but rows of a full load: see `TableBatch.fresh`."""
    records: list[Record] = field(default_factory=list)
    """Where each change is kept: its record."""
    places: list[Origin] = field(default_factory=list)
    """For sinks that ask for origins: where each record comes from."""
    latest: dict[Any, Origin] = field(default_factory=dict)
    """The same where there are net changes: by key, where the last record comes from."""
    first_changes: FirstChanges | None = None
    """What each key's changes began with, where conflicts with the target's rows are looked for."""
    read_key: Callable[[bytes], Row] | None = None
    """Reads a record's key, where there are `first_changes`."""
    contradictions: list[Contradiction] | None = None
    """What the target's rows contradict, once they were asked for."""
    values: Mapping[bytes, LargeValue] = field(default_factory=dict)
    """What stand-ins in its rows are for, by stand-in: all that the batch has of its topic."""

    def origins(self) -> dict[str, list[Origin]]:
        """Return, by list of the batch, the origin of each item's last change."""
        net, latest = self.net, self.latest
        lists = {"upserts": net.upserts, "updates": net.updates, "deletes": net.deletes}
        found = {kind: [latest[key] for key in keys] for kind, keys in lists.items()}
        return self.projection.origins({**found, "sequence": self.places})


@dataclass(slots=True)
class Batch:
    """What one transaction at the target is made of."""

    segments: dict[str, list[Segment]] = field(default_factory=dict)
    """By topic, in the order in which they must be written."""
    truncated: dict[str, TableSchema] = field(default_factory=dict)
    """Tables, by topic, that are emptied before anything is written."""
    records: dict[TopicPartition, list[Record]] = field(default_factory=dict)
    next: dict[TopicPartition, int] = field(default_factory=dict)
    """The offsets that are durable when the batch is written."""
    standing: dict[TopicPartition, int] = field(default_factory=dict)
    """Where `next` is empty: offsets that stay as they are. Who has lost the partitions writes nothing."""
    reached: dict[TopicPartition, int] = field(default_factory=dict)
    """Up to where everything is written then, but for what waits. Of the last one of merged batches: nothing waits in
    the others, or nobody asks (`transactional`)."""
    queued: list[Record] = field(default_factory=list)
    """Records whose key is parked: they queue behind it."""
    refused: list[tuple[Record, TailraceError]] = field(default_factory=list)
    """Records that could not be decoded, where the policy is not to stop for them."""
    over: dict[Identity, ParkedRecord] = field(default_factory=dict)
    """Parked keys of which nothing counts any more, through a record of theirs: a later change makes it void."""
    blocked: set[tuple[str, Any]] = field(default_factory=set)
    """Keys of `refused`: later records of theirs in this batch queue behind."""
    last: dict[str, tuple[Decoder, bytes]] = field(default_factory=dict)
    """By topic, the last value and what reads it."""
    values: dict[str, dict[bytes, LargeValue]] = field(default_factory=lambda: defaultdict(dict))
    """By topic, what stand-ins in the records' values are for, by stand-in."""
    row_count: int = 0
    byte_count: int = 0

    @property
    def has_reads(self) -> bool:
        """Whether a row of a full load is in it."""
        return any(segment.net.has_reads for segments in self.segments.values() for segment in segments)

    def rows_by_topic(self) -> dict[str, int]:
        """Count the records of each topic."""
        counts: dict[str, int] = {}
        for partition, records in self.records.items():
            counts[partition.topic] = counts.get(partition.topic, 0) + len(records)
        return counts

    def forget_refused(self, is_void: Callable[[Record], bool]) -> None:
        """Let void records neither be parked nor keep others back."""
        if self.queued or self.refused:
            gone = [record for record, _ in self.refused if is_void(record)]
            self.blocked.difference_update((record.topic(), record.key()) for record in gone)
            self.refused = [one for one in self.refused if not is_void(one[0])]
            self.queued = [record for record in self.queued if not is_void(record)]

    def of_keys(self, keys: Collection[Key]) -> dict[Key, list[Record]]:
        """Return the batch's records of some keys, each one's in order. Slow: for rejected rows only."""
        found: dict[Key, list[Record]] = {}
        topics = {topic for topic, _ in keys}
        for partition, records in self.records.items():
            if partition.topic in topics:
                for record in records:
                    key = (partition.topic, record.key())
                    if key in keys and record.value() is not None:
                        found.setdefault(key, []).append(record)
        return found

    def leave(self, keys: Collection[Key]) -> None:
        """Let the records of some keys not count: they are not written."""
        for partition, records in self.records.items():
            out = [r for r in records if (partition.topic, r.key()) in keys]
            if out:
                self.records[partition] = [r for r in records if (partition.topic, r.key()) not in keys]
                self.row_count -= len(out)
                self.byte_count -= sum(map(size_of, out))


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a partition's part of a batch ends although more records came: at `offset`, which is not in the batch."""

    offset: int
    truncate: int | None = None
    """The commit sequence of the truncate that stands at `offset`."""
    version: int = 0
    """The version of the table that wrote it."""
    error: TailraceError | None = None
    """Why the table cannot take the record at `offset`: a schema change that the policy does not apply, or parts of a
    large one that do not come.
    """


def by_partition(records: Iterable[Record]) -> dict[TopicPartition, list[Record]]:
    """Return each partition's records, in order."""
    groups: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.topic(), record.partition()].append(record)
    return {TopicPartition(*place): group for place, group in groups.items()}
