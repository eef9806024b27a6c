"""Domains and composites that the target has already hold what the source's hold, or are refused; ours are followed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apply.sink import TableBatch
from apply.sinks.postgresql.findings import findings
from apply.sinks.postgresql.sink import PostgresqlSink
from apply.sinks.postgresql.user_types import Part, parts
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType
from tests.kit.servers import Database

PRICE = UserType("public", "price", "domain", definition="numeric(12,4) not null constraint above check ((value > 0))")
PLACE = UserType("public", "place", "composite", definition='street text, "the, city" character varying(20)')
ITEMS = TableSchema(
    TableName("public", "items"),
    (
        Column("id", LogicalType(Family.INT32), "integer", nullable=False, number=1),
        Column("price", LogicalType(Family.DECIMAL, precision=12, scale=4), "public.price", number=2),
        Column("at", LogicalType(Family.TEXT), "public.place", number=3),
    ),
    (0,),
    user_types=(PRICE, PLACE),
)


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("domain price as numeric(12,2)", "too narrow for numeric(12,4)"),
        ("domain price as numeric(11,4)", "too narrow"),
        ("domain price as integer", "too narrow"),
        ("type price as enum ('a')", "is of kind enum at the target"),
        ('type place as (street text, "the, city" varchar(10))', "too narrow for character varying(20)"),
        ('type place as (street text, "the, city" text, zip text)', "in another place at the target, or too many"),
        ('type place as ("the, city" text, street integer)', "in another place"),
        ("domain price as numeric(20,4)", None),
        ("domain price as numeric", None),
        ("type place as (a text, b text)", None),
        ("type place as (street text)", None),
    ],
)
def test_a_type_that_is_there_holds_every_value_or_is_refused(
    sink: PostgresqlSink, target_database: Database, definition: str, said: str | None
) -> None:
    """PostgreSQL rounds to a domain's or an attribute's scale without a word."""
    target_database.execute(f"create {definition}")
    target = PostgresqlTarget.model_validate(target_database.target_settings)
    found = [one.message for one in findings("shop", "replica", target, [ITEMS]) if one.code == "target-type"]
    if said is None:
        assert found == []
        sink.prepare(ITEMS)
        assert sink.apply(TableBatch(ITEMS, upserts=[(1, 12345, '(a,"b c")')])) == []
        sink.flush()
        assert target_database.rows("select price::text, at::text from items") == [("1.2345", '(a,"b c")')]
        return
    (message,) = found
    assert said in message
    with pytest.raises(TailraceError) as caught:
        sink.prepare(ITEMS)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert said in caught.value.message


def test_a_composite_follows_its_source(sink: PostgresqlSink, target_database: Database) -> None:
    version = 1
    sink.prepare(ITEMS)
    assert sink.apply(TableBatch(ITEMS, upserts=[(1, 10_000, "(a,b)"), (2, 10_000, None)])) == []
    sink.flush()
    for definition, value, others in (
        ('street text, "the, city" character varying(20), zip numeric(5,0)', "(c,d,5)", "(a,b,)"),
        ("street text, town character varying(20), zip numeric(5,0)", "(c,d,6)", "(a,b,)"),
        ("street text, zip numeric(5,0)", "(c,7)", "(a,)"),
        ("zip numeric(5,0), more text", "(8,x)", "(,)"),
    ):
        version += 1
        table = replace(ITEMS, version=version, user_types=(PRICE, replace(PLACE, definition=definition)))
        sink.prepare(table)
        assert sink.apply(TableBatch(table, upserts=[(3, 20_000, value)])) == []
        sink.flush()
        assert target_database.rows("select at::text from items order by id") == [(others,), (None,), (value,)]


def test_a_composite_is_followed_by_whichever_table_comes_first(
    sink: PostgresqlSink, target_database: Database
) -> None:
    """A new table was refused, and `plan` stopped, where the old one was not there yet."""
    sink.prepare(ITEMS)
    shorter = replace(ITEMS, version=2, user_types=(PRICE, replace(PLACE, definition="street text")))
    target = PostgresqlTarget.model_validate(target_database.target_settings)
    assert [one.message for one in findings("shop", "replica", target, [shorter]) if one.code == "target-type"] == []
    other = replace(shorter, name=TableName("public", "others"), version=1)
    sink.prepare(other)
    sink.prepare(shorter)
    assert sink.apply(TableBatch(other, upserts=[(1, 10_000, "(a)")])) == []
    assert sink.apply(TableBatch(shorter, upserts=[(1, 10_000, "(b)")])) == []
    sink.flush()
    assert target_database.rows("select at::text from items union all select at::text from others") == [
        ("(b)",),
        ("(a)",),
    ]


def test_definitions_are_taken_apart() -> None:
    odd = UserType(
        "s", "t", "composite", definition='a numeric(10,2), "b ""c"", d" s."x,y"[], e timestamp(3) without time zone'
    )
    assert [*parts(odd)] == [
        Part("a", "numeric(10,2)"),
        Part('b "c", d', 's."x,y"[]'),
        Part("e", "timestamp(3) without time zone"),
    ]
    assert [*parts(PRICE)] == [Part("", "numeric(12,4)")]
