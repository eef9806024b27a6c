"""Who owns which partitions of the source, and how far each is: records of a compacted topic in the target's cluster.

Kafka's own means against a zombie is the transactional id: whoever initialises it ends its former holder, and settles
what that one left open. Each process has an id of its own, and an owner's record names it. So a claim is: say so on
the topic, end all that were owners before, and only then read how far they came. Between the claim's record and their
end a predecessor may begin anew; it reads the topic then, finds the claim, and lets the partition be.

Owners are read with records of open and aborted transactions among them: one more that is ended does no harm, and
nobody has to be waited for. Offsets count only where they are committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from apply.sink import TopicPartition
from runtime.kafka.client import Properties
from runtime.kafka.compacted import Follower, Record
from runtime.kafka.errors import FencedError
from runtime.kafka.producer import TransactionalProducer
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName


@dataclass(frozen=True, slots=True)
class Owner:
    """The last word about a partition."""

    name: str | None = None
    """Transactional id of the process that claimed it; None: nobody has it."""
    before: tuple[str, ...] = ()
    """Earlier owners of which it is not sure that they are ended."""


class Claims:
    """The topic of positions, as one process sees it. `name` is its transactional id."""

    def __init__(self, kafka: Properties, topic: str, name: str, end: Callable[[str], None]) -> None:
        """`end` initialises another transactional id: whoever has it can write no more."""
        self._topic = topic
        self._name = name
        self._end = end
        self._owners: dict[TopicPartition, Owner] = {}
        self._offsets: dict[TopicPartition, int] = {}
        self._mine: set[TopicPartition] = set()
        self._owner_log = Follower(kafka, topic, committed=False)
        try:
            self._offset_log = Follower(kafka, topic)
        except BaseException:
            self._owner_log.close()
            raise
        self.tables: dict[TableName, dict[str, Any]] = {}
        """What was last said of each table in a control record."""

    def claim(self, partitions: Sequence[TopicPartition], producer: TransactionalProducer) -> dict[TopicPartition, int]:
        """Take partitions over; return the offsets of those that have one. Raises INVARIANT if another was faster."""
        self._read_owners()
        wanted = {p: self._claimed(p) for p in partitions}
        # Not by what the topic says alone: the last record may be one of ours whose transaction came to nothing.
        self._say({p: owner for p, owner in wanted.items() if p not in self._mine or owner.before}, producer)
        self._read_owners()
        self._require(partitions, among=self._owners)
        others = sorted({name for p in partitions for name in self._owners[p].before})
        for name in others:
            self._end(name)
        self._read_offsets()
        if others:
            self._say({p: Owner(self._name) for p in partitions if self._owners[p].before}, producer)
        self._mine.update(partitions)
        return {p: self._offsets[p] for p in partitions if p in self._offsets}

    def resume(self) -> None:
        """See what is still owned, after the own transactional id was initialised anew."""
        self._read_owners()
        self._mine = {p for p in self._mine if self._owners.get(p, Owner()).name == self._name}

    def release(self, partitions: Iterable[TopicPartition], producer: TransactionalProducer) -> None:
        """Say that partitions are nobody's: whoever comes next need not end this process."""
        gone = self._mine.intersection(partitions)
        self._mine -= gone
        self._say(dict.fromkeys(sorted(gone), Owner()), producer)

    def stage(self, offsets: Mapping[TopicPartition, int], producer: TransactionalProducer) -> None:
        """Add offsets to the open transaction. Raises INVARIANT for a partition that is not owned any more."""
        self._require(offsets, among={p: Owner(self._name) for p in self._mine})
        for partition, offset in sorted(offsets.items()):
            producer.produce(self._topic, _key("offset", *partition), orjson.dumps({"offset": offset}))

    def stage_table(self, name: TableName, said: dict[str, Any], producer: TransactionalProducer) -> None:
        """Add to the open transaction what a control record says of a table."""
        producer.produce(self._topic, _key("table", *name), orjson.dumps(said))

    def close(self) -> None:
        """Let go of the clients. May be called twice."""
        self._owner_log.close()
        self._offset_log.close()

    def _claimed(self, partition: TopicPartition) -> Owner:
        found = self._owners.get(partition, Owner())
        names = {*found.before, *([found.name] if found.name else [])} - {self._name}
        return Owner(self._name, tuple(sorted(names)))

    def _require(self, partitions: Iterable[TopicPartition], among: Mapping[TopicPartition, Owner]) -> None:
        for partition in partitions:
            if among.get(partition, Owner()).name != self._name:
                raise FencedError(f"{partition.topic}/{partition.partition} was claimed by another applier")

    def _say(self, owners: Mapping[TopicPartition, Owner], producer: TransactionalProducer) -> None:
        if not owners:
            return
        producer.begin()
        for partition, owner in owners.items():
            value = orjson.dumps({"owner": owner.name, "before": owner.before})
            producer.produce(self._topic, _key("owner", *partition), value)
        producer.commit()

    def _read_owners(self) -> None:
        for record in self._owner_log.catch_up():
            kind, *name = _parsed(record.key)
            if kind == "owner":
                said = _parsed(record.value)
                self._owners[TopicPartition(*name)] = Owner(said["owner"], tuple(said["before"]))

    def _read_offsets(self) -> None:
        """Read what is committed, up to the topic's end: transactions that others have open there end soon."""
        for record in self._offset_log.catch_up(ends=self._owner_log.ends()):
            self._take(record)

    def _take(self, record: Record) -> None:
        kind, *name = _parsed(record.key)
        if kind == "offset":
            self._offsets[TopicPartition(*name)] = _parsed(record.value)["offset"]
        elif kind == "table":
            self.tables[TableName(*name)] = _parsed(record.value)


def _key(*parts: str | int) -> bytes:
    return orjson.dumps(parts)


def _parsed(content: bytes | None) -> Any:
    try:
        return orjson.loads(content or b"")
    except orjson.JSONDecodeError:
        raise TailraceError(
            ErrorKind.DECODE,
            "the topic of positions holds a record that is none of ours",
            remedy="set `positions_topic` of the target to a topic that nobody else writes",
        ) from None
