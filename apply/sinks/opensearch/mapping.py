"""How a table becomes an index: its name, the types of its fields, and the documents of rows.

What a document holds is exact whatever a field's type is: OpenSearch keeps the text that it was sent. A field's type
says only what can be searched: a decimal as a double, a time in milliseconds. Values beyond a type are kept, and not
indexed (`ignore_malformed`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from apply.sink_kinds.guarded import KeyTexts
from schemas.codecs.plain_rows import plain_fields
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema
from schemas.types import Family

INDEX_NAME_BYTES_MAX = 255
ID_BYTES_MAX = 512
"""OpenSearch's limits of an index's name and a document's id (`MetadataCreateIndexService`, `IndexRequest`)."""

FIELDS_MAX = 1000
"""What `index.mapping.total_fields.limit` is by default; it is set to what a table needs."""

_ILLEGAL = re.compile(r'[\\/*?"<>| ,#:\x00-\x1f]')

_KEYWORD = {"type": "keyword", "ignore_above": 8191}
_NUMBER = {"type": "double", "ignore_malformed": True}
_TIME = {"type": "date", "format": "strict_date_optional_time_nanos", "ignore_malformed": True}
_TEXT = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}

_FIELDS: dict[Family, dict[str, Any]] = {
    Family.BOOLEAN: {"type": "boolean"},
    Family.INT16: {"type": "short"},
    Family.INT32: {"type": "integer"},
    Family.INT64: {"type": "long"},
    Family.UINT32: {"type": "long"},
    Family.UINT64: {"type": "unsigned_long"},
    Family.FLOAT32: _NUMBER,
    Family.FLOAT64: _NUMBER,
    Family.DECIMAL: _NUMBER,
    Family.NUMERIC: _NUMBER,
    Family.STRING: _TEXT,
    Family.BYTES: {"type": "binary"},
    Family.DATE: _TIME,
    Family.TIMESTAMP: _TIME,
    Family.TIMESTAMPTZ: _TIME,
    Family.JSON: {"type": "text"},
    Family.XML: {"type": "text"},
}
"""All other families are keywords."""

_TAKE_ALL = frozenset({"text", "keyword"})
"""Types of fields that have a place for any value of a column."""
_MAY_IGNORE = frozenset({"short", "integer", "long", "unsigned_long", "float", "double", "scaled_float", "date"})
"""Types of fields that leave out what is not of them, if they are told to, also later (`ignore_malformed`)."""


def index_name(pattern: str, name: TableName) -> str:
    """Return the index of a table. Raises TARGET_SCHEMA if OpenSearch cannot have it."""
    filled = pattern.replace("{schema}", name.schema).replace("{table}", name.table)
    legal = _ILLEGAL.sub("_", filled.lower()).lstrip("-_+")
    if not legal or legal in (".", "..") or len(legal.encode()) > INDEX_NAME_BYTES_MAX:
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"its index would have a name of {len(legal.encode())} bytes; 1 to {INDEX_NAME_BYTES_MAX} are allowed",
            table=str(name),
            remedy="set `index_name` of the target",
        )
    return legal


def properties(table: TableSchema) -> dict[str, Any]:
    """Return the fields of a table's documents. A column's dot would make an object of the field: it is refused."""
    dotted = [column.name for column in table.columns if "." in column.name or not column.name.strip()]
    if dotted:
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"{len(dotted)} columns have names that OpenSearch reads as paths",
            table=str(table.name),
            remedy="rename them, or leave the table out",
        )
    return {column.name: _FIELDS.get(column.type.family, _KEYWORD) for column in table.columns}


def changed_fields(fields: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be made of the fields that an index has, so that it takes documents with `fields`.

    A field keeps the type that it has, since none can get another one: values that are not of it are in documents all
    the same, and not indexed. Raises KeyError for one of a type that refuses them.
    """
    changed: dict[str, Any] = {}
    for name, field in fields.items():
        found = there.get(name)
        if found is None:
            changed[name] = field
            continue
        kind, may_not_fit = found.get("type"), "ignore_malformed" in field
        if kind != field["type"]:
            may_not_fit = kind not in _TAKE_ALL
            if may_not_fit and kind not in _MAY_IGNORE:
                raise KeyError(name)
        if may_not_fit and not found.get("ignore_malformed"):
            changed[name] = {**found, "ignore_malformed": True}
    return changed


def grown_fields(fields: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the next index of a stream, for documents with `fields` behind such with `known` ones.

    Changes of the version before may come into it yet, from other partitions. So a field of another type than it had
    takes all values, or those that are not of its type are in documents, and not indexed.
    """
    grown = dict(known)
    for name, field in fields.items():
        if name not in known:
            grown[name] = field
        elif known[name].get("type") != (kind := field["type"]):
            if kind in _MAY_IGNORE:
                field = {**field, "ignore_malformed": True}
            grown[name] = field if kind in _MAY_IGNORE | _TAKE_ALL else _KEYWORD
    return grown


class Documents:
    """Makes the documents of one version's rows, and the lines of bulk requests that they stand in.

    Raises TARGET_SCHEMA for a table that can have no index.
    """

    def __init__(self, table: TableSchema, pattern: str) -> None:
        self.document = plain_fields([(column.name, column.type) for column in table.columns])
        """Returns what is known of a row."""
        self.key_texts = KeyTexts(table)
        self.index = index_name(pattern, table.name)
        """Where they are."""
        self._head = orjson.dumps({"_index": self.index, "_id": ""})[1:-2]

    def line(self, action: str, id_: str, seq: int) -> bytes:
        """Return the line before a document: what is done to it, if it has no version yet that is as high."""
        id_bytes = orjson.dumps(id_)[1:]
        return b'{"%b":{%b%b,"version":%d,"version_type":"external"}}\n' % (action.encode(), self._head, id_bytes, seq)

    def created(self, id_: str) -> bytes:
        """Return the line before a document that is made unless it is there."""
        return b'{"create":{%b%b}}\n' % (self._head, orjson.dumps(id_)[1:])
