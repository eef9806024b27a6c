"""Avro schemas as a Confluent-compatible registry keeps them: their texts, subjects, ids and records.

Without a registry ids are hashes of the text, so that nobody must coordinate to give them. The `_schemas` records have
the layout of Confluent's registry (`io.confluent.kafka.schemaregistry.storage.SchemaKey` and `SchemaValue`). A table
version's own record, on the replication's schemas topic, is all that an applier needs.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.topic_settings import SubjectNaming
from schemas.types.form import ConnectSchema

_AVRO_TYPES = {
    "boolean": "boolean",
    "int32": "int",
    "int64": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "bytes": "bytes",
}


def avro_schema(schema: ConnectSchema, known: set[str] | None = None) -> Any:
    """Return the Avro form of a Connect schema, with the properties that Confluent's AvroConverter adds."""
    known = set() if known is None else known
    result = _required(schema, known)
    return ["null", result] if schema.get("optional") else result


def _required(schema: ConnectSchema, known: set[str]) -> Any:
    type_, name = schema["type"], schema.get("name")
    if type_ == "struct":
        return _record(schema, known)
    if type_ == "array":
        return {"type": "array", "items": avro_schema(schema["items"], known)}
    properties: dict[str, Any] = {}
    if type_ == "int16":
        type_, properties = "int32", {"connect.type": "int16"}
    if name:
        parameters = schema.get("parameters")
        properties |= {"connect.version": schema["version"], "connect.name": name}
        if parameters:
            properties["connect.parameters"] = parameters
        if name == "org.apache.kafka.connect.data.Decimal" and parameters:
            precision = int(parameters.get("connect.decimal.precision", 64))
            properties |= {"logicalType": "decimal", "scale": int(parameters["scale"]), "precision": precision}
    return {"type": _AVRO_TYPES[type_], **properties} if properties else _AVRO_TYPES[type_]


def _record(schema: ConnectSchema, known: set[str]) -> Any:
    name: str = schema["name"]
    if name in known:
        return name
    known.add(name)
    space, _, short = name.rpartition(".")
    fields = []
    for field in schema["fields"]:
        entry = {"name": field["field"], "type": avro_schema(field, known)}
        if field.get("optional"):
            entry["default"] = None
        fields.append(entry)
    result: dict[str, Any] = {"type": "record", "name": short, "namespace": space, "fields": fields}
    if "version" in schema:
        result["connect.version"] = schema["version"]
    return result | {"connect.name": name}


def canonical_text(schema: Any) -> str:
    """Return a schema as text: always the same for the same schema."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def schema_id_of(text: str) -> int:
    """Return the id of a schema text: 31 bits of its SHA-256, never 0."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF) or 1


def subject_of(naming: SubjectNaming, topic: str, part: str, text: str) -> str:
    """Return the subject of a schema of a topic's keys or values (`part`: `key` or `value`).

    As Confluent's serializers name it (its documentation, "Subject name strategy").
    """
    if naming is SubjectNaming.TOPIC:
        return f"{topic}-{part}"
    document = json.loads(text)
    name = f"{document['namespace']}.{document['name']}" if document.get("namespace") else str(document["name"])
    return name if naming is SubjectNaming.RECORD else f"{topic}-{name}"


class SchemaRecord(NamedTuple):
    """A key and a value for Kafka."""

    key: bytes
    value: bytes


def registry_record(subject: str, version: int, schema_id: int, text: str) -> SchemaRecord:
    """Return the record that a Confluent registry keeps of a schema. `subject` is the topic with `-key` or `-value`."""
    key = {"keytype": "SCHEMA", "subject": subject, "version": version, "magic": 1}
    value = {"subject": subject, "version": version, "id": schema_id, "schema": text, "deleted": False}
    return SchemaRecord(_json(key), _json(value))


NOOP_KEY = b'{"keytype":"NOOP","magic":0}'
"""The key of the records that registries write to see how far they have read. They have no value, and say nothing."""


class RegisteredSchema(NamedTuple):
    """What a `_schemas` record says."""

    subject: str
    version: int
    schema_id: int
    text: str
    deleted: bool


def parse_registry_record(key: bytes, value: bytes | None) -> RegisteredSchema | None:
    """Read a `_schemas` record; None for the registry's other records and for tombstones. Raises DECODE."""
    try:
        if json.loads(key)["keytype"] != "SCHEMA" or value is None:
            return None
        document = json.loads(value)
        if document.get("schemaType", "AVRO") != "AVRO":
            return None
        return RegisteredSchema(
            document["subject"],
            document["version"],
            document["id"],
            document["schema"],
            bool(document.get("deleted", False)),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TailraceError(ErrorKind.DECODE, "a record of the registry topic is no schema record") from None


class TableVersion(NamedTuple):
    """A table version and the ids of the schemas that its records carry (None where the format has none)."""

    table: TableSchema
    key_schema_id: int | None
    value_schema_id: int | None
    registered: tuple[int | None, int | None] | None = None
    """Where a registry has given the ids: those that the schemas' texts have of themselves, key and value."""
    topic: str | None = None
    """Where its records stand; None in records that say nothing of it."""


def table_record(version: TableVersion) -> SchemaRecord:
    """Return the record of a table version on the schemas topic."""
    name = version.table.name
    key = {"table": [name.schema, name.table], "version": version.table.version}
    value = {
        **version.table.to_document(),
        "key_schema_id": version.key_schema_id,
        "value_schema_id": version.value_schema_id,
    }
    if version.registered is not None:
        value["registered"] = version.registered
    if version.topic is not None:
        value["topic"] = version.topic
    return SchemaRecord(_json(key), _json(value))


def parse_table_record(value: bytes) -> TableVersion:
    """Read the value of a table version's record. Raises DECODE."""
    try:
        document = json.loads(value)
        registered = document.get("registered")
        return TableVersion(
            TableSchema.from_document(document),
            document.get("key_schema_id"),
            document.get("value_schema_id"),
            None if registered is None else (registered[0], registered[1]),
            document.get("topic"),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise TailraceError(ErrorKind.DECODE, "a record of the schemas topic is no table version") from None


def check_ids(known: dict[int, str], schema_id: int, text: str) -> None:
    """Remember the text of an id; raise INVARIANT if the id already stands for another text."""
    if known.setdefault(schema_id, text) != text:
        raise TailraceError(
            ErrorKind.INVARIANT,
            f"two Avro schemas have the id {schema_id}: their hashes collide",
            remedy="give one of the replications another name",
        )


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
