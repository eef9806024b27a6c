"""The statements of the Redshift sink, as Redshift's documentation has them: they have not been run there."""

from __future__ import annotations

import pytest

from apply.sinks.redshift.sink import RedshiftSink
from apply.sinks.redshift.statements import TablePlan, copy, csv_text, literal
from apply.sinks.redshift.target import grants
from apply.sinks.redshift.types import NULL, column_type
from schemas.changes import UNCHANGED
from schemas.endpoints.redshift import RedshiftTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from schemas.types.numbers import NAN

TABLE = TableSchema(
    name=TableName("public", "orders"),
    columns=(
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("about", LogicalType(Family.JSON), "jsonb"),
        Column("amount", LogicalType(Family.DECIMAL, precision=12, scale=2), "numeric(12,2)"),
    ),
    key=(0,),
)
NAME = TableName("shop", "orders")


@pytest.mark.parametrize(
    ("role", "region", "said"),
    [
        ("default", None, "iam_role default "),
        ("arn:aws:iam::1:role/copy", "eu-west-1", "iam_role 'arn:aws:iam::1:role/copy' region 'eu-west-1' "),
    ],
)
def test_a_file_is_copied_by_a_role(role: str, region: str | None, said: str) -> None:
    assert copy("stage", "s3://bucket/it's.csv.gz", role, region) == (
        f"copy stage from 's3://bucket/it''s.csv.gz' {said}format as csv null as '{NULL}' gzip "
        "dateformat 'auto' timeformat 'auto' compupdate off statupdate off"
    )


def test_backslashes_in_literals_are_doubled() -> None:
    assert literal("a\\'b") == "'a\\\\''b'"


def test_whole_rows_replace_what_has_their_keys() -> None:
    plan = TablePlan(TABLE, NAME, {"id", "about", "amount"})
    assert plan.create() == (
        'create table if not exists "shop"."orders" ("id" bigint not null, "about" super, "amount" numeric(12,2), '
        'primary key ("id"))'
    )
    assert plan.create_stage("s1") == (
        "create temporary table s1 (part integer, c0 bigint, c1 character varying(65535), c2 numeric(12,2))"
    )
    assert plan.merge("s1", deletes=True, wholes=True, parts=[(0, 2)]) == [
        'delete from "shop"."orders" using s1 s where s.part <= 1 and "shop"."orders"."id" = s.c0',
        (
            'insert into "shop"."orders" ("id", "about", "amount") select s.c0, json_parse(s.c1), s.c2 from s1 s '
            "where s.part = 1"
        ),
        'update "shop"."orders" set "amount" = s.c2 from s1 s where s.part = 2 and "shop"."orders"."id" = s.c0',
    ]


def test_columns_that_only_the_target_has_stay() -> None:
    plan = TablePlan(TABLE, NAME, {"id", "about", "amount", "note"})
    assert plan.merge("s1", deletes=False, wholes=True, parts=[]) == [
        (
            'update "shop"."orders" set "about" = json_parse(s.c1), "amount" = s.c2 from s1 s '
            'where s.part = 1 and "shop"."orders"."id" = s.c0'
        ),
        (
            'insert into "shop"."orders" ("id", "about", "amount") select s.c0, json_parse(s.c1), s.c2 from s1 s '
            'where s.part = 1 and not exists (select 1 from "shop"."orders" where "shop"."orders"."id" = s.c0)'
        ),
    ]


def test_lines_tell_null_from_empty_and_refuse_what_no_column_holds() -> None:
    plan = TablePlan(TABLE, NAME)
    assert csv_text([plan.line(1, (7, '{"a": 1}', -5)), plan.line(2, (8, UNCHANGED, None))]) == (
        f'"1","7","{{""a"": 1}}","-0.05"\n"2","8",{NULL},{NULL}\n'
    )
    assert csv_text([["", " a\rb "]]) == '""," a\rb "\n', "without quotes a carriage return ends a line"
    for row in ((7, "{", 1), (7, "[NaN]", 1), (7, '"\ud800"', 1), (7, None, NAN), (7, '"' + "x" * 65_535, 1)):
        with pytest.raises(ValueError) as caught:
            plan.line(1, row)
        assert type(caught.value) is not UnicodeEncodeError, "it quotes what cannot be encoded"


def test_rows_longer_than_copy_reads_are_refused() -> None:
    texts = tuple(Column(f"c{place}", LogicalType(Family.STRING), "text") for place in range(62))
    plan = TablePlan(TableSchema(TABLE.name, (TABLE.columns[0], *texts), (0,)), NAME)
    assert plan.line(1, (1, *["x" * 60_000] * 62))
    with pytest.raises(ValueError, match="4000000"):
        plan.line(1, (1, *["x" * 65_000] * 62))


def test_keys_that_differ_in_blanks_at_their_end_are_two() -> None:
    table = TableSchema(TABLE.name, (Column("code", LogicalType(Family.STRING, length=5), "text"),), (0,))
    assert TablePlan(table, NAME).merge("s1", deletes=True, wholes=False, parts=[]) == [
        (
            'delete from "shop"."orders" using s1 s where s.part <= 0 and "shop"."orders"."code" = s.c0 '
            'and length("shop"."orders"."code") = length(s.c0)'
        )
    ]


def test_a_file_that_no_client_could_write_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    section = {"engine": "redshift", "host": "h", "database": "d", "user": "u", "bucket_name": "bucket"}
    sink = RedshiftSink("shop", "warehouse", RedshiftTarget.model_validate(section))

    def refuse(*_: object) -> None:
        raise TailraceError(ErrorKind.CONFIGURATION, "no region")

    monkeypatch.setattr("apply.aws.client", refuse)
    with pytest.raises(TailraceError, match="no region"):
        sink._put("key", b"")
    sink.rollback()


@pytest.mark.parametrize(
    ("type_", "definition"),
    [
        (LogicalType(Family.STRING, length=20), "character varying(80)"),
        (LogicalType(Family.STRING, length=60_000), "character varying(65535)"),
        (LogicalType(Family.STRING), "character varying(65535)"),
        (LogicalType(Family.DECIMAL, precision=38, scale=10), "numeric(38,10)"),
        (LogicalType(Family.DECIMAL, precision=39, scale=0), "character varying(65535)"),
        (LogicalType(Family.UINT64), "numeric(20,0)"),
        (LogicalType(Family.BYTES), "character varying(65535)"),
        (LogicalType(Family.JSON), "super"),
    ],
)
def test_types_are_those_of_redshift(type_: LogicalType, definition: str) -> None:
    assert column_type(Column("c", type_, "")).definition == definition


def test_names_that_redshift_does_not_tell_apart_are_refused() -> None:
    columns = (TABLE.columns[0], Column("ID", LogicalType(Family.STRING), "text"))
    with pytest.raises(TailraceError, match="capitals"):
        TablePlan(TableSchema(TABLE.name, columns, (0,)), NAME)


def test_grants_are_printed_as_they_can_be_run() -> None:
    document = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "127.0.0.1:1"},
        "source": {"engine": "postgresql", "host": "h", "database": "d", "user": "u", "tables": ["public.*"]},
        "targets": {
            "warehouse": {"engine": "redshift", "host": "h", "database": "d", "user": "u", "bucket_name": "shop"}
        },
    }
    statements = [line for line in grants(Settings.model_validate(document), "warehouse", [TABLE]) if line[0] != "{"]
    assert statements
    assert all(line.endswith(";") for line in statements)
