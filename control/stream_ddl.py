"""Tables of Flink SQL and ksqlDB over the topics of a replication, as text.

Types follow the Connect schemas of values (`schemas.types`). Times are numbers, as they are on the wire: both engines
convert them in a query. Nothing here asks these engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from schemas import envelope
from schemas.format import Format
from schemas.routing import Route, key_indexes, route
from schemas.settings import Settings
from schemas.table import TableSchema
from schemas.topic_settings import Deletes, RowField, Shape
from schemas.types.form import ConnectSchema
from schemas.types.forms import FORMS


class Engine(StrEnum):
    """Whose statements are written."""

    FLINK = "flink"
    KSQL = "ksql"


_FLINK = {
    "boolean": "BOOLEAN",
    "int16": "SMALLINT",
    "int32": "INT",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "STRING",
    "bytes": "BYTES",
}
_KSQL = {**_FLINK, "int16": "INT", "float": "DOUBLE"}

DECIMAL_NAME = "org.apache.kafka.connect.data.Decimal"
PRECISION_MAX = 38
"""Of DECIMAL in both engines."""


def statements(engine: Engine, settings: Settings, tables: Sequence[TableSchema]) -> str:
    """Return the statements for tables, each with a comment where something of it needs care."""
    parts = []
    for table in tables:
        way = route(settings, table.name)
        if way.outbox is not None:
            parts.append(f"-- {table.name} is an outbox: what its messages hold is the application's")
        elif way.shape is Shape.CLOUDEVENT:
            parts.append(f"-- {table.name} is published as CloudEvents: read its topic as raw JSON")
        else:
            parts.append(_WRITERS[engine](settings, table, way))
    return "\n\n".join(parts) + "\n"


def _flink(settings: Settings, table: TableSchema, way: Route) -> str:
    columns = [(name, _flink_type(schema, way.format)) for name, schema in _columns(table, way)]
    key = [name for name, _ in (columns[i] for i in table.key)]
    notes, options = [], {"connector": "kafka", "topic": way.topic}
    if way.shape is Shape.ROW:
        tombstones = bool(key) and not way.key and way.deletes is Deletes.TOMBSTONE
        options["connector"] = "upsert-kafka" if tombstones else "kafka"
        columns += [(f"__{field}", "STRING" if field in _TEXTS else "BIGINT") for field in way.fields]
        columns += [("__deleted", "BOOLEAN")] * (way.deletes is Deletes.REWRITE)
        formats = {"value.format": "avro-confluent" if way.format is Format.AVRO else "json"}
        if tombstones:
            formats["key.format"] = formats["value.format"]
            columns = [(name, f"{type_} NOT NULL" if name in key else type_) for name, type_ in columns]
    else:
        key = []
        formats = {"value.format": "debezium-avro-confluent" if way.format is Format.AVRO else "debezium-json"}
        if not table.full_before:
            notes.append(
                "Flink needs the old row of updates: `replica identity full` at the source, or shape `row` for it"
            )
    options["properties.bootstrap.servers"] = str(settings.kafka["bootstrap.servers"])
    options["properties.isolation.level"] = "read_committed"
    if options["connector"] == "kafka":
        options["scan.startup.mode"] = "earliest-offset"
    options |= formats
    for place, format_ in formats.items():
        if format_.endswith("confluent"):
            options[f"{place.removesuffix('.format')}.{format_}.url"] = _registry(settings, notes)
    if way.format is Format.JSON_WITH_SCHEMA and way.shape is Shape.ENVELOPE:
        options["value.debezium-json.schema-include"] = "true"
    elif way.format is Format.JSON_WITH_SCHEMA:
        notes.append("Flink reads no JSON with a schema around a row: set `format` to json or avro for it")
    lines = [f"  `{name}` {type_}" for name, type_ in columns]
    if options["connector"] == "upsert-kafka":
        lines.append(f"  PRIMARY KEY ({', '.join(f'`{name}`' for name in key)}) NOT ENFORCED")
    settings_ = ",\n".join(f"  '{name}' = '{_quoted(value)}'" for name, value in options.items())
    head = f"create table `{_name(table)}` (\n" + ",\n".join(lines)
    return _with_notes(notes, f"{head}\n) WITH (\n{settings_}\n);")


def _ksql(settings: Settings, table: TableSchema, way: Route) -> str:
    notes: list[str] = []
    columns = _columns(table, way)
    indexes = key_indexes(table.column_names, way.key, table.name) if way.key else table.key
    row = [(name, _ksql_type(schema, way.format)) for name, schema in columns]
    key = [(row[i][0], row[i][1]) for i in indexes]
    is_table = way.shape is Shape.ROW and bool(key) and not way.key and way.deletes is Deletes.TOMBSTONE
    lines = []
    if key:
        lines.append(f"  `k` {_struct(key)} {'PRIMARY KEY' if is_table else 'KEY'}")
    if way.shape is Shape.ROW:
        lines += [f"  `{name}` {type_}" for name, type_ in row]
        lines += [f"  `__{field}` {'STRING' if field in _TEXTS else 'BIGINT'}" for field in way.fields]
        lines += ["  `__deleted` BOOLEAN"] * (way.deletes is Deletes.REWRITE)
    else:
        source = [(name, _KSQL[type_]) for name, type_, _ in envelope.source_fields()]
        lines += ["  `op` STRING", f"  `before` {_struct(row)}", f"  `after` {_struct(row)}"]
        lines += ["  `unavailable` ARRAY<STRING>", f"  `source` {_struct(source)}", "  `ts_ms` BIGINT"]
    format_ = "AVRO" if way.format is Format.AVRO else "JSON"
    if way.format is Format.AVRO:
        _registry(settings, notes)
    elif way.format is Format.JSON_WITH_SCHEMA:
        notes.append("ksqlDB reads no JSON with a schema around it: set `format` to json or avro for it")
    options = [f"KAFKA_TOPIC = '{way.topic}'", f"VALUE_FORMAT = '{format_}'"]
    if key:
        options.insert(1, f"KEY_FORMAT = '{format_}'")
    kind = "table" if is_table else "stream"
    body = ",\n".join(lines)
    return _with_notes(notes, f"create {kind} `{_name(table)}` (\n{body}\n) WITH (\n  {', '.join(options)}\n);")


_WRITERS: Mapping[Engine, Callable[[Settings, TableSchema, Route], str]] = {Engine.FLINK: _flink, Engine.KSQL: _ksql}
_TEXTS = frozenset({RowField.OP, RowField.TABLE, RowField.SCHEMA})


def _columns(table: TableSchema, way: Route) -> list[tuple[str, ConnectSchema]]:
    names = envelope.avro_names(table.column_names) if way.format is Format.AVRO else table.column_names
    return [(name, FORMS[c.type.family].connect(c.type)) for name, c in zip(names, table.columns, strict=True)]


def _flink_type(schema: ConnectSchema, format_: Format) -> str:
    if schema.get("name") == DECIMAL_NAME:
        return _decimal(schema, format_) or ("BYTES" if format_ is Format.AVRO else "STRING")
    if schema["type"] == "struct":
        inner = ", ".join(f"`{f['field']}` {_flink_type(f, format_)}" for f in schema["fields"])
        return f"ROW<{inner}>"
    if schema["type"] == "array":
        return f"ARRAY<{_flink_type(schema['items'], format_)}>"
    return _FLINK[schema["type"]]


def _ksql_type(schema: ConnectSchema, format_: Format) -> str:
    if schema.get("name") == DECIMAL_NAME:
        return _decimal(schema, format_) or ("BYTES" if format_ is Format.AVRO else "STRING")
    if schema["type"] == "struct":
        return _struct([(f["field"], _ksql_type(f, format_)) for f in schema["fields"]])
    if schema["type"] == "array":
        return f"ARRAY<{_ksql_type(schema['items'], format_)}>"
    return _KSQL[schema["type"]]


def _decimal(schema: ConnectSchema, format_: Format) -> str | None:
    """Return the type of a decimal that the engines know; in JSON it is base64 of the unscaled number."""
    parameters = schema.get("parameters", {})
    precision, scale = int(parameters.get("connect.decimal.precision", 0)), int(parameters["scale"])
    if format_ is not Format.AVRO or not 0 < precision <= PRECISION_MAX or not 0 <= scale <= precision:
        return None
    return f"DECIMAL({precision}, {scale})"


def _struct(fields: Sequence[tuple[str, str]]) -> str:
    return f"STRUCT<{', '.join(f'`{name}` {type_}' for name, type_ in fields)}>"


def _registry(settings: Settings, notes: list[str]) -> str:
    if settings.registry is not None:
        return settings.registry.url
    notes.append(f"point a schema registry at the topic {settings.topics.registry_topic}, and write its address here")
    return "http://localhost:8081"


def _name(table: TableSchema) -> str:
    return f"{table.name.schema}_{table.name.table}".replace("`", "``")


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _with_notes(notes: Sequence[str], statement: str) -> str:
    return "\n".join([*(f"-- {note}" for note in dict.fromkeys(notes)), statement])
