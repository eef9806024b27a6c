"""Reads Debezium's records by functions that are generated for each writer schema, as `schemas.codecs` does for ours.

The frequent case is straight-line code: a whole new row. Deletes, rows with values that the log did not hold, and
whatever raises go the careful way, one at a time.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5
from io import BytesIO
from typing import Any, TypeVar
from uuid import UUID

import fastavro
import orjson

from schemas.changes import UNCHANGED, Row
from schemas.codecs.codec import Decoded, Decoder, Facts, Functions
from schemas.codecs.generate import compile_function, compile_functions, guarded, guarded_many, indent, whole_before
from schemas.debezium import columns, ours, writer
from schemas.debezium.texts import item_text
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.table import TableName, TableSchema
from schemas.types.form import ConnectSchema
from schemas.types.text import base64_of

Parse = Callable[[bytes], dict[str, Any]]

Input = TypeVar("Input")
Result = TypeVar("Result")

_REMEDY = "see where the record came from, and that `source.format` and `source.types` say how the topic was written"

PLACEHOLDER = "__debezium_unavailable_value"
"""What Debezium writes for a value that the log did not hold (its property `unavailable.value.placeholder`)."""


def table_schema(name: TableName, written: writer.Writer, connector: str, version: int) -> TableSchema:
    """Return the table that a writer's rows are of. Raises DECODE where the key names a column that rows lack."""
    kinds = [columns.kind_of(field, connector) for field in written.fields]
    names = [str(field["field"]) for field in written.fields]
    if not set(written.key) <= set(names):
        raise TailraceError(
            ErrorKind.DECODE,
            f"the records' key has {len(set(written.key) - set(names))} fields that are no columns of the row",
            table=str(name),
            remedy="the key must be the one that the connector writes, without a transformation",
        )
    return TableSchema(
        name=name,
        columns=tuple(
            columns.column_of(field, kind, connector, is_key=field["field"] in written.key)
            for field, kind in zip(written.fields, kinds, strict=True)
        ),
        key=tuple(names.index(part) for part in written.key),
        version=version,
        full_before=not written.key,
        engine="postgresql",
    )


@dataclass(frozen=True, slots=True)
class Form:
    """How the records of one writer are to be parsed."""

    format: Format
    value_text: str = ""
    """The Avro schema of values."""
    key_text: str | None = None
    value_start: int = 0
    """Where a JSON value's content begins."""
    key_start: int = 0
    connector: str = "postgresql"
    placeholder: str = PLACEHOLDER


def compile_decoder(table: TableSchema, written: writer.Writer, form: Form) -> Decoder:
    """Return the decoder of one writer's records. `table` is what `table_schema` made of the writer, of any version."""
    return Decoder(table, form.format, lambda: _functions(table, written, form))


def _functions(table: TableSchema, written: writer.Writer, form: Form) -> Functions:
    is_avro = form.format is Format.AVRO
    if written.ours is None:
        kinds = [columns.kind_of(field, form.connector) for field in written.fields]
        placeholder = form.placeholder
    else:
        kinds = ours.kinds_of(written.ours, written.fields, form.connector)
        # We name columns that the log did not hold, and write nothing in their place.
        placeholder = None
    parse, parse_key = _parsers(form)
    text = _text(table, kinds)
    names: dict[str, Any] = {
        **columns.NAMES,
        **ours.NAMES,
        "octets": bytes if is_avro else base64_of,
        "parse": parse,
        "LISTS": _placeholder_lists(placeholder),
        "NEEDLES": _needles(placeholder, kinds, is_avro=is_avro),
        "OPERATIONS": {"c": "c", "r": "c"} if whole_before(table) else {"c": "c", "r": "c", "u": "u"},
    }
    for i, (field, kind) in enumerate(zip(written.fields, kinds, strict=True)):
        if kind.native.endswith("[]") and written.ours is None:
            names[f"items{i}"] = _item_reader(field["items"], form.connector, names)
    made = compile_functions(text, "Debezium decoder", names)
    rare = _Rare(table, made, placeholder)
    made["rare"] = rare.read
    return made | {
        "source_text": text,
        "decode": _telling(guarded(table, "a value", lambda b: rare.read(parse(b))), rare),
        "decode_many": _telling(guarded_many(table, made["decode_many"]), rare),
        "decode_key": guarded(table, "a key", lambda b: made["key_of"](parse_key(b))),
        "facts": guarded(table, "a value", lambda b: _facts(parse(b))),
    }


