"""Rows as documents: their `_id`, their fields, and where they go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import bson
from bson import Int64
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from apply.sink_kinds.guarded import KeyTexts
from apply.sinks.mongodb.values import TIMES, form, microseconds, nested
from schemas.changes import UNCHANGED, Row
from schemas.codecs.plain_rows import fields_maker
from schemas.endpoints.mongodb import MongodbTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema
from schemas.types import Family

DOCUMENT_BYTES_MAX = 16 << 20
NAMESPACE_BYTES_MAX = 255
DATABASE_BYTES_MAX = 63
"""MongoDB manual, "MongoDB limits and thresholds"; Amazon DocumentDB developer guide, "Quotas and limits"."""

SEQUENCE = "tailrace_seq"
MICROSECONDS = "tailrace_us"
WHOLE = "_doc"
"""The column whose JSON is the document, where `nesting_level` is `none`."""

PREFIXES = ("json_", "array_")
"""Columns of text whose names begin so become nested, under the rest of their names. DMS user guide, "Coercing a data
type at the target endpoint"."""

_ILLEGAL_DATABASE = re.compile(r'[/\\. "$*<>:|?\0]')
_ILLEGAL_COLLECTION = re.compile(r"[$\0]")

Fields = dict[str, Any]
Times = dict[str, int]
"""Microseconds, by field."""


class Documents:
    """Makes the documents of one version's rows."""

    def __init__(self, table: TableSchema, target: MongodbTarget) -> None:
        """Raises TARGET_SCHEMA."""
        self.table = table
        self.database, self.collection = place_of(target, table.name)
        self.key_texts = KeyTexts(table)
        names = [_field(column.name, column.type.family) for column in table.columns]
        self._whole = (
            table.column_names.index(WHOLE) if target.nesting_level == "none" and WHOLE in table.column_names else -1
        )
        _check_names(table, names)
        self.field_names = tuple(names)
        self._columns = [
            (name, nested if name != column.name else form(column.type, target.json_form), column.type.family in TIMES)
            for name, column in zip(names, table.columns, strict=True)
        ]
        self._members = fields_maker([(name, make) for name, make, _ in self._columns])
        self._times = [(i, name) for i, (name, _, is_time) in enumerate(self._columns) if is_time]
        own = table.column_names.index("_id") if "_id" in table.column_names else -1
        if own >= 0 and table.key != (own,):
            raise _unfit(table, "a column is called _id, and is not the table's key", "rename it, or make it the key")

    @property
    def nests(self) -> bool:
        """Whether one column is the document."""
        return self._whole >= 0

    def id_of_row(self, row: Row) -> Any:
        """Return a row's `_id`."""
        return self.id_of_key([row[i] for i in self.table.key])

    def id_of_key(self, key: Sequence[Any]) -> Any:
        """Return the `_id` of key values: the value, or a document of several. Times count their microseconds."""
        values = []
        for i, value in zip(self.table.key, key, strict=True):
            name, make, is_time = self._columns[i]
            # Milliseconds would make one document of two rows.
            values.append((name, Int64(value) if is_time else make(value)))
        return values[0][1] if len(values) == 1 else dict(values)

    def fields(self, row: Row) -> tuple[Fields, Times]:
        """Return what is known of a row, but for `_id`, and what its times have beyond their milliseconds.

        Raises ValueError for what no document can be.
        """
        times = {name: microseconds(row[i]) for i, name in self._times if row[i] is not UNCHANGED}
        found = self._members(row) if self._whole < 0 else self._around(row)
        found.pop("_id", None)
        return found, times

    def _around(self, row: Row) -> Fields:
        """Return the members of the column that is the document, and the other columns where they stand around it."""
        found: Fields = {}
        for i, ((name, make, _), value) in enumerate(zip(self._columns, row, strict=True)):
            if value is UNCHANGED:
                continue
            if i == self._whole:
                found.update(_members(value))
            else:
                found[name] = None if value is None else make(value)
        return found


def whole(head: Fields, fields: Fields, times: Times, seq: int) -> RawBSONDocument:
    """Return a whole document behind its `_id`, or behind nothing. Raises ValueError for what is none."""
    document = {**head, **fields}
    rest = {name: us for name, us in times.items() if us}
    if rest:
        document[MICROSECONDS] = rest
    document[SEQUENCE] = Int64(seq)
    return RawBSONDocument(encoded(document))


def change(fields: Fields, times: Times, seq: int) -> Fields:
    """Return the update that writes some fields, and leaves the others. Raises ValueError for what is none."""
    places = {f"{MICROSECONDS}.{name}": us for name, us in times.items()}
    update: Fields = {"$set": {**fields, **{place: us for place, us in places.items() if us}, SEQUENCE: Int64(seq)}}
    gone = {place: "" for place, us in places.items() if not us}
    if gone:
        update["$unset"] = gone
    encoded(update)
    return update


def encoded(document: Fields) -> bytes:
    """Return a document's bytes. Raises ValueError if it can be none."""
    try:
        text = bson.encode(document)
    except (BSONError, OverflowError) as error:
        raise ValueError(f"a row can be no document ({type(error).__name__})") from error
    if len(text) > DOCUMENT_BYTES_MAX:
        raise ValueError(f"a document of {len(text)} bytes is too large: {DOCUMENT_BYTES_MAX} are allowed")
    return text


def place_of(target: MongodbTarget, name: TableName) -> tuple[str, str]:
    """Return the database and the collection of a table. Raises TARGET_SCHEMA if there can be none."""
    database = _ILLEGAL_DATABASE.sub("_", target.database or name.schema)
    filled = target.collection_name.replace("{schema}", name.schema).replace("{table}", name.table)
    collection = _ILLEGAL_COLLECTION.sub("_", filled)
    size = len(f"{database}.{collection}".encode())
    if len(database.encode()) > DATABASE_BYTES_MAX or size > NAMESPACE_BYTES_MAX or collection.startswith("system."):
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"its collection cannot have that name, of {size} bytes with its database's",
            table=str(name),
            remedy="set `collection_name` or `database` of the target",
        )
    return database, collection


def _field(name: str, family: Family) -> str:
    if family in (Family.STRING, Family.JSON):
        for prefix in PREFIXES:
            if name.startswith(prefix) and len(name) > len(prefix):
                return name.removeprefix(prefix)
    return name


def _check_names(table: TableSchema, names: list[str]) -> None:
    bad = [name for name in names if "." in name or "\0" in name or name.startswith("$")]
    if bad:
        raise _unfit(table, f"{len(bad)} columns have names that MongoDB reads as paths or operators", "rename them")
    taken = {name for name in names if names.count(name) > 1} | {SEQUENCE, MICROSECONDS} & set(names)
    if taken:
        raise _unfit(table, f"the field {min(taken)} would be there twice", "rename the column")


def _unfit(table: TableSchema, message: str, remedy: str) -> TailraceError:
    return TailraceError(ErrorKind.TARGET_SCHEMA, message, table=str(table.name), remedy=remedy)


def _members(text: Any) -> Fields:
    document = nested(text) if isinstance(text, str) else None
    if not isinstance(document, dict):
        raise ValueError(f"the column {WHOLE} holds no JSON object")
    document.pop("_id", None)
    return document
