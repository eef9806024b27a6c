"""Tables change in every way while rows flow, and both services are killed in the middle: the copy follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database

TABLES = (
    "create type mood as enum ('calm', 'glad')",
    "create table growing (id bigint primary key, word text, number integer, small varchar(8), gone text)",
    "create table moody (id bigint primary key, mood mood, moods mood[])",
    "create table keys (id bigint primary key, code text not null unique, note text)",
    "create table bag (at timestamptz, word text)",
    "alter table bag replica identity full",
    "create table old_name (id bigint primary key, word text)",
    "create table doomed (id bigint primary key, word text)",
    "create table reborn (id bigint primary key, word text)",
    "create table quiet (id bigint primary key, word text)",
    "insert into growing select i, 'word ' || i, i, 'v' || i, 'gone' from generate_series(1, 2000) i",
    "insert into moody select i, 'calm', '{glad}' from generate_series(1, 200) i",
    "insert into keys select i, 'code ' || i, 'note' from generate_series(1, 200) i",
    "insert into bag select now(), 'word ' || i % 5 from generate_series(1, 100) i",
    *(
        f"insert into {t} select i, 'w' from generate_series(1, 100) i"
        for t in ("old_name", "doomed", "reborn", "quiet")
    ),
)

FIRST_HALF = (
    # Existing rows: a constant, a value of each row's own, the moment, a sequence.
    "alter table growing add column five integer not null default 5",
    "alter table growing add column token uuid not null default gen_random_uuid()",
    "alter table growing add column made timestamptz default clock_timestamp()",
    "alter table growing add column serial_number serial",
    "alter table growing drop column gone",
    "alter table growing rename column word to term",
    "alter table growing alter column small type text using upper(small)",
    "alter table growing alter column number type bigint using number * 3",
    "alter table quiet add column extra integer default 7",
    "alter table bag add column token uuid default gen_random_uuid()",
    "alter type mood add value 'cross' before 'calm'",
    "insert into moody values (1001, 'cross', '{cross,glad}')",
    "update moody set mood = 'cross' where id < 5",
    "create table newcomer (id bigint primary key, word text)",
    "insert into newcomer select i, 'new' from generate_series(1, 50) i",
    "alter table old_name rename to new_name",
    "update new_name set word = 'renamed' where id < 10",
    "drop table doomed",
)

SECOND_HALF = (
    # The key changes; then a burst, with rows between, some within one transaction.
    "alter table keys drop constraint keys_pkey; alter table keys add primary key (code)",
    "insert into keys values (5001, 'by the new key', 'x'); delete from keys where code = 'code 7'",
    "update keys set note = 'seen' where id between 10 and 20",
    *(
        f"alter table growing add column burst_{i} integer; update growing set burst_{i} = {i} where id % 9 = {i}"
        for i in range(5)
    ),
    *(f"alter table growing drop column burst_{i}" for i in range(0, 5, 2)),
    "alter table growing rename column burst_1 to swap; alter table growing rename column burst_3 to burst_1; "
    "alter table growing rename column swap to burst_3",
    "update growing set burst_1 = -1, burst_3 = -3 where id % 10 = 0",
    "alter table growing alter column term set not null",
    "create index on growing (term)",
    "drop table reborn",
    "create table reborn (id bigint primary key, word text)",
    "insert into reborn select i, 'second life' from generate_series(50, 120) i",
    "alter table quiet drop column word",
)


def test_tables_change_in_every_way_while_rows_flow_and_the_movers_are_killed(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, new_database: Callable[..., Database]
) -> None:
    source, target = new_database(18, "source"), new_database(16, "target")
    source.execute(*TABLES)
    stop = threading.Event()
    with Services(tmp_path, replication, kafka_server, source, target, capture={"chunk_rows": 500}) as services:
        services.start("capture")
        services.start("apply")
        services.wait(lambda: _count(target, "growing") == 2000, "the load arrives")
        writer = threading.Thread(target=_write, args=(source.dsn, stop))
        writer.start()
        try:
            _change(source, FIRST_HALF)
            for name in ("capture", "apply"):
                services.kill(name)
            _change(source, SECOND_HALF[:3])
            for name in ("capture", "apply"):
                services.start(name)
            _change(source, SECOND_HALF[3:])
        finally:
            stop.set()
            writer.join()
        services.wait(lambda: _count(target, "newcomer") == 50, "the new table is picked up")
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=150) == [], _logs(services)
        assert _columns(target) == _columns(source)
        assert _labels(target) == _labels(source)
        assert services.run("parked list", "--target", "replica").stdout.count("public.") == 0
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
        services.run("reset", "--yes")


def _change(source: Database, statements: tuple[str, ...]) -> None:
    for statement in statements:
        source.execute(statement)
        # Room for rows between two changes; no test depends on it.
        time.sleep(0.1)


def _write(dsn: str, stop: threading.Event) -> None:
    """Write rows that every version of the tables takes."""
    number = 10_000
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.is_set():
            number += 1
            for statement in (
                f"insert into growing (id, number) values ({number}, 1) on conflict do nothing",
                f"update growing set number = number + 1 where id = {number % 2000}",
                f"delete from growing where id = {number % 701}",
                f"insert into bag (at, word) values (now(), 'word {number % 7}')",
                f"delete from bag where ctid = (select min(ctid) from bag where word = 'word {number % 5}')",
                f"insert into moody values ({number}, 'glad', null)",
                f"update keys set note = 'note {number}' where id = {number % 200}",
            ):
                try:
                    connection.execute(statement)
                except (psycopg.errors.NotNullViolation, psycopg.errors.FeatureNotSupported):
                    continue
            stop.wait(0.03)


def _count(database: Database, table: str) -> int:
    if database.rows(f"select to_regclass('public.{table}') is null") == [(True,)]:
        return 0
    return int(str(database.rows(f"select count(*) from {table}")[0][0]))


def _columns(database: Database) -> list[tuple[object, ...]]:
    """Names and types of the columns of every table that is at the source in the end, and the keys."""
    return database.rows(
        """select c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                  coalesce((select i.indkey::int2[] @> array[a.attnum] from pg_index i
                             where i.indrelid = c.oid and i.indisprimary), false)
             from pg_attribute a join pg_class c on c.oid = a.attrelid
            where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and attnum > 0 and not attisdropped
              and c.relname not in ('doomed', 'old_name') order by 1, 2"""
    )


def _labels(database: Database) -> list[tuple[object, ...]]:
    return database.rows("select enumlabel from pg_enum order by enumsortorder")


def _logs(services: Services) -> str:
    return services.log_tail("capture") + "\n" + services.log_tail("apply")
