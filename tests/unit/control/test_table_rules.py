"""Rules of table mappings that are about nothing: what they were to mask or remove would go through as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from control.table_rules import findings
from schemas.findings import Severity
from schemas.settings import Settings, parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TABLE = TableSchema(
    TableName("public", "customers"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("email", LogicalType(Family.STRING), "text"),
    ),
    (0,),
)


def _found(target: str, locator: dict[str, str], *, at_target: bool = False, **more: Any) -> list[str]:
    locator = {"schema-name": "public", **locator}
    action = {"rule-target": target, "rule-action": "rename", "value": "x", "object-locator": locator, **more}
    every = {
        "rule-type": "selection",
        "rule-action": "include",
        "object-locator": {"schema-name": "%", "table-name": "%"},
    }
    rules = [{"rule-id": "1", "rule-name": "1", **every}]
    renames = [{"rule-type": "transformation", "rule-id": "2", "rule-name": "2", **action}]
    document: dict[str, Any] = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "nowhere"},
        "source": {"database": "shop", "user": "shop"},
        "targets": {"replica": {"engine": "postgresql", "host": "h", "database": "d", "user": "u"}},
    }
    if at_target:
        document["source"]["tables"] = ["*.*"]
        document["targets"]["replica"]["mappings"] = {"rules": renames}
    else:
        document["mappings"] = {"rules": rules + renames}
    found = findings(parse(document), [TABLE])
    assert all(finding.severity is Severity.WARNS and finding.remedy for finding in found)
    return [finding.message for finding in found]


@pytest.mark.parametrize("at_target", [False, True])
def test_a_rule_that_is_about_nothing_is_told_with_what_it_is_near_to(at_target: bool) -> None:
    misspelt = {"table-name": "custmers", "column-name": "email"}
    assert _found("column", misspelt, at_target=at_target) == [
        "rule 2 is about no captured table: public.custmers; did you mean public.customers?"
    ]
    assert _found("column", {"table-name": "customers", "column-name": "emial"}, at_target=at_target) == [
        "rule 2 is about no column of public.customers: emial; did you mean email?"
    ]
    assert _found("schema", {"schema-name": "publik"}, at_target=at_target) == [
        "rule 2 is about no captured schema: publik"
    ]


def test_a_rule_about_columns_of_a_type_that_none_has_is_told() -> None:
    more: dict[str, Any] = {
        "rule-action": "change-data-type",
        "value": None,
        "data-type": {"type": "string", "length": 9},
    }
    locator = {"table-name": "customers", "column-name": "%"}
    assert _found("column", {**locator, "data-type": "clob"}, **more) == []
    assert _found("column", {**locator, "data-type": "date"}, **more) == [
        "rule 2 is about no column of public.customers: none is date"
    ]


def test_a_rule_that_is_about_something_is_not_told() -> None:
    assert _found("column", {"table-name": "cust%", "column-name": "e_ail"}) == []
    assert _found("table", {"table-name": "customers"}) == []
    assert _found("schema", {}) == []
    added: dict[str, Any] = {
        "rule-action": "add-column",
        "data-type": {"type": "string", "length": 9},
        "expression": "'a'",
    }
    assert _found("column", {"table-name": "customers"}, **added) == []


def _of_objects(rule: dict[str, Any], **target: Any) -> list[tuple[Severity, str]]:
    place = {"schema-name": "public", "table-name": "customers"}
    rules = [
        {"rule-type": "selection", "rule-id": "1", "rule-action": "include", "object-locator": place},
        {"rule-id": "2", "object-locator": place, **rule},
    ]
    settings = parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "nowhere"},
            "source": {"database": "shop", "user": "shop"},
            "targets": {"out": target},
            "mappings": {"rules": rules},
        }
    )
    return [(finding.severity, finding.message) for finding in findings(settings, [TABLE])]


STREAM = {"engine": "kinesis", "stream_arn": "arn:aws:kinesis:us-east-1:123456789012:stream/s", "region": "us-east-1"}
TOPIC = {"engine": "kafka", "kafka": {"bootstrap.servers": "there"}, "topic": "t"}
ITEMS = {"engine": "dynamodb", "region": "us-east-1"}


def test_an_object_mapping_that_is_about_nothing_is_told() -> None:
    rule: dict[str, Any] = {"rule-type": "object-mapping"}
    astray = {"schema-name": "public", "table-name": "custmers"}
    near = "public.custmers; did you mean public.customers?"
    assert _of_objects({**rule, "object-locator": astray}, **STREAM) == [
        (Severity.WARNS, f"rule 2 is about no captured table: {near}")
    ]
    rule["mapping-parameters"] = {"exclude-columns": ["emial", "EMAIL", "id", "secret"]}
    assert _of_objects(rule, **STREAM) == [
        (Severity.WARNS, "rule 2 excludes no column: emial; did you mean email?"),
        (Severity.WARNS, "rule 2 excludes no column: secret"),
    ]


LAKE = {"engine": "s3", "bucket_name": "landing", "region": "us-east-1"}


def test_tags_that_no_object_has_are_told() -> None:
    rule: dict[str, Any] = {
        "rule-type": "post-processing",
        "rule-action": "add-tag",
        "tag-set": [{"key": "k", "value": "${table-name}"}],
    }
    assert _of_objects(rule, **LAKE) == []
    assert _of_objects(rule, **ITEMS) == [
        (Severity.NOTE, "rule 2 does nothing at target out (dynamodb): only S3's objects have tags")
    ]
    assert _of_objects({**rule, "object-locator": {"schema-name": "x", "table-name": "%"}}, **LAKE) == [
        (Severity.WARNS, "rule 2 gives no object of a captured table its tags")
    ]
    assert _of_objects(rule, **LAKE, preserve_transactions=True, cdc_path="cdc") == [
        (Severity.NOTE, "target out: files of transactions are of several tables, and get no tags")
    ]
    rule["tag-set"] = [{"key": "${table-name}", "value": ""}, {"key": "customers", "value": ""}]
    assert _of_objects(rule, **LAKE) == [(Severity.BLOCKS, "rule 2: two tags have the key customers")]


@pytest.mark.parametrize(
    ("target", "idle"),
    [
        (STREAM, {"target-table-name", "kafka-target-topic", "sort-key-name", "condition-expression"}),
        (TOPIC, {"target-table-name", "sort-key-name", "condition-expression"}),
        (ITEMS, {"kafka-target-topic", "partition-key", "partition-key-type schema-table"}),
    ],
    ids=["kinesis", "kafka", "dynamodb"],
)
def test_what_an_object_mapping_says_to_other_targets_is_told(target: dict[str, Any], idle: set[str]) -> None:
    rule: dict[str, Any] = {
        "rule-type": "object-mapping",
        "target-table-name": "t",
        "kafka-target-topic": "t",
        "mapping-parameters": {
            "partition-key-type": "schema-table",
            "partition-key": {"value": "one"},
            "sort-key-name": "id",
            "condition-expression": {"expression": "attribute_not_exists(id)"},
        },
    }
    assert _of_objects(rule, **target) == [
        (Severity.NOTE, f"rule 2: {word} does nothing at target out ({target['engine']})") for word in sorted(idle)
    ]
    assert _of_objects({"rule-type": "object-mapping"}, **target) == []


def test_table_settings_of_no_table_are_told() -> None:
    lobs = {"rule-type": "table-settings", "lob-settings": {"mode": "unlimited"}}
    astray = {"schema-name": "public", "table-name": "custmers"}
    near = "public.custmers; did you mean public.customers?"
    assert _of_objects({**lobs, "object-locator": astray}, **TOPIC) == [
        (Severity.WARNS, f"rule 2 is about no captured table: {near}")
    ]
    assert _of_objects(lobs, **TOPIC) == []


@pytest.mark.parametrize("columns", ["pk-only", "non-lob", "all"])
def test_earlier_values_that_the_log_does_not_hold_are_told(columns: str) -> None:
    image: dict[str, Any] = {
        "rule-type": "transformation",
        "rule-target": "column",
        "rule-action": "add-before-image-columns",
        "object-locator": {"schema-name": "public", "table-name": "customers", "column-name": "%"},
        "before-image-def": {"column-filter": columns},
    }
    found = _of_objects(image, **TOPIC)
    told = [(Severity.WARNS, "rule 2: the log holds no earlier values of email: they are null")]
    # A text of any length is a large value.
    assert found == (told if columns == "all" else [])


def _asking(**more: Any) -> Settings:
    """Return settings of two targets, whose rules have the same number."""

    def rule(columns: str, table: str) -> dict[str, Any]:
        image = {
            "rule-type": "transformation",
            "rule-id": "2",
            "rule-target": "column",
            "rule-action": "add-before-image-columns",
            "object-locator": {"schema-name": "public", "table-name": table, "column-name": "%"},
            "before-image-def": {"column-filter": columns},
        }
        return {"mappings": {"rules": [image]}}

    return parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "nowhere"},
            "source": {"database": "shop", "user": "shop", "tables": ["*.*"]},
            "targets": {"first": {**TOPIC, **rule("all", "customers")}, "last": {**TOPIC, **rule("pk-only", "%")}},
            **more,
        }
    )


def test_each_targets_own_rules_are_looked_at_and_statements_quote_names() -> None:
    published = replace(TABLE, at_source=replace(TABLE, name=TableName("public", "Customers of 1")))
    (found,) = findings(_asking(), [published])
    assert found.message == "rule 2: the log holds no earlier values of email: they are null"
    assert found.remedy == 'alter table "public"."Customers of 1" replica identity full'


def test_earlier_values_for_documents_that_the_log_does_not_hold_are_told() -> None:
    one: dict[str, Any] = {"apply": {"before_image": {"columns": "all"}}, "targets": {"out": TOPIC}}
    (found,) = findings(_asking(**one), [TABLE])
    assert found.message == "before_image: the log holds no earlier values of email: documents do not have them"
    assert findings(_asking(**one), [replace(TABLE, full_before=True)]) == []


def test_old_rows_are_asked_for_where_more_than_the_key_is_wanted() -> None:
    customers, orders = TABLE.name, TableName("public", "orders")
    assert [_asking().asks_for_old_rows(name) for name in (customers, orders)] == [True, False]
    for columns, is_asked in (("pk-only", False), ("non-lob", True), ("all", True)):
        settings = _asking(apply={"before_image": {"columns": columns}})
        assert settings.asks_for_old_rows(orders) is is_asked
        assert settings.asks_for_old_rows(orders, of_keys=True)
    assert _asking().asks_for_old_rows(orders, of_keys=True)
    assert not _asking().asks_for_old_rows(TableName("other", "orders"), of_keys=True)
