"""An in-memory broker and its transactional producer, and the chaos that strikes their users: see `simulation`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from runtime.kafka.admin import TopicSpec
from runtime.kafka.errors import ExpiredError
from runtime.kafka.producer import Headers
from schemas.errors import ErrorKind, TailraceError


class Crash(Exception):
    """The process is gone: nothing of it goes on."""


@dataclass(slots=True)
class Chaos:
    """Decides when the process crashes, and when a call fails."""

    random: Random
    rate: float = 0.0
    idleness: float = 0.8
    """How often a loader has nothing to say."""

    def strike(self, where: str) -> None:
        if self.random.random() < self.rate / 4:
            if self.random.random() < 0.5:
                raise Crash(where)
            raise TailraceError(ErrorKind.TRANSPORT, f"scripted failure at {where}")


class Broker:
    """Topics with transactions; also the admin client."""

    def __init__(self) -> None:
        self.topics: dict[str, list[list[tuple[bytes | None, bytes | None]]]] = {}
        self._last: list[tuple[str, int]] = []
        """Where the records of the last transaction are."""

    def commit(self, records: list[tuple[str, int, bytes | None, bytes | None]]) -> None:
        """Take in a transaction: now the one before it stands for ever."""
        self._last = [(topic, partition) for topic, partition, _, _ in records]
        for topic, partition, key, value in records:
            self.topics[topic][partition].append((key, value))

    def undo(self) -> None:
        """Lose the last transaction, as brokers can that die before another one follows it."""
        for topic, partition in self._last:
            self.topics[topic][partition].pop()
        self._last = []

    def ensure(self, specs: Sequence[TopicSpec]) -> list[str]:
        made = []
        for spec in specs:
            if spec.name not in self.topics:
                self.topics[spec.name] = [[] for _ in range(spec.partitions)]
                made.append(spec.name)
            assert len(self.topics[spec.name]) == spec.partitions
        return made

    def list(self, prefix: str = "") -> dict[str, int]:
        return {name: len(parts) for name, parts in self.topics.items() if name.startswith(prefix)}

    def end_offsets(self, topics: Iterable[str], *, read_committed: bool) -> Mapping[tuple[str, int], int]:
        return {(t, n): len(records) for t in topics for n, records in enumerate(self.topics[t])}

    def read_all(self, topic: str) -> dict[bytes, bytes]:
        latest: dict[bytes, bytes] = {}
        for partition in self.topics.get(topic, []):
            for key, value in partition:
                assert key is not None
                if value is None:
                    latest.pop(key, None)
                else:
                    latest[key] = value
        return latest


@dataclass(slots=True)
class Pace:
    """The time of a simulation, what a record takes of it, and how long brokers let a transaction be open."""

    now_s: float = 0.0
    record_s: float = 0.0
    transaction_timeout_s: float = 60.0


class SimProducer:
    """A transactional producer of a `Broker`."""

    def __init__(self, broker: Broker, chaos: Chaos, pace: Pace) -> None:
        self._broker = broker
        self._chaos = chaos
        self._pace = pace
        self._began_s = 0.0
        self._open: list[tuple[str, int, bytes | None, bytes | None]] = []
        self.in_transaction = False
        self.on_wait: Callable[[], None] = lambda: None

    def begin(self) -> None:
        assert not self.in_transaction
        self.in_transaction = True
        self._began_s = self._pace.now_s

    def flush(self) -> None: ...

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
    ) -> None:
        assert self.in_transaction
        if topic not in self._broker.topics:
            self._broker.topics[topic] = [[]]
        if partition is None:
            partition = sum(key or b"") % len(self._broker.topics[topic])
        self._open.append((topic, partition, key, value))
        self._pace.now_s += self._pace.record_s

    def produce_run(
        self, topic: str, pairs: Sequence[tuple[bytes | None, bytes | None]], partition: int | None = None
    ) -> None:
        self._chaos.strike("produce")
        for key, value in pairs:
            self.produce(topic, key, value, partition)

    def commit(self) -> None:
        assert self.in_transaction
        self._chaos.strike("before commit")
        open_s, timeout_s = self._pace.now_s - self._began_s, self._pace.transaction_timeout_s
        if open_s >= timeout_s:
            raise ExpiredError("committing", open_s, timeout_s)
        self._broker.commit(self._open)
        self._open.clear()
        self.in_transaction = False
        self._chaos.strike("after commit")

    def close(self) -> None:
        self._open.clear()
        self.in_transaction = False
