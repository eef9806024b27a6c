"""Documents that are unusual, and documented or written by DMS's console: what they mean, or what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import TailraceError
from schemas.mappings.mapped_table import map_table
from schemas.mappings.rules import Mappings, parse
from schemas.mappings.segments import loads_part
from schemas.mappings.selection import concerns, lob_max_kb, table_patterns
from schemas.selection import Selection
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

ID = Column("id", LogicalType(Family.INT64), "bigint", nullable=False)
TABLE = TableSchema(
    TableName("Test", "a_b"),
    (ID, Column("Pre_", LogicalType(Family.TEXT), "text"), Column("x", ID.type, "bigint")),
    (0,),
)


def selection(action: str = "include", table: str = "%", **more: Any) -> dict[str, Any]:
    locator = {"schema-name": "Test", "table-name": table}
    rule = {"rule-type": "selection", "rule-id": "1", "rule-action": action, "object-locator": locator}
    return rule | {name.replace("_", "-"): value for name, value in more.items()}


def transformation(number: int, target: str, action: str, column: str | None = None, **more: Any) -> dict[str, Any]:
    locator = {"schema-name": "Test", "table-name": "a[_]b"} | ({"column-name": column} if column else {})
    rule = {"rule-type": "transformation", "rule-id": number, "rule-target": target, "rule-action": action}
    return {**rule, "object-locator": locator, **{name.replace("_", "-"): value for name, value in more.items()}}


def mappings(*rules: dict[str, Any]) -> Mappings:
    return parse({"rules": [*rules]})


@pytest.mark.parametrize(
    ("rule", "takes", "leaves"),
    [
        # Whatever a shell makes of it, a set has what it says.
        (selection(table="[!a]%"), ["!x", "abc"], ["xyz", "bc"]),
        (selection(table="[!]%"), ["!x"], ["x"]),
        (selection(table="[!-#]x"), ["#x", "!x"], ["ax"]),
        (selection(table="a[_]b"), ["a_b"], ["axb", "a[_]b"]),
        (selection(table="a[%]_"), ["a%b"], ["axb"]),
        (selection(table="a[b%"), ["a[bc"], ["ab"]),
        (selection("explicit", table="a[_]b"), ["a_b"], ["axb", "a[_]b"]),
        (selection("explicit", table="a_b"), ["a_b"], ["axb"]),
        (selection("explicit", table="50[%]"), ["50%"], ["501", "50"]),
        (selection(load_order="", filters=[]), ["a"], []),
    ],
)
def test_what_a_selection_takes(rule: dict[str, Any], takes: list[str], leaves: list[str]) -> None:
    found = mappings(rule)
    selected = Selection(table_patterns(found))
    for names, expected in ((takes, True), (leaves, False)):
        for name in names:
            table = TableName("Test", name)
            assert (selected.takes(table), concerns(found.selections[0], table)) == (expected, expected), name


def test_settings_of_one_table_may_escape_its_name() -> None:
    locator = {"schema-name": "Test", "table-name": "a[_]b"}
    settings = {"rule-type": "table-settings", "rule-id": "2", "object-locator": locator, "lob-settings": {}}
    lists = {"type": "partitions-list", "partitions": ["p"], "number-of-partitions": ""}
    # An empty object states nothing: two rules may share the settings of a table.
    rules = mappings(
        selection(),
        settings | {"parallel-load": lists},
        settings | {"rule-id": "3", "parallel-load": {}, "lob-settings": {"mode": "limited", "bulk-max-size": "16"}},
    ).table_settings
    assert (loads_part(rules, TABLE.name), lob_max_kb(rules, TABLE.name, None)) == (True, 16)
    assert (loads_part(rules, TableName("Test", "axb")), lob_max_kb(rules, TableName("Test", "axb"), 7)) == (False, 7)


def test_schema_table_and_column_each_get_their_name_and_empty_texts_say_nothing() -> None:
    rules = mappings(
        selection(),
        transformation(2, "schema", "rename", value="New", old_value=""),
        transformation(3, "table", "add-prefix", value="t_"),
        transformation(4, "column", "convert-uppercase", "x", value="", expression=""),
        transformation(5, "column", "change-data-type", "x", data_type={"type": "string", "length": "20", "scale": ""}),
        transformation(
            6, "column", "add-column", value="added", expression="", data_type={"type": "int4", "length": ""}
        ),
        transformation(7, "column", "replace-suffix", "Pre[_]", value="", old_value="_"),
    ).transformations
    made = map_table(rules, TABLE).table
    assert str(made.name) == "New.t_a_b"
    names = [(column.name, column.native) for column in made.columns]
    assert names == [("id", "bigint"), ("Pre", "text"), ("X", "character varying(20)"), ("added", "integer")]


def test_a_condition_without_a_value_may_have_an_empty_one() -> None:
    conditions = [{"filter-operator": "null", "value": "", "start-value": ""}, {"filter-operator": "eq", "value": ""}]
    filters = [{"filter-type": "source", "column-name": "Pre_", "filter-conditions": conditions}]
    (rule,) = mappings(selection(filters=filters)).selections
    assert [condition.values for condition in rule.filters[0].filter_conditions] == [{}, {"value": ""}]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([transformation(2, "table", "rename", value="")], "rule 2: rename needs value"),
        ([transformation(2, "column", "add-column", value="", data_type={"type": "int4"})], "rule 2: add-column needs"),
        ([transformation(2, "column", "remove-prefix", "Pre[_]", value="Pre_")], "rule 2 leaves no name of the column"),
        ([selection("explicit", table="a%")], "rule 1: an explicit rule names one table"),
        ([selection(load_order=-1)], "rule 1: load-order: should be greater than or equal to 0"),
        ([selection(object_locator={})], "rule 1: object-locator is missing"),
        ([selection(), selection(table="b")], "the rule-id 1 stands here twice"),
        (
            [transformation(2, "table", "rename", value="x"), transformation(3, "table", "add-suffix", value="y")],
            "rules 2 and 3 both concern the table Test.a_b",
        ),
        ([transformation(2, "column", "remove-column", "%")], "rule 2 removes id, which rows are identified by"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_rules_id(rules: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(TailraceError, match=said):
        map_table(mappings(*rules).transformations, TABLE)