def _telling(read: Callable[[Input], Result], rare: _Rare) -> Callable[[Input], Result]:
    """Return `read`, with the reason why a record was refused where it is known, and what to do in any case."""

    def checked(data: Input) -> Result:
        rare.refusal = None
        try:
            return read(data)
        except TailraceError as error:
            if rare.refusal is not None:
                raise rare.refusal from None
            raise TailraceError(error.kind, error.message, remedy=_REMEDY, table=error.table) from None

    return checked


def _parsers(form: Form) -> tuple[Parse, Parse]:
    loads = orjson.loads
    if form.format is Format.AVRO:
        return avro_parser(form.value_text), avro_parser(form.key_text) if form.key_text else loads
    if form.format is Format.JSON:
        return loads, loads
    start, key_start = form.value_start, form.key_start
    return (lambda b: loads(b[start:-1])), (lambda b: loads(b[key_start:-1]))


def avro_parser(text: str) -> Parse:
    """Return what reads framed records that were written with an Avro schema."""
    schema = fastavro.parse_schema(writer.plain_avro(text))
    read: Callable[[BytesIO, Any, None], Any] = fastavro.schemaless_reader
    return lambda b: read(BytesIO(b[5:]), schema, None)


def _needles(placeholder: str | None, kinds: list[columns.Kind], *, is_avro: bool) -> tuple[bytes, ...]:
    """Return the bytes that a value holds wherever a placeholder stands in it, but for arrays of numbers."""
    if placeholder is None:
        return ()
    if is_avro:
        return (placeholder.encode(),)
    quoted = orjson.dumps(placeholder)
    has_bytes = any("octets" in line for kind in kinds for line in kind.lines)
    return (quoted, b64encode(placeholder.encode())) if has_bytes else (quoted,)


def _item_reader(schema: ConnectSchema, connector: str, names: dict[str, Any]) -> Callable[[Any], str]:
    """Return what reads an array's element and writes it as text."""
    kind = columns.kind_of(schema, connector)
    lines = ["def item(v):", *indent(line.replace("{v}", "v") for line in kind.lines), "    return text(v)"]
    more = {**names, "text": item_text(kind.type.family, kind.type.scale)}
    return compile_function("\n".join(lines), "Debezium array element", more)


def _text(table: TableSchema, kinds: list[columns.Kind]) -> str:
    def read(i: int) -> list[str]:
        lines = [line.replace("{v}", f"v{i}").replace("items)", f"items{i})") for line in kinds[i].lines]
        found = [f"v{i} = a[{table.columns[i].name!r}]", f"if v{i} is not None:", *indent(lines)]
        return [*found, "else: wrong()"] if i in table.key else found

    columns_alone = [[f"def column{i}(a):", *indent(read(i)), ""] for i in range(len(kinds))]
    everything = [line for i in range(len(kinds)) for line in read(i)]
    whole = "(" + "".join(f"v{i}, " for i in range(len(kinds))) + ")"
    return "\n".join(
        [
            "def row_of(a):",
            *indent(everything),
            f"    return {whole}",
            "",
            "def key_of(a):",
            *indent(line for i in table.key for line in read(i)),
            "    return (" + "".join(f"v{i}, " for i in table.key) + ")",
            "",
            *(line for lines in columns_alone for line in lines),
            "def decode_many(values, out):",
            "    append = out.append",
            "    for b in values:",
            "        d = parse(b)",
            "        try:",
            "            op = OPERATIONS[d['op']]",
            "            a = d['after']",
            "            if d.get('unavailable'): wrong()",
            "            for needle in NEEDLES:",
            "                if needle in b: wrong()",
            *indent(everything, 3),
            f"            change = (op, None, {whole})",
            "        except Exception:",
            "            change = rare(d)",
            "        append(change)",
            "",
        ]
    )


