"""Rows as items: which attributes a table version has, its key, and what rules of object mapping make of it.

A null is an attribute that is not there, as DMS has it: items stay small, and indexes hold only what has their key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from apply.sink_kinds.guarded import KeyTexts
from apply.sinks.dynamodb.values import Attribute, Encode, encoder, key_type, number_of
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.objects import DOCUMENT_ATTRIBUTE, ObjectTable, object_table
from schemas.mappings.objects import Attribute as MappedAttribute
from schemas.table import TableName, TableSchema

TABLE_NAME_LENGTH_MIN, TABLE_NAME_LENGTH_MAX = 3, 255
PARTITION_KEY_BYTES_MAX = 2048
SORT_KEY_BYTES_MAX = 1024
"""Developer guide, "Quotas": Tables, Partition keys and sort keys."""

COMPOUND_KEY = "tailrace_key"
"""The key of an item whose row has a key of more than two columns: a JSON array of their values."""

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_.-]")
_REFERENCE = re.compile(r"\$\{([^}]*)\}")

Item = dict[str, Attribute]
Paths = dict[tuple[str, ...], Attribute | None]
"""Attributes, or members of one, by their path; None where they are null."""


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One of the at most two attributes that identify an item."""

    name: str
    type: str
    """`S`, `N` or `B`."""
    make: Callable[[Row], Any]
    """From a row whose key is known to an attribute; anything else for what is no key."""


class Items:
    """Makes the items of one version's rows."""

    def __init__(self, table: TableSchema, rules: Sequence[ObjectMappingRule], pattern: str, sequence: str) -> None:
        """Raises TARGET_SCHEMA, or CONFIGURATION with the rule's id."""
        mapped = object_table(rules, table)
        _refuse_conditions(mapped, table)
        self.table = table
        self.name = table_name((mapped.target_name if mapped else None) or pattern, table.name)
        self._width = len(table.columns)
        encoders = [encoder(column.type) for column in table.columns]
        self._in_document = mapped is not None and mapped.is_document
        self._made = [(a.mapping.target_attribute_name, _maker(a)) for a in mapped.attributes] if mapped else []
        self.key = _key_parts(table, mapped, encoders)
        made = {name for name, _ in self._made}
        # An attribute that a rule makes has its name before a column's.
        own = [i for i in (mapped.columns if mapped else range(self._width)) if table.columns[i].name not in made]
        above = (DOCUMENT_ATTRIBUTE,) if self._in_document else ()
        self._own = [(i, (*above, table.columns[i].name), encoders[i]) for i in own]
        """Columns, the paths of what is made of them, and what makes it."""
        taken = made | {path[0] for _, path, _ in self._own}
        if sequence in taken:
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                f"an attribute has the name of the commit sequence, {sequence}",
                table=str(table.name),
                remedy="set `sequence_attribute` of the target",
            )

    @property
    def nests(self) -> bool:
        """Whether columns are members of one attribute."""
        return self._in_document

    def row_of_key(self, key: Row) -> Row:
        """Return a row of which only the key is known."""
        values = dict(zip(self.table.key, key, strict=True))
        return tuple(values.get(i, UNCHANGED) for i in range(self._width))

    def key_of(self, row: Row) -> tuple[Item, str]:
        """Return the key of a row's item, and what is wrong with it; empty: nothing."""
        key: Item = {}
        for part, bytes_max in zip(self.key, (PARTITION_KEY_BYTES_MAX, SORT_KEY_BYTES_MAX), strict=False):
            attribute = part.make(row)
            if attribute is None or attribute is UNCHANGED or part.type not in attribute:
                return {}, f"the key attribute {part.name} has no value of type {part.type}"
            value = attribute[part.type]
            length = len(value if part.type == "B" or value.isascii() else value.encode())
            if not 0 < length <= bytes_max:
                return {}, f"the key attribute {part.name} has {length} bytes; DynamoDB allows 1 to {bytes_max}"
            key[part.name] = attribute
        return key, ""

    def attributes(self, row: Row) -> Paths:
        """Return, by its path, what is known of a row: None where it is null. Raises ValueError for what is none."""
        found: Paths = {}
        for i, path, encode in self._own:
            value = row[i]
            if value is not UNCHANGED:
                found[path] = None if value is None else encode(value)
        for name, make in self._made:
            made = make(row)
            if made is not UNCHANGED:
                found[(name,)] = made
        return found

    def item(self, attributes: Paths) -> Item:
        """Return the item of a row that is known as a whole."""
        item: Item = {DOCUMENT_ATTRIBUTE: {"M": {}}} if self._in_document else {}
        for path, attribute in attributes.items():
            if attribute is None:
                continue
            if len(path) == 1:
                item[path[0]] = attribute
            else:
                item[path[0]]["M"][path[1]] = attribute
        return item


def table_name(pattern: str, name: TableName) -> str:
    """Return the table of a table. Raises TARGET_SCHEMA if DynamoDB cannot have it."""
    legal = _ILLEGAL.sub("_", pattern.replace("{schema}", name.schema).replace("{table}", name.table))
    if not TABLE_NAME_LENGTH_MIN <= len(legal) <= TABLE_NAME_LENGTH_MAX:
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"its table would have a name of {len(legal)} characters; "
            f"{TABLE_NAME_LENGTH_MIN} to {TABLE_NAME_LENGTH_MAX} are allowed",
            table=str(name),
            remedy="set `table_name` of the target",
        )
    return legal


