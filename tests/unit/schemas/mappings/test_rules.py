"""Table-mapping documents: what the guide's rules look like, and how others are refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.endpoints.mysql import MysqlSource
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import TailraceError
from schemas.mappings import patterns, support
from schemas.mappings.rules import parse
from schemas.mappings.selection import table_patterns, view_patterns
from schemas.selection import Selection
from schemas.settings import parse as parse_settings
from schemas.table import TableName, TableSchema

LOCATOR = {"schema-name": "shop", "table-name": "%"}


def selection(action: str = "include", schema: str = "shop", table: str = "%", **more: Any) -> dict[str, Any]:
    locator = {"schema-name": schema, "table-name": table}
    identifier = f"{action}-{schema}-{table}"
    return {
        "rule-type": "selection",
        "rule-id": identifier,
        "rule-name": identifier,
        "object-locator": locator,
        "rule-action": action,
        **more,
    }


def transformation(action: str, target: str, identifier: str = "t", **more: Any) -> dict[str, Any]:
    return {
        "rule-type": "transformation",
        "rule-id": identifier,
        "rule-action": action,
        "rule-target": target,
        "object-locator": LOCATOR,
        **more,
    }


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"rule-type": "selektion", "rule-id": "7"}, "rule 7: rule-type must be one of selection, transformation"),
        (selection() | {"rule-acton": "x"}, r"rule include-shop-%: rule-acton is unknown; did you mean rule-action\?"),
        (selection("explicit", table="a%"), "an explicit rule names one table: no wildcards"),
        ({k: v for k, v in selection().items() if k != "object-locator"}, "object-locator is missing"),
        (transformation("rename", "table"), "rule t: rename needs value"),
        (transformation("rename", "table", value="x", expression="1"), "rule t: rename takes no expression"),
        (transformation("remove-column", "table"), "remove-column is nothing for a table"),
        (transformation("convert-uppercase", "table", "1" * 5000), "rule-id: .* at most 100 characters"),
        (transformation("data-masking-digits-mask", "column", value="##"), "value is one printable ASCII character"),
        (transformation("add-column", "column", value="x", expression="1"), "rule t: add-column needs data-type"),
        (
            selection(
                filters=[{"column-name": "a", "filter-conditions": [{"filter-operator": "between", "value": "1"}]}]
            ),
            "between takes no value",
        ),
        (
            selection(
                filters=[
                    {
                        "column-name": "a",
                        "filter-conditions": [{"filter-operator": "null"}, {"filter-operator": "notnull"}],
                    }
                ]
            ),
            "a negative condition must be the only one of its filter",
        ),
    ],
)
def test_a_rule_that_is_none_is_refused_by_its_id(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(TailraceError, match=message):
        parse({"rules": [rule]})


@pytest.mark.parametrize(("document", "what"), [(selection(), "one rule alone"), ([selection()], "a list of rules")])
def test_rules_without_a_document_around_them_are_told_in_one_line(document: Any, what: str) -> None:
    with pytest.raises(TailraceError, match=f"the table mappings are {what} Remedy"):
        parse(document)


def test_every_problem_is_told_at_once_and_ids_are_unique() -> None:
    with pytest.raises(TailraceError) as caught:
        parse({"rules": [transformation("rename", "table", "1"), transformation("renam", "table", "2")], "ruls": []})
    assert "rule 1: rename needs value" in caught.value.message
    assert "rule 2: rule-action" in caught.value.message
    assert "ruls is unknown; did you mean rules?" in caught.value.message
    with pytest.raises(TailraceError, match="the rule-id a stands here twice"):
        parse({"rules": [transformation("convert-uppercase", "table", "a")] * 2})


NAMES = st.text(st.sampled_from("ab_%*?[]!x.\n"), max_size=6)


@given(pattern=NAMES, name=NAMES)
def test_a_pattern_matches_the_same_names_as_the_one_of_source_tables(pattern: str, name: str) -> None:
    # A hyphen-free set means the same to both; fnmatch takes a leading "!" in a set for "not".
    if not re.search(r"\[!", pattern):
        assert patterns.matches(pattern, name) == fnmatchcase(name, patterns.glob(pattern))


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("%", ["", "a"], []),
        ("a_c", ["abc", "a_c"], ["ac", "abbc"]),
        ("a[_]c", ["a_c"], ["abc"]),
        ("[ab]%", ["a", "bx"], ["c"]),
        ("[a-d]", ["c"], ["e", "-"]),
        ("Actor", ["Actor"], ["actor"]),
        ("a.b*", ["a.b*"], ["axb*", "a.bx"]),
    ],
)
def test_wildcards(pattern: str, matching: list[str], other: list[str]) -> None:
    assert all(patterns.matches(pattern, name) for name in matching)
    assert not any(patterns.matches(pattern, name) for name in other)


def test_what_any_rule_excludes_is_out_whatever_the_order() -> None:
    mappings = parse({"rules": [selection("exclude", table="audit%"), selection(), selection("explicit", "hr", "a_b")]})
    chosen = Selection(table_patterns(mappings))
    assert chosen.takes(TableName("shop", "orders"))
    assert not chosen.takes(TableName("shop", "audit_log"))
    assert chosen.takes(TableName("hr", "a_b"))
    assert not chosen.takes(TableName("hr", "axb"))
    assert view_patterns(mappings) == []
    with pytest.raises(TailraceError, match="select no tables"):
        table_patterns(parse({"rules": [selection("exclude")]}))


def test_views_are_selected_apart_from_tables() -> None:
    rules = [selection(), selection("exclude", table="audit%"), selection(table="daily%")]
    for rule, kind in zip(rules, ("all", "all", "view"), strict=True):
        rule["object-locator"]["table-type"] = kind
    assert table_patterns(parse({"rules": rules})) == ["shop.*", "!shop.audit*"]
    assert view_patterns(parse({"rules": rules})) == ["shop.*", "shop.daily*", "!shop.audit*"]
    document = {"name": "shop", "kafka": {"bootstrap.servers": "k:1"}, "source": {"database": "d", "user": "u"}}
    selected = parse_settings(document | {"mappings": {"rules": rules}}).source
    assert isinstance(selected, PostgresqlSource)
    view = TableSchema(TableName("shop", "daily_sales"), (), (), is_view=True)
    assert selected.takes(view)
    assert not selected.takes(replace(view, name=TableName("shop", "audit_daily")))
    other: dict[str, Any] = {"engine": "mysql", "database": "d", "user": "u", "host": "h"}
    found = parse_settings(document | {"source": other, "mappings": {"rules": rules}}).source
    assert isinstance(found, MysqlSource)
    assert (found.tables, found.views) == (selected.tables, selected.views)
    other = {"engine": "debezium", "topics": ["shop.*"]}
    with pytest.raises(TailraceError, match="only those of PostgreSQL"):
        parse_settings(document | {"source": other, "mappings": {"rules": rules}})


def test_what_is_not_supported_is_refused_and_what_is_done_otherwise_is_said() -> None:
    mappings = parse(
        {
            "rules": [
                selection(),
                transformation("rename", "table-tablespace", "space", value="x"),
                {
                    "rule-type": "table-settings",
                    "rule-id": "load",
                    "object-locator": {"schema-name": "shop", "table-name": "item"},
                    "parallel-load": {"type": "partitions-auto"},
                },
            ]
        }
    )
    severities = {finding.message.split(":")[0]: str(finding.severity) for finding in support.findings(mappings)}
    assert severities == {
        "rule space": "note",
    }
    support.check(mappings)
    mapping: dict[str, Any] = {"rule-type": "object-mapping", "rule-id": "map", "object-locator": LOCATOR}
    mapping |= {"rule-action": "map-record-to-record", "target-table-name": "items", "mapping-parameters": {}}
    refused = parse({"rules": [selection(), transformation("rename", "table", "name", value="x"), mapping]})
    with pytest.raises(TailraceError, match="rule map: object mapping does not go with rules that rename"):
        support.check(refused)
    assert support.findings(parse({"rules": [mapping | {"kafka-target-topic": "items"}]})) == []
    by_task = mapping | {"mapping-parameters": {"partition-key-type": "task-id"}}
    with pytest.raises(TailraceError, match="rule map: partition-key-type task-id is not supported"):
        support.check(parse({"rules": [by_task]}))


def configuration(mappings: object, *, tables: object = None, at_target: object = None) -> dict[str, Any]:
    source: dict[str, Any] = {"engine": "postgresql", "database": "a", "user": "b"}
    target: dict[str, Any] = {"engine": "postgresql", "database": "a", "user": "b"}
    if tables is not None:
        source["tables"] = tables
    if at_target is not None:
        target["mappings"] = at_target
    kafka = {"bootstrap.servers": "127.0.0.1:1"}
    return {"name": "n", "kafka": kafka, "source": source, "targets": {"t": target}, "mappings": mappings}


def test_the_selection_rules_stand_for_the_tables_of_the_source() -> None:
    rename = transformation("rename", "table", value="x")
    settings = parse_settings(configuration({"rules": [selection(), rename]}))
    assert settings.source.tables == ["shop.*"]
    assert [rule.value for rule in settings.transformations("t")] == ["x"]
    own = {"rules": [transformation("rename", "table", value="y")]}
    settings = parse_settings(configuration({"rules": [selection(), rename]}, at_target=own))
    assert [rule.value for rule in settings.transformations("t")] == ["y"]
    ordered = [selection(), selection("explicit", table="orders", **{"load-order": "2"}), selection(table="o%")]
    ordered[2]["load-order"] = 1
    settings = parse_settings(configuration({"rules": ordered}))
    tables = [TableSchema(TableName("shop", name), (), ()) for name in ("a", "b", "others", "orders")]
    assert [t.name.table for t in sorted(tables, key=settings.load_rank)] == ["orders", "others", "a", "b"]
    settings = parse_settings(configuration({"rules": [rename]}, tables=["shop.*"]))
    assert settings.source.tables == ["shop.*"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (configuration({"rules": [selection()]}, tables=["a.b"]), "both source.tables and the selection rules"),
        (configuration({"rules": [transformation("rename", "table")]}, tables=["a.b"]), "rule t: rename needs value"),
        (
            configuration(None, tables=["a.b"], at_target={"rules": [selection()]}),
            "selection rules say what is captured",
        ),
    ],
)
def test_a_configuration_with_wrong_mappings_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(TailraceError, match=message):
        parse_settings(document)


def _found_in(document: Any) -> str:
    with pytest.raises(TailraceError) as caught:
        parse(document)
    return caught.value.message


def test_what_was_meant_is_told() -> None:
    place = {"schema-name": "shop", "table-name": "%"}
    include = {"rule-type": "selection", "rule-id": "1", "rule-action": "include", "object-locator": place}
    assert "rule-type must be one of selection" in _found_in({"rules": [{"rule_type": "selection"}]})
    assert "rule_type is unknown: did you mean rule-type?" in _found_in({"rules": [{"rule_type": "selection"}]})
    assert _found_in({"rules": [{**include, "rule-type": "Selection"}]}).endswith("; did you mean selection?")
    assert "rule-action: did you mean include? It should be" in _found_in(
        {"rules": [{**include, "rule-action": "Inclde"}]}
    )
    assert "rules: is empty" in _found_in({"rules": []})
    assert "document: should be an object" in _found_in("table-mappings")
    assert _found_in({"TargetMetadata": {}}) == "the table mappings are a document of task settings"


def test_a_document_within_a_text_is_one() -> None:
    """As `aws dms describe-replication-tasks --query …` prints it."""
    place = {"schema-name": "shop", "table-name": "%"}
    include = {"rule-type": "selection", "rule-id": "1", "rule-action": "include", "object-locator": place}
    text = json.dumps({"rules": [include]})
    assert [rule.rule_id for rule in parse(text).rules] == ["1"]
    assert [rule.rule_id for rule in parse(json.dumps({"TableMappings": text})).rules] == ["1"]
    assert "line 1, column 2" in _found_in("{,}")