class _Rare:
    """Reads one envelope at a time, carefully."""

    def __init__(self, table: TableSchema, made: Functions, placeholder: str | None) -> None:
        self._table = table
        self._made = made
        self._key_of: Callable[[Any], Row] = made["key_of"]
        octets = (placeholder or "").encode()
        self._texts = {placeholder, octets, b64encode(octets).decode()} if placeholder else set()
        self._lists = _placeholder_lists(placeholder)
        self._map = {placeholder: placeholder} if placeholder else None
        self.refusal: TailraceError | None = None
        """Why the last record was refused, where there is more to say than that it cannot be read."""

    def read(self, envelope: dict[str, Any]) -> Decoded:
        """Return the change. `r` counts as `c`: a snapshot may come again, over rows that are there."""
        op = envelope["op"]
        before, after = envelope["before"], envelope["after"]
        if op == "t":
            return op, None, None
        if op == "d":
            return op, self._before(before), None
        if op not in ("c", "r", "u") or after is None:
            raise ValueError
        # `unavailable` is ours: a capture of Tailrace may have taken the topic over.
        untold = set(envelope.get("unavailable") or ())
        missing = untold | {name for name, value in after.items() if self._is_unavailable(value)}
        if before is not None:
            # With whole old rows the log has what the new row leaves out.
            known = {n: before[n] for n in missing if before.get(n) is not None}
            found = {name: value for name, value in known.items() if not self._is_unavailable(value)}
            after, missing = {**after, **found}, missing - found.keys()
        row = self._row_of({**after, **dict.fromkeys(missing)}) if missing else self._row_of(after)
        if missing:
            if op != "u" and missing - untold:
                self._refuse(len(missing))
            row = tuple(
                UNCHANGED if column.name in missing else value
                for column, value in zip(self._table.columns, row, strict=True)
            )
        old = self._before(before) if op == "u" and before is not None and whole_before(self._table) else None
        return "u" if op == "u" else "c", old, row

    def _row_of(self, row: dict[str, Any]) -> Row:
        """Return the row; where that fails, note which column it fails for."""
        try:
            found: Row = self._made["row_of"](row)
        except Exception:
            self._explain(row)
            raise
        return found

    def _explain(self, row: dict[str, Any]) -> None:
        for i, column in enumerate(self._table.columns):
            try:
                self._made[f"column{i}"](row)
            except Exception:  # noqa: BLE001 - generated code: any exception means a wrong value
                what = f"a {type(row[column.name]).__name__}" if column.name in row else "nothing"
                self.refusal = TailraceError(
                    ErrorKind.DECODE,
                    f"column {column.name!r}, a {column.native}, holds {what} that cannot be one",
                    remedy=_REMEDY,
                    table=str(self._table.name),
                )
                return

    def _before(self, row: dict[str, Any]) -> Row:
        if whole_before(self._table):
            return self._row_of(row)
        values: list[Any] = [UNCHANGED] * len(self._table.columns)
        for place, value in zip(self._table.key, self._key_of(row), strict=True):
            values[place] = value
        return tuple(values)

    def _is_unavailable(self, value: Any) -> bool:
        if value.__class__ in (str, bytes):
            return value in self._texts
        if value.__class__ is list:
            return value in self._lists
        return value.__class__ is dict and value == self._map

    def _refuse(self, count: int) -> None:
        self.refusal = TailraceError(
            ErrorKind.DECODE,
            f"a new row lacks the values of {count} columns, which Debezium did not find in the log: the key of a row "
            "changed, and its large values did not",
            table=str(self._table.name),
            remedy="`alter table … replica identity full` at the source keeps such values in the log; take this row "
            "over by hand, then `apply.errors.decode: skip` passes the record",
        )
        raise self.refusal


def _placeholder_lists(placeholder: str | None) -> list[list[Any]]:
    """Return what an array may hold in place of its elements: the placeholder, its bytes, or the UUID made of them."""
    if placeholder is None:
        return []
    octets = placeholder.encode()
    return [[placeholder], list(octets), [str(_name_uuid(octets))]]


def _name_uuid(octets: bytes) -> UUID:
    """Return Java's `UUID.nameUUIDFromBytes`."""
    return UUID(bytes=md5(octets, usedforsecurity=False).digest(), version=3)


def _facts(envelope: dict[str, Any]) -> Facts:
    source = envelope["source"]
    us = source.get("ts_us") or source["ts_ms"] * 1000
    handled = envelope.get("ts_us") or (envelope.get("ts_ms") or 0) * 1000
    txid, lsn = source.get("txId"), source.get("lsn")
    return Facts(
        0,
        int(handled),
        int(us),
        txid if isinstance(txid, int) else None,
        lsn if isinstance(lsn, int) else None,
        str(source.get("snapshot") or "false"),
        0,
    )
