"""Tables are made as the source has them, and follow its schema changes."""

from __future__ import annotations

import time
from dataclasses import replace

import psycopg
import pytest

from apply.sink import TableBatch
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.cutover import statements
from apply.sinks.postgresql.findings import findings, grants
from apply.sinks.postgresql.sink import PostgresqlSink
from schemas.changes import UNCHANGED
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Severity
from schemas.policies import ExistingTables
from schemas.table import Column, ForeignKey, GeneratedColumn, Index, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType
from tests.integration.postgresql_sink.conftest import OpenSink
from tests.kit.servers import Database
from tests.kit.shards import KEPT, fill
from tests.unit.apply.test_mapped_sink import EAST, SHARDED, WEST

pytestmark = pytest.mark.integration

INT32 = LogicalType(Family.INT32)
STRING = LogicalType(Family.STRING)

ODD = TableSchema(
    TableName('Odd "schema".', 'täble "x"; drop'),
    (
        Column("select", INT32, "integer", nullable=False, identity="always", number=1),
        Column('a "b"', STRING, "character varying(20)", default="'it''s'::character varying", number=2),
        Column("🎉", LogicalType(Family.ENUM), '"Odd ""schema""."."Mood"', default="'so so'", number=3),
        Column("C", STRING, "text", collation='pg_catalog."C"', nullable=False, number=4),
        Column("tags", LogicalType(Family.TEXT), "text[]", default="'{}'::text[]", number=6),
        Column("small", INT32, '"Odd ""schema""."."Small"', number=7),
        Column("lost", INT32, "integer", default="no_such_function()", number=8),
    ),
    (0,),
    generated=(GeneratedColumn("twice", "integer", '("select" * 2)', 4),),
    indexes=(Index("odd index", unique=False, definition="using gin (tags) where (\"C\" > ''::text)"),),
    user_types=(
        UserType('Odd "schema".', "Mood", "enum", ("bad", "so so", "it's")),
        UserType('Odd "schema".', "Small", "domain", definition="integer check (value < 100)"),
    ),
    comment="it's",
)


def columns_of(database: Database, table: str) -> list[tuple[object, ...]]:
    """Read the columns with a client of the test's own."""
    return database.rows(
        "select attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text, attgenerated::text, "
        "pg_get_expr(adbin, adrelid) from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum "
        f"where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped order by attnum"
    )


def test_a_table_is_made_as_the_source_has_it(sink: PostgresqlSink, target_database: Database) -> None:
    sink.prepare(ODD)
    row = (7, "v", "it's", "c", "{a,NULL}", 99, 1)
    assert sink.apply(TableBatch(ODD, upserts=[row, (8, "v", "bad", "c", None, 100, 1)])) != []
    assert sink.apply(TableBatch(ODD, updates=[(7, UNCHANGED, UNCHANGED, "d", "{b}", UNCHANGED, UNCHANGED)])) == []
    sink.flush()
    sink.complete_load(ODD)
    sink.complete_load(ODD)
    name = '"Odd ""schema""."."täble ""x""; drop"'
    assert [(column[0], *column[2:5]) for column in columns_of(target_database, name)] == [
        ("select", True, "d", ""),
        ('a "b"', False, "", ""),
        ("🎉", False, "", ""),
        ("C", True, "", ""),
        ("twice", False, "", "s"),
        ("tags", False, "", ""),
        ("small", False, "", ""),
        ("lost", False, "", ""),
    ]
    target_database.execute(f"insert into {name} (\"C\") values ('next')")
    assert target_database.rows(f'select "select", "🎉"::text, "C", twice, tags from {name} order by 1') == [
        (7, "it's", "d", 14, ["b"]),
        (8, "so so", "next", 16, []),
    ]


