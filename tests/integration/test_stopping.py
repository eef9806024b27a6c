"""Services that are told to end while nobody answers them."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from deploy.local.kafka import KafkaServer
from runtime import exit_codes
from tests.integration.services import Serve, Services
from tests.kit.servers import Database, nobody_confirms

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]


def test_services_whose_cluster_is_gone_for_good_end_when_they_are_told_to(
    tmp_path: Path, replication: str, own_kafka: KafkaServer, source_database: Database, target_database: Database
) -> None:
    source_database.execute("create table t (id int primary key)", "insert into t values (1)")
    with Services(tmp_path, replication, own_kafka.address, source_database, target_database) as services:
        services.start("capture")
        services.start("apply")
        services.wait(lambda: _ids(target_database) == [1], "the load")
        with psycopg.connect(target_database.dsn) as keeper:
            keeper.execute("lock table t in exclusive mode")
            source_database.execute("insert into t values (2)")
            waiting = "select count(*) from pg_locks where not granted and relation = 't'::regclass"
            services.wait(lambda: target_database.rows(waiting)[0][0] == 1, "the applier is at it")
            own_kafka.kill()
        # What it has written it wants to tell the group, for as long as that takes. Capture has something to publish.
        services.wait(lambda: _ids(target_database) == [1, 2], "the change")
        source_database.execute("insert into t values (3)")
        for name in ("capture", "apply"):
            services.signal(name, signal.SIGTERM)
        for name in ("capture", "apply"):
            assert services.join(name) == exit_codes.STOPPED, services.log_tail(name)


def _ids(database: Database) -> list[object]:
    if not database.rows("select 1 from pg_tables where tablename = 't'"):
        return []
    return [row[0] for row in database.rows("select id from t order by id")]


def test_a_capture_that_waits_for_a_transaction_to_be_visible_ends_at_once(
    serve: Serve, source_database: Database, target_database: Database
) -> None:
    source_database.execute("create table t (id int primary key)", "insert into t values (1)")
    with serve(source_database, target_database) as services:
        services.start("capture")
        services.start("apply")
        services.wait(lambda: _ids(target_database) == [1], "the load")
        with nobody_confirms(source_database, target_database):
            source_database.execute("alter table t add column v int")
            # It stands in the log, with the new column, and nobody sees it before its commit is confirmed.
            writer = Thread(target=_insert_and_wait, args=(source_database,), daemon=True)
            writer.start()
            # (The applier may wait as well, at the same server.)
            of_source = "wait_event = 'SyncRep' and datname = current_database()"
            waits = f"select count(*) from pg_stat_activity where {of_source}"
            services.wait(lambda: source_database.rows(waits) == [(1,)], "the commit that waits")
            services.wait(lambda: services.said("capture", "is not visible"), "capture waits, too")
            services.signal("capture", signal.SIGTERM)
            assert services.join("capture") == exit_codes.OK, services.log_tail("capture")
            # It was waited for half a minute, and longer: then that is said.
            assert not services.said("capture", "is not visible after")
        writer.join()
        services.start("capture")
        found = "select id, v from t order by id"
        services.wait(lambda: _ids(target_database) == [1, 2], "the row")
        assert target_database.rows(found) == [(1, None), (2, 7)]
        assert services.stop("capture") == exit_codes.OK
        assert services.stop("apply") == exit_codes.OK


def _insert_and_wait(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("set synchronous_commit = on")
        connection.execute("insert into t values (2, 7)")
