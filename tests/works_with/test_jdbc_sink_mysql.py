"""A real Debezium JDBC sink reads what we captured from MySQL, or MariaDB; both are killed, and tables get columns."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deploy.local.connect import ConnectWorker, avro_converters, json_converters
from deploy.local.kafka import KafkaAddress
from deploy.local.registry import RegistryServer
from tests.integration.services import Services
from tests.kit.debezium import differences
from tests.kit.debezium_mysql import CHANGES, SNAPSHOT, TABLES, source_rows, target_rows
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.works_with.test_jdbc_sink import jdbc_sink

pytestmark = [pytest.mark.flaky(reruns=0), pytest.mark.timeout(1800)]

DEADLINE_S = 300.0
KEYED = ("things", "pairs")
"""The sink finds rows by their keys."""

LATER = (
    "alter table things add column extra int, add column after_all json after id",
    "update things set j = json_set(j, '$.a[0]', 2), extra = 8 where id = 10",
    "delete from pairs where a = 1",
    "insert into pairs values (5, 'e', 5)",
    "insert into things (id, extra, after_all) values (40, 9, '[]')",
)


def test_debeziums_jdbc_sink_reads_what_was_captured_of_mysql(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    mysql_database: MysqlDatabase,
    target_database: Database,
    registry_server: RegistryServer,
) -> None:
    """MySQL's in JSON with schema, MariaDB's in Avro."""
    source, target = mysql_database, target_database
    source.execute(*TABLES, *SNAPSHOT)
    is_avro = source.is_mariadb
    converters = avro_converters(registry_server) if is_avro else json_converters(schemas=True)
    sink = jdbc_sink(replication, target, [*KEYED], source.name) | converters
    worker = ConnectWorker(
        tmp_path / "connect",
        kafka_server.bootstrap,
        [sink],
        plugins=["debezium-jdbc", "apicurio-converter"] if is_avro else ["debezium-jdbc"],
        settings={
            "consumer.isolation.level": "read_committed",
            "consumer.auto.offset.reset": "earliest",
            "consumer.metadata.max.age.ms": 2000,
        },
    )
    settings = (
        {"topics": {"format": "avro"}, "registry": {"url": registry_server.url}}
        if is_avro
        else {"topics": {"format": "json-with-schema"}}
    )
    with Services(tmp_path, replication, kafka_server, source, target, **settings) as services:
        services.start("capture")
        services.wait(lambda: services.status().get("phase") == "streaming", "the full load")
        with worker:
            _wait_until_equal(source, target, worker, services)
            source.execute(*CHANGES[:3])
            services.kill("capture")
            source.execute(*CHANGES[3:6])
            services.start("capture")
            _wait_until_equal(source, target, worker, services)
            # Killed, it reads again what it had not noted as read.
            worker.kill()
            source.execute(*LATER)
            worker.restart()
            _wait_until_equal(source, target, worker, services)
        assert services.stop("capture") == 0, services.log_tail("capture")


def _wait_until_equal(source: MysqlDatabase, target: Database, worker: ConnectWorker, services: Services) -> None:
    rows = source_rows(source)
    expected = {table: rows[table] for table in KEYED}
    deadline = time.monotonic() + DEADLINE_S
    while left := list(differences(expected, target_rows(target, "public"))):
        worker.check()
        services.wait(lambda: True, "the services run")
        assert time.monotonic() < deadline, f"{left}\n{worker.log.read_text()[-3000:]}"
        time.sleep(0.5)
