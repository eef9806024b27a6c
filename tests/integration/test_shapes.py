"""Tables of every shape and name, and rows that change in every way, from a real source into a real target."""

from __future__ import annotations

import psycopg

from tests.integration.services import Serve
from tests.kit.compare import list_tables, wait_until_equal
from tests.kit.servers import Database

LONG, TRAIN = "n" * 63, "🚂" * 15 + "abc"
QUOTED = '"Mixed.Case ""Q"" \'s"'

KEYS = {
    "numeric": "values (0, 1), (1.50, 2), ('NaN', 3), ('Infinity', 4), (1e300, 5), (-0.000000001, 6)",
    "double precision": "values ('NaN', 1), ('Infinity', 2), (0, 3), (5e-324, 4)",
    "interval": "values ('1 mon', 1), ('-1 day', 2), ('1 day -1 hour', 3)",
    "jsonb": """values ('{"a": 1}', 1), ('null', 2), ('[1, 2]', 3)""",
    "numeric[]": "values ('{1.0}', 1), ('{}', 2), ('{{1,2},{3,NULL}}', 3)",
    "integer[]": "values ('{}', 1), ('{1,NULL}', 2), ('[2:3]={1,2}', 3), ('{1,2}', 4)",
    "text": "values ('', 1), (' ', 2), ('A', 3), (E'q''\\\\\\n', 4), ('🧿', 5)",
    "uuid": "select gen_random_uuid(), n from generate_series(1, 5) n",
    "bytea": "values ('', 1), ('\\x00', 2), ('\\xff00', 3)",
    "character(5)": "values ('a', 1), ('b c', 2), ('', 3)",
    "timestamptz": "values ('infinity', 1), ('4714-11-24 BC', 2), ('2024-01-01', 3)",
    "public.pair": "values ('(1.0,a)', 1), ('(,)', 2), ('(2,\"\")', 3)",
    "int4range": "values ('empty', 1), ('[1,5)', 2), ('(,)', 3)",
}
"""A table is keyed by each."""

SETUP = (
    "create type pair as (a numeric, b text)",
    "create table composite (b text, a int, v text, primary key (b, a))",
    "insert into composite select 'b' || n % 3, n, 'v' from generate_series(1, 20) n",
    "create table by_index (a int not null, b text not null, c int, v text)",
    "create unique index on by_index (b, a) include (c)",
    "alter table by_index replica identity using index by_index_b_a_c_idx",
    "insert into by_index select n, 'b' || n, n, 'v' from generate_series(1, 10) n",
    "create table bag (a int, b text, c numeric)",
    "alter table bag replica identity full",
    "insert into bag select n % 3, case when n % 2 = 0 then 'x' end, 1.0 from generate_series(1, 20) n",
    "insert into bag values (1, 'x', 1.00), (null, null, null), (null, null, null)",
    "create table nothing ()",
    "alter table nothing replica identity full",
    "insert into nothing default values",
    "insert into nothing default values",
    "create table parent (id int primary key, v text)",
    "create table child (extra int, primary key (id)) inherits (parent)",
    "insert into parent select n, 'p' from generate_series(1, 5) n",
    "insert into child select n, 'c', n from generate_series(101, 105) n",
    "create table root (id int, region text, v text, primary key (id, region)) partition by list (region)",
    "create table leaf_a partition of root for values in ('a')",
    "create table leaf_b (v text, id int not null, region text not null, primary key (id, region))",
    "alter table root attach partition leaf_b for values in ('b')",
    "create table sub partition of root for values in ('c', 'd') partition by list (region)",
    "create table sub_c partition of sub for values in ('c')",
    "insert into root select n, chr(97 + n % 3), 'v' from generate_series(1, 30) n",
    # Captured by its partitions.
    "create table apart (id int primary key, v text) partition by range (id)",
    "create table apart_1 partition of apart for values from (0) to (10)",
    "create table apart_2 (v text, id int primary key)",
    "alter table apart attach partition apart_2 for values from (10) to (20)",
    "insert into apart select n, 'v' from generate_series(1, 15) n",
    (
        "create table computed (id int generated always as identity primary key, a int, "
        "b int generated always as (a * 2) stored, c text default 'x', d int generated always as (a + 1) virtual)"
    ),
    "insert into computed (a) select n from generate_series(1, 10) n",
    f'create table "{LONG}" ("{LONG[:-1]}x" int primary key, "{LONG[:-1]}y" text)',
    f'insert into "{LONG}" select n, n from generate_series(1, 5) n',
    f'create table "{TRAIN}" ("🔑 key" int primary key, "va""lue" text, "a.b" int, " lead" int, "select" int)',
    f'insert into "{TRAIN}" select n, n, n, n, n from generate_series(1, 5) n',
    *(f'create table "{name}" (id int primary key)' for name in ("ä", "ö")),
    'insert into "ä" values (1)',
    'insert into "ö" values (2)',
    (
        f'create table {QUOTED} ("Id" int primary key, "order" text, "$1" text, "%s" text, "{{x}}" text, '
        '"back\\slash" text, "op" int, "after" int, "__deleted" int, "tailrace" int, "c0" int, "part" int)'
    ),
    f"insert into {QUOTED} select n, n, n, n, n, n, n, n, n, n, n, n from generate_series(1, 5) n",
    'create table "100% %s" (id int primary key, "%d" text unique)',
    """insert into "100% %s" values (1, '%s'), (2, '%')""",
    'create schema "Other.Schema"',
    'create table "Other.Schema"."select" (id int primary key, v text)',
    'insert into "Other.Schema"."select" select n, n from generate_series(1, 5) n',
    "create table swapped (id int primary key, u int unique deferrable initially deferred)",
    "insert into swapped select n, n from generate_series(1, 10) n",
    "create table stored (k text primary key, v int, big text)",
    "alter table stored alter k set storage external, alter big set storage external",
    (
        "insert into stored select string_agg(md5((n * 1000 + i)::text), ''), n, repeat(md5(n::text), 500) "
        "from generate_series(1, 5) n, generate_series(1, 80) i group by n"
    ),
    "create unlogged table unlogged (id int primary key)",
    "create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing",
    "create foreign table far (id int) server nowhere",
    "create table referred (id int primary key)",
    "create table referring (id int primary key, referred int references referred)",
    "insert into referred select generate_series(1, 5)",
    "insert into referring select n, n from generate_series(1, 5) n",
    "create view shown as select p.*, count(*) over () from parent p",
    "create materialized view kept as select b, a::numeric as a from composite",
    "create unique index on kept (a)",
    "create view left_out as select 1 as x",
)

