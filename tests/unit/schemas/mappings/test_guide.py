"""What the examples of the AWS DMS user guide amount to, as facts on transformations, masks and filters: a rule, a row,
and what becomes of it. Each stands for one example of its pages "Transformation rules and actions", "Using
transformation rule expressions to define column content", "Using data masking" and "Using source filters".
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

import pytest

from schemas.changes import Row
from schemas.mappings.expressions import Headers
from schemas.mappings.filters import row_filter
from schemas.mappings.mapped_table import Change, map_table
from schemas.mappings.rules import TransformationRule, parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.filters import rules as filter_rules
from tests.kit.filters import where

_COLUMNS = {
    "first_name": Column("first_name", LogicalType(Family.STRING, length=40), "character varying(40)"),
    "last_name": Column("last_name", LogicalType(Family.STRING, length=40), "character varying(40)"),
    "salary": Column("salary", LogicalType(Family.DECIMAL, 10, 2), "numeric(10,2)"),
    "col1": Column("col1", LogicalType(Family.INT32), "integer"),
    "Pre_x": Column("Pre_x", LogicalType(Family.INT32), "integer"),
    "hired": Column("hired", LogicalType(Family.DATE), "date"),
}
TABLE = TableSchema(
    TableName("test", "ACTOR_DMS"),
    (Column("id", LogicalType(Family.INT64), "bigint", nullable=False), *_COLUMNS.values()),
    key=(0,),
)
ROW: Row = (7, "Ada", "L1ce", 2500050, 5, 6, 11_688)  # 2002-01-01


class Fact(NamedTuple):
    """A transformation, and what is another one by it: the table's name, or columns with their values."""

    action: str
    target: str
    more: dict[str, Any]
    name: tuple[str, str] = TABLE.name
    columns: dict[str, Any] = {}  # noqa: RUF012 - never changed
    gone: tuple[str, ...] = ()


def _computed(value: str, expression: str, type_: str, **size: int) -> dict[str, Any]:
    return {"value": value, "expression": expression, "data-type": {"type": type_, **size}}


FACTS = (
    Fact("rename", "schema", {"value": "Test1"}, ("Test1", "ACTOR_DMS")),
    Fact("rename", "table", {"value": "Actor1"}, ("test", "Actor1")),
    Fact(
        "rename",
        "column",
        {"column-name": "first_name", "value": "fname"},
        columns={"fname": "Ada"},
        gone=("first_name",),
    ),
    Fact("convert-lowercase", "table", {}, ("test", "actor_dms")),
    Fact("add-prefix", "table", {"value": "DMS_"}, ("test", "DMS_ACTOR_DMS")),
    Fact("remove-suffix", "table", {"value": "_DMS"}, ("test", "ACTOR")),
    Fact("remove-suffix", "table", {"value": "_OTHER"}),
    Fact(
        "replace-prefix",
        "column",
        {"column-name": "%", "value": "NewPre_", "old-value": "Pre_"},
        columns={"NewPre_x": 6, "col1": 5},
        gone=("Pre_x",),
    ),
    Fact("remove-column", "column", {"column-name": "col%"}, gone=("col1",)),
    Fact(
        "add-column",
        "column",
        {"value": "last_updated", "data-type": {"type": "datetime", "precision": 6}},
        columns={"last_updated": None},
    ),
    Fact("change-data-type", "column", {"column-name": "col1", "data-type": {"type": "int8"}}, columns={"col1": 5}),
    Fact(
        "add-column",
        "column",
        _computed("FULL_NAME", "$first_name||'_'||$last_name", "string", length=50),
        columns={"FULL_NAME": "Ada_L1ce"},
    ),
    Fact(
        "add-column",
        "column",
        _computed("seniority", "CASE WHEN round($salary)>=20000 THEN 'SENIOR' ELSE 'JUNIOR' END", "string", length=50),
        columns={"seniority": "SENIOR"},
    ),
    Fact("add-column", "column", _computed("rounded", "round($salary)", "int8"), columns={"rounded": 25_001}),
    Fact(
        "add-column",
        "column",
        _computed("hashed", "hash_sha256($id)", "string", length=64),
        columns={"hashed": hashlib.sha256(b"7").hexdigest()},
    ),
    Fact(
        "add-column",
        "column",
        _computed("schema_name", "$AR_M_SOURCE_SCHEMA", "string", length=50),
        columns={"schema_name": "test"},
    ),
    Fact(
        "add-column",
        "column",
        _computed("table_name", "$AR_M_SOURCE_TABLE_NAME", "string", length=50),
        columns={"table_name": "ACTOR_DMS"},
    ),
    Fact(
        "add-column",
        "column",
        _computed("transact_id", "$AR_H_STREAM_POSITION", "string", length=50),
        columns={"transact_id": "77"},
    ),
    Fact(
        "add-column",
        "column",
        _computed("transact_id", "$AR_H_CHANGE_SEQ", "string", length=50),
        columns={"transact_id": "12"},
    ),
    Fact(
        "data-masking-digits-mask", "column", {"column-name": "last_name", "value": "#"}, columns={"last_name": "L#ce"}
    ),
    Fact(
        "data-masking-hash-mask",
        "column",
        {"column-name": "first_name"},
        columns={"first_name": hashlib.sha256(b"Ada").hexdigest().upper()},
    ),
)