ITEMS = TableSchema(
    TableName("public", "items"),
    (
        Column("id", INT32, "integer", nullable=False, number=1),
        Column("name", STRING, "text", nullable=False, number=2),
        Column("size", INT32, "integer", number=3),
        Column("mood", LogicalType(Family.ENUM), "public.mood", number=4),
    ),
    (0,),
    user_types=(UserType("public", "mood", "enum", ("sad", "happy")),),
)
ITEMS_2 = replace(
    ITEMS,
    version=2,
    columns=(
        ITEMS.columns[0],
        replace(ITEMS.columns[1], name="title", nullable=True),
        replace(ITEMS.columns[2], type=LogicalType(Family.INT64), native="bigint", default="5"),
        ITEMS.columns[3],
        Column("added", STRING, "text", nullable=False, default="'filled'::text", number=5),
        Column("bare", STRING, "text", nullable=False, number=6),
    ),
    generated=(GeneratedColumn("double", "bigint", "(size * 2)", 6),),
    user_types=(UserType("public", "mood", "enum", ("awful", "sad", "fine", "happy")),),
)
ITEMS_3 = replace(
    ITEMS_2,
    version=3,
    columns=(
        ITEMS_2.columns[0],
        replace(ITEMS_2.columns[1], name="added", nullable=False),
        replace(ITEMS_2.columns[4], name="title"),
    ),
    key=(0, 1),
    generated=(),
)


def test_a_table_follows_its_source(sink: PostgresqlSink, target_database: Database) -> None:
    sink.prepare(ITEMS)
    assert sink.apply(TableBatch(ITEMS, upserts=[(1, "one", 10, "sad")])) == []
    sink.flush()
    sink.prepare(ITEMS_2)
    assert sink.apply(TableBatch(ITEMS_2, upserts=[(2, None, 1 << 40, "fine", "a", "b")])) == []
    sink.flush()
    assert target_database.rows("select id, title, size, mood::text, added, bare, double from items order by id") == [
        (1, "one", 10, "sad", "filled", None, 20),
        (2, None, 1 << 40, "fine", "a", "b", 1 << 41),
    ]
    assert target_database.rows("select enum_range(null::mood)::text") == [("{awful,sad,fine,happy}",)]
    target_database.execute("update items set title = 'two' where id = 2")
    sink.prepare(ITEMS_3)
    assert sink.apply(TableBatch(ITEMS_3, upserts=[(2, "two", "z")], deletes=[(1, "one")])) == []
    sink.flush()
    assert target_database.rows("select id, added, title from items") == [(2, "two", "z")]
    assert [column[0] for column in columns_of(target_database, "items")] == ["id", "added", "title"]


@pytest.mark.parametrize(
    ("engine", "native", "default"),
    [("postgresql", "text", "public.only_at_the_source()"), ("mysql", "datetime", "'0000-00-00 00:00:00'")],
)
def test_a_default_that_is_refused_takes_no_other_with_it(
    sink: PostgresqlSink, target_database: Database, engine: str, native: str, default: str
) -> None:
    """Rows that were there had null for all, and so had rows that others add to the target."""
    refused = LogicalType(Family.STRING if native == "text" else Family.TIMESTAMP)

    def columns(prefix: str, number: int) -> tuple[Column, ...]:
        return (
            Column(f"{prefix}_ten", INT32, "integer", default="10", number=number),
            Column(f"{prefix}_refused", refused, native, default=default, number=number + 1),
            Column(f"{prefix}_note", STRING, "text", nullable=False, default="'it''s'", number=number + 2),
            Column(f"{prefix}_more", refused, native, nullable=False, default=default, number=number + 3),
        )

    name, key = TableName("public", "refused"), Column("id", INT32, "integer", nullable=False, number=1)
    first = TableSchema(name, (key, *columns("a", 2)), (0,), engine=engine)
    sink.prepare(first)
    target_database.execute("insert into refused (id, a_more) values (1, now())")
    sink.prepare(replace(first, version=2, columns=(*first.columns, *columns("b", 6))))
    kept = "select a_ten, a_refused, a_note, b_ten, b_refused, b_note, b_more from refused"
    assert target_database.rows(kept) == [(10, None, "it's", 10, None, "it's", None)]


