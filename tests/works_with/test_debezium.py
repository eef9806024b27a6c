"""A real Debezium captures a database that is written to; appliers keep a target equal; everybody is killed.

Then Debezium is replaced by a capture of ours, at its slot and in its topics, and the same appliers go on.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psycopg
import pytest

from deploy.local.connect import ConnectWorker, json_converters
from deploy.local.kafka import KafkaAddress
from runtime import exit_codes
from tests.integration.services import Services
from tests.kit.debezium import CHANGES, SNAPSHOT, TABLES, DebeziumTopics, all_rows, differences, postgresql_connector
from tests.kit.servers import Database
from tests.works_with.record_debezium import wait, wait_for_flush, wait_for_slot

pytestmark = pytest.mark.timeout(1800)

DEADLINE_S = 600.0


class Churn:
    """Changes rows of one table by many small transactions, until it is told to stop."""

    def __init__(self, database: Database, seed: int) -> None:
        self._database = database
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.transactions = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._database.connect() as connection:
            while not self._stop.wait(0.005):
                with connection.transaction():
                    for _ in range(self._random.randint(1, 5)):
                        self._change(connection)
                self.transactions += 1

    def _change(self, connection: psycopg.Connection) -> None:
        one, other = self._random.randint(1001, 1300), self._random.randint(1001, 1300)
        statement = self._random.choice(
            [
                "insert into orders values (7, %(a)s, 'new', %(b)s, repeat('n', 2500)) on conflict do nothing",
                "update orders set v = v || %(b)s, total = %(b)s where tenant = 7 and id = %(a)s",
                "update orders set big = repeat('c', 1500 + %(b)s) where tenant = 7 and id = %(a)s",
                """update orders set id = %(b)s where tenant = 7 and id = %(a)s
                   and not exists (select from orders where tenant = 7 and id = %(b)s)""",
                "delete from orders where tenant = 7 and id = %(a)s and %(b)s > 1200",
            ]
        )
        connection.execute(statement, {"a": one, "b": other})


@pytest.mark.parametrize("format_", ["json-with-schema", "json"])
def test_debezium_for_postgresql(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    source_database: Database,
    target_database: Database,
    format_: str,
) -> None:
    source, target = source_database, target_database
    source.execute(*TABLES.split(";\n")[:-1], "create publication dbz for all tables", *SNAPSHOT)
    connector = postgresql_connector(replication, source, **json_converters(schemas=format_ == "json-with-schema"))
    worker = ConnectWorker(tmp_path / "connect", kafka_server.bootstrap, [connector], plugins=["debezium-postgres"])
    topics = DebeziumTopics(replication, format_, {"origin": source.settings})
    with worker, Services(tmp_path, f"{replication}-applied", kafka_server, topics, target) as services:
        wait(worker, kafka_server.bootstrap, f"{replication}.public.orders", 5)
        # Killed before, Debezium would take another snapshot, which tells nothing of rows that are gone since.
        wait_for_slot(worker, source)
        wait_for_flush(worker)
        services.start("apply")
        services.start("apply-2")
        with Churn(source, seed=1) as churn:
            for round_, statement in enumerate(CHANGES):
                source.execute(statement)
                if round_ in (4, 10):
                    worker.kill()
                    worker.restart()
                    wait_for_slot(worker, source)
                if round_ in (6, 13):
                    services.kill("apply")
                    services.start("apply")
            _wait(lambda: churn.transactions > 300, "the source is not written to")
        _wait_until_equal(source, target, services, worker)
        with Churn(source, seed=3):
            assert _verify(services) == exit_codes.OK
            target.execute("update orders set v = 'tampered with' where tenant = 1 and id = 4")
            assert _verify(services) == exit_codes.DIFFERENT
        # Nothing shows any more how far the connector is.
        assert _verify(services, "--wait", "3") == exit_codes.UNDECIDED
        source.execute("update orders set v = 'mended' where tenant = 1 and id = 4")
        _wait_until_equal(source, target, services, worker)
        worker.stop()
        # Ours takes over: the connector's slot, its publication, its topics.
        source.execute("alter publication dbz set (publish_via_partition_root = true)")
        with _capture(tmp_path, replication, kafka_server, source, target, connector, format_) as capture:
            capture.start("capture")
            with Churn(source, seed=2) as churn:
                source.execute(
                    "update everything set t = 'ours now', big = big where id = 10",
                    CHANGES[0].replace("values (10,", "values (11,"),
                    # Infinite times, and what is no number.
                    "update everything set i2 = 7 where id in (3, 4)",
                )
                _wait(lambda: churn.transactions > 50, "the source is not written to")
                capture.kill("capture")
                capture.start("capture")
                services.kill("apply-2")
                _wait(lambda: churn.transactions > 200, "the source is not written to")
            _wait_until_equal(source, target, services, capture)
            assert capture.stop("capture") == 0, capture.log_tail("capture")
        assert services.stop("apply") == 0, services.log_tail("apply")
        assert services.run("reset", "--yes").returncode == 0


def _verify(services: Services, *more: str) -> int:
    """Return the exit code of a comparison; without a key, what Debezium sends twice stays."""
    tables = (word for table in ("everything", "orders", "parent") for word in ("--table", f"public.{table}"))
    return services.run("verify", *tables, *more).returncode


def _capture(
    directory: Path,
    name: str,
    kafka: KafkaAddress,
    source: Database,
    target: Database,
    connector: dict[str, str | int | bool],
    format_: str,
) -> Services:
    """Return a capture that goes on where the connector's slot stands."""
    at_source = {
        "slot": connector["slot.name"],
        "manage_slot": False,
        "publication": connector["publication.name"],
        "manage_publication": False,
    }
    topics = {"format": format_, "partitions": 1}
    return Services(
        directory, name, kafka, source, target, at_source=at_source, mode="cdc", start_position="now", topics=topics
    )


def _wait_until_equal(source: Database, target: Database, services: Services, other: ConnectWorker | Services) -> None:
    expected = all_rows(source)
    # Without a key, what Debezium sends twice stays.
    del expected["keyless"]
    deadline = time.monotonic() + DEADLINE_S
    while left := list(differences(expected, all_rows(target))):
        if isinstance(other, ConnectWorker):
            other.check()
        assert time.monotonic() < deadline, "\n".join([*left, services.log_tail("apply")])
        time.sleep(0.5)


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