@pytest.mark.parametrize("fact", FACTS, ids=[f"{n}-{fact.action}" for n, fact in enumerate(FACTS)])
def test_a_transformation_does_what_the_guide_says(fact: Fact) -> None:
    locator = {"schema-name": "test"} | ({} if fact.target == "schema" else {"table-name": "%"})
    more = dict(fact.more)
    if "column-name" in more:
        locator["column-name"] = more.pop("column-name")
    rule = TransformationRule.model_validate(
        {"rule-type": "transformation", "rule-id": "2", "rule-target": fact.target, "rule-action": fact.action}
        | {"object-locator": locator, **more}
    )
    mapped = map_table([rule], TABLE, keeps_history=True)
    assert mapped.table.name == fact.name
    change = Change(Headers("INSERT", "2026-11-29 12:00:00", 12, "77"))
    (row,) = [ROW] if mapped.rows is None else mapped.rows([ROW], [change])
    found = dict(zip(mapped.table.column_names, row, strict=True))
    assert {name: found[name] for name in fact.columns} == fact.columns
    kept = [name for name in TABLE.column_names if name not in fact.gone and name not in fact.columns]
    assert [found[name] for name in kept] == [dict(zip(TABLE.column_names, ROW, strict=True))[name] for name in kept]
    assert not set(fact.gone) & found.keys()


_BETWEEN = {"filter-operator": "between", "start-value": "50", "end-value": "75"}
_LOW, _HIGH = {"filter-operator": "lte", "value": "10"}, {"filter-operator": "gte", "value": "100"}


@pytest.mark.parametrize(
    ("filters", "taken", "not_taken"),
    [
        ([where("col1", "gte", "100")], [100, 101], [99, None]),
        (
            [{"column-name": "col1", "filter-conditions": [_LOW, _BETWEEN, _HIGH]}],
            [10, 50, 75, 100],
            [11, 49, 76, 99, None],
        ),
        ([where("col1", "lte", "100"), where("last_name", "eq", "L1ce")], [100], [101, None]),
        ([where("col1", "null")], [None], [1]),
        ([where("col1", "notbetween", "50", "75")], [49, 76], [50, 75, None]),
        ([where("col1", "noteq", "50"), where("last_name", "notnull")], [49], [50, None]),
        ([where("hired", "gte", "2002-01-01")], [1], []),
        ([where("hired", "gte", "2002-01-02")], [], [1]),
    ],
)
def test_a_filter_takes_what_the_guide_says(
    filters: list[dict[str, Any]], taken: list[int | None], not_taken: list[int | None]
) -> None:
    found = row_filter(filter_rules("test", "ACTOR_DMS", filters), TABLE)
    assert found is not None
    place = TABLE.column_names.index("col1")
    rows = [tuple(value if i == place else v for i, v in enumerate(ROW)) for value in (*taken, *not_taken)]
    assert [found.matches(row) for row in rows] == [True] * len(taken) + [False] * len(not_taken)