def _refuse_conditions(mapped: ObjectTable | None, table: TableSchema) -> None:
    if mapped is not None and mapped.rule.mapping_parameters.condition_expression is not None:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"rule {mapped.rule.rule_id}: condition-expression is not supported: writes have conditions of their own",
            table=str(table.name),
        )


def _key_parts(table: TableSchema, mapped: ObjectTable | None, encoders: list[Encode]) -> list[KeyPart]:
    parameters = mapped.rule.mapping_parameters if mapped else None
    if mapped is None or parameters is None or parameters.partition_key_name is None:
        if parameters is not None and parameters.sort_key_name is not None:
            raise _unfit(mapped, table, "sort-key-name needs partition-key-name")
        if len(table.key) <= 2:
            return [_column_part(table, i, encoders) for i in table.key]
        texts = KeyTexts(table)
        return [KeyPart(COMPOUND_KEY, "S", lambda row: {"S": texts.of_row(row)})]
    names = [parameters.partition_key_name, parameters.sort_key_name]
    return [_mapped_part(mapped, table, name, encoders) for name in names if name is not None]


def _column_part(table: TableSchema, i: int, encoders: list[Encode]) -> KeyPart:
    column = table.columns[i]
    kind, encode = key_type(column.type), encoders[i]
    texts = KeyTexts(TableSchema(table.name, (column,), (0,)))

    def make(row: Row) -> Attribute | None:
        return {"S": texts.of_key((row[i],))} if kind == "S" else encode(row[i])

    return KeyPart(column.name, kind, make)


def _mapped_part(mapped: ObjectTable, table: TableSchema, name: str, encoders: list[Encode]) -> KeyPart:
    """Return a key attribute that a rule names: one that it makes, or a column."""
    key_names = set(table.key_names)
    for attribute in mapped.attributes:
        if attribute.mapping.target_attribute_name == name:
            foreign = set(_REFERENCE.findall(json.dumps(attribute.mapping.value))) - key_names
            if foreign:
                # A deletion tells nothing but the key.
                raise _unfit(
                    mapped, table, f"the key attribute {name} is made of {min(foreign)}, not of the table's key"
                )
            kind = "N" if attribute.mapping.attribute_sub_type == "number" else "S"
            return KeyPart(name, kind, _maker(attribute))
    if name not in key_names:
        raise _unfit(mapped, table, f"the key attribute {name} is no column of the table's key, and no attribute")
    return _column_part(table, table.column_names.index(name), encoders)


def _unfit(mapped: ObjectTable | None, table: TableSchema, message: str) -> TailraceError:
    rule = f"rule {mapped.rule.rule_id}: " if mapped else ""
    remedy = "name columns of the primary key, all of them"
    return TailraceError(ErrorKind.TARGET_SCHEMA, rule + message, table=str(table.name), remedy=remedy)


def _maker(attribute: MappedAttribute) -> Callable[[Row], Any]:
    """Return what makes an attribute of a rule: an attribute, None for null, or UNCHANGED. Raises ValueError."""
    mapping, render = attribute.mapping, attribute.render
    kind = mapping.attribute_sub_type

    def make(row: Row) -> Any:
        value = render(row)
        if value is None or value is UNCHANGED:
            return value
        if not mapping.is_document:
            return _scalar(kind, value, mapping.target_attribute_name)
        if isinstance(value, str):
            value = json.loads(value)
        return _typed(value) if str(kind).startswith("dynamodb") else _tree(value)

    return make


def _scalar(kind: str | None, text: str, name: str) -> Attribute:
    if kind == "number":
        made = number_of(text)
        if made is None:
            raise ValueError(f"the attribute {name} is no number that DynamoDB holds")
        return made
    if kind == "boolean":
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"the attribute {name} is no boolean")
        return {"BOOL": text.lower() in ("true", "1")}
    return {"S": text}


def _typed(tree: Any) -> Attribute | None:
    """Return an attribute that is written as one, its texts filled in; members that are null are left out."""
    if not isinstance(tree, dict) or len(tree) != 1:
        raise ValueError("a value of an attribute mapping is not in DynamoDB's form")
    ((kind, value),) = tree.items()
    if value is None:
        return None
    if kind == "M":
        members = {name: _typed(inner) for name, inner in value.items()}
        return {"M": {name: inner for name, inner in members.items() if inner is not None}}
    if kind == "L":
        return {"L": [inner for inner in map(_typed, value) if inner is not None]}
    if kind in ("SS", "NS"):
        values = list(dict.fromkeys(inner for inner in value if inner is not None))
        return {kind: values} if values else None
    if kind == "N":
        return _scalar("number", str(value), "of a document")
    if kind == "BOOL":
        return _scalar("boolean", str(value), "of a document")
    return {"S": str(value)}


def _tree(value: Any) -> Attribute | None:
    """Return JSON as an attribute; members that are null are left out."""
    if isinstance(value, dict):
        members = {name: _tree(inner) for name, inner in value.items()}
        return {"M": {name: inner for name, inner in members.items() if inner is not None}}
    if isinstance(value, list):
        return {"L": [inner for inner in map(_tree, value) if inner is not None]}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int | float):
        return number_of(str(value)) or {"S": str(value)}
    return None if value is None else {"S": value}
