"""A real Debezium JDBC sink reads what we captured from MySQL, or MariaDB; both are killed, and tables get columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.registry import RegistryServer
from tests.kit.debezium import differences
from tests.kit.debezium_mysql import CHANGES, SNAPSHOT, TABLES, source_rows, target_rows
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.works_with.jdbc_sink import Captured, Left, jdbc_sink

pytestmark = [pytest.mark.flaky(reruns=0), pytest.mark.timeout(1800)]

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
    sink = jdbc_sink(replication, target, KEYED, source.name)
    registry = registry_server if source.is_mariadb else None
    captured = Captured(tmp_path, replication, kafka_server, source, target, sink, registry=registry)
    captured.is_read(CHANGES[:3], CHANGES[3:6], LATER, lambda: _left(source, target))


def _left(source: MysqlDatabase, target: Database) -> Left:
    rows = source_rows(source)
    expected = {table: rows[table] for table in KEYED}
    return lambda: list(differences(expected, target_rows(target, "public")))