def test_a_missing_type_stops_the_table_with_a_remedy(sink: PostgresqlSink) -> None:
    table = replace(ITEMS, columns=(*ITEMS.columns, Column("g", LogicalType(Family.TEXT), "public.geometry(Point)")))
    with pytest.raises(TailraceError) as caught:
        sink.prepare(table)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert caught.value.remedy
    sink.prepare(ITEMS)


def test_a_table_that_somebody_dropped_is_not_made_empty_again(sink: PostgresqlSink, target_database: Database) -> None:
    sink.prepare(ITEMS)
    target_database.execute("drop table items")
    with pytest.raises(TailraceError) as caught:
        sink.prepare(ITEMS)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    sink.prepare(replace(ITEMS, name=TableName("public", "others")))
    sink.drop(replace(ITEMS, name=TableName("public", "others")))
    sink.prepare(replace(ITEMS, name=TableName("public", "others")))


def test_values_of_a_column_that_somebody_dropped_are_not_left_out(
    sink: PostgresqlSink, target_database: Database
) -> None:
    sink.prepare(ITEMS)
    row = (1, "one", 1, "happy")
    assert sink.apply(TableBatch(ITEMS, upserts=[row])) == []
    sink.flush()
    lost = ITEMS.columns[-1].name
    target_database.execute(f"alter table items drop column {lost}")
    # With the plan that it had, and with one of its own.
    for _ in range(2):
        with pytest.raises(TailraceError, match=f"lacks '{lost}'") as caught:
            sink.apply(TableBatch(ITEMS, upserts=[row]))
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        sink.rollback()
    # The source drops it, too.
    sink.prepare(later := replace(ITEMS, columns=ITEMS.columns[:-1], version=ITEMS.version + 1))
    assert sink.apply(TableBatch(later, upserts=[row[:-1]])) == []


def test_schemas_are_mapped_with_their_types(open_sink: OpenSink, target_database: Database) -> None:
    sink = open_sink(schema_map={"public": "Copy of public"})
    sink.prepare(ITEMS)
    assert sink.apply(TableBatch(ITEMS, upserts=[(1, "one", 10, "sad")], fresh=True)) == []
    sink.flush()
    assert target_database.rows('select name, mood::text from "Copy of public".items') == [("one", "sad")]
    assert target_database.rows("select to_regtype('public.mood') is null") == [(True,)]


def test_an_identity_that_is_no_primary_key_serves_merges(sink: PostgresqlSink, target_database: Database) -> None:
    index = Index("items_name_id", unique=True, definition="using btree (name, id)")
    table = replace(ITEMS, key=(1, 0), primary_key=False, indexes=(index,))
    sink.prepare(table)
    for size in (1, 2):
        assert sink.apply(TableBatch(table, upserts=[(1, "one", size, None)])) == []
        sink.flush()
    sink.complete_load(table)
    assert target_database.rows("select id, size from items") == [(1, 2)]
    assert target_database.rows("select indexname from pg_indexes where tablename = 'items'") == [("items_name_id",)]


