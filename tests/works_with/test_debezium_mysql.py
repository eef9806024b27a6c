"""A real Debezium for MySQL: its types, restarts and schema changes reach a PostgreSQL target; then ours takes over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deploy.local.connect import ConnectWorker, json_converters
from deploy.local.kafka import KafkaAddress
from deploy.local.mysql import MysqlAddress
from tests.integration.services import Services
from tests.kit.debezium import DebeziumTopics
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.servers import Database

pytestmark = [pytest.mark.flaky(reruns=0), pytest.mark.timeout(1800)]

DEADLINE_S = 600.0

TABLE = """
create table things (
    id int unsigned primary key, tiny tinyint(1), small smallint unsigned, big bigint, num decimal(12,2), r double,
    name varchar(40) character set utf8mb4, bin varbinary(20), bl blob, d date, t time(6), at datetime(6),
    at3 datetime(3), ts timestamp(6) null, y year, j json, e enum('sad','ok'), s set('a','b'), bt bit(5), note text
)
"""

ROW = """
insert into things values ({id}, 1, 65535, -9007199254740993, -12345.67, 1.5, 'é😀', x'00ff', x'deadbeef', '2024-02-29',
 '12:34:56.123456', '2024-01-02 03:04:05.678901', '2024-01-02 03:04:05.678', '2024-01-02 03:04:05.678901', 2024,
 '{{"a": [1, null]}}', 'ok', 'a,b', b'00101', repeat('x', 100))
"""

SELECT_AT_SOURCE = """
select id, tiny, small, big, num, r, name, hex(bin), hex(bl), d, t, at, at3, ts, y, e, s, lpad(bin(bt), 5, '0'), note
 {more} from things order by id
"""
SELECT_AT_TARGET = """
select id::text, tiny::text, small::text, big::text, num::text, r::text, name, upper(encode(bin, 'hex')),
 upper(encode(bl, 'hex')), d::text, to_char(t, 'HH24:MI:SS.US'), to_char(at, 'YYYY-MM-DD HH24:MI:SS.US'),
 to_char(at3, 'YYYY-MM-DD HH24:MI:SS.MS'), to_char(ts at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), y::text, e, s,
 bt::text, note{more}
from {schema}.things order by id
"""


def test_debezium_for_mysql(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, mysql_server: MysqlAddress, target_database: Database
) -> None:
    source = create_mysql_database(mysql_server)
    try:
        source.execute(TABLE, ROW.format(id=1), "insert into things (id) values (2), (3)")
        connector = mysql_connector(replication, source, tmp_path)
        worker = ConnectWorker(tmp_path / "connect", kafka_server.bootstrap, [connector], plugins=["debezium-mysql"])
        topics = DebeziumTopics(replication, "json-with-schema", {"connector": "mysql", "tables": [f"{source.name}.*"]})
        with worker, Services(tmp_path, f"{replication}-applied", kafka_server, topics, target_database) as services:
            services.start("apply")
            _wait_until_equal(source, target_database, services, worker)
            source.execute(
                ROW.format(id=4),
                "update things set name = 'b', d = null where id = 1",
                "delete from things where id = 2",
            )
            source.execute("update things set id = 30 where id = 3")
            _wait_until_equal(source, target_database, services, worker)
            worker.kill()
            source.execute("alter table things add column extra int not null default 7", "update things set note = 'n'")
            services.kill("apply")
            worker.restart()
            services.start("apply")
            source.execute("insert into things (id, extra) values (40, 8)")
            _wait_until_equal(source, target_database, services, worker, more=True)
            where = worker.offsets(replication)[0]["offset"]["gtids"]
            worker.stop()
            at_source = {"tables": [f"{source.name}.*"]}
            with Services(
                tmp_path, replication, kafka_server, source, target_database, at_source=at_source,
                mode="cdc", start_position=where, topics={"format": "json-with-schema", "partitions": 1},
            ) as capture:  # fmt: skip
                capture.start("capture")
                source.execute("update things set note = 'ours now' where id = 4", "delete from things where id = 40")
                source.execute("insert into things (id) values (50)")
                _wait_until_equal(source, target_database, services, capture, more=True)
                assert capture.stop("capture") == 0, capture.log_tail("capture")
            assert services.stop("apply") == 0, services.log_tail("apply")
    finally:
        drop_mysql_database(source)


def mysql_connector(name: str, database: MysqlDatabase, directory: Path) -> dict[str, str | int | bool]:
    """Return the properties of a connector that captures one database."""
    return {
        "name": name,
        "connector.class": "io.debezium.connector.mysql.MySqlConnector",
        "tasks.max": 1,
        "topic.prefix": name,
        "database.hostname": database.address.host,
        "database.port": database.address.port,
        "database.user": database.address.user,
        "database.server.id": 7002,
        "database.ssl.mode": "preferred",
        "driver.allowPublicKeyRetrieval": True,
        "database.include.list": database.name,
        "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "schema.history.internal.file.filename": str(directory / "history"),
        "snapshot.mode": "initial",
        "poll.interval.ms": 50,
        "heartbeat.interval.ms": 1000,
        "topic.creation.default.replication.factor": 1,
        "topic.creation.default.partitions": 1,
        **json_converters(schemas=True),
    }


def _wait_until_equal(
    source: MysqlDatabase,
    target: Database,
    services: Services,
    other: ConnectWorker | Services,
    *,
    more: bool = False,
) -> None:
    expected = [tuple(row) for row in source.rows(SELECT_AT_SOURCE.format(more=", extra" if more else ""))]
    query = SELECT_AT_TARGET.format(more=", extra::text" if more else "", schema=f'"{source.name}"')
    deadline = time.monotonic() + DEADLINE_S
    there = f"""select count(*) from information_schema.columns where table_schema = '{source.name}'
                and column_name in ('id', 'extra')"""
    while True:
        found = target.rows(query) if target.rows(there) == [(1 + more,)] else []
        if found == expected:
            return
        if isinstance(other, ConnectWorker):
            other.check()
        assert time.monotonic() < deadline, f"{found}\nis not\n{expected}\n{services.log_tail('apply')}"
        time.sleep(0.5)
