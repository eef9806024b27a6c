"""The peer: Debezium's PostgreSQL connector, and its JDBC sink, in a Kafka Connect worker of their own, tuned.

Tuned as well as we know how: large batches and fetches, lz4, a second of heap to spare, no tombstones where we write
none, the sink's reduction buffer and rewritten batches. Its start is left out of its rates as ours is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.measure import BenchmarkError, Cost, cost, watch
from benchmarks.stage import SOURCE, TABLE, Stage
from deploy.local.connect import ConnectWorker, avro_converters, json_converters
from deploy.local.postgresql import PASSWORD, SUPERUSER
from deploy.local.registry import RegistryServer
from runtime import clock
from runtime.kafka.admin import TopicSpec

READY_TIMEOUT_S = 300.0
HEAP_MB = 2048
JVM = ("-Xms1g", "-XX:+UseG1GC")
PARTITIONS = 4
"""As our topics have by default."""

WORKER: dict[str, str | int | bool] = {
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
SOURCE_CONNECTOR: dict[str, str | int | bool] = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "tasks.max": 1,
    "plugin.name": "pgoutput",
    "publication.autocreate.mode": "filtered",
    "table.include.list": str(TABLE),
    "max.batch.size": 16_384,
    "max.queue.size": 65_536,
    "poll.interval.ms": 50,
    "snapshot.fetch.size": 20_000,
    "tombstones.on.delete": False,
}
SINK_CONNECTOR: dict[str, str | int | bool] = {
    "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
    "tasks.max": 1,
    "insert.mode": "upsert",
    "delete.enabled": True,
    "primary.key.mode": "record_key",
    "schema.evolution": "basic",
    "batch.size": 5000,
    "use.reduction.buffer": True,
    "collection.name.format": "peer_orders",
    "use.time.zone": "UTC",
}
SINK_TABLE = "peer_orders"


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


def configuration() -> dict[str, Any]:
    """Return how the peer is set up, for the results."""
    return {
        "jvm": [f"-Xmx{HEAP_MB}m", *JVM],
        "worker": WORKER,
        "source": SOURCE_CONNECTOR,
        "sink": SINK_CONNECTOR,
        "json": JSON.converters,
    }


class Peer:
    """The peer on a stage: each replication has a name, a topic prefix, a slot, a directory."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def prepare(self, name: str, encoding: Encoding) -> None:
        """Let a replication note where the log stands: what is changed from now on is its backlog."""
        self._make_topic(name)
        connector = self._source(name, encoding, snapshot="no_data")
        with (
            self._worker(name, connector, encoding) as worker,
            psycopg.connect(self._stage.source_dsn, autocommit=True) as source,
        ):
            self._until(worker, lambda: worker.state(name) == "RUNNING")
            active = "select active from pg_replication_slots where slot_name = %s"
            self._until(worker, lambda: source.execute(active, (name,)).fetchone() == (True,))

            def noted() -> bool:
                # The first change that it sees makes it note an offset.
                source.execute("update orders set id = id where id = 1")
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
            self._drop_slot(name)
        return found

    def apply(self, name: str, database: str, encoding: Encoding, query: str, until: int) -> Cost:
        """Measure the sink on a replication's topic until `query`, where `{table}` is its table, counts `until`."""
        address = self._stage.postgresql.address
        connector = {
            "name": f"{name}_sink",
            **SINK_CONNECTOR,
            "topics": self.topic(name),
            "connection.url": f"jdbc:postgresql://{address.host}:{address.port}/{database}?reWriteBatchedInserts=true",
            "connection.username": SUPERUSER,
            "connection.password": PASSWORD,
            **encoding.converters,
        }
        with psycopg.connect(address.dsn(database), autocommit=True) as target:

            def done() -> int:
                there = target.execute("select to_regclass(%s) is not null", (SINK_TABLE,)).fetchone()
                if there is None or not there[0]:
                    return 0
                found = target.execute(query.format(table=SINK_TABLE).encode()).fetchone()
                return int(found[0]) if found else 0

            with self._worker(f"{name}_sink", connector, encoding, sink=True) as worker:
                return cost(watch(worker.pid, done, until, worker.check))

    def published(self, name: str) -> int:
        """Return how many records the topic of a replication has."""
        return sum(self._stage.topics.end_offsets([self.topic(name)], read_committed=False).values())

    def topic(self, name: str) -> str:
        """Return the topic of the table."""
        return f"{name}.{TABLE}"

    def _capture(self, name: str, connector: dict[str, str | int | bool], encoding: Encoding, events: int) -> Cost:
        before = self.published(name)
        with self._worker(name, connector, encoding) as worker:
            return cost(watch(worker.pid, lambda: self.published(name) - before, events, worker.check))

    def _source(self, name: str, encoding: Encoding, *, snapshot: str) -> dict[str, str | int | bool]:
        address = self._stage.postgresql.address
        return {
            "name": name,
            **SOURCE_CONNECTOR,
            "topic.prefix": name,
            "slot.name": name,
            "publication.name": name,
            "snapshot.mode": snapshot,
            "database.hostname": address.host,
            "database.port": address.port,
            "database.user": SUPERUSER,
            "database.password": PASSWORD,
            "database.dbname": SOURCE,
            **encoding.converters,
        }

    @contextlib.contextmanager
    def _worker(
        self, name: str, connector: dict[str, str | int | bool], encoding: Encoding, *, sink: bool = False
    ) -> Iterator[ConnectWorker]:
        directory: Path = self._stage.directory / f"peer-{name}"
        plugins = ("debezium-jdbc" if sink else "debezium-postgres", *encoding.plugins)
        bootstrap = str(self._stage.bootstrap)
        worker = ConnectWorker(
            directory, bootstrap, [connector], plugins=plugins, heap_mb=HEAP_MB, jvm_options=JVM, settings=WORKER
        )
        with worker:
            yield worker

    def _make_topic(self, name: str) -> None:
        self._stage.topics.ensure([TopicSpec(self.topic(name), PARTITIONS)])

    def _drop_slot(self, name: str) -> None:
        with psycopg.connect(self._stage.source_dsn, autocommit=True) as source:
            source.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s", (name,)
            )

    def _until(self, worker: ConnectWorker, met: Callable[[], bool]) -> None:
        deadline = clock.monotonic() + READY_TIMEOUT_S
        while not met():
            worker.check()
            if clock.monotonic() > deadline:
                raise BenchmarkError(f"the peer was not ready within {READY_TIMEOUT_S:.0f} s")
            clock.sleep(0.3)
