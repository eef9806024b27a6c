"""Statements, DDL and error classes, as text and tables: no server."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from apply.sink_kinds.relational.difference import difference
from apply.sinks.postgresql.catalog import TargetColumn, TargetTable, UniqueIndex
from apply.sinks.postgresql.compatibility import holds
from apply.sinks.postgresql.ddl import (
    Alteration,
    Spelling,
    create_table,
    create_type,
    mapped_type,
    shortened,
)
from apply.sinks.postgresql.errors import classify, is_row_error
from apply.sinks.postgresql.names import literal, quoted
from apply.sinks.postgresql.preparation import problems_of, unfit_for_all
from apply.sinks.postgresql.statements import TablePlan
from schemas.errors import ErrorKind
from schemas.table import Column, GeneratedColumn, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType

INT64 = LogicalType(Family.INT64)
STRING = LogicalType(Family.STRING)

ORDERS = TableSchema(
    TableName("shop", "orders"),
    (
        Column("id", INT64, "bigint", nullable=False, number=1),
        Column("code", STRING, "character(8)", default="''::bpchar", number=2),
        Column("tags", LogicalType(Family.TEXT), "text[]", number=3),
    ),
    (0, 1),
    generated=(GeneratedColumn("twice", "bigint", "(id * 2)", 1),),
)
SPELLING = Spelling({"bigint": "bigint", "character(8)": "character(8)", "text[]": "text[]", "text": "text"}, {})


def target_of(*columns: tuple[str, str, str], key: frozenset[str] | None = None) -> TargetTable:
    """Return a target's table with columns of (name, type, base type)."""
    found = {
        name: TargetColumn(name, type_, base, not_null=False, has_default=False, generated=False, identity="")
        for name, type_, base in columns
    }
    unique = (UniqueIndex(key, immediate=True, primary=True),) if key else ()
    return TargetTable(ORDERS.name, 1, "table", found, unique, acts_on_delete=False)


TARGET = target_of(
    ("id", "bigint", "int8"),
    ("code", "character(8)", "bpchar"),
    ("tags", "text[]", "_text"),
    key=frozenset({"id", "code"}),
)


def test_the_statements_of_a_table() -> None:
    plan = TablePlan(ORDERS, TARGET)
    assert plan.create_stage("s1") == "create temporary table s1 (part bigint, c0 bigint, c1 text, c2 text)"
    assert plan.delete("s1", 3) == (
        'delete from "shop"."orders" t using s1 s where s.part = 3 and t."id" = s.c0::bigint '
        'and t."code" = s.c1::bpchar'
    )
    assert plan.upsert("s1", 4) == (
        'insert into "shop"."orders" ("id", "code", "tags") overriding system value '
        "select s.c0, s.c1, s.c2::text[] from s1 s where s.part = 4 order by s.c0, s.c1 "
        'on conflict ("id", "code") do update set "tags" = excluded."tags"'
    )
    assert plan.update("s1", 5, plan.others) == (
        'update "shop"."orders" t set "tags" = s.c2::text[] from s1 s where s.part = 5 and t."id" = s.c0::bigint '
        'and t."code" = s.c1::bpchar'
    )
    assert not plan.is_direct


def test_without_a_unique_index_rows_are_updated_and_then_the_missing_ones_inserted() -> None:
    plan = TablePlan(ORDERS, replace(TARGET, unique=()))
    update, insert = plan.upsert("s1", 4).split("; ")
    assert update == plan.update("s1", 4, plan.others)
    assert insert.endswith(
        'and not exists (select from "shop"."orders" t where t."id" = s.c0::bigint and t."code" = s.c1::bpchar)'
    )


def test_a_table_is_created_with_everything_but_indexes_and_foreign_keys() -> None:
    (text,) = create_table(ORDERS, '"shop"."orders"', SPELLING)
    assert text.splitlines() == [
        'create table "shop"."orders" (',
        '    "id" bigint not null,',
        '    "twice" bigint generated always as ((id * 2)) stored,',
        "    \"code\" character(8) default ''::bpchar not null,",
        '    "tags" text[],',
        '    primary key ("id", "code")',
        ")",
    ]


def test_a_rename_is_told_from_a_drop_and_an_add_by_the_columns_number() -> None:
    renamed = replace(ORDERS, version=2, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], name="labels")))
    change = difference(ORDERS, renamed)
    assert (change.renamed, change.dropped, change.added) == ([("tags", "labels")], [], [])
    without = tuple(replace(column, number=0) for column in renamed.columns)
    change = difference(ORDERS, replace(renamed, columns=without))
    assert (change.renamed, change.dropped) == ([], ["tags"])
    assert [column.name for column in change.added] == ["labels"]


