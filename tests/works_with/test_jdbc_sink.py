"""A real Debezium JDBC sink reads our topics into tables of its own making; both are killed, and tables change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from deploy.local.connect import ConnectWorker, json_converters
from deploy.local.kafka import KafkaAddress
from deploy.local.registry import RegistryServer
from tests.integration.services import Services
from tests.kit.debezium import DebeziumTopics, postgresql_connector
from tests.kit.servers import Database
from tests.works_with.jdbc_sink import CONSUMER, Captured, Left, jdbc_sink, wait_until_equal

pytestmark = pytest.mark.timeout(1800)

NAMES = ("orders", "lines")
ROWS = 2000

TABLES = (
    "create type mood as enum ('sad', 'ok')",
    """create table orders (id bigint primary key, small smallint, whole int not null default 5, yes boolean, f4 real,
        f8 double precision, total numeric(12,2), free numeric, note text, code varchar(20), fixed char(4),
        bin bytea, day date, at time, ts timestamp, tstz timestamptz, ref uuid, doc jsonb, feeling mood, address inet,
        tags text[], big text)""",
    "alter table orders alter big set storage external, replica identity full",
    "create table lines (orders bigint, line int, qty int, primary key (orders, line))",
)
"""`orders` has whole old rows, so that large values are in the log of every change; `lines` has not."""

ORDERS = """
insert into orders select n, n % 7, n, n % 2 = 0, n / 4.0, n / 3.0, n / 100.0, n * 1e20 + 0.5, 'note é😀 ' || n,
 'c' || n, 'ab', decode(md5(n::text), 'hex'), '2020-01-01'::date + n, '12:34:56.123456'::time + n * '1 s'::interval,
 '2024-01-02 03:04:05.678901'::timestamp + n * '1 h'::interval,
 '2024-01-02 03:04:05.678901+02'::timestamptz + n * '1 h'::interval, md5(n::text)::uuid,
 jsonb_build_object('n', n, 'list', jsonb_build_array(null, 1.5)), 'ok', '10.0.0.1/24', array['a', null, n::text],
 case when n % 100 = 0 then repeat('x', 3000) end
 from generate_series({}, {}) n