TRANSACTIONS: tuple[tuple[str, ...], ...] = (
    ("update k_numeric set k = k + 1.0",),
    ("insert into k_numeric values (17.0, 50), (34.0, 51)",),
    ("update k_numeric set k = 17.000 where k = 17", "delete from k_numeric where k = 34"),
    ("insert into k_numeric values (34.00, 52)", "update k_numeric set k = 34 where k = 34"),
    ("update k_double_precision set k = '-0' where k = 0",),
    ("update k_interval set k = '30 days' where k = '1 mon'", "update k_interval set v = 9 where k = '1 mon'"),
    ("""update k_jsonb set k = '{"a": 1.0}' where k = '{"a": 1}'""",),
    ("""update k_jsonb set k = '{"a": 1.00}', v = 9 where k = '{"a": 1}'""",),
    ("update k_numeric__ set k = '{1.00}' where k = '{1}'", "update k_numeric__ set v = 8 where k = '{1}'"),
    ("update k_public_pair set k = '(1,a)'::pair where k = '(1.0,a)'::pair",),
    ("update k_text set k = k || 'x'", "update k_integer__ set k = k || 9", "update k_character_5_ set k = k || 'z'"),
    ("update by_index set v = 'new' where a < 4", "update by_index set a = a + 100 where a > 8"),
    ("delete from by_index where a = 5", "update composite set a = a + 1000 where a < 4"),
    ("insert into bag select * from bag", "delete from bag where ctid in (select ctid from bag limit 7)"),
    ("update bag set c = 1.000 where ctid in (select ctid from bag where b is null limit 2)",),
    ("insert into nothing default values", "insert into nothing default values"),
    ("delete from nothing where ctid in (select ctid from nothing limit 1)",),
    (
        "update parent set v = 'all'",
        "delete from parent where id in (1, 101)",
        "insert into child values (200, 'x', 1)",
    ),
    ("update root set v = 'w'", "update root set region = 'c' where id < 10", "delete from sub where id = 15"),
    ("insert into leaf_b (id, region, v) values (500, 'b', 'leaf')",),
    (
        "update apart set v = 'w' where id % 2 = 0",
        "update apart set id = id + 13 where id = 3",
        "delete from apart_2 where id = 12",
    ),
    ("insert into computed (a) values (77)", "update computed set a = a * 3", "delete from computed where id = 2"),
    (f'update "{LONG}" set "{LONG[:-1]}y" = \'z\'', f'update "{TRAIN}" set " lead" = 5', 'insert into "ö" values (1)'),
    (f'update {QUOTED} set "order" = \'o\', "Id" = "Id" + 100 where "Id" < 3', f'delete from {QUOTED} where "Id" = 4'),
    ("""update "100% %s" set "%d" = '%%' where id = 1""", 'delete from "100% %s" where id = 2'),
    ('update "Other.Schema"."select" set v = 1', 'delete from "ä"'),
    (
        "insert into swapped values (900, 900)",
        "update swapped set u = 901 where id = 900",
        "delete from swapped where id = 900",
    ),
    # Unique values and keys that change places: the source looks at the end of the transaction only.
    ("update swapped set u = case u when 1 then 2 else 1 end where u in (1, 2)",),
    ("update swapped set u = 4 where id = 3", "update swapped set u = 3 where id = 4"),
    (
        "update composite set a = -a where (b, a) in (('b1', 10), ('b1', 13))",
        "update composite set a = case a when -10 then 13 else 10 end where a in (-10, -13)",
    ),
    ("insert into swapped values (900, 5000)", "update swapped set id = 902 where id = 900"),
    (
        "savepoint a",
        "insert into parent values (1000, 'x')",
        "rollback to a",
        "insert into parent values (1001, 'kept')",
    ),
    ("select pg_logical_emit_message(true, 'x', 'hello')", "insert into parent values (1006, 'with message')"),
    ("update stored set v = v + 1",),
    ("update stored set big = big || 'x' where v % 2 = 0", "update stored set k = k || 'new', v = 0 where v = 3"),
    ("delete from stored where v = 5",),
)


