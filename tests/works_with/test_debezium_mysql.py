"""A real Debezium for MySQL, or MariaDB, is killed while types and tables change; then ours takes its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.connect import ConnectWorker, json_converters
from deploy.local.kafka import KafkaAddress
from runtime import exit_codes
from tests.integration.services import Services
from tests.kit.debezium import DebeziumTopics, differences
from tests.kit.debezium_mysql import CHANGES, SNAPSHOT, TABLES, mysql_connector, source_rows, target_rows
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database

pytestmark = [pytest.mark.flaky(reruns=0), pytest.mark.timeout(1800)]

DEADLINE_S = 300.0


def test_debezium_for_mysql(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    mysql_database: MysqlDatabase,
    target_database: Database,
) -> None:
    source, target = mysql_database, target_database
    engine = "mariadb" if source.is_mariadb else "mysql"
    source.execute(*TABLES, *SNAPSHOT)
    connector = mysql_connector(replication, source, tmp_path, **json_converters(schemas=True))
    worker = ConnectWorker(tmp_path / "connect", kafka_server.bootstrap, [connector], plugins=[f"debezium-{engine}"])
    origin = {name: value for name, value in source.settings.items() if name != "tables"}
    topics = DebeziumTopics(replication, "json-with-schema", {"connector": engine, "origin": origin})
    with worker, Services(tmp_path, f"{replication}-applied", kafka_server, topics, target) as services:
        services.start("apply")
        _wait_until_equal(source, target, services, worker)
        source.execute(*CHANGES[:6])
        _wait_until_equal(source, target, services, worker)
        worker.kill()
        source.execute(*CHANGES[6:])
        services.kill("apply")
        worker.restart()
        services.start("apply")
        _wait_until_equal(source, target, services, worker)
        with _written_to(source):
            assert _verify(services) == exit_codes.OK
            target.execute(f"update {source.name}.things set note = 'tampered with' where id = 10")
            assert _verify(services) == exit_codes.DIFFERENT
        source.execute("update things set note = 'mended' where id = 10")
        _wait_until_equal(source, target, services, worker)
        worker.stop_connector(replication)
        where = worker.offsets(replication)[0]["offset"]["gtids"]
        source.execute("insert into bare values (3, 'nobody looks')")
        with Services(
            tmp_path, replication, kafka_server, source, target, at_source={"tables": [f"{source.name}.*"]},
            mode="cdc", start_position=where, topics={"format": "json-with-schema", "partitions": 1},
        ) as capture:  # fmt: skip
            capture.start("capture")
            source.execute(
                "update things set note = 'ours now', t = '-01:00:00.5', bt = b'11' where id = 10",
                "update things set id = 41 where id = 40",
                "delete from things where id = 30",
                "insert into pairs values (6, 'f', 6)",
            )
            _wait_until_equal(source, target, services, capture)
            target.execute(f"update {source.name}.things set note = 'tampered with' where id = 41")
            with _written_to(source):
                assert _verify(services) == exit_codes.DIFFERENT
            assert capture.stop("capture") == 0, capture.log_tail("capture")
        assert services.stop("apply") == 0, services.log_tail("apply")


def _verify(services: Services) -> int:
    """Return the exit code of a comparison; without a key, what Debezium sends twice stays."""
    return services.run("verify", "--table", "*.things", "--table", "*.pairs").returncode


@contextmanager
def _written_to(source: MysqlDatabase) -> Iterator[None]:
    """Change a row again and again: its records say how far the connector is."""
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.1):
            source.execute("update pairs set v = v + 1 where a = 5")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _wait_until_equal(
    source: MysqlDatabase, target: Database, services: Services, other: ConnectWorker | Services
) -> None:
    expected = source_rows(source)
    deadline = time.monotonic() + DEADLINE_S
    while left := list(differences(expected, target_rows(target, source.name))):
        if isinstance(other, ConnectWorker):
            other.check()
        assert time.monotonic() < deadline, "\n".join([*left, services.log_tail("apply")])
        time.sleep(0.5)