"""

CHANGES = (
    "update orders set note = 'other', total = -0.01, free = null, day = null, tags = '{}' where id <= 50",
    "update orders set doc = '{\"b\": null}', feeling = 'sad', at = '23:59:59.999999', yes = null where id % 10 = 0",
    "update orders set id = id + 100000 where id between 100 and 200",
    "delete from orders where id between 300 and 400",
    "insert into orders (id) values (500001), (500002)",
    "update lines set qty = -qty where line = 1",
    "update lines set line = line + 10 where orders <= 20",
    "delete from lines where orders between 30 and 40",
    "begin; update orders set note = 'twice' where id = 1; delete from orders where id = 2; commit",
)

EVOLUTION = (
    "alter table orders add column more numeric(8,3), add column word text",
    "update orders set more = 1.125, word = 'new' where id <= 10",
    "alter table lines drop column qty",
    "insert into lines select 7, n from generate_series(100, 110) n",
    "alter table lines add column weight double precision",
    "update lines set weight = 0.1 where line >= 105",
)

TYPES: Mapping[str, tuple[str, str]] = {
    "fixed": ("rtrim(fixed)", "rtrim(fixed)"),
    "doc": ("doc::text", "doc::jsonb::text"),
    # The sink makes double precision of a numeric without a scale.
    "free": ("free::float8::text", "free::text"),
}
"""How columns are compared that the sink gives another type: in the source, and in the target."""


@pytest.mark.parametrize("format_", ["json-with-schema", "avro"])
def test_debeziums_jdbc_sink(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    source_database: Database,
    target_database: Database,
    registry_server: RegistryServer,
    format_: str,
) -> None:
    source, target = source_database, target_database
    source.execute(
        *TABLES,
        ORDERS.format(1, ROWS),
        "insert into lines select o, l, o * l from generate_series(1, 100) o, generate_series(1, 5) l",
    )
    sink, registry = jdbc_sink(replication, target, NAMES), registry_server if format_ == "avro" else None
    captured = Captured(tmp_path, replication, kafka_server, source, target, sink, registry=registry)
    captured.is_read(
        CHANGES[:4],
        [*CHANGES[4:], ORDERS.format(ROWS + 1, ROWS + 300)],
        EVOLUTION,
        lambda: _left(source, target),
    )


def test_ours_goes_on_where_the_sink_stands(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, source_database: Database, target_database: Database
) -> None:
    """Debezium's connector writes, its sink reads; then the sink is stopped, and an applier takes its tables over."""
    source, target = source_database, target_database
    source.execute(*TABLES, "alter table orders drop column free", "create publication dbz for all tables")
    insert = ORDERS.replace(" n * 1e20 + 0.5,", "")
    source.execute(insert.format(1, ROWS), "insert into lines select n, 1, n from generate_series(1, 500) n")
    converters = json_converters(schemas=True)
    sink = jdbc_sink(replication, target, NAMES) | converters
    worker = ConnectWorker(
        tmp_path / "connect",
        kafka_server.bootstrap,
        [postgresql_connector(replication, source, **converters), sink],
        plugins=["debezium-postgres", "debezium-jdbc"],
        settings=CONSUMER,
    )
    topics = DebeziumTopics(replication, "json-with-schema", {"start_group": f"connect-{sink['name']}"})
    with worker, Services(tmp_path, f"{replication}-applied", kafka_server, topics, target) as services:
        wait_until_equal(_left(source, target), worker, services)
        source.execute(*CHANGES[1:])
        wait_until_equal(_left(source, target), worker, services)
        worker.stop_connector(str(sink["name"]))
        # What the sink has done is not done again, else this row would be back.
        target.execute("delete from orders where id = 1000")
        source.execute(*EVOLUTION, "update orders set note = 'nobody looks' where id < 10")
        plan = services.run("plan")
        assert plan.returncode == 0, plan.stdout
        services.start("apply")
        source.execute("update orders set id = 200000 where id = 3")
        services.wait(lambda: target.rows("select from orders where id = 200000") != [], "what the sink has not done")
        assert target.rows("select from orders where id = 1000") == []
        source.execute("delete from orders where id = 1000")
        wait_until_equal(_left(source, target), worker, services)
        assert services.said("apply", "begins at another group's offsets"), services.log_tail("apply")
        assert services.stop("apply") == 0, services.log_tail("apply")


def _left(source: Database, target: Database) -> Left:
    """Compare with the source's rows, as they are now, in all columns that the source has."""
    columns = {table: _columns(source, table) for table in NAMES}
    expected = {table: _rows(source, table, names, 0) for table, names in columns.items()}

    def left() -> Sequence[object]:
        there = {table: _columns(target, table) for table in columns}
        if not all(set(names) <= set(there[table]) for table, names in columns.items()):
            return [f"{table} has only {names}" for table, names in there.items()]
        return [row for t, names in columns.items() for row in _unequal(expected[t], _rows(target, t, names, 1))]

    return left


def _columns(database: Database, table: str) -> list[str]:
    query = (
        f"select attname from pg_attribute where attrelid = to_regclass('{table}') and attnum > 0 and not attisdropped"
    )
    return sorted(str(name) for (name,) in database.rows(query))


def _rows(database: Database, table: str, names: list[str], side: int) -> list[tuple[object, ...]]:
    forms = [TYPES[name][side] if name in TYPES else f"{name}::text" for name in names]
    with database.connect() as connection:
        connection.execute("set timezone = 'UTC'; set extra_float_digits = 3; set bytea_output = 'hex'")
        return connection.execute(f"select {', '.join(forms)} from {table}".encode()).fetchall()


def _unequal(expected: list[tuple[object, ...]], found: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Return some rows that only one side has."""
    return sorted(set(expected) ^ set(found), key=str)[:4]