def test_columns_can_swap_their_names() -> None:
    one, two, three = ORDERS.columns
    swapped = replace(
        ORDERS, version=2, key=(0,), columns=(one, replace(two, name="tags"), replace(three, name="code"))
    )
    statements = Alteration(swapped, difference(ORDERS, swapped), TARGET, "orders_pkey").statements(SPELLING)
    alter = 'alter table "shop"."orders"'
    assert statements == [
        f'{alter} drop constraint "orders_pkey"',
        f'{alter} rename column "code" to tailrace_renamed_0',
        f'{alter} rename column "tags" to tailrace_renamed_1',
        f'{alter} rename column tailrace_renamed_0 to "tags"',
        f'{alter} rename column tailrace_renamed_1 to "code"',
        f'{alter} alter column "tags" drop not null',
        f'{alter} add primary key ("id")',
    ]


def test_a_column_is_added_under_a_name_that_another_one_had() -> None:
    one, two, three = ORDERS.columns
    columns = (one, replace(two, name="tags"), replace(three, name="code", number=9, filling=None, default=None))
    changed = replace(ORDERS, version=2, key=(0,), columns=columns)
    statements = Alteration(changed, difference(ORDERS, changed), TARGET, None).statements(SPELLING)
    alter = 'alter table "shop"."orders"'
    assert statements[:4] == [
        f'{alter} drop column "tags"',
        f'{alter} rename column "code" to tailrace_renamed_0',
        f'{alter} rename column tailrace_renamed_0 to "tags"',
        f'{alter} add column "code" text[]',
    ]


def test_equal_versions_need_no_statement() -> None:
    assert Alteration(ORDERS, difference(ORDERS, ORDERS), TARGET, "orders_pkey").statements(SPELLING) == []


def test_user_types_as_text() -> None:
    enum = UserType("shop", "mood", "enum", ("it's", "b\\"))
    assert create_type(enum, '"shop"."mood"', {}) == """create type "shop"."mood" as enum ('it''s', E'b\\\\')"""
    assert create_type(replace(enum, kind="extension"), "x", {}) is None
    domain = UserType(
        "shop", "d", "domain", definition="""public.mood default 'public.x' check (value <> "Odd ""S".f(1))"""
    )
    assert create_type(domain, "d", {"public": "replica", 'Odd "S': "s"}) == (
        """create domain d as "replica".mood default 'public.x' check (value <> "s".f(1))"""
    )


@pytest.mark.parametrize(
    ("native", "mapped"),
    [
        ("shop.mood", '"b ""c".mood'),
        ('"shop".mood[]', '"b ""c".mood[]'),
        ("numeric(12,2)", "numeric(12,2)"),
        ("other.mood", "other.mood"),
        ('"Shop".mood', '"Shop".mood'),
    ],
)
def test_a_types_schema_is_mapped(native: str, mapped: str) -> None:
    assert mapped_type(native, {"shop": 'b "c'}) == mapped


def test_long_names_are_cut_between_characters() -> None:
    name = shortened("é" * 40, "_identity")
    assert name == "é" * 27 + "_identity"
    assert len(name.encode()) == 63


@pytest.mark.parametrize(
    ("type_", "native", "target", "base", "fits"),
    [
        (INT64, "bigint", "bigint", "int8", True),
        (INT64, "bigint", "integer", "int4", False),
        (LogicalType(Family.INT16), "smallint", "numeric(5,0)", "numeric", True),
        (LogicalType(Family.INT16), "smallint", "numeric(5,1)", "numeric", False),
        (LogicalType(Family.UINT64), "numeric(20,0)", "numeric(20,0)", "numeric", True),
        (STRING, "character varying(20)", "varchar(20)", "varchar", True),
        (STRING, "varchar(20)", "character varying(19)", "varchar", False),
        (STRING, "text", "character varying", "varchar", True),
        (STRING, "text", "character varying(9)", "varchar", False),
        (LogicalType(Family.DECIMAL, 12, 2), "numeric(12,2)", "numeric(12, 2)", "numeric", True),
        (LogicalType(Family.DECIMAL, 12, 2), "numeric(12,2)", "numeric(12,3)", "numeric", False),
        (LogicalType(Family.DECIMAL, 12, 2), "numeric(12,2)", "numeric", "numeric", True),
        (LogicalType(Family.NUMERIC), "numeric", "numeric(1000,500)", "numeric", False),
        (LogicalType(Family.TIMESTAMP), "timestamp without time zone", "timestamp", "timestamp", True),
        (LogicalType(Family.TIMESTAMPTZ), "timestamptz", "timestamp(3) with time zone", "timestamptz", False),
        (LogicalType(Family.TIMESTAMP), "timestamp(3)", "timestamp without time zone", "timestamp", True),
        (LogicalType(Family.TIMESTAMP), "timestamp without time zone", "timestamp(6)", "timestamp", True),
        (LogicalType(Family.TIME), "time without time zone", "time(6) without time zone", "time", True),
        (LogicalType(Family.TIME), "time without time zone", "time(3) without time zone", "time", False),
        (LogicalType(Family.TEXT), "public.hstore", "ext.hstore", "hstore", True),
        (LogicalType(Family.TEXT), "integer[]", "bigint[]", "_int8", False),
        (LogicalType(Family.TEXT), "inet", "text", "text", True),
        (LogicalType(Family.JSON), "json", "jsonb", "jsonb", True),
        (LogicalType(Family.BOOLEAN), "boolean", "smallint", "int2", False),
    ],
)
def test_whether_a_target_column_holds_every_value(
    type_: LogicalType, native: str, target: str, base: str, fits: bool
) -> None:
    column = TargetColumn("c", target, base, not_null=False, has_default=False, generated=False, identity="")
    assert holds(Column("c", type_, native), native, column) is fits


