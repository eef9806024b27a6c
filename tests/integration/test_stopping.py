"""Services that are told to end while nobody answers them."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg
import pytest

from deploy.local.kafka import KafkaServer
from runtime import exit_codes
from tests.integration.services import Services
from tests.kit.servers import Database

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
