"""Doubles around the applier: topics in memory, a consumer, a plain codec, an executor without threads.

A seeded scheduler decides what each call returns, so that a failing run can be repeated.
"""

from __future__ import annotations

import pickle
import random
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from apply.applier import Applier
from apply.batching.batch import Record, size_of
from apply.batching.reorder_buffer import ReorderBuffer
from apply.batching.versions import Versions
from apply.commit_order import CommitOrder, sequence_reader
from apply.cursors import Cursors, progress_of
from apply.error_handling.conflicts import Boundaries
from apply.error_handling.holds import Holds
from apply.error_handling.parking import Identity, ParkedRecord, ParkingLot
from apply.error_handling.policies import Policies
from apply.error_handling.survey import Progress
from apply.error_handling.waiting import Waiting
from apply.limits import Limits
from apply.schema_catalog import Loaded, SchemaCatalog, TopicSchemas
from apply.sink import Gathering, Sink, TopicPartition
from apply.truncates import Truncates
from apply.writer import Writer
from apply.writer_thread import WriterThread
from runtime.retry import Backoff
from schemas.changes import Row
from schemas.codecs import Facts
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import DdlPolicy
from schemas.position import first_sequence
from schemas.table import TableName, TableSchema
from schemas.topics import data_topic, transactions_topic
from schemas.transactions import Mark, mark_record
from tests.kit.memory_sink import MemorySink, MemoryTarget

REPLICATION = "shop"
MARKS = TopicPartition(transactions_topic(REPLICATION), 0)


class Entry(NamedTuple):
    """One record of a topic, as the Kafka client shows it."""

    where: TopicPartition
    at: int
    raw_key: bytes | None
    raw_value: bytes | None

    def topic(self) -> str:
        return self.where.topic

    def partition(self) -> int:
        return self.where.partition

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.raw_key

    def value(self) -> bytes | None:
        return self.raw_value


class PlainDecoder:
    """Reads what `Topics.put` wrote."""

    stages = False

    def __init__(self, table: TableSchema) -> None:
        self.table = table

    def decode_many(self, values: list[bytes]) -> list[tuple[str, Row | None, Row | None]]:
        changes = []
        for value in values:
            if value[1:] == b"broken":
                raise TailraceError(ErrorKind.DECODE, "a broken record")
            _, op, before, after = pickle.loads(value[1:])
            changes.append((op, before, after))
        return changes

    def decode_key(self, key: bytes) -> Row:
        values: Row = literal_eval(key.decode())
        return values

    def facts(self, value: bytes) -> Facts:
        if value[1:] == b"broken":
            raise TailraceError(ErrorKind.DECODE, "a broken record")
        seq = pickle.loads(value[1:])[0]
        if seq is None:
            raise TailraceError(ErrorKind.DECODE, "a record without a source")
        return Facts(seq, 0, 0, None, None, "false", 1)

    def facts_many(self, values: list[bytes]) -> list[Facts]:
        return [*map(self.facts, values)]


