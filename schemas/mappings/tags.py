"""Rules of post-processing: the tags of objects in S3, by the tables that they are made of.

Source: AWS DMS user guide, "Amazon S3 object tagging"; Amazon S3 user guide, "Categorizing your storage using tags".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.parts import BaseRule, Part
from schemas.mappings.patterns import matches, names_one
from schemas.table import TableName

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_TAKEN = re.compile(r"(?:[\w+\-=.:/@]|(?![\t-\r\x1c-\x1f\x85])\s)*")
"""Blanks of any script are taken, control characters are not."""
_KEY_LENGTH_MAX = 128
_VALUE_LENGTH_MAX = 256


class ObjectTag(Part):
    """A tag. `${schema-name}` and `${table-name}` are the source's names."""

    key: Annotated[str, Field(min_length=1)]
    value: str = ""

    @model_validator(mode="after")
    def _is_taken(self) -> ObjectTag:
        unknown = set(_REFERENCE.findall(self.key + self.value)) - {"schema-name", "table-name"}
        if unknown:
            raise ValueError(f"${{{min(unknown)}}} is unknown; known: ${{schema-name}}, ${{table-name}}")
        fault = _fault(*(_REFERENCE.sub("", text) for text in (self.key, self.value)))
        if fault:
            raise ValueError(fault)
        return self


class TaggingRule(BaseRule):
    """Gives the objects in S3 that are made of some tables their tags."""

    rule_type: Literal["post-processing"]
    rule_action: Literal["add-tag"]
    tag_set: Annotated[list[ObjectTag], Field(min_length=1, max_length=10)]
    """S3 takes ten."""

    @model_validator(mode="after")
    def _keys_are_unique(self) -> TaggingRule:
        keys = [tag.key for tag in self.tag_set]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise ValueError(f"two tags have the key {twice[0]}")
        return self


def rule_for(rules: Sequence[TaggingRule], table: TableName) -> TaggingRule | None:
    """Return the rule whose locator means a table of the source best: by name rather than by wildcards, else the first.

    Only one rule's tags are an object's, as at DMS.
    """
    found = [
        rule
        for rule in rules
        if matches(rule.object_locator.schema_name, table.schema)
        and matches(rule.object_locator.table_name, table.table)
    ]
    return max(found, key=_exactness, default=None)


def tags(rules: Sequence[TaggingRule], table: TableName) -> dict[str, str]:
    """Return the tags of objects of a table of the source. Raises TARGET_SCHEMA where S3 does not take them."""
    rule = rule_for(rules, table)
    if rule is None:
        return {}
    names = {"schema-name": table.schema, "table-name": table.table}
    found: dict[str, str] = {}
    for tag in rule.tag_set:
        key, value = (_REFERENCE.sub(lambda match: names[match[1]], text) for text in (tag.key, tag.value))
        fault = f"two tags have the key {key}" if key in found else _fault(key, value)
        if fault:
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                f"rule {rule.rule_id}: {fault}",
                table=str(table),
                remedy="give the table a rule of its own, with tags of other texts",
            )
        found[key] = value
    return found


def _exactness(rule: TaggingRule) -> int:
    locator = rule.object_locator
    return sum(map(names_one, (locator.schema_name, locator.table_name)))


def _fault(key: str, value: str) -> str:
    """Return why S3 does not take a tag; empty: it does."""
    if key.lower().startswith("aws:"):
        return f"the tag {key}: keys with aws: are Amazon's own"
    if len(key) > _KEY_LENGTH_MAX or len(value) > _VALUE_LENGTH_MAX:
        lengths = f"keys of {_KEY_LENGTH_MAX} and values of {_VALUE_LENGTH_MAX} characters"
        return f"the tag {key[:_KEY_LENGTH_MAX]}: S3 takes {lengths}"
    if not (_TAKEN.fullmatch(key) and _TAKEN.fullmatch(value)):
        return f"the tag {key}: S3 takes letters, digits, blanks and + - = . _ : / @"
    return ""
