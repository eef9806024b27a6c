"""The peer: Debezium's connector for the source, and its JDBC sink, in a Kafka Connect worker of their own, tuned.

Tuned as well as we know how: large batches and fetches, lz4, a second of heap to spare, no tombstones where we write
none, the sink's reduction buffer and rewritten batches. Its start is left out of its rates as ours is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.databases.engine import PEER_TABLE, Properties
from benchmarks.stages.measure import BenchmarkError, Cost, cost, watch
from benchmarks.stages.stage import Stage
from deploy.local.connect import POMS, ConnectWorker, avro_converters, json_converters
from deploy.local.registry import RegistryServer
from runtime import clock
from runtime.kafka.admin import TopicSpec

READY_TIMEOUT_S = 300.0
HEAP_MB = 2048
JVM = ("-Xms1g", "-XX:+UseG1GC")
PARTITIONS = 4
"""As our topics have by default."""
SINK_PLUGIN = "debezium-jdbc"

WORKER: Properties = {
    "producer.compression.type": "lz4",
    "producer.batch.size": 262_144,
    "producer.linger.ms": 20,
    "producer.buffer.memory": 134_217_728,
    "producer.max.request.size": 8_388_608,
    "consumer.max.poll.records": 10_000,
    "consumer.max.partition.fetch.bytes": 33_554_432,
    "consumer.fetch.max.bytes": 67_108_864,
    "consumer.auto.offset.reset": "earliest",
}
SOURCE_CONNECTOR: Properties = {
    "tasks.max": 1,
    "max.batch.size": 16_384,
    "max.queue.size": 65_536,
    "poll.interval.ms": 50,
    "snapshot.fetch.size": 20_000,
    "tombstones.on.delete": False,
}
SINK_CONNECTOR: Properties = {
    "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
    "tasks.max": 1,
    "insert.mode": "upsert",
    "delete.enabled": True,
    "primary.key.mode": "record_key",
    "schema.evolution": "basic",
    "batch.size": 5000,
    "use.reduction.buffer": True,
    "collection.name.format": PEER_TABLE,
    "use.time.zone": "UTC",
}
PROMPT_WORKER: Properties = {"producer.linger.ms": 0}
PROMPT_SOURCE: Properties = {"poll.interval.ms": 1}
"""What is set otherwise where the time of each change counts, not how many there are."""
_PLUGIN_VERSION = re.compile(r"<dependency>.*?<version>([^<]+)</version>", re.DOTALL)
_NOT_TOLD = ("password", "filename")
"""How properties end that the results leave out."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the peer writes its topics."""

    name: str
    converters: dict[str, str | bool]
    plugins: tuple[str, ...] = ()


JSON = Encoding("json", {**json_converters(schemas=False), "decimal.handling.mode": "string"})
JSON_WITH_SCHEMA = Encoding("json-with-schema", dict(json_converters(schemas=True)))


def avro(registry: RegistryServer) -> Encoding:
    """Return Avro in Confluent's wire format, with schemas in a registry."""
    adjustment: dict[str, str | bool] = {"schema.name.adjustment.mode": "avro", "field.name.adjustment.mode": "avro"}
    return Encoding("avro", adjustment | avro_converters(registry), ("apicurio-converter",))


def versions() -> dict[str, str]:
    """Return the release of each plug-in, as its pom names it."""
    plugins = sorted(path.stem for path in POMS.glob("*.xml") if path.stem != "worker")
    return {plugin: _PLUGIN_VERSION.findall((POMS / f"{plugin}.xml").read_text())[0] for plugin in plugins}


def configuration() -> dict[str, Any]:
    """Return how the peer is set up, for the results."""
    return {
        "versions": versions(),
        "jvm": [f"-Xmx{HEAP_MB}m", *JVM],
        "worker": WORKER,
        "source": SOURCE_CONNECTOR,
        "sink": SINK_CONNECTOR,
        "json": JSON.converters,
        "json-with-schema": JSON_WITH_SCHEMA.converters,
        "avro": "Apicurio's converter 2.6 in Confluent's wire format, a registry of Apicurio 3.0",
        "latency": {"worker": PROMPT_WORKER, "source": PROMPT_SOURCE},
    }


