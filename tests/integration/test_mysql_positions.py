"""Where a capture of MySQL and MariaDB goes on: over restarts, at a replica, behind a log that is gone; or why not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from capture import checkpoints
from capture.sources.mysql.source import MysqlServer as Source
from deploy.local.kafka import KafkaAddress
from deploy.local.mysql import MysqlServer
from runtime import exit_codes
from runtime.configuration import load
from tests.integration.services import DEADLINE_S, Serve, Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, settings_for_kills
from tests.kit.mysql_replica import follow, promote
from tests.kit.servers import Database
from tests.kit.sides import MysqlSide, PostgresqlSide, wait_until_alike
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults

pytestmark = pytest.mark.timeout(1800)

SERIES = {"mysql": "mysql", "mariadb": "11.4"}
LARGE = (
    "insert into large with recursive s(n) as (select 0 union all select n + 1 from s where n < 9) "
    "select a.n + b.n * 10 + c.n * 100 + d.n * 1000, 'large' from s a, s b, s c, s d"
)
LIVES_MAX = 20


@pytest.mark.parametrize("kind", SERIES)
def test_the_copy_follows_over_restarts_crashes_and_a_replica_that_takes_over(
    serve: Serve,
    servers_directory: Path,
    replication: str,
    kafka_server: KafkaAddress,
    target_database: Database,
    kind: str,
) -> None:
    place = servers_directory / replication
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(MysqlServer(place / "primary", series=SERIES[kind], settings=settings_for_kills()))
        source, target = MysqlSide(create_mysql_database(server.address)), PostgresqlSide(target_database)
        source.database.execute("create table large (id int primary key, word varchar(9))")
        workload = source.workload(12, target)
        workload.create(300)
        settings = {"capture": {"commit_rows": 50}, "retry": {"interval_max_s": 1}}
        services = stack.enter_context(serve(source.database, target_database, **settings))

        def is_alike() -> None:
            assert wait_until_alike(source, target, DEADLINE_S) == [], services.log_tail("capture")

        services.start("capture")
        services.start("apply")
        workload.run(30)
        server.restart()
        workload.run(30)
        server.kill()
        server.restart()
        workload.run(30)
        is_alike()
        assert services.stop("capture") == 0, services.log_tail("capture")
        source.database.execute(LARGE)
        _die_within_a_transaction(services)
        replica = stack.enter_context(server.replica(place / "replica", 2))
        session = MysqlDatabase(replica.address, "mysql", source.database.is_mariadb).connect()
        stack.callback(session.close)
        follow(source.database, session, from_start=True)
        workload.run(20)
        promote(source.database, session)
        server.kill()
        source.database = workload.place = replace(source.database, address=replica.address)
        workload.run(20)
        document = json.loads(services.configuration.read_text())
        document["source"]["port"] = replica.port
        services.configuration.write_text(json.dumps(document))
        services.start("capture")
        workload.run(20)
        is_alike()
        records = read_topics(kafka_server.bootstrap, data_topics(kafka_server.bootstrap, replication))
        assert sequence_faults(records) == []
        assert key_faults(records) == []
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)


def _die_within_a_transaction(services: Services) -> None:
    """Let captures die behind the first commit of each life that holds changes, until one was amid a transaction."""
    for _ in range(LIVES_MAX):
        services.start("capture", failpoint="capture.commit.after:2")
        services.meet("capture", "capture.commit.after:2")
        if checkpoints.read(load(services.configuration)).position.row:
            return
    raise AssertionError("no capture died amid the transaction")


@pytest.mark.parametrize("kind", SERIES)
def test_the_log_may_go_while_captured_tables_are_idle_and_what_is_lost_else_is_said(
    serve: Serve, new_mysql_database: Callable[[str], MysqlDatabase], target_database: Database, kind: str
) -> None:
    database, other = new_mysql_database(kind), new_mysql_database(kind)
    source, target = MysqlSide(database), PostgresqlSide(target_database)
    database.execute("create table a (id int primary key, v varchar(9))", "insert into a values (1, 'loaded')")
    other.execute("create table busy (id int primary key)")
    with serve(database, target_database) as services:

        def is_alike() -> None:
            assert wait_until_alike(source, target, DEADLINE_S) == [], services.log_tail("capture")

        services.start("capture")
        services.start("apply")
        is_alike()
        other.execute(*(f"insert into busy values ({n})" for n in range(100)))
        end = _log_end(database)
        services.wait(lambda: services.status().get("position_commit", 0) >= end, "the position moves")
        services.kill("capture")
        database.forget_log()
        database.execute("insert into a values (2, 'behind')")
        services.start("capture")
        is_alike()
        services.kill("capture")
        database.execute("insert into a values (3, 'lost')")
        database.forget_log()
        plan = services.run("plan")
        assert plan.returncode == exit_codes.CONFIGURATION, plan.stdout
        services.start("capture")
        assert services.join("capture") == exit_codes.STOPPED, services.log_tail("capture")
        for said in (plan.stdout, services.log_tail("capture")):
            words = " ".join(said.split())
            assert "purged" in words, said
            assert "binlog_expire_logs_seconds" in words, said
        # What is said to help does.
        assert services.stop("apply") == 0, services.log_tail("apply")
        assert services.run("reset", "--yes").returncode == 0
        target_database.execute(f"truncate {database.name}.a")
        services.start("capture")
        services.start("apply")
        is_alike()
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)


def _log_end(database: MysqlDatabase) -> int:
    source = Source(database.source(), 1)
    try:
        return source.current_position().commit
    finally:
        source.close()