def test_the_printed_grants_are_enough_and_findings_say_what_lacks(
    open_sink: OpenSink, target_database: Database
) -> None:
    role = f"apply_{target_database.name}"
    name = target_database.name
    target_database.execute(
        f"create role {role} login password 'secret'",
        f"revoke all on database {name} from public",
        f"grant connect on database {name} to {role}",
        "create schema shop",
        "create table shop.items (id int primary key)",
    )
    table = replace(ITEMS, name=TableName("shop", "items"))
    other = replace(ITEMS, name=TableName("shop", "others"))
    target = PostgresqlTarget.model_validate(
        {**target_database.settings, "user": role, "password": "secret"}  # a role of the test's own database
    )
    try:
        before = findings("shop", "replica", target, [table, other])
        codes = {finding.code for finding in before if finding.severity is Severity.BLOCKS}
        assert codes == {"target-temporary", "target-schema-rights", "target-schema-missing", "target-table-rights"}, (
            before
        )
        assert all(finding.remedy for finding in before if finding.severity is not Severity.NOTE)
        target_database.execute("drop table shop.items", *grants(target, ["shop", "public"]))
        assert findings("shop", "replica", target, [table, other]) == []
        sink = open_sink(user=role, password="secret")
        sink.prepare(other)
        assert sink.apply(TableBatch(other, upserts=[(1, "one", 10, "sad")])) == []
        sink.flush()
        sink.truncate([other])
        sink.flush()
        sink.complete_load(other)
        # One that somebody else has made, with its index: nothing is left to do that only its owner may.
        index = Index("items_name", unique=False, definition="using btree (name)")
        target_database.execute(
            "create table shop.items (id int primary key, name text not null, price numeric(10,2), mood text)",
            "create index items_name on shop.items (name)",
            f"grant select, insert, update, delete, truncate on shop.items to {role}",
        )
        sink.complete_load(replace(table, foreign_keys=(), indexes=(index,)))
        sink.flush()
        sink.close()
    finally:
        target_database.execute(f"drop owned by {role} cascade", f"drop role {role}")


def test_tables_that_are_completed_together_keep_no_writer_waiting_for_what_he_holds(
    open_sink: OpenSink, target_database: Database
) -> None:
    first, second = (
        replace(
            ITEMS,
            name=TableName("public", name),
            indexes=(Index(f"{name}_name", unique=False, definition="using btree (name)"),),
        )
        for name in ("first", "second")
    )
    sink = open_sink(lock_timeout_s=300)
    assert sink.prepare_all([first, second]) == [True, True]
    with psycopg.connect(target_database.dsn) as writer:
        writer.execute("insert into second values (1, 'x', 1, 'sad')")
        began = time.monotonic()
        with pytest.raises(TailraceError) as caught:
            sink.complete_all([first, second])
        assert caught.value.kind is ErrorKind.TARGET_THROTTLED
        # Long before the lock's time-out, and before a deadlock is looked for: he may want the first one next.
        assert time.monotonic() - began < 150
        writer.execute("set lock_timeout = '5s'")
        sink.rollback()
        writer.execute("insert into first values (1, 'x', 1, 'sad')")
    sink.complete_all([first, second])
    sink.flush()
    assert target_database.rows("select indexname from pg_indexes where indexname ~ '_name$' order by 1") == [
        ("first_name",),
        ("second_name",),
    ]


def test_an_unreachable_target_is_a_finding(target_database: Database) -> None:
    target = PostgresqlTarget.model_validate({**target_database.settings, "password": "wrong", "user": "nobody"})
    (found,) = findings("shop", "replica", target, [ITEMS])
    assert found.severity is Severity.BLOCKS
    assert "wrong" not in f"{found.message}{found.remedy}"


def test_what_is_left_to_do_before_applications_write_is_printed(
    sink: PostgresqlSink, target_database: Database
) -> None:
    parents = TableSchema(
        TableName("public", "parents"),
        (Column("id", LogicalType(Family.INT64), "bigint", nullable=False, identity="always"),),
        (0,),
    )
    asks = "nextval('public.\"It''s\"'::regclass)"
    children = TableSchema(
        TableName("public", "children"),
        (
            Column("id", LogicalType(Family.INT64), "bigint", nullable=False, from_sequence=asks),
            Column("code", STRING, "text", nullable=False, from_sequence=f"('A'::text || {asks})"),
            Column("parent", LogicalType(Family.INT64), "bigint"),
        ),
        (0,),
        foreign_keys=(ForeignKey("of", ("parent",), parents.name, ("id",), on_delete="cascade"),),
    )
    for table, row in ((parents, (7,)), (children, (5, "A1", 7))):
        sink.prepare(table)
        assert sink.apply(TableBatch(table, upserts=[row])) == []
        sink.flush()
        sink.complete_load(table)
        sink.flush()
    target_database.execute("alter table children alter code drop not null")
    section = PostgresqlTarget(**target_database.target_settings)
    link = Link(section, "cutover")
    try:
        printed = statements(link, section, [parents, children])
        # As often as one likes.
        target_database.execute(*printed, *statements(link, section, [parents, children]))
    finally:
        link.discard()
    target_database.execute(
        "insert into parents default values", "insert into children (parent) values (8)", "delete from parents"
    )
    assert target_database.rows("select * from children") == []
    target_database.execute("insert into parents default values", "insert into children (parent) values (9)")
    ((identifier, code, parent),) = target_database.rows("select * from children")
    assert (code in ("A8", "A9"), parent) == (True, 9)
    assert isinstance(identifier, int)
    assert identifier > 5