class PlainCatalog:
    """A catalogue whose records bear their version in the first byte."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self.topics: dict[str, TopicSchemas] = topics.schemas
        self._decoders: dict[tuple[str, int], PlainDecoder] = {}

    def refresh(self) -> None:
        return

    def topic_of(self, table: str | None) -> str | None:
        return next((topic for topic, known in self.topics.items() if str(known.name) == table), None)

    def mark_of(self, topic: str, value: bytes, key: bytes | None = None) -> bytes:
        return value[:1]

    operation = SchemaCatalog.operation
    is_referred = SchemaCatalog.is_referred

    def sequence(self, decoder: PlainDecoder, record: Entry) -> int:
        found: int = decoder.facts(record.value() or b"").seq
        return found

    def marks(self, topic: str, values: list[bytes], keys: Sequence[bytes | None] = ()) -> set[bytes]:
        return {value[:1] for value in values}

    def decoder(self, topic: str, mark: bytes) -> PlainDecoder:
        place = (topic, mark[0])
        if place not in self._decoders:
            self._decoders[place] = PlainDecoder(self.topics[topic].versions[mark[0]])
        return self._decoders[place]


@dataclass
class Topics:
    """The topics of a replication: partitions are lists, offsets have gaps as transaction markers leave them."""

    partition_count: int = 2
    single: set[TableName] = field(default_factory=set)
    """Tables whose topics have one partition."""
    logs: dict[TopicPartition, list[Entry]] = field(default_factory=dict)
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    schemas: dict[str, TopicSchemas] = field(default_factory=dict)
    sequence: int = first_sequence(1)
    counts: dict[str, int] = field(default_factory=dict)
    """Records since the last mark, by topic."""
    marked: int = first_sequence(1)

    def begin_marks(self) -> None:
        """Have a transactions topic."""
        self.logs[MARKS], self.ends[MARKS] = [], 0

    def put_mark(self, *, whole: bool) -> None:
        """End a Kafka transaction with a mark."""
        key, value = mark_record(Mark(self.marked, self.sequence, whole, self.counts), 0)
        self.marked, self.counts = self.sequence, {}
        self._append(MARKS, key, value)
        self.mark()

    def add(self, table: TableSchema) -> str:
        """Publish a version of a table."""
        topic = data_topic(REPLICATION, table.name)
        self.schemas.setdefault(topic, TopicSchemas(table.name)).take(table)
        for number in range(self.partitions(topic)):
            self.logs.setdefault(TopicPartition(topic, number), [])
            self.ends.setdefault(TopicPartition(topic, number), 0)
        return topic

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        return 1 if self.schemas[topic].name in self.single else self.partition_count

    def put(
        self, table: TableSchema, op: str, before: Row | None, after: Row | None, *, raw: bytes | None = None
    ) -> None:
        """Publish one change, as capture does: by key, a truncate to every partition."""
        self.sequence += 1
        topic = data_topic(REPLICATION, table.name)
        value = raw or bytes([table.version]) + pickle.dumps((self.sequence, op, before, after))
        row = after if after is not None else before
        if op == "t":
            for number in range(self.partitions(topic)):
                self._append(TopicPartition(topic, number), None, value)
            return
        key = None
        number = 0
        if table.key:
            assert row is not None
            values = tuple(row[i] for i in table.key)
            key = repr(values).encode()
            number = sum(key) % self.partitions(topic)
        self._append(TopicPartition(topic, number), key, value)

    def mark(self) -> None:
        """End a transaction: an offset without a record everywhere."""
        for partition in self.ends:
            self.ends[partition] += 1

    def loaded(self, table: TableSchema, generation: int = 1) -> None:
        """Say that a load is published whole."""
        topic = data_topic(REPLICATION, table.name)
        offsets = {p.partition: end for p, end in self.ends.items() if p.topic == topic}
        self.schemas[topic].loaded = Loaded(generation, offsets)

    def _append(self, partition: TopicPartition, key: bytes | None, value: bytes | None) -> None:
        self.logs[partition].append(Entry(partition, self.ends[partition], key, value))
        if partition != MARKS:
            self.counts[partition.topic] = self.counts.get(partition.topic, 0) + 1
        self.ends[partition] += 1


class FakeConsumer:
    """A member that is told its partitions by the test, before its next `consume`."""

    def __init__(self, topics: Topics, group: dict[TopicPartition, Progress], chance: random.Random) -> None:
        self._topics = topics
        self._group = group
        self._chance = chance
        self.applier: Applier
        self.eof: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self._events: list[tuple[str, list[TopicPartition]]] = []
        self._visible: dict[TopicPartition, int] = {}

    def rebalance(self, event: str, partitions: Iterable[TopicPartition]) -> None:
        """Let `assign`, `revoke` or `lose` happen in the midst of the next `consume`."""
        self._events.append((event, sorted(partitions)))

    def consume(self, max_records: int, timeout_s: float, *, bytes_max: int) -> list[Record]:
        got = self._fetch(self._chance.randint(0, max_records) if self._events else max_records, bytes_max)
        while self._events:
            event, partitions = self._events.pop(0)
            pairs = [(p.topic, p.partition) for p in partitions]
            if event == "assign":
                starts = self.applier.assigned(pairs)
                for p in partitions:
                    self._positions[p] = starts.get((p.topic, p.partition), self.committed([p]).get(p, 0))
                continue
            (self.applier.revoked if event == "revoke" else self.applier.lost)(pairs)
            for p in partitions:
                self._positions.pop(p, None)
                self.paused.discard(p)
                self.eof.pop(p, None)
        return got

    def pause(self, partitions: Iterable[tuple[str, int]]) -> None:
        self.paused.update(TopicPartition(*p) for p in partitions)

    def resume(self, partitions: Iterable[tuple[str, int]]) -> None:
        self.paused.difference_update(TopicPartition(*p) for p in partitions)

    def seek(self, offsets: Mapping[Any, int]) -> None:
        for partition, offset in offsets.items():
            if partition in self._positions:
                self._positions[partition] = offset
                self.eof.pop(partition, None)

    def commit(self, offsets: Mapping[Any, int], notes: Mapping[Any, str]) -> None:
        self._group.update({p: progress_of(o, notes.get(p, "")) for p, o in offsets.items() if p in self._positions})

    def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[TopicPartition, int]:
        return {TopicPartition(*p): self._group[TopicPartition(*p)].durable for p in partitions if p in self._group}

    def _fetch(self, max_records: int, bytes_max: int) -> list[Record]:
        got: list[Record] = []
        size = 0
        partitions = [p for p in self._positions if p not in self.paused]
        self._chance.shuffle(partitions)
        for partition in partitions:
            log = self._seen(partition)
            room = min(max_records - len(got), self._chance.randint(0, 20))
            some: list[Entry] = []
            for entry in [e for e in log if e.at >= self._positions[partition]][:room]:
                if size < bytes_max:
                    some.append(entry)
                    size += size_of(entry)
            got += some
            if some:
                self._positions[partition] = some[-1].at + 1
            if not [e for e in log if e.at >= self._positions[partition]]:
                self.eof[partition] = self._visible.get(partition, self._topics.ends[partition])
        return got

    def _seen(self, partition: TopicPartition) -> list[Entry]:
        """Return what Kafka shows of a partition: with marks, each partition's new records some time or other."""
        log = self._topics.logs[partition]
        if MARKS not in self._topics.logs:
            return log
        if self._chance.random() < 0.5:
            self._visible[partition] = self._topics.ends[partition]
        end = self._visible.setdefault(partition, 0)
        return [entry for entry in log if entry.at < end]