def _made(rules: list[dict[str, Any]], column: str, value: Any) -> Any:
    locator = {"schema-name": "test", "table-name": "%", "column-name": column}
    shared = {"rule-type": "transformation", "rule-target": "column", "object-locator": locator}
    parsed = parse({"rules": [{"rule-id": str(n), **shared, **rule} for n, rule in enumerate(rules, 2)]})
    mapped = map_table(parsed.transformations, TABLE)
    assert mapped.rows is not None
    row = tuple(value if name == column else v for name, v in zip(TABLE.column_names, ROW, strict=True))
    return mapped.rows([row])[0][TABLE.column_names.index(column)]


def test_a_hash_is_the_guides_own() -> None:
    """In capitals, and behind a `change-data-type` that makes room for it."""
    retype = {"rule-action": "change-data-type", "data-type": {"type": "string", "length": "100", "scale": ""}}
    expected = "7CB06784764C9030CCC41E25C15339FEB293FFE9B329A72B5FED564E99900C75"
    assert _made([retype, {"rule-action": "data-masking-hash-mask"}], "last_name", "C6BGJ566669K") == expected
    assert _made([{"rule-action": "data-masking-hash-mask"}], "last_name", "C6BGJ566669K") == expected


def test_random_digits_are_in_the_places_of_digits() -> None:
    mask = {"rule-action": "data-masking-digits-randomize"}
    found = {_made([mask], "last_name", "C6BGJ566669K") for _ in range(8)}
    assert len(found) > 1
    assert all(re.fullmatch(r"C\dBGJ\d{6}K", text) for text in found)
    # Of a number that has become a text before, as rule-ids say, all digits stay; the number itself has none in front.
    retype = {"rule-action": "change-data-type", "data-type": {"type": "string", "length": 20}}
    assert all(re.fullmatch(r"\d{6}", _made([retype, mask], "col1", 123_456)) for _ in range(40))
    assert min(_made([mask], "col1", 123_456) for _ in range(200)) < 100_000
    # Ids that are no numbers say nothing of the order: the mask is first.
    assert min(len(_made([retype, {**mask, "rule-id": "m"}], "col1", 123_456)) for _ in range(200)) < 6


@pytest.mark.parametrize("text", ["2002-01-31", "2002:01:31"])
def test_dates_have_either_form_of_the_guide(text: str) -> None:
    day = {"rule-action": "change-data-type", "data-type": {"type": "date"}}
    moment = {"rule-action": "change-data-type", "data-type": {"type": "datetime"}}
    assert _made([day], "first_name", text) == 11_718
    assert _made([moment], "first_name", f"{text} 01:02:03") == (11_718 * 86_400 + 3_723) * 1_000_000


@pytest.mark.parametrize("origin", ["primary-key", "unique-index"])
def test_a_key_is_what_the_guide_says(origin: str) -> None:
    definition = {"name": "item-key", "origin": origin, "columns": ["id", "first_name"]}
    rule = {
        "rule-type": "transformation",
        "rule-id": "2",
        "rule-target": "table",
        "rule-action": "define-primary-key",
        "object-locator": {"schema-name": "test", "table-name": "ACTOR_DMS"},
        "primary-key-def": definition,
    }
    (parsed,) = parse({"rules": [rule]}).transformations
    keyless = TableSchema(TABLE.name, TABLE.columns, (), primary_key=False, full_before=True)
    mapped = map_table([parsed], keyless).table
    assert (mapped.key_names, mapped.primary_key) == (("id", "first_name"), origin == "primary-key")