THINGS = TableSchema(
    TableName("public", "things"),
    (
        Column("id", INT32, "integer", nullable=False),
        Column("n", INT32, "integer"),
        Column("t", STRING, "character varying(10)", collation='public."dull"'),
        Column("j", LogicalType(Family.JSON), "json"),
    ),
    (0,),
)
EXISTING = {
    "create table things (id bigint primary key, n numeric, t text, j text)": set(),
    "create table things (id int primary key, n int, t varchar(10), j jsonb, more int, other int not null default 7)": {
        "target-table-json"
    },
    "create table things (id int primary key, t text)": {"target-table-columns"},
    "create table things (id int, n int, t text, j json)": {"target-table-key"},
    "create table things (id int primary key, n smallint, t text, j json)": {"target-table-shape"},
    "create table things (id int primary key, n int, t varchar(9), j json)": {"target-table-shape"},
    "create table things (id int primary key, n int not null, t text, j json)": {"target-table-shape"},
    "create table things (id int primary key, n int, t text, j json, more int not null)": {"target-table-shape"},
    "create table things (id int primary key, n int generated always as (1) stored, t text, j json)": {
        "target-table-shape"
    },
    "create view things as select 1 as id": {"target-table-kind"},
    "create table things (id int primary key, n int, t text, j json); insert into things values (9)": {
        "target-table-rows"
    },
}


@pytest.mark.parametrize(("existing", "codes"), EXISTING.items(), ids=range(len(EXISTING)))
def test_plan_tells_beforehand_what_an_existing_table_will_do(
    sink: PostgresqlSink, target_database: Database, existing: str, codes: set[str]
) -> None:
    target_database.execute(existing)
    found = findings("shop", "replica", PostgresqlTarget.model_validate(target_database.target_settings), [THINGS])
    assert {finding.code for finding in found} == codes | {"target-collation"}
    if blocking := [finding for finding in found if finding.severity is Severity.BLOCKS]:
        with pytest.raises(TailraceError) as caught:
            sink.prepare(THINGS)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        # What it says helps.
        target_database.execute(*(str(finding.remedy).partition(", or map")[0] for finding in blocking))
    sink.prepare(THINGS)
    rows = [(1, 2, "three", '{"a":  1}'), (2**31 - 1, None, "ten letter", None)]
    for _ in range(2):
        assert sink.apply(TableBatch(THINGS, upserts=rows)) == []
        sink.flush()
    stored = target_database.rows("select id, n, t from things where id <> 9 order by id")
    assert stored == [row[:3] for row in rows]


def test_a_table_with_one_column_too_many_is_refused_beforehand(
    sink: PostgresqlSink, target_database: Database
) -> None:
    columns = tuple(Column(f"c{n}", INT32, "integer", nullable=n > 0) for n in range(1600))
    table = TableSchema(TableName("public", "wide"), columns, (0,))
    (found,) = findings("shop", "replica", PostgresqlTarget.model_validate(target_database.target_settings), [table])
    assert (found.code, found.severity) == ("target-table-shape", Severity.BLOCKS)
    with pytest.raises(TailraceError) as caught:
        sink.prepare(table)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert target_database.rows("select to_regclass('wide')") == [(None,)]