class LateFuture(Future[Any]):
    """A job that runs when its result is asked for, or after it was looked at a few times."""

    def __init__(self, job: Callable[[], Any], looks: int) -> None:
        super().__init__()
        self._job: Callable[[], Any] | None = job
        self._looks = looks

    def done(self) -> bool:
        self._looks -= 1
        if self._looks < 0:
            self._work()
        return super().done()

    def result(self, timeout: float | None = None) -> Any:
        self._work()
        return super().result(timeout)

    def _work(self) -> None:
        job, self._job = self._job, None
        if job is None:
            return
        try:
            self.set_result(job())
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks
            self.set_exception(error)


class LateExecutor(Executor):
    """Runs jobs without a thread, some time later."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return LateFuture(lambda: fn(*args, **kwargs), self._chance.randint(0, 3))


class DeadLettersDouble:
    """The dead-letters topic of one target, shared by all its appliers."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes | None, ParkedRecord]] = []
        self._over: list[Mapping[Identity, ParkedRecord]] = []

    def end(self, over: Mapping[Identity, ParkedRecord]) -> None:
        self._over.append(over)

    def park(self, records: Iterable[tuple[Record, str, str]]) -> list[tuple[bytes | None, ParkedRecord]]:
        found = [
            (r.key(), ParkedRecord(r.topic(), r.partition(), r.offset(), kind, message, len(self.records)))
            for r, kind, message in records
        ]
        self.records += found
        return found

    def lot(self) -> ParkingLot:
        lot = ParkingLot()
        for key, record in self.records:
            lot.park(key, record)
        for over in self._over:
            lot.settle(over, ())
        return lot


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Member:
    """One applier with what belongs to it."""

    applier: Applier
    consumer: FakeConsumer
    sink: MemorySink


