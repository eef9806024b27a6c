"""Reads files of changes back by other means than those that wrote them: a CSV reader of its own, `json`, pyarrow."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq

from schemas.table import TableSchema
from schemas.types import Family, LogicalType
from schemas.types.calendar import INFINITY_US, MINUS_INFINITY_US, WRAPPED_BELOW_US
from schemas.types.numbers import EXACT, NAN
from schemas.types.plain import INFINITE_DAY, MINUS_INFINITE_DAY, canonical
from tests.conformance.changes import Seen

SEQUENCE = "seq"
OPS = {"I": "c", "U": "u", "D": "d", "T": "t"}
SETTINGS: dict[str, Any] = {
    "add_column_name": True,
    "include_op_for_full_load": True,
    "sequence_column_name": SEQUENCE,
    "csv_null_value": "NULL",
}
UNKNOWN = "__debezium_unavailable_value"


def changes(name: str, content: bytes, table: TableSchema) -> list[Seen]:
    """Return the changes of one file. Columns that the table does not have are left out."""
    if name.endswith(".gz"):
        name, content = name.removesuffix(".gz"), gzip.decompress(content)
    extension = name.rpartition(".")[2]
    reader = {"csv": _csv, "json": _json, "parquet": _parquet}[extension]
    types = {column.name: column.type for column in table.columns}
    return [Seen(int(record.pop(SEQUENCE)), OPS[record.pop("Op")], record) for record in reader(content, types)]


def parquet_holds(type_: LogicalType, value: Any) -> bool:
    """Tell whether a Parquet column of a type has a form for a value."""
    match type_.family:
        case Family.DECIMAL:
            return value is not NAN or (type_.precision or 0) > 76 or not type_.precision
        case Family.DATE:
            return value not in (INFINITE_DAY, MINUS_INFINITE_DAY)
        case Family.TIMESTAMP | Family.TIMESTAMPTZ:
            return value not in (INFINITY_US, MINUS_INFINITY_US) and value >= WRAPPED_BELOW_US
    return True


def _csv(content: bytes, types: dict[str, LogicalType]) -> Iterator[dict[str, Any]]:
    names, *rows = list(_fields(content.decode()))
    forms = {name: _text_form(type_) for name, type_ in types.items()}
    for row in rows:
        assert len(row) == len(names)
        record: dict[str, Any] = {}
        for (name, _), (text, quoted) in zip(names, row, strict=True):
            if name in ("Op", SEQUENCE):
                record[name] = text
            elif name in forms and (quoted or text != UNKNOWN):
                record[name] = None if text == "NULL" and not quoted else forms[name](text)
        if record["Op"] == "T":
            record = {name: record[name] for name in ("Op", SEQUENCE)}
        yield record


def _fields(text: str) -> Iterator[list[tuple[str, bool]]]:
    """Yield rows of values, each with whether it stood in quotes (RFC 4180)."""
    row: list[tuple[str, bool]] = []
    at = 0
    while at < len(text):
        if text[at] == '"':
            value = ""
            at += 1
            while True:
                end = text.index('"', at)
                value += text[at:end]
                at = end + 1
                if text[at : at + 1] != '"':
                    break
                value += '"'
                at += 1
            row.append((value, True))
        else:
            end = min(i for i in (text.find(",", at), text.find("\n", at)) if i >= 0)
            row.append((text[at:end], False))
            at = end
        if text[at] == "\n":
            yield row
            row = []
        at += 1
    assert not row


def _text_form(type_: LogicalType) -> Callable[[str], Any]:
    form = canonical(type_)
    match type_.family:
        case Family.BOOLEAN:
            return {"true": True, "false": False}.__getitem__
        case Family.INT16 | Family.INT32 | Family.INT64 | Family.UINT32:
            return int
        case Family.FLOAT32 | Family.FLOAT64:
            return float
        case Family.TIMESTAMP:
            return lambda text: form(text.replace(" ", "T"))
        case Family.TIMESTAMPTZ:
            return lambda text: form(text if text.endswith("infinity") else text.replace(" ", "T") + "Z")
    return form


def _json(content: bytes, types: dict[str, LogicalType]) -> Iterator[dict[str, Any]]:
    forms = {name: canonical(type_) for name, type_ in types.items()}
    for line in content.decode().split("\n")[:-1]:
        record = json.loads(line)
        known = {name: record[name] for name in ("Op", SEQUENCE)}
        for name, form in forms.items():
            if name in record and known["Op"] != "T":
                known[name] = None if record[name] is None else form(record[name])
        yield known


def _parquet(content: bytes, types: dict[str, LogicalType]) -> Iterator[dict[str, Any]]:
    table = pq.read_table(io.BytesIO(content))
    columns = {name: table.column(name) for name in table.column_names}
    forms = {name: _arrow_form(type_) for name, type_ in types.items()}
    for row in range(table.num_rows):
        missing = columns["tailrace_unavailable"][row].as_py() if "tailrace_unavailable" in columns else None
        record: dict[str, Any] = {name: columns[name][row].as_py() for name in ("Op", SEQUENCE)}
        for name, form in forms.items():
            if name in columns and name not in (missing or ()) and record["Op"] != "T":
                value = columns[name][row]
                record[name] = form(value) if value.is_valid else None
        yield record


def _arrow_form(type_: LogicalType) -> Callable[[Any], Any]:
    form, scale = canonical(type_), type_.scale or 0

    def value(scalar: Any) -> Any:
        match type_.family:
            case Family.DATE | Family.TIMESTAMP | Family.TIMESTAMPTZ:
                # Python's own calendar ends with the year 9999.
                return scalar.value
            case Family.DECIMAL if not isinstance(scalar.as_py(), str):
                return int(scalar.as_py().scaleb(scale, EXACT))
        return scalar.as_py() if not isinstance(scalar.as_py(), str) else form(scalar.as_py())

    return value