def test_a_table_is_emptied_without_the_rows_of_others(target_database: Database) -> None:
    target = PostgresqlTarget.model_validate({**target_database.settings, "schema_map": {"b": "public", "a": "public"}})
    columns = (Column("id", INT32, "integer", nullable=False), Column("parent", INT32, "integer"))
    one, other = (TableSchema(TableName(schema, "parents"), columns, (0,)) for schema in "ab")
    child = TableSchema(TableName("a", "children"), columns, (0,))
    target_database.execute(
        "create table parents (id int primary key, parent int)",
        "create table children (id int primary key, parent int references parents on delete cascade)",
        "insert into parents values (1, null), (9, null)",
        "insert into children values (8, 9)",
    )
    sink = PostgresqlSink("shop", "replica", target, existing_tables=ExistingTables.EMPTY)
    try:
        # The child is loaded while its parents are still those that will go.
        for table, rows in ((child, [(1, 1), (2, 1)]), (one, [(1, None)]), (other, [(2, None)])):
            sink.prepare(table)
            assert sink.apply(TableBatch(table, upserts=rows)) == []
            sink.flush()
    finally:
        sink.close()
    assert target_database.rows("select id from children order by 1") == [(1,), (2,)]
    # Written of two tables of the source: what the first one brought is no row of an earlier time.
    assert target_database.rows("select id from parents order by 1") == [(1,), (2,)]
    assert target_database.rows("select confdeltype::text from pg_constraint where contype = 'f'") == [("c",)]


def test_rows_of_an_earlier_version_get_what_a_column_was_filled_with(
    sink: PostgresqlSink, target_database: Database
) -> None:
    """The target's default is another one by now, or none; rows that are there keep theirs."""
    key = Column("id", INT32, "integer", nullable=False, number=1)
    first = TableSchema(TableName("public", "filled"), (key, Column("word", STRING, "text", number=2)), (0,))
    more = (
        Column("note", STRING, "text", number=3, filling="it's"),
        Column("many", LogicalType(Family.TEXT), "integer[]", default="'{1}'::integer[]", number=4, filling="{4,5}"),
    )
    second = replace(first, columns=first.columns + more, version=2)
    keyless = [replace(one, name=TableName("public", "bag"), key=()) for one in (first, second)]
    for one in (second, keyless[1]):
        sink.prepare(one)
    assert sink.apply(TableBatch(second, upserts=[(1, "w", "own", "{}")])) == []
    assert sink.apply(TableBatch(first, upserts=[(1, "later"), (2, "new")])) == []
    assert sink.apply(TableBatch(first, upserts=[(3, "fresh")], fresh=True)) == []
    assert sink.apply(TableBatch(keyless[0], sequence=[("c", None, (5, "x"))])) == []
    # With a unique index two rows that swap values are written anew: the one that was there keeps what it has.
    sink.flush()
    target_database.execute("create unique index on filled (word)")
    assert sink.apply(TableBatch(first, upserts=[(1, "new"), (2, "later"), (4, "fourth")])) == []
    sink.flush()
    assert target_database.rows("select id, word, note, many from filled order by id") == [
        (1, "new", "own", []),
        (2, "later", "it's", [4, 5]),
        (3, "fresh", "it's", [4, 5]),
        (4, "fourth", "it's", [4, 5]),
    ]
    assert target_database.rows("select * from bag") == [(5, "x", "it's", [4, 5])]


def test_tables_that_share_one_have_each_what_it_was_filled_with(
    sink: PostgresqlSink, target_database: Database
) -> None:
    fill(sink, SHARDED, (EAST, WEST))
    found = target_database.rows('select id::text, shard, region from "all".all_customers order by id, shard')
    assert found == KEPT