class Peer:
    """The peer on a stage: each replication has a name, a topic prefix, a directory, and a slot where there are any."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._engine = stage.engine

    def connectors(self) -> dict[str, Properties]:
        """Return all properties of its two connectors, for the results."""
        both = {"source": self._source("name", JSON, snapshot="initial"), "sink": self._sink("name", "database", JSON)}
        return {
            side: {name: value for name, value in told.items() if not name.endswith(_NOT_TOLD)}
            for side, told in both.items()
        }

    def prepare(self, name: str, encoding: Encoding) -> None:
        """Let a replication note where the log stands: what is changed from now on is its backlog."""
        self._make_topic(name)
        with self._worker(name, [self._source(name, encoding, snapshot="no_data")], encoding) as worker:
            self._until(worker, lambda: worker.state(name) == "RUNNING" and self._engine.captures(name))

            def noted() -> bool:
                # The first change that it sees makes it note an offset.
                self._engine.touch()
                return bool(worker.offsets(name))

            self._until(worker, noted)

    def log(self, name: str, encoding: Encoding, changes: int, *, snapshot: str = "no_data") -> Cost:
        """Measure how a prepared replication works its backlog off. `snapshot` is what it began with."""
        return self._capture(name, self._source(name, encoding, snapshot=snapshot), encoding, changes)

    def rows(self, name: str, encoding: Encoding, rows: int, *, keep: bool = False) -> Cost:
        """Measure the snapshot of the table. `keep` leaves the slot for the changes that follow."""
        self._make_topic(name)
        found = self._capture(name, self._source(name, encoding, snapshot="initial"), encoding, rows)
        if not keep:
            self._engine.forget(name)
        return found

    def apply(self, name: str, database: str, encoding: Encoding, query: str, until: int) -> Cost:
        """Measure the sink on a replication's topic until `query`, where `{table}` is its table, counts `until`."""
        sink = self._sink(name, database, encoding)
        with (
            self._engine.counting(database) as count,
            self._worker(f"{name}_sink", [sink], encoding) as worker,
        ):
            return cost(watch([worker.pid], lambda: count(query.format(table=PEER_TABLE)), until, worker.check))

    @contextlib.contextmanager
    def running(self, name: str, database: str, encoding: Encoding) -> Iterator[ConnectWorker]:
        """Run connector and sink in one worker, set for short latency, from where the log stands now."""
        self._make_topic(name)
        source = self._source(name, encoding, snapshot="no_data") | PROMPT_SOURCE
        sink = self._sink(name, database, encoding)
        with self._worker(name, [source, sink], encoding, settings=WORKER | PROMPT_WORKER) as worker:
            self._until(worker, lambda: worker.state(name) == "RUNNING" and self._engine.captures(name))
            yield worker
        self._engine.forget(name)

    def published(self, name: str) -> int:
        """Return how many records the topic of a replication has."""
        return sum(self._stage.topics.end_offsets([self.topic(name)], read_committed=False).values())

    def topic(self, name: str) -> str:
        """Return the topic of the table."""
        return f"{name}.{self._stage.table}"

    def _capture(self, name: str, connector: Properties, encoding: Encoding, events: int) -> Cost:
        before = self.published(name)
        with self._worker(name, [connector], encoding) as worker:
            return cost(watch([worker.pid], lambda: self.published(name) - before, events, worker.check))

    def _source(self, name: str, encoding: Encoding, *, snapshot: str) -> Properties:
        return {
            "name": name,
            **SOURCE_CONNECTOR,
            "topic.prefix": name,
            "table.include.list": str(self._stage.table),
            "snapshot.mode": snapshot,
            **self._engine.connector(name, self._stage.directory / f"peer-{name}"),
            **encoding.converters,
        }

    def _sink(self, name: str, database: str, encoding: Encoding) -> Properties:
        where: Mapping[str, str | int | bool] = self._engine.sink(database)
        return {
            "name": f"{name}_sink",
            **SINK_CONNECTOR,
            "topics": self.topic(name),
            **where,
            **{name: value for name, value in encoding.converters.items() if "converter" in name},
        }

    @contextlib.contextmanager
    def _worker(
        self, name: str, connectors: Sequence[Properties], encoding: Encoding, *, settings: Properties = WORKER
    ) -> Iterator[ConnectWorker]:
        sinks = [connector for connector in connectors if "topics" in connector]
        plugins = [*encoding.plugins]
        if len(sinks) < len(connectors):
            plugins.append(self._engine.plugin)
        if sinks:
            plugins.append(SINK_PLUGIN)
        worker = ConnectWorker(
            self._stage.directory / f"peer-{name}",
            str(self._stage.bootstrap),
            connectors,
            plugins=plugins,
            heap_mb=HEAP_MB,
            jvm_options=JVM,
            settings=settings,
        )
        with worker:
            yield worker

    def _make_topic(self, name: str) -> None:
        self._stage.topics.ensure([TopicSpec(self.topic(name), PARTITIONS)])

    def _until(self, worker: ConnectWorker, met: Callable[[], bool]) -> None:
        deadline = clock.monotonic() + READY_TIMEOUT_S
        while not met():
            worker.check()
            if clock.monotonic() > deadline:
                raise BenchmarkError(f"the peer was not ready within {READY_TIMEOUT_S:.0f} s")
            clock.sleep(0.3)
