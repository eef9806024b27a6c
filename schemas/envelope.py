"""The change envelope: its fields, and the schemas of keys and values in Connect's form.

Field names, logical types and tombstones are Debezium's (its documentation, "PostgreSQL connector > Data change
events"); `unavailable` and `source.seq`, `source.schema_version` are ours. The order of the fields is ours too: an
applier has all that it needs before `source` begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.table import Column, TableSchema
from schemas.types.form import ConnectSchema
from schemas.types.forms import FORMS
from schemas.types.logical import Family

VERSION = "0.1"
"""What `source.version` says: the version of the envelope's form, not of the program."""

OPERATIONS = ("r", "c", "u", "d", "t")
"""read, create, update, delete, truncate."""

_ILLEGAL = re.compile(r"[^A-Za-z0-9_]")


def avro_name(name: str) -> str:
    """Return the name as Avro allows it: `_` for all but letters, digits and `_`, and before a leading digit."""
    legal = _ILLEGAL.sub("_", name)
    return "_" + legal if legal[:1].isdigit() or not legal else legal


def avro_names(names: Sequence[str]) -> list[str]:
    """Return the Avro names of columns, distinct: where two come to the same name, the later gets a number."""
    taken = {name for name in names if avro_name(name) == name}
    result = []
    for name in names:
        legal = avro_name(name)
        if legal != name:
            number, base = 2, legal
            while legal in taken:
                legal, number = f"{base}_{number}", number + 1
            taken.add(legal)
        result.append(legal)
    return result


def namespace(replication: str, table: TableSchema) -> str:
    """Return what precedes `.Envelope`, `.Key` and `.Value` in the names of a table's schemas."""
    return ".".join(avro_name(part) for part in (replication, table.name.schema, table.name.table))


def _column(column: Column, table: TableSchema, name: str, *, key: bool) -> ConnectSchema:
    schema = FORMS[column.type.family].connect(column.type)
    if column.type.family is Family.ENUM and not key:
        # Not in keys: a new label must not change the key's schema, whose id is part of every key's bytes.
        labels = next((t.labels for t in table.user_types if f"{t.schema}.{t.name}" == column.native), ())
        if labels:
            schema["parameters"] = {"allowed": ",".join(labels)}
    return {**schema, "optional": not key, "field": name}


def key_schema(table: TableSchema, replication: str, names: Sequence[str]) -> ConnectSchema:
    """Return the schema of keys. It depends on nothing but the key's columns: equal keys must stay equal bytes."""
    return {
        "type": "struct",
        "name": f"{namespace(replication, table)}.Key",
        "optional": False,
        "fields": [_column(table.columns[i], table, names[i], key=True) for i in table.key],
    }


def source_fields() -> list[tuple[str, str, bool]]:
    """Return name, Connect type and optionality of the fields of `source`, in order."""
    return [
        ("version", "string", False),
        ("connector", "string", False),
        ("name", "string", False),
        ("ts_ms", "int64", False),
        ("snapshot", "string", False),
        ("db", "string", False),
        ("sequence", "string", True),
        ("ts_us", "int64", False),
        ("ts_ns", "int64", False),
        ("schema", "string", False),
        ("table", "string", False),
        ("txId", "int64", True),
        ("lsn", "int64", True),
        ("xmin", "int64", True),
        ("seq", "int64", False),
        ("schema_version", "int32", False),
    ]


def row_schema(table: TableSchema, replication: str, names: Sequence[str]) -> ConnectSchema:
    """Return the schema of rows, as they stand in envelopes."""
    return {
        "type": "struct",
        "name": f"{namespace(replication, table)}.Value",
        "optional": True,
        "fields": [_column(column, table, name, key=False) for column, name in zip(table.columns, names, strict=True)],
    }


def value_schema(table: TableSchema, replication: str, connector: str, names: Sequence[str]) -> ConnectSchema:
    """Return the schema of envelopes."""
    prefix = namespace(replication, table)
    row = row_schema(table, replication, names)
    source = {
        "type": "struct",
        "name": f"io.debezium.connector.{avro_name(connector)}.Source",
        "optional": False,
        "field": "source",
        "fields": [{"type": type_, "optional": optional, "field": name} for name, type_, optional in source_fields()],
    }
    transaction = {
        "type": "struct",
        "name": "event.block",
        "version": 1,
        "optional": True,
        "field": "transaction",
        "fields": [
            {"type": "string", "optional": False, "field": "id"},
            {"type": "int64", "optional": False, "field": "total_order"},
            {"type": "int64", "optional": False, "field": "data_collection_order"},
        ],
    }
    unavailable = {"type": "array", "items": {"type": "string", "optional": False}}
    return {
        "type": "struct",
        "name": f"{prefix}.Envelope",
        "version": 2,
        "optional": False,
        "fields": [
            {"type": "string", "optional": False, "field": "op"},
            {**row, "field": "before"},
            {**row, "field": "after"},
            {**unavailable, "optional": True, "field": "unavailable"},
            source,
            *({"type": "int64", "optional": True, "field": name} for name in ("ts_ms", "ts_us", "ts_ns")),
            transaction,
        ],
    }
