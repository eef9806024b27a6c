"""A database moves through Kafka into another, killed in full load and streaming, by the commands of the README."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.services import TARGET, Serve, Services
from tests.kit.compare import differences, wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults
from tests.kit.workload import TABLES, Workload

ROWS = 3000

# A failure here breaks a promise: it is never run again in the hope of a better result.
pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize(("source_major", "target_major"), [(13, 18), (18, 13)])
def test_a_database_moves_while_it_is_written_to_and_its_movers_are_killed(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
    source_major: int,
    target_major: int,
) -> None:
    source, target = new_database(source_major, "source"), new_database(target_major, "target")
    workload = Workload(source.dsn, seed=source_major)
    workload.create(ROWS)
    stop = threading.Event()
    with Services(tmp_path, replication, kafka_server, source, target, capture={"chunk_rows": 500}) as services:
        services.as_users_do = True
        assert services.run("plan").returncode == 0
        writer = threading.Thread(target=workload.run_until, args=(stop, 0.02))
        writer.start()
        try:
            services.start("capture")
            services.start("apply")
            services.wait(lambda: _rows(target, "wl_items") > 0, "the load begins to arrive")
            for name in ("capture", "apply"):
                services.crash(name)
            services.wait(lambda: len(services.loaded()) == len(TABLES), "the load ends")
            for name in ("apply", "capture"):
                services.crash(name)
            mark = workload.written.transaction_count
            services.wait(lambda: workload.written.transaction_count > mark + 30, "the writer goes on")
        finally:
            stop.set()
            writer.join()
        assert wait_until_equal(source.dsn, target.dsn) == [], services.log_tail("apply")
        records = read_topics(kafka_server.bootstrap, data_topics(kafka_server.bootstrap, replication))
        assert sequence_faults(records) == []
        assert key_faults(records) == []
        _check_commands(services, target)
        assert services.stop("capture") == 0, services.log_tail("capture")
        assert services.stop("apply") == 0, services.log_tail("apply")
        assert services.run("reset", "--yes").returncode == 0
    assert data_topics(kafka_server.bootstrap, replication) == []


def test_a_full_load_ends_by_itself_and_so_does_its_applier(
    serve: Serve, source_database: Database, target_database: Database
) -> None:
    Workload(source_database.dsn).create(300)
    with serve(source_database, target_database, mode="full-load", topics={"format": "json"}) as services:
        services.as_users_do = True
        services.start("capture")
        assert services.join("capture") == 0, services.log_tail("capture")
        services.start("apply", "--stop-at", "now")
        assert services.join("apply") == 0, services.log_tail("apply")
        assert differences(source_database.dsn, target_database.dsn) == []
        services.run("reset", "--yes")


def test_both_services_stop_where_the_source_stood(
    serve: Serve, source_database: Database, target_database: Database
) -> None:
    workload = Workload(source_database.dsn)
    workload.create(100)
    with serve(source_database, target_database, topics={"format": "json-with-schema", "partitions": 2}) as services:
        services.as_users_do = True
        for transactions in (0, 40):
            workload.run(transactions)
            services.start("capture", "--stop-at", "now")
            assert services.join("capture") == 0, services.log_tail("capture")
            services.start("apply", "--stop-at", "now")
            assert services.join("apply") == 0, services.log_tail("apply")
            assert differences(source_database.dsn, target_database.dsn) == []
        services.run("reset", "--yes")


def _check_commands(services: Services, target: Database) -> None:
    """Status, topics, debug and verify, while both services run; verify again after the target was spoiled."""
    # It says so now and then, and what it has published may be at the target before.
    services.wait(lambda: _streams(services), "capture says that it streams")
    status = json.loads(services.run("status", "--json").stdout)
    assert (status["state"], status["phase"]) == ("running", "streaming")
    assert {table["state"] for table in status["tables"]} == {"loaded"}
    topics = json.loads(services.run("topics", "--json").stdout)
    changes = next(t["name"] for t in topics["topics"] if t["name"].endswith(".public.wl_items"))
    line = services.run("debug read", changes, "--max", "1").stdout
    assert json.loads(line)["value"]["source"]["table"] == "wl_items"
    verified = services.run("verify", "--target", TARGET, "--wait", "300")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    target.execute("update wl_texts set version = -1 where id = (select max(id) from wl_texts)")
    spoiled = services.run("verify", "--target", TARGET, "--table", "public.wl_texts", "--json")
    assert spoiled.returncode == 4, spoiled.stdout + spoiled.stderr
    (table,) = json.loads(spoiled.stdout)["tables"]
    assert [d["kind"] for d in table["differences"]] == ["different"]


def _streams(services: Services) -> bool:
    status = services.status()
    return (status.get("pid"), status.get("phase")) == (services.pid("capture"), "streaming")


def _rows(database: Database, table: str) -> int:
    there = database.rows(f"select to_regclass('public.{table}') is not null")
    return int(str(database.rows(f"select count(*) from {table}")[0][0])) if there[0][0] else 0
