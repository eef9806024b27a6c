"""The schema that a record was written with, whatever its format: Kafka Connect's form of the row and the key.

JSON brings that form with each record. An Avro schema, as Confluent's and Apicurio's converters make it of Connect's,
is turned back into it. Plain JSON brings none: `stated` makes one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types.form import ConnectSchema

PAYLOAD = b',"payload":'
"""What stands between schema and content where Kafka Connect's JSON converter writes both. Within a schema these bytes
cannot stand: quotes in strings are escaped, and no member of a schema is called so."""

_AVRO_TYPES = {
    "boolean": "boolean",
    "int": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "bytes": "bytes",
    "enum": "string",
    "fixed": "bytes",
}


@dataclass(frozen=True, slots=True)
class Writer:
    """How the records of one topic were written for a while."""

    fields: tuple[ConnectSchema, ...]
    """The row's columns, in order."""
    key: tuple[str, ...]
    """The names of the key's columns; empty for a table without one."""
    ours: TableSchema | None = None
    """The version of the table whose values are in the forms of a capture of ours, which wrote them as plain JSON."""


def envelope_fields(schema: Mapping[str, Any]) -> tuple[ConnectSchema, ...]:
    """Return the columns of the rows in an envelope's schema, in Connect's form. Raises DECODE for another schema."""
    try:
        parts = {field["field"]: field for field in schema["fields"]}
        if "op" not in parts or "source" not in parts:
            raise ValueError
        row = parts["after"] if "fields" in parts.get("after", {}) else parts["before"]
        return tuple(row["fields"])
    except (KeyError, TypeError, ValueError):
        raise TailraceError(
            ErrorKind.DECODE,
            "the schema of a record is no envelope of Debezium",
            remedy="the topic must hold what the connector writes: no transformation such as ExtractNewRecordState",
        ) from None


def key_names(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the names of a key's columns. Raises DECODE for a key that is no record."""
    if schema is None:
        return ()
    try:
        return tuple(str(field["field"]) for field in schema["fields"])
    except (KeyError, TypeError):
        raise TailraceError(
            ErrorKind.DECODE,
            "the schema of a key is no record",
            remedy="the key must be the one that the connector writes: a record with the key's columns",
        ) from None


def json_start(data: bytes) -> int:
    """Return where the content begins of a JSON record that brings its schema. Raises DECODE for any other."""
    start = data.find(PAYLOAD)
    if start < 0 or not data.startswith(b'{"schema":{'):
        raise TailraceError(
            ErrorKind.DECODE,
            f"a record of {len(data)} bytes is no JSON with a schema",
            remedy="check that `source.format` says how Kafka Connect's converter writes (`schemas.enable`)",
        )
    return start + len(PAYLOAD)


def json_schema(data: bytes) -> ConnectSchema:
    """Return the schema that a JSON record brings. Raises DECODE."""
    end = json_start(data) - len(PAYLOAD)
    try:
        schema: ConnectSchema = json.loads(data[10:end])
    except (ValueError, RecursionError):
        raise TailraceError(ErrorKind.DECODE, f"the schema in a record of {len(data)} bytes is not readable") from None
    return schema


def avro_schema(text: str) -> ConnectSchema:
    """Return the Connect form of an Avro schema. Raises DECODE."""
    try:
        return _connect(json.loads(text), {})
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TailraceError(
            ErrorKind.DECODE, f"an Avro schema of {len(text)} characters is none that Kafka Connect writes"
        ) from None


def plain_avro(text: str) -> Any:
    """Return an Avro schema without logical types: readers leave the values as they are."""

    def stripped(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: stripped(part) for name, part in node.items() if name != "logicalType"}
        return [stripped(part) for part in node] if isinstance(node, list) else node

    return stripped(json.loads(text))


def _connect(schema: Any, named: dict[str, ConnectSchema]) -> ConnectSchema:
    if isinstance(schema, list):
        (branch,) = (part for part in schema if part != "null")
        return {**_connect(branch, named), "optional": "null" in schema}
    if isinstance(schema, str):
        if schema in named:
            return named[schema]
        return {"type": _AVRO_TYPES[schema], "optional": False}
    kind = schema["type"]
    if isinstance(kind, (dict, list)):
        return _connect(kind, named)
    found: ConnectSchema = {"optional": False}
    if name := schema.get("connect.name"):
        found["name"] = name
    if parameters := schema.get("connect.parameters"):
        found["parameters"] = parameters
    if "connect.default" in schema:
        found["default"] = schema["connect.default"]
    if kind == "record":
        return found | _record(schema, found, named)
    if kind == "array":
        return found | {"type": "array", "items": _connect(schema["items"], named)}
    if kind == "map":
        return found | {"type": "map", "values": _connect(schema["values"], named)}
    if kind in ("enum", "fixed"):
        full = schema["name"] if "." in schema["name"] else f"{schema.get('namespace', '')}.{schema['name']}".strip(".")
        named[full] = named[schema["name"]] = found
    found["type"] = schema.get("connect.type") or _AVRO_TYPES[kind]
    return found


def _record(schema: Mapping[str, Any], found: ConnectSchema, named: dict[str, ConnectSchema]) -> ConnectSchema:
    space, short = schema.get("namespace", ""), schema["name"]
    # Known before its fields are: a name may stand in for the record within itself.
    for name in {short, f"{space}.{short}".strip("."), short.rpartition(".")[2]}:
        named[name] = found
    found["type"] = "struct"
    found["fields"] = [{**_connect(field["type"], named), "field": field["name"]} for field in schema["fields"]]
    return found
