"""Rules of table mappings that are about nothing: what they were to mask or remove would go through as it is."""

from __future__ import annotations

from typing import Any

import pytest

from control.table_rules import findings
from schemas.findings import Severity
from schemas.settings import parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TABLE = TableSchema(
    TableName("public", "customers"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("email", LogicalType(Family.TEXT), "text"),
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