LEAVES = ("public.apart_1", "public.apart_2")
VIEWS = ("public.shown", "public.kept")
_CODES = ("unlogged", "foreign-table", "view", "keyless", "loose-key", "partitioned", "inheritance")
"""What plan has to say of these tables."""


def test_tables_of_every_shape_and_rows_that_change_in_every_way(
    serve: Serve, source_database: Database, target_database: Database
) -> None:
    source, target = source_database, target_database
    source.tell_statements()
    with source.connect() as connection:
        for statement in SETUP:
            connection.execute(statement)
        for native, rows in KEYS.items():
            table = "k_" + "".join(c if c.isalnum() else "_" for c in native)
            connection.execute(f"create table {table} (k {native} primary key, v int)")
            connection.execute(f"insert into {table} {rows}")
    selected = {"tables": ["*.*", "!public.apart"], "views": ["*.shown", "*.kept"]}
    with serve(source, target, topics={"format": "avro", "partitions": 2}, at_source=selected) as services:
        plan = services.run("plan")
        assert plan.returncode == 0, plan.stdout
        assert all(f"[{code}]" in plan.stdout for code in _CODES)
        assert [name in plan.stdout for name in (*VIEWS, "public.left_out")] == [True, True, True]
        services.start("capture")
        services.start("apply")
        assert _differences(source, target) == [], services.log_tail("apply")
        assert wait_until_equal(source.dsn, target.dsn, VIEWS) == [], services.log_tail("apply")
        shown = target.rows("select * from shown order by 1")
        with source.connect() as connection:
            for transaction in TRANSACTIONS:
                with connection.transaction():
                    for statement in transaction:
                        connection.execute(statement)
            _two_phases(connection)
        assert _differences(source, target) == [], services.log_tail("apply")
        with source.connect() as connection:
            connection.execute("create table leaf_e (id int, region text, v text, primary key (id, region))")
            connection.execute("insert into leaf_e select n, 'e', 'before' from generate_series(600, 605) n")
            connection.execute("alter table root attach partition leaf_e for values in ('e')")
            connection.execute("insert into root values (700, 'e', 'after')")
            # What was a partition is a table of its own; its rows of before would stay in the root's table.
            connection.execute("delete from leaf_b; alter table root detach partition leaf_b")
            connection.execute("insert into leaf_b (id, region, v) values (800, 'b', 'alone')")
            connection.execute("truncate computed restart identity; insert into computed (a) values (1)")
            connection.execute("truncate bag, parent, referred cascade; insert into bag values (1, 'again', 2)")
        assert _differences(source, target) == [], services.log_tail("apply")
        verified = services.run("verify")
        assert verified.returncode == 0, verified.stdout
        assert target.rows("select * from shown order by 1") == shown, "a view was followed"
        assert target.rows("select to_regclass('left_out'), to_regclass('kept_a_idx')") == [(None, "kept_a_idx")]
        assert services.stop("capture") == 0, services.log_tail("capture")
        source.execute("create or replace view shown as select p.*, count(*) over (), 'x' as more from parent p")
        services.start("capture")
        assert wait_until_equal(source.dsn, target.dsn, VIEWS[:1]) == [], services.log_tail("apply")
        assert services.stop("capture") == 0, services.log_tail("capture")
        assert not services.said("capture", "public.kept"), "a view that has not changed is loaded once"
        assert services.stop("apply") == 0, services.log_tail("apply")
        services.run("reset", "--yes")


def _differences(source: Database, target: Database) -> list[str]:
    """Wait until all tables are equal; return what differs in the end."""
    with source.connect() as connection:
        tables = [name for name in list_tables(connection) if name != ("public", "apart")]
    return wait_until_equal(source.dsn, target.dsn, [*tables, *LEAVES])


def _two_phases(connection: psycopg.Connection) -> None:
    """Prepare two transactions; others commit before one of them is committed and the other is rolled back."""
    for number, row in enumerate(("(1003, 'prepared')", "(1004, 'given up')")):
        connection.execute("begin")
        connection.execute(f"insert into parent values {row}")
        connection.execute(f"prepare transaction 'two phases {connection.info.dbname} {number}'")
    connection.execute("insert into parent values (1005, 'between')")
    connection.execute(f"commit prepared 'two phases {connection.info.dbname} 0'")
    connection.execute(f"rollback prepared 'two phases {connection.info.dbname} 1'")
