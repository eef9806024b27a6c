"""A Debezium JDBC sink that makes tables in PostgreSQL of our topics: how it is set up, and what it goes through."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploy.local.connect import ConnectWorker, Properties, avro_converters, json_converters
from deploy.local.kafka import KafkaAddress
from deploy.local.registry import RegistryServer
from tests.integration.services import Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database

DEADLINE_S = 300.0

CONSUMER: Properties = {"consumer.auto.offset.reset": "earliest", "consumer.metadata.max.age.ms": 2000}
"""Settings of a worker: its sinks begin where topics begin, and soon see new ones."""

Left = Callable[[], Sequence[object]]
"""What differs between the ends still: nothing, once the sink has caught up."""


def jdbc_sink(
    replication: str, target: Database, tables: Sequence[str], schema: str = "public"
) -> dict[str, str | int | bool]:
    """Return the properties of a sink that makes tables of the same names as those of a source's schema."""
    address = target.address
    return {
        "name": f"sink-{replication}",
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": 1,
        "topics": ",".join(f"{replication}.{schema}.{table}" for table in tables),
        "connection.url": f"jdbc:postgresql://{address.host}:{address.port}/{target.name}",
        "connection.username": address.user,
        "connection.password": str(address.password),
        "insert.mode": "upsert",
        "delete.enabled": True,
        "primary.key.mode": "record_key",
        "schema.evolution": "basic",
        "collection.name.format": "${source.table}",
        "use.time.zone": "UTC",
    }


class Captured:
    """A capture of ours, and a sink that reads its topics in one format."""

    def __init__(
        self,
        directory: Path,
        replication: str,
        kafka: KafkaAddress,
        source: Database | MysqlDatabase,
        target: Database,
        sink: Properties,
        *,
        registry: RegistryServer | None,
    ) -> None:
        """With a registry the topics are in Avro, else in JSON with schema."""
        self._source = source
        converters = json_converters(schemas=True) if registry is None else avro_converters(registry)
        self._worker = ConnectWorker(
            directory / "connect",
            kafka.bootstrap,
            [{**sink, **converters}],
            plugins=["debezium-jdbc"] if registry is None else ["debezium-jdbc", "apicurio-converter"],
            settings={"consumer.isolation.level": "read_committed", **CONSUMER},
        )
        settings: dict[str, Any] = {"topics": {"format": "json-with-schema"}}
        if registry is not None:
            settings = {"topics": {"format": "avro"}, "registry": {"url": registry.url}}
        self._services = Services(directory, replication, kafka, source, target, **settings)

    def is_read(
        self, changes: Sequence[str], while_down: Sequence[str], later: Sequence[str], compare: Callable[[], Left]
    ) -> None:
        """Check that the sink has what the source has: after the full load, after the capture is killed amid changes,
        and after the sink is. `compare` looks at the source as it is then.
        """
        source, worker = self._source, self._worker
        with self._services as services:
            services.start("capture")
            services.wait(lambda: services.status().get("phase") == "streaming", "the full load")
            with worker:
                wait_until_equal(compare(), worker, services)
                source.execute(*changes)
                services.kill("capture")
                source.execute(*while_down)
                services.start("capture")
                wait_until_equal(compare(), worker, services)
                # Killed, it reads again what it had not noted as read.
                worker.kill()
                source.execute(*later)
                worker.restart()
                wait_until_equal(compare(), worker, services)
            assert services.stop("capture") == 0, services.log_tail("capture")


def wait_until_equal(left: Left, worker: ConnectWorker, services: Services) -> None:
    """Wait until nothing differs, while the sink and the services run."""
    deadline = time.monotonic() + DEADLINE_S
    while differences := left():
        worker.check()
        services.wait(lambda: True, "the services run")
        assert time.monotonic() < deadline, f"{differences}\n{worker.log.read_text()[-3000:]}"
        time.sleep(0.5)
