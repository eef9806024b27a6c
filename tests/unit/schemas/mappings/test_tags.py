"""Tags of objects in S3: which rule's an object has, and what they say of its table."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import TailraceError
from schemas.mappings.rules import parse
from schemas.mappings.tags import tags
from schemas.table import TableName

ITEM = TableName("retail", "ITEM")


def _rule(identifier: int, schema: str, table: str, **tag_set: str) -> dict[str, Any]:
    return {
        "rule-type": "post-processing",
        "rule-id": identifier,
        "rule-action": "add-tag",
        "object-locator": {"schema-name": schema, "table-name": table},
        "tag-set": [{"key": key, "value": value} for key, value in tag_set.items()],
    }


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([("%", "%", "a")], "a"),
        ([("other", "%", "a")], None),
        ([("%", "%", "a"), ("retail", "ITEM", "b")], "b"),
        ([("%", "ITEM", "a"), ("retail", "%", "b")], "a"),
        ([("%", "%", "a"), ("retail", "%", "b"), ("%", "%", "c")], "b"),
        ([("%", "%", "a"), ("%", "I%", "b")], "a"),
    ],
)
def test_one_rules_tags_are_an_objects(rules: list[tuple[str, str, str]], expected: str | None) -> None:
    """That whose locator names it, else the first one."""
    found = parse({"rules": [_rule(n, schema, table, t=value) for n, (schema, table, value) in enumerate(rules)]})
    assert tags(found.taggings, ITEM).get("t") == expected


def test_tags_speak_of_the_sources_names() -> None:
    found = parse({"rules": [_rule(1, "%", "%", **{"${schema-name}_t": "own_${table-name}", "empty": ""})]})
    assert tags(found.taggings, ITEM) == {"retail_t": "own_ITEM", "empty": ""}


@pytest.mark.parametrize(
    ("tag_set", "said"),
    [
        ({"k": "${column-name}"}, "rule 1: tag-set.0: ${column-name} is unknown; known: ${schema-name}, ${table-name}"),
        ({"aws:k": "v"}, "rule 1: tag-set.0: the tag aws:k: keys with aws: are Amazon's own"),
        ({"k": "a\tb"}, "rule 1: tag-set.0: the tag k: S3 takes letters, digits, blanks and + - = . _ : / @"),
        ({"k": "a;b"}, "rule 1: tag-set.0: the tag k: S3 takes letters, digits, blanks and + - = . _ : / @"),
        ({"k" * 129: ""}, "S3 takes keys of 128 and values of 256 characters"),
        ({f"k{n}": "" for n in range(11)}, "rule 1: tag-set: list should have at most 10 items"),
        ({}, "rule 1: tag-set: is empty"),
    ],
)
def test_what_s3_does_not_take_is_refused(tag_set: dict[str, str], said: str) -> None:
    with pytest.raises(TailraceError) as caught:
        parse({"rules": [_rule(1, "%", "%", **tag_set)]})
    assert said.lower() in caught.value.message.lower()


@pytest.mark.parametrize(
    ("table", "tag_set", "said"),
    [
        ("a$b", {"k": "${table-name}"}, "the tag k: S3 takes letters"),
        ("k", {"${table-name}": "1", "k": "2"}, "two tags have the key k"),
        ("t" * 300, {"k": "${table-name}"}, "values of 256"),
    ],
)
def test_what_s3_does_not_take_of_a_table_is_told_of_it(table: str, tag_set: dict[str, str], said: str) -> None:
    found = parse({"rules": [_rule(1, "%", "%", **tag_set)]})
    with pytest.raises(TailraceError, match=said) as caught:
        tags(found.taggings, TableName("retail", table))
    assert caught.value.table == f"retail.{table}"
    assert caught.value.message.startswith("rule 1: ")
