"""Tables change in every way while rows flow, and both services are killed in the middle: the copy follows.

Every scenario makes many changes and compares source and target at the end: rows, columns, keys, indexes, types, and
what must be gone. Nothing depends on when a service notices a change.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deploy.local.kafka import KafkaAddress
from schemas.topics import ddl_topic
from tests.integration.services import Serve, Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import read_raw

TABLES = (
    "create type mood as enum ('calm', 'glad')",
    "create type colour as enum ('red', 'green')",
    "create table growing (id bigint primary key, word text, number integer, small varchar(8), gone text)",
    "create table moody (id bigint primary key, mood mood, moods mood[], colour colour)",
    "create type place as (street text, city text)",
    "create table housed (id bigint primary key, at place, more place[])",
    "insert into housed select i, row('s', 'c')::place, array[row(i, null)::place] from generate_series(1, 100) i",
    "create table keys (id bigint primary key, code text not null unique, note text)",
    "create table bag (at timestamptz, word text)",
    "alter table bag replica identity full",
    "create table old_name (id bigint primary key, word text)",
    "create table doomed (id bigint primary key, word text)",
    "create table reborn (id bigint primary key, word text)",
    "create table parent (id integer primary key, word text)",
    "create table quiet (id bigint primary key, gone text)",
    "create table child (id bigint primary key, parent integer references parent, word text)",
    "insert into growing select i, 'word ' || i, i, 'v' || i, 'gone' from generate_series(1, 1500) i",
    "insert into moody select i, 'calm', '{glad}', 'red' from generate_series(1, 200) i",
    "insert into keys select i, 'code ' || i, 'note' from generate_series(1, 200) i",
    "insert into bag select now(), 'word ' || i % 5 from generate_series(1, 100) i",
    *(
        f"insert into {table} select i, 'w' from generate_series(1, 100) i"
        for table in ("old_name", "doomed", "reborn", "parent")
    ),
    "insert into child select i, i % 100 + 1, 'w' from generate_series(1, 300) i",
)

COLUMNS = (
    # Existing rows: a constant, a constant whose default goes at once, the moment, values of their own, a sequence.
    "alter table growing add column five integer not null default 5",
    "alter table growing add column six text default 'it''s {6}'; alter table growing alter column six drop default",
    "alter table growing add column made timestamptz default now()",
    "alter table growing add column tags text[] not null default '{a,\"b c\"}'",
    "alter table growing add column token uuid not null default gen_random_uuid()",
    "alter table growing add column counted integer default nextval('counter')",
    "alter table growing add column serial_number serial",
    "alter table growing drop column gone",
    "alter table growing rename column word to term",
    "update growing set term = 'renamed' where id % 3 = 0",
    "alter table growing alter column small type varchar(20)",
    "alter table growing alter column small type text using upper(small)",
    "alter table growing alter column number type bigint using number * 3",
    "alter table growing alter column term type integer using length(term)",
    "alter table growing alter column five set default 55; alter table growing alter column five drop not null",
    # Expand and contract: the old name goes on with the new column.
    (
        "alter table growing add column five_new bigint; update growing set five_new = five * 10; "
        "alter table growing drop column five; alter table growing rename column five_new to five"
    ),
    # The same name and type, another column: existing rows have it empty.
    "alter table growing drop column six; alter table growing add column six text",
    "update growing set six = 'again' where id < 50",
    "create index growing_term on growing (term); create unique index growing_token on growing (token)",
    # Rolled back: nothing of it may arrive.
    "begin; alter table growing add column never integer; update growing set never = 1; rollback",
    # One transaction: rows of three versions.
    (
        "begin; insert into growing (id, number) values (9001, 1); alter table growing add column inner_1 integer; "
        "insert into growing (id, number, inner_1) values (9002, 2, 2); alter table growing rename inner_1 to inner_2; "
        "update growing set inner_2 = 3 where id in (9001, 9002); commit"
    ),
    "alter table bag add column token uuid default gen_random_uuid()",
    (
        "begin; insert into housed values (901, row('before', 'c')); alter type place add attribute zip numeric(5); "
        "insert into housed values (902, row('s', 'c', 2), array[row('s', 'c', 3)::place]); "
        "update housed set at = row('u', 'c', 4) where id < 5; commit"
    ),
    # No row follows: the target's table has to all the same.
    "alter table quiet drop column gone, add column later text default 'x'",
)

OBJECTS = (
    "alter type mood add value 'cross' before 'calm'",
    "insert into moody values (1001, 'cross', '{cross,glad}', 'green')",
    "insert into housed values (903, row('old', 'c', 5)); alter type place drop attribute street",
    "alter type place rename attribute city to town; insert into housed values (904, row('t', 6))",
    "alter type mood add value 'sad'",
    "insert into moody values (1002, 'glad', '{{NULL,sad},{sad,cross}}', null)",
    "alter type colour rename to hue",
    "update moody set colour = 'green' where id < 5",
    "create table newcomer (id bigint primary key, word text)",
    "insert into newcomer select i, 'new' from generate_series(1, 50) i",
    "alter table old_name rename to new_name",
    "update new_name set word = 'renamed' where id < 10",
    "drop table doomed",
    "alter table child drop constraint child_parent_fkey",
    "alter table child add column other integer references parent",
    "update child set other = 7 where id % 7 = 0",
    "drop table reborn",
    "create table reborn (id bigint primary key, number integer, word text)",
    "insert into reborn select i, i, 'second life' from generate_series(50, 120) i",
)

KEYS = (
    "alter type place add attribute note text; insert into housed values (905, row('t', 7, 'n'))",
    "alter table keys drop constraint keys_pkey; alter table keys add primary key (code)",
    "insert into keys values (5001, 'by the new key', 'x'); delete from keys where code = 'code 7'",
    "update keys set id = id + 1000, note = 'seen' where id between 10 and 20",
    "alter table keys drop column id",
    "update keys set note = 'without id' where code < 'code 12'",
    # The parent's key gets another type: its rows move to other partitions, and children refer to them.
    "alter table parent alter column id type bigint; alter table child alter column other type bigint",
    "update parent set word = 'wide' where id % 2 = 0; insert into parent values (5000000000, 'far')",
    "update child set other = 5000000000 where id < 20",
    # Without a key, and with one again.
    "alter table new_name drop constraint old_name_pkey; insert into new_name values (1, 'twice')",
    "alter table new_name replica identity full; delete from new_name where word = 'twice'",
    "alter table new_name add primary key (id); alter table new_name replica identity default",
    "update new_name set word = 'keyed again' where id = 30",
    *(
        f"alter table growing add column burst_{i} integer; update growing set burst_{i} = {i} where id % 9 = {i}"
        for i in range(4)
    ),
    "alter table growing drop column burst_0; alter table growing drop column burst_2",
    (
        "alter table growing rename column burst_1 to swap; alter table growing rename column burst_3 to burst_1; "
        "alter table growing rename column swap to burst_3"
    ),
    "update growing set burst_1 = -1, burst_3 = -3 where id % 10 = 0",
    "truncate reborn; insert into reborn values (1, 1, 'after the truncate')",
)


def test_tables_change_in_every_way_while_rows_flow_and_the_movers_are_killed(
    serve: Serve, new_database: Callable[..., Database]
) -> None:
    # Other pairs of versions: test_random.
    source, target = new_database(18, "source"), new_database(16, "target")
    source.execute("create sequence counter", *TABLES)
    settings = {"capture": {"chunk_rows": 400}, "topics": {"partitions": 2}}
    with serve(source, target, **settings) as services:
        both = ("capture", "apply")
        # The second applier has the partitions of the first while that is dead, and half of them else.
        _each(services.start, (*both, "apply-2"))
        services.wait(lambda: _count(target, "growing") == 1500, "the load arrives")
        with _writer(source):
            _change(source, COLUMNS)
            _each(services.kill, both)
            # While nobody looks.
            _change(source, OBJECTS[:10])
            _each(services.start, both)
            _change(source, OBJECTS[10:])
            services.wait(lambda: _count(target, "newcomer") == 50, "the new table is picked up")
            _change(source, KEYS[:7])
            _each(services.kill, both)
            _each(services.start, both)
            _change(source, KEYS[7:])
        services.wait(lambda: _structure(target) == _structure(source), "the structure follows")
        assert wait_until_equal(source.dsn, target.dsn) == [], _logs(services)
        assert services.run("parked list", "--target", "replica").stdout.count("public.") == 0
        for name in (*both, "apply-2"):
            assert services.stop(name) == 0, services.log_tail(name)
        services.run("reset", "--yes")


SMALL = (
    "create table calm (id bigint primary key, word text)",
    "create table half (id bigint primary key, word text, number integer)",
    "create table wild (id bigint primary key, word text, number integer)",
    "create table doomed (id bigint primary key)",
    *(f"insert into {table} (id) select generate_series(1, 50)" for table in ("calm", "half", "wild", "doomed")),
)

HALF = "alter table half drop column number, add column extra text; insert into half values (51, 'w', 'y')"

WILD = (
    "alter table wild add column extra text default 'x'; insert into wild values (51, 'w', 1, 'y')",
    "alter table wild drop column number; insert into wild values (52, 'w', 'z')",
    "drop table doomed",
    "insert into calm values (51, 'last')",
)

FILLED = (
    "insert into calm values (60, 'of the earlier version')",
    "alter table calm add column made timestamptz default now(), add column kept text default 'k'",
    "alter table calm alter column kept drop default",
    "insert into calm values (61, 'of the later one')",
)


@pytest.mark.parametrize("policy", ["ignore", "suspend", "stop"])
def test_a_policy_keeps_a_change_from_the_target_until_it_is_another_one(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
    policy: str,
) -> None:
    source, target = new_database(18, "source"), new_database(18, "target")
    source.execute(*SMALL)
    settings: dict[str, Any] = {"topics": {"partitions": 2}, "ddl": policy}

    def said() -> list[dict[str, Any]]:
        """Return what the ddl topic holds."""
        return [json.loads(value or b"") for *_, value in read_raw(kafka_server.bootstrap, [ddl_topic(replication)])]

    with Services(tmp_path, replication, kafka_server, source, target, **settings) as services:
        trigger = services.run("plan", "--ddl-trigger").stdout
        assert "create event trigger" in trigger
        source.execute(trigger)
        _each(services.start, ("capture", "apply"))
        tables = ("calm", "half", "wild", "doomed")
        services.wait(lambda: all(_count(target, t) == 50 for t in tables), "the load arrives")
        before = _structure(target)
        # One changes while it is being loaded, and nobody looks.
        assert services.stop("capture") == 0, services.log_tail("capture")
        services.start("capture", failpoint="capture.load.finished")
        assert services.run("signal reload", "--table", "public.half", "--wait", "0").returncode == 0
        services.meet("capture", "capture.load.finished")
        _change(source, [HALF])
        services.start("capture")
        _change(source, WILD)
        if policy == "stop":
            assert services.join("capture") != 0
            assert "`ddl` is to stop" in services.log_tail("capture")
        else:
            services.wait(lambda: _count(target, "calm") == 51, "other tables go on")
        if policy == "ignore":
            services.wait(lambda: (_count(target, "wild"), _count(target, "half")) == (52, 51), "rows arrive")
            assert target.rows("select id, word, number from wild where id > 50 order by 1") == [
                (51, "w", 1),
                (52, "w", None),
            ]
        else:
            assert target.rows("select (select max(id) from wild), (select max(id) from half)") == [(50, 50)]
        if policy != "stop":
            services.wait(lambda: ("dropped", "doomed") in _events(said()), "the drop is noticed")
        assert (_structure(target), _count(target, "doomed")) == (before, 50)
        for name in ("apply",) if policy == "stop" else ("apply", "capture"):
            assert services.stop(name) == 0, services.log_tail(name)
        if policy != "ignore":
            # With another policy it goes on from there.
            document = json.loads(services.configuration.read_text())
            services.configuration.write_text(json.dumps({**document, "ddl": "apply"}))
            services.start("capture")
            _change(source, FILLED)
            services.wait(lambda: ("altered", "calm") in _events(said()), "the target's table will be altered first")
            services.start("apply")
            services.wait(lambda: _structure(target) == _structure(source), "the structure follows")
            assert wait_until_equal(source.dsn, target.dsn) == [], _logs(services)
            _each(services.stop, ("capture", "apply"))
        documents = said()
        told = [document["statement"] for document in documents if document["event"] == "statement"]
        assert [statement in told for statement in (HALF, *WILD[:3])] == [True] * 4
        assert {("altered", "half"), ("altered", "wild"), ("dropped", "doomed")} <= _events(documents)
        assert [document["seq"] for document in documents] == sorted(document["seq"] for document in documents)
        services.run("reset", "--yes")


def _events(documents: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(document["event"], document["table"][1]) for document in documents if "table" in document}


def _each(act: Callable[[str], object], names: Sequence[str]) -> None:
    for name in names:
        act(name)


def _change(source: Database, statements: Sequence[str]) -> None:
    with psycopg.connect(source.dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def _writer(source: Database) -> Iterator[None]:
    """Write, meanwhile, rows that every version of the tables takes."""
    stop = threading.Event()
    writer = threading.Thread(target=_write, args=(source.dsn, stop))
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def _write(dsn: str, stop: threading.Event) -> None:
    number = 10_000
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.wait(0.02):
            number += 1
            for statement in (
                f"insert into growing (id, number) values ({number}, 1)",
                f"update growing set number = number + 1 where id = {number % 2000}",
                f"delete from growing where id = {number % 701}",
                f"insert into bag (at, word) values (now(), 'word {number % 7}')",
                f"delete from bag where ctid = (select min(ctid) from bag where word = 'word {number % 5}')",
                f"insert into moody values ({number}, 'glad', null)",
                f"update keys set note = 'note {number}' where code = 'code {number % 200}'",
                f"update parent set word = 'word {number}' where id = {number % 100}",
                f"update child set word = 'word {number}' where id = {number % 300}",
            ):
                connection.execute(statement)


def _count(database: Database, table: str) -> int:
    if database.rows(f"select to_regclass('public.{table}') is null") == [(True,)]:
        return 0
    return int(str(database.rows(f"select count(*) from {table}")[0][0]))


def _structure(database: Database) -> list[tuple[object, ...]]:
    """Tables, columns with their types and defaults, keys, indexes, foreign keys and the labels of enums."""
    query = """select 'column', c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
             from pg_attribute a join pg_class c on c.oid = a.attrelid
            where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
           union all
           select 'default', c.relname, a.attname, pg_get_expr(d.adbin, d.adrelid)
             from pg_attrdef d join pg_class c on c.oid = d.adrelid
             join pg_attribute a on a.attrelid = c.oid and a.attnum = d.adnum
            where c.relnamespace = 'public'::regnamespace and pg_get_expr(d.adbin, d.adrelid) not like 'nextval%'
           union all
           select 'index', tablename, case when i.indisprimary then 'primary' else indexname end,
                  substring(indexdef from 'USING .*')
             from pg_indexes join pg_index i on i.indexrelid = format('public.%I', indexname)::regclass
            where schemaname = 'public'
           union all
           select 'foreign key', conrelid::regclass::text, conname::text, confrelid::regclass::text
             from pg_constraint where contype = 'f'
           union all
           select 'label', t.typname, e.enumlabel, row_number() over (partition by t.oid order by e.enumsortorder)::text
             from pg_enum e join pg_type t on t.oid = e.enumtypid where t.typname <> 'colour'
            order by 1, 2, 3, 4"""
    try:
        return database.rows(query)
    except (psycopg.errors.InternalError, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject) as error:
        # Something was altered, or dropped, while its definition was being printed.
        return [(str(error), database.name)]


def _logs(services: Services) -> str:
    return services.log_tail("capture") + "\n" + services.log_tail("apply")
