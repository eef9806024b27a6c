"""Object mapping compiled for one version of one table: what sinks whose targets are no tables ask.

`object_table` is the whole interface: give it `settings.object_mappings(target)` and a table as the target sees it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.hints import suggestion
from schemas.mappings.names import concerns
from schemas.mappings.object_rule import AttributeMapping, ObjectMappingRule
from schemas.table import TableName, TableSchema
from schemas.types.plain import plain

DOCUMENT_ATTRIBUTE = "_doc"
"""Where `map-record-to-document` puts the columns."""

_REFERENCE = re.compile(r"\$\{([^}]*)\}")

Render = Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that is made of columns."""

    mapping: AttributeMapping
    render: Render
    """A row to the attribute's value: a text, a tree of texts, None for a template of one column that is null, and
    `UNCHANGED` where the row lacks a value that it is made of."""


@dataclass(frozen=True, slots=True)
class ObjectTable:
    """What a rule makes of the rows of a table version."""

    rule: ObjectMappingRule
    column_names: tuple[str, ...]
    """All columns of the table."""
    columns: tuple[int, ...]
    """The columns that go as they are: as attributes of their own, or in `_doc`."""
    is_document: bool
    """Whether they go in `_doc`."""
    attributes: tuple[Attribute, ...]
    partition_key: Render | None
    """A row to its partition key (a text, or `UNCHANGED`), where the rule says one; None: the sink's own way."""

    @property
    def target_name(self) -> str | None:
        """How the table, or stream, is called at the target, where the rule says so."""
        return self.rule.target_table_name

    def members(self, row: Row) -> dict[str, Any]:
        """Return what the attribute mappings make of a row, without what the row lacks."""
        made = ((a.mapping.target_attribute_name, a.render(row)) for a in self.attributes)
        return {name: value for name, value in made if value is not UNCHANGED}

    def shape(self, fields: Mapping[str, Any], row: Row) -> dict[str, Any]:
        """Return a row's object: the columns that stay, of those in `fields` (by name), and the attributes."""
        names = (self.column_names[i] for i in self.columns)
        kept = {name: fields[name] for name in names if name in fields}
        return ({DOCUMENT_ATTRIBUTE: kept} if self.is_document else kept) | self.members(row)


def rule_for(rules: Sequence[ObjectMappingRule], table: TableName) -> ObjectMappingRule | None:
    """Return the rule that concerns a table. Raises CONFIGURATION if there are several."""
    found = [rule for rule in rules if concerns(rule, table)]
    if len(found) > 1:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"rules {' and '.join(rule.rule_id for rule in found)} both map {table} to objects",
            remedy="make the object-locator of one narrower",
        )
    return found[0] if found else None


def check_comparable(rules: Sequence[ObjectMappingRule], table: TableName) -> None:
    """Raise TARGET_SCHEMA if a rule makes what a target has of a table: it cannot be told back to rows."""
    if rule_for(rules, table) is not None:
        message = "what the target has of it is made by a rule of object mapping: it is not compared"
        raise TailraceError(ErrorKind.TARGET_SCHEMA, message, table=str(table))


def object_table(rules: Sequence[ObjectMappingRule], table: TableSchema) -> ObjectTable | None:
    """Compile the rule for a table; None: no rule concerns it. Raises CONFIGURATION, with the rule's id."""
    rule = rule_for(rules, table.name)
    if rule is None:
        return None
    parameters = rule.mapping_parameters
    attributes = tuple(Attribute(a, _renderer(rule, table, a.value)) for a in parameters.attribute_mappings)
    key: Render | None = None
    if rule.key_template is not None:
        key = _renderer(rule, table, rule.key_template)
    elif parameters.partition_key_type == "schema-table":
        constant = str(table.name)
        key = lambda _row: constant  # noqa: E731 - a function like the others
    elif parameters.partition_key_name is not None:
        made = {a.mapping.target_attribute_name: a.render for a in attributes}
        key = made.get(parameters.partition_key_name)
        key = key or _renderer(rule, table, "${" + parameters.partition_key_name + "}")
    excluded = {_place(table.column_names, name) for name in parameters.exclude_columns}
    columns = tuple(i for i in range(len(table.columns)) if i not in excluded)
    return ObjectTable(rule, table.column_names, columns, rule.rule_action == "map-record-to-document", attributes, key)


def _renderer(rule: ObjectMappingRule, table: TableSchema, value: Any) -> Render:
    """Return what fills a text, or a tree of texts, with a row's values."""
    if isinstance(value, dict):
        members = [(name, _renderer(rule, table, inner)) for name, inner in value.items()]
        return lambda row: _whole({name: render(row) for name, render in members})
    if isinstance(value, list):
        items = [_renderer(rule, table, inner) for inner in value]
        return lambda row: _whole([render(row) for render in items])
    if not isinstance(value, str):
        return lambda _row: value
    parts = _REFERENCE.split(value)
    if len(parts) == 1:
        return lambda _row: value
    cells = [_cell(rule, table, name) for name in parts[1::2]]
    if len(cells) == 1 and not parts[0] and not parts[2]:
        return cells[0]
    texts = parts[::2]

    def render(row: Row) -> Any:
        values = [cell(row) for cell in cells]
        if UNCHANGED in values:
            return UNCHANGED
        filled = ["" if v is None else v for v in values]
        return texts[0] + "".join(v + text for v, text in zip(filled, texts[1:], strict=True))

    return render


def _whole(tree: Any) -> Any:
    """Return a tree, unless the row lacks a part of it."""
    return UNCHANGED if UNCHANGED in (tree.values() if isinstance(tree, dict) else tree) else tree


def _place(names: Sequence[str], name: str) -> int | None:
    """Return which column a name means: just this one, or else the only one that differs in capitals alone.

    The guide's rules say `homephone` for a column that it calls HomePhone: not heeded, it would be let through.
    """
    alike = [i for i, known in enumerate(names) if known.casefold() == name.casefold()]
    return names.index(name) if name in names else alike[0] if len(alike) == 1 else None


def _cell(rule: ObjectMappingRule, table: TableSchema, name: str) -> Render:
    names = table.column_names
    index = _place(names, name)
    if index is None:
        hint = suggestion(name, names, f"it has {', '.join(names)}")
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"rule {rule.rule_id}: ${{{name}}} is no column of {table.name}; {hint}",
            table=str(table.name),
        )
    form = plain(table.columns[index].type)

    def cell(row: Row) -> Any:
        value = row[index]
        if value is None or value is UNCHANGED:
            return value
        shown = form(value)
        if shown.__class__ is bool:
            return "true" if shown else "false"
        return str(shown)

    return cell