class Rig:
    """A target, its group, and any number of appliers."""

    def __init__(
        self, tables: Sequence[TableSchema], seed: int = 0, partition_count: int = 2, single: Iterable[TableName] = ()
    ) -> None:
        self.chance = random.Random(seed)
        self.topics = Topics(partition_count, {*single})
        for table in tables:
            self.topics.add(table)
        self.target = MemoryTarget()
        self.group: dict[TopicPartition, Progress] = {}
        self.dead_letters = DeadLettersDouble()
        self.clock = Clock()
        self.ranks: dict[TableName, int] = {table.name: i for i, table in enumerate(tables)}

    def member(
        self,
        policies: Policies | None = None,
        limits: Limits | None = None,
        ddl: DdlPolicy = DdlPolicy.APPLY,
        take_all: bool = False,
        by_commit: bool = False,
        other: Sink | None = None,
        retry_for_s: float = 1e9,
        loads: bool = True,
        compacts: bool = False,
        comes_again: bool = True,
    ) -> Member:
        """Start an applier. With `take_all` it is given every partition; `other` is written to instead of memory.

        `loads`: tables are loaded before their changes are judged. `compacts`: topics are compacted.
        `comes_again`: what the source rewrites is published again.
        """
        sink = MemorySink(self.target)
        policies = policies or Policies()
        writer = Writer(other or sink, self.dead_letters, policies, lambda name: self.ranks.get(name, 99))
        lot = self.dead_letters.lot()
        versions = Versions(
            PlainCatalog(self.topics),  # type: ignore[arg-type]
            ddl=ddl,
            comes_again=comes_again,
            keeps_history=writer.sink.capabilities.history,
        )
        applier = Applier(
            WriterThread(writer, LateExecutor(self.chance)),
            versions,
            self._holds(writer, versions, lot, limits or Limits(batch_rows=10_000)),
            lot,
            backoff=Backoff(retry_for_s, monotonic=self.clock),
            limits=limits or Limits(batch_rows=10_000),
            monotonic=self.clock,
        )
        if policies.contradictions.looks:
            applier.builder.boundaries = Boundaries(
                self.topics.schemas, applier.cursors.ahead, loads=loads, is_compacted=lambda _name: compacts
            )
            applier.claims.progress = lambda partitions: {p: self.group[p] for p in partitions if p in self.group}
            applier.claims.ends = lambda topics: {p: end for p, end in self.topics.ends.items() if p.topic in topics}
        if by_commit:
            limits = limits or Limits()
            applier.order = CommitOrder(
                MARKS,
                applier.cursors.positions,
                applier.builder.reach,
                ReorderBuffer(sequence_reader(applier.catalog), limits.batch_rows, limits.batch_bytes),
                lambda topics: {p: end for p, end in self.topics.ends.items() if p.topic in topics},
                self.clock,
                cuts=writer.sink.capabilities.commit_order,
            )
        consumer = FakeConsumer(self.topics, self.group, self.chance)
        consumer.applier = applier
        applier.connect(consumer)
        if take_all:
            consumer.rebalance("assign", [p for p in self.topics.logs if by_commit or p != MARKS])
        return Member(applier, consumer, sink)

    def _holds(self, writer: Writer, versions: Versions, lot: ParkingLot, limits: Limits) -> Holds:
        waiting = Waiting(
            limits.conflict_wait_s,
            lambda: {p: end for p, end in self.topics.ends.items() if p != MARKS},
            lambda partitions: {p: self.group[p] for p in partitions if p in self.group},
        )
        truncates = Truncates(writer, versions, lot, self.topics.partitions, drops=limits.drops)
        return Holds(Cursors(), waiting, truncates, limits)

    def gathering(self, *, reads_only: bool = False) -> Member:
        """Start an applier of every partition whose sink gathers for an hour unless it is told to end."""
        sink = MemorySink(self.target)
        sink.capabilities = replace(sink.capabilities, gathering=Gathering(1 << 30, 3600, reads_only=reads_only))
        return self.member(take_all=True, other=sink)

    def settle(self, *members: Member, steps: int = 2000) -> None:
        """Step members until all that is published is durable; fail if that takes too long."""
        for _ in range(steps):
            self.clock.now += 0.05
            for member in members:
                member.applier.step()
            if self.is_settled(*members):
                return
        raise AssertionError(f"not settled: {[m.applier.holds.by_partition for m in members]}")

    def is_settled(self, *members: Member) -> bool:
        """Tell whether every record of every partition is durable."""
        reached: dict[TopicPartition, int] = {}
        for member in members:
            if not member.applier.caught_up:
                return False
            reached |= member.applier.cursors.flushed
        return all(
            not log or reached.get(p, 0) > log[-1].at
            for p, log in self.topics.logs.items()
            if p in reached or p != MARKS
        )
