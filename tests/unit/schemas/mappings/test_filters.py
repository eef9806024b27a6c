"""Filters: what they take, and how those that do not fit are refused. Against real servers: their snapshots' tests."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.changes import UNCHANGED
from schemas.errors import TailraceError
from schemas.mappings.filters import row_filter
from schemas.mappings.rules import parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from schemas.types.numbers import NAN
from tests.kit.filters import rules, where

NAMES = ("id", "price", "exact", "ratio", "small", "name", "code", "born", "at", "seen", "ok", "tag", "data")
TYPES = (
    (LogicalType(Family.INT64), "bigint"),
    (LogicalType(Family.DECIMAL, 10, 2), "numeric(10,2)"),
    (LogicalType(Family.NUMERIC), "numeric"),
    (LogicalType(Family.FLOAT64), "double precision"),
    (LogicalType(Family.FLOAT32), "real"),
    (LogicalType(Family.STRING), "text"),
    (LogicalType(Family.STRING, length=5), "character(5)"),
    (LogicalType(Family.DATE), "date"),
    (LogicalType(Family.TIMESTAMP), "timestamp without time zone"),
    (LogicalType(Family.TIMESTAMPTZ), "timestamp with time zone"),
    (LogicalType(Family.BOOLEAN), "boolean"),
    (LogicalType(Family.UUID), "uuid"),
    (LogicalType(Family.JSON), "json"),
)
TABLE = TableSchema(
    TableName("test", "employee"),
    tuple(Column(name, *kind) for name, kind in zip(NAMES, TYPES, strict=True)),
    (0,),
)
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


def taken(column: str, value: Any, operator: str, *values: object) -> bool:
    found = row_filter(rules("test", "%", [where(column, operator, *values)]), TABLE)
    assert found is not None
    row = tuple(value if name == column else None for name in NAMES)
    return found.matches(row)


@pytest.mark.parametrize(
    ("column", "inside", "outside", "condition"),
    [
        ("id", [100, 1 << 62], [99, None], ("gte", "100")),
        ("id", [1, 2], [3, None], ("ste", 2.5)),
        ("price", [1050], [1051, NAN, None], ("eq", "10.50")),
        ("price", [1051, NAN], [1050, None], ("noteq", 10.5)),
        ("price", [NAN, 2000], [1050], ("gte", "10.501")),
        ("exact", [Decimal("NaN"), Decimal("Infinity")], [Decimal("1.5"), None], ("gte", "1.50001")),
        ("exact", [Decimal("NaN"), Decimal(9)], [Decimal(2), None], ("notbetween", "1", "3")),
        ("ratio", [float("nan"), float("inf"), 1.5], [1.4, None], ("gte", "1.5")),
        ("ratio", [1.0, 2.0], [float("nan"), 2.1, None], ("between", "1", "2")),
        ("small", [1.100000023841858], [1.1], ("eq", "1.1")),
        ("name", ["b", "a\U0001f600", "ä"], ["a\uffff", "B", None], ("gte", "a\U00010000")),
        ("name", ["tech"], ["Tech", "tech ", None], ("eq", "tech")),
        ("name", [""], [None, "x"], ("eq", "")),
        ("code", ["ab   ", "ab"], ["ac   "], ("eq", "ab ")),
        ("born", [11688], [11687, None], ("gte", "2002-01-01")),
        ("at", [1_009_843_200_000_000], [1_009_843_199_999_999], ("gte", "2002-01-01")),
        ("at", [1_009_843_200_000_000], [1_009_843_200_000_001], ("eq", " 2001-12-31 24:00:00.000000000 ")),
        ("seen", [1_009_843_200_000_000], [1_009_843_200_000_001], ("lte", "2002-01-01 02:00:00+02")),
        ("seen", [1_009_843_200_000_000], [1_009_843_200_000_001], ("lte", "2002-01-01 02:00:00.0000000 +02:00")),
        ("ok", [True], [False, None], ("eq", "true")),
        ("tag", [UUID], [UUID.replace("a11", "a12"), None], ("eq", UUID.upper())),
        ("tag", [UUID], [UUID.replace("a11", "a12"), None], ("eq", f"{{{UUID}}}")),
        ("data", [None], ["{}"], ("null",)),
        ("data", ["{}"], [None], ("notnull",)),
    ],
)
def test_operators(column: str, inside: list[Any], outside: list[Any], condition: tuple[Any, ...]) -> None:
    assert [value for value in inside if not taken(column, value, *condition)] == []
    assert [value for value in outside if taken(column, value, *condition)] == []


def test_conditions_are_joined_by_or_filters_by_and_rules_by_or() -> None:
    several = where("id", "lte", "10")
    several["filter-conditions"] += where("id", "between", "50", "75")["filter-conditions"]
    found = row_filter(
        rules(
            "test", "employee", [several, where("name", "eq", "tech")], [where("born", "null"), where("ok", "eq", 1)]
        ),
        TABLE,
    )
    assert found is not None
    assert [TABLE.columns[i].name for i in found.columns] == ["id", "name", "born", "ok"]
    rows = [
        (5, "tech", 1, None),
        (60, "tech", 1, None),
        (20, "tech", 1, True),
        (5, "x", 1, True),
        (20, "x", None, True),
    ]
    whole = [tuple(dict(zip(("id", "name", "born", "ok"), row, strict=True)).get(n) for n in NAMES) for row in rows]
    assert [found.matches(row) for row in whole] == [True, True, False, False, True]
    assert not found.knows((*whole[0][:5], UNCHANGED, *whole[0][6:]))
    assert row_filter(rules("test", "other", [several]), TABLE) is None


def test_a_rule_without_filters_lifts_none_and_an_explicit_one_is_heeded() -> None:
    documents = [
        {
            "rule-type": "selection",
            "rule-id": action,
            "rule-action": action,
            "object-locator": {"schema-name": "test", "table-name": table},
            "filters": filters,
        }
        for action, table, filters in (
            ("include", "%", []),
            ("explicit", "employee", [where("id", "gte", "5")]),
        )
    ]
    found = row_filter(parse({"rules": documents}).selections, TABLE)
    assert found is not None
    assert found.columns == (0,)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            where("nam", "eq", "x"),
            "rule 0: test.employee: filters.0.column-name: no column nam to filter by; did you mean name?",
        ),
        (
            where("id", "eq", "x1"),
            "rule 0: test.employee: filters.0.filter-conditions.0.value: column id is bigint: eq cannot compare it",
        ),
        (where("born", "between", "2002-01-01", "2002-01-02x"), "filters.0.filter-conditions.0.end-value: column born"),
        (where("born", "gte", "2002-01-01 10:00:00"), "column born is date"),
        (where("ratio", "gte", "NaN"), "column ratio is double precision"),
        (where("data", "eq", "{}"), "column data is json"),
        (where("name", "eq", "a\0b"), "column name is text"),
    ],
)
def test_filters_that_do_not_fit_a_table_are_refused_without_their_values(
    condition: dict[str, Any], message: str
) -> None:
    with pytest.raises(TailraceError) as caught:
        row_filter(rules("test", "%", [condition]), TABLE)
    assert message in caught.value.message
    assert "x1" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("id", "1_000"),
        ("id", "\u0661"),
        ("exact", "1_0.5"),
        ("ratio", "1_0"),
        ("born", "2026-11-30garbage"),
        ("born", "2026:11:30"),
        ("born", "2026-02-30"),
        ("at", "2026-11-30garbage"),
        ("at", "2026-11-30 12:00garbage"),
        ("at", "2026-11-29 12"),
        ("at", "2026-11-30 24:30"),
        ("at", "2026-11-30 12:60"),
        ("at", "2026-11-30 12:00:00.1234567"),
        ("at", "2026:11:30 12:00:00"),
        ("seen", "2026:11:30"),
        ("seen", "2026-11-30 12:00 CET"),
        ("seen", "garbage2026-11-30"),
        ("opens", "99:99:99"),
        ("opens", "12:60"),
        ("opens", "24:00:01"),
        ("opens", "12:30:00garbage"),
        ("opens", "\u0661\u0662:30"),
        ("ok", "trueish"),
        ("tag", f"{UUID}garbage"),
        ("tag", f"{{{UUID}"),
        ("tag", f"urn:uuid:{UUID}"),
    ],
)
def test_what_only_begins_as_a_value_is_none(column: str, text: str) -> None:
    opens = Column("opens", LogicalType(Family.TIME), "time without time zone")
    table = replace(TABLE, columns=(*TABLE.columns, opens))
    with pytest.raises(TailraceError, match=rf"rule 0: .*\.value: column {column} is ") as caught:
        row_filter(rules("test", "%", [where(column, "eq", text)]), table)
    assert text not in str(caught.value)