def test_problems_name_the_columns() -> None:
    target = target_of(("id", "integer", "int4"), ("tags", "text[]", "_text"))
    problems = problems_of(ORDERS, target, {})
    assert problems == [
        "column 'id' is integer at the target, too narrow for bigint",
        "column 'code' is missing at the target",
    ]


def test_names_and_literals_are_quoted() -> None:
    assert quoted('a"b') == '"a""b"'
    assert literal("it's") == "'it''s'"
    assert literal("a\\'") == "E'a\\\\'''"


@pytest.mark.parametrize(
    ("error", "kind", "of_row"),
    [
        (psycopg.errors.UniqueViolation(), ErrorKind.ROW_CONFLICT, True),
        (psycopg.errors.ForeignKeyViolation(), ErrorKind.ROW_CONFLICT, True),
        (psycopg.errors.NotNullViolation(), ErrorKind.ROW_REJECTED, True),
        (psycopg.errors.StringDataRightTruncation(), ErrorKind.ROW_REJECTED, True),
        (psycopg.errors.RaiseException(), ErrorKind.ROW_REJECTED, True),
        (psycopg.errors.DeadlockDetected(), ErrorKind.TARGET_THROTTLED, False),
        (psycopg.errors.LockNotAvailable(), ErrorKind.TARGET_THROTTLED, False),
        (psycopg.errors.DiskFull(), ErrorKind.TARGET_THROTTLED, False),
        (psycopg.errors.TooManyConnections(), ErrorKind.TARGET_CONNECTION, False),
        (psycopg.errors.AdminShutdown(), ErrorKind.TARGET_CONNECTION, False),
        (psycopg.errors.CannotConnectNow(), ErrorKind.TARGET_CONNECTION, False),
        (psycopg.OperationalError(), ErrorKind.TARGET_CONNECTION, False),
        (psycopg.errors.InsufficientPrivilege(), ErrorKind.PREREQUISITE, False),
        (psycopg.errors.ReadOnlySqlTransaction(), ErrorKind.TARGET_CONNECTION, False),
        (psycopg.errors.InvalidPassword(), ErrorKind.CONFIGURATION, False),
        (psycopg.errors.UndefinedTable(), ErrorKind.TARGET_SCHEMA, False),
        (psycopg.errors.UndefinedColumn(), ErrorKind.TARGET_SCHEMA, False),
        (psycopg.errors.InternalError_(), ErrorKind.INVARIANT, False),
    ],
)
def test_the_drivers_errors_are_classified_by_code(error: psycopg.Error, kind: ErrorKind, of_row: bool) -> None:
    assert classify(error, "writing").kind is kind
    assert is_row_error(error) is of_row


def test_a_servers_message_is_never_passed_on() -> None:
    error = psycopg.errors.UniqueViolation("Key (email)=(secret@example.com) already exists")
    assert "secret" not in str(classify(error, "writing rows", "shop.people"))


def test_names_that_would_be_cut_off_are_refused() -> None:
    """MySQL's have up to 64 characters, of up to three bytes; mapping rules make longer ones."""
    fits, long = "é" * 31 + "x", "é" * 32
    columns = (Column(fits, INT64, "bigint", nullable=False), Column("v", STRING, "text"))
    table = TableSchema(TableName("s", "t" * 63), columns, (0,))
    assert unfit_for_all(table) == []
    (said,) = unfit_for_all(replace(table, name=TableName("s", "t" * 64)))
    assert said == f"the name '{'t' * 64}' has more than 63 bytes, the most that PostgreSQL keeps of one"
    (said,) = unfit_for_all(replace(table, columns=(columns[0], replace(columns[1], name=long))))
    assert long in said
