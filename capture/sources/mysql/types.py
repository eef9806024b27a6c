"""MySQL's and MariaDB's types: the logical type of each, and the source text that reads its values.

A value comes in two forms: in the log's row images (`Reader.code`, `Reader.size`, `Reader.prefix`) and as the text of
a query's result (`Reader.text`). Row images: `Field::pack` in `field.cc` and `log_event.cc`. Fragments are expressions
over `x`, the value's bytes (or what `struct` made of them); the names that they need beside `NAMES` are in
`Reader.names`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from itertools import count
from struct import Struct
from typing import Any, NamedTuple

from capture.sources.mysql import temporals
from capture.sources.mysql.binary_json import json_text
from capture.sources.mysql.charsets import begins_with_ascii, expression
from capture.sources.mysql.compression import unpacked_value
from capture.sources.mysql.natives import BLOBS, GEOMETRIES, TEXTS, Native, parse_native
from capture.sources.mysql.numerics import decimal_bytes, decimal_reader
from capture.sources.mysql.quoting import identifier
from capture.sources.mysql.temporals import ZeroDates
from schemas.twin import kinds
from schemas.types import Family, LogicalType

LABEL_CACHE_MAX = 65_536
LABELS_MAX = 1_024
"""Enums of more labels are not written beforehand."""


class Packing(NamedTuple):
    """How the compiled twin reads a column's values in the log: see `schemas.twin.kinds`."""

    kind: int = kinds.CALLED
    reading: int = kinds.PLAIN
    detail: int = 0
    """Of a DECIMAL its digits before the point, of PADDED bytes their number."""


_CALLED = Packing()


@dataclass(frozen=True, slots=True)
class Reader:
    """How the values of one column are read."""

    type: LogicalType
    log: str
    """Expression over `x` in the log."""
    text: str
    """Expression over `x`, the bytes of the value's text in a query's result."""
    code: str = ""
    """`struct` code of what stands in the log, where its size is fixed."""
    prefix: int = 0
    """Bytes of the length before the value, where it is not."""
    names: Mapping[str, Any] = field(default_factory=dict)
    packing: Packing = _CALLED
    labels: tuple[str, ...] = ()
    """Of the kind LABEL."""


def logical_type(native: Native) -> LogicalType:
    """Return the logical type of a native one. Raises ValueError for one that is not supported."""
    base = native.base
    if base in _INTEGERS:
        return LogicalType(_INTEGERS[base][1 if native.unsigned else 0])
    if base == "decimal":
        return LogicalType(Family.DECIMAL, *native.args)
    if base == "bit":
        return LogicalType(Family.BOOLEAN if native.length == 1 else Family.TEXT)
    if base in ("char", "varchar"):
        return LogicalType(Family.STRING, length=native.length)
    if base in TEXTS or base == "set":
        return LogicalType(Family.STRING)
    if base in BLOBS or base in GEOMETRIES or base in ("binary", "varbinary", "vector"):
        return LogicalType(Family.BYTES)
    if base in _FAMILIES:
        return LogicalType(_FAMILIES[base])
    raise ValueError(f"the type {base} is not supported")


def reader(native_text: str, zero_dates: str) -> Reader:
    """Return how values of a column of this native type are read. Raises ValueError for one that is not supported."""
    return _reader(native_text, zero_dates)


def compressed(read: Reader, limit: int) -> Reader:
    """Return how the values of a compressed column are read, which hold `limit` bytes at most: in the log only."""
    name = f"unpacked_{limit}"
    names = {**read.names, name: partial(unpacked_value, limit=limit)}
    return replace(read, log=f"(lambda x: {read.log})({name}(x))", names=names, packing=_CALLED)


def selected(native_text: str, name: str) -> str:
    """Return the expression that a query reads a column by."""
    native = parse_native(native_text)
    quoted = identifier(name)
    if native.base == "float":
        # A float prints six digits; as a double it prints all that it has.
        return f"{quoted} + 0e0"
    if native.base not in ("enum", "set") and native.charset not in ("", "utf8mb4", "utf8mb3"):
        # Decoded by the same function as what the log holds.
        return f"cast({quoted} as binary)"
    return quoted


@lru_cache(maxsize=4096)
def _reader(native_text: str, zero_dates: str) -> Reader:
    native = parse_native(native_text)
    kind = logical_type(native)
    base = native.base
    if base in _INTEGERS:
        code = _CODES[base]
        # An unsigned BIGINT is written as a decimal is.
        packing = Packing(
            kinds.DECIMAL if kind.family is Family.UINT64 else kinds.kind_of(kind),
            kinds.UNSIGNED if native.unsigned else kinds.SIGNED,
        )
        if base == "mediumint":
            signed = f"int_of(x, 'little', signed={not native.unsigned})"
            return Reader(kind, signed, "int(x)", "3s", packing=packing)
        return Reader(kind, "x", "int(x)", code.upper() if native.unsigned else code, packing=packing)
    if base in ("float", "double"):
        text = "float32(float(x))" if base == "float" else "float(x)"
        return Reader(kind, "x", text, "f" if base == "float" else "d", packing=Packing(kinds.kind_of(kind)))
    if base == "year":
        return Reader(kind, "x + 1900 if x else 0", "int(x)", "B", packing=Packing(kinds.INT16, kinds.YEAR))
    if base == "decimal":
        precision, scale = native.args
        names = {f"decimal_{precision}_{scale}": decimal_reader(precision, scale)}
        return Reader(
            kind,
            f"decimal_{precision}_{scale}(x)",
            "int(x.replace(b'.', b'', 1))" if scale else "int(x)",
            f"{decimal_bytes(precision, scale)}s",
            names=names,
            packing=Packing(kinds.kind_of(kind), kinds.GROUPS, precision - scale),
        )
    if base == "bit":
        return _bit_reader(kind, native.length)
    if base in ("date", "time", "datetime", "timestamp"):
        return _temporal_reader(kind, native, zero_dates)
    if base in ("enum", "set"):
        return _label_reader(kind, native)
    return _string_reader(kind, native)


def _bit_reader(kind: LogicalType, bits: int) -> Reader:
    size = (bits + 7) // 8
    value = "int_of(x, 'big')"
    made = f"{value} == 1" if bits == 1 else f"format({value}, '0{bits}b')"
    packing = Packing(kinds.BOOLEAN, kinds.BITS) if bits == 1 else _CALLED
    return Reader(kind, made, made, f"{size}s", packing=packing)


def _temporal_reader(kind: LogicalType, native: Native, zero_dates: str) -> Reader:
    zero, digits = ZeroDates(zero_dates), native.length
    fraction = (digits + 1) // 2
    name = f"{native.base}_{digits}"
    if native.base == "date":
        names: dict[str, Any] = {"log_dates": temporals.log_dates(zero), "text_dates": temporals.text_dates(zero)}
        return Reader(kind, "log_dates[x]", "text_dates[x]", "3s", names=names, packing=Packing(kinds.DATE, kinds.DAY))
    if native.base == "time":
        names = {name: temporals.log_time(digits), "text_time": temporals.text_time}
        return Reader(kind, f"{name}(x)", "text_time(x)", f"{3 + fraction}s", names=names)
    is_stamp = native.base == "timestamp"
    read = (temporals.log_timestamp if is_stamp else temporals.log_datetime)(zero, digits)
    return Reader(
        kind,
        f"{name}(x)",
        "text_datetime(x)",
        f"{(4 if is_stamp else 5) + fraction}s",
        names={name: read, "text_datetime": temporals.text_datetime(zero)},
        packing=Packing(kinds.kind_of(kind), kinds.SECONDS if is_stamp else kinds.MOMENT),
    )


def _label_reader(kind: LogicalType, native: Native) -> Reader:
    many = len(native.values)
    key = f"labels_{_number(native)}"
    if native.base == "enum":
        # Number 0 is the empty string that stands for a value that was refused.
        labels: Any = ("", *native.values)
        return Reader(
            kind,
            f"{key}[x]",
            "x.decode()",
            "B" if many < 256 else "H",
            names={key: labels},
            packing=Packing(kinds.LABEL if many < LABELS_MAX else kinds.CALLED),
            labels=labels,
        )
    size = next(n for n in (1, 2, 3, 4, 8) if many <= 8 * n)
    return Reader(kind, f"{key}[int_of(x, 'little')]", "x.decode()", f"{size}s", names={key: _Sets(native.values)})


def _string_reader(kind: LogicalType, native: Native) -> Reader:
    base = native.base
    if base == "json":
        return Reader(kind, "json_text(x)", "x.decode()", prefix=4, packing=Packing(kinds.DOCUMENT))
    if base == "uuid":
        padded = Packing(kinds.UUID, kinds.PADDED, 16)
        return Reader(kind, "uuid_text(x)", "x.decode()", prefix=1, packing=padded)
    if base in ("inet6", "inet4"):
        return Reader(kind, f"{base}_text(x)", "x.decode()", prefix=1)
    if base in BLOBS or base in GEOMETRIES:
        return Reader(kind, "x", "x", prefix=BLOBS.get(base, 4), packing=Packing(kinds.BYTES))
    if base == "vector":
        return Reader(kind, "x", "x", prefix=4, packing=Packing(kinds.BYTES))
    if base == "binary":
        # The log leaves out zero bytes at the end.
        padded = Packing(kinds.BYTES, kinds.PADDED, native.length)
        return Reader(kind, f"x.ljust({native.length}, ZERO)", "x", prefix=1, packing=padded)
    if base == "varbinary":
        return Reader(kind, "x", "x", prefix=1 if native.length < 256 else 2, packing=Packing(kinds.BYTES))
    log, names = expression(native.charset, "x")
    packing = Packing(kinds.TEXT if not names else kinds.NARROW if begins_with_ascii(native.charset) else kinds.CALLED)
    # For char and varchar the map's own byte length decides: `rows.py` sets it.
    return Reader(kind, log, log, prefix=TEXTS.get(base, 2), names=names, packing=packing)


@cache
def _number(native: Native) -> int:
    """Return a number of this type's own, for a name in generated code."""
    return next(_numbers)


_numbers = count()


class _Sets(dict[int, str]):
    """The texts of a set's values, computed when they are first met."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        self._labels = labels

    def __missing__(self, bits: int) -> str:
        if bits >> len(self._labels):
            raise ValueError("a set with a value that its type does not have")
        if len(self) >= LABEL_CACHE_MAX:
            self.clear()
        text = self[bits] = ",".join(label for i, label in enumerate(self._labels) if bits >> i & 1)
        return text


def uuid_text(x: bytes) -> str:
    """Print MariaDB's UUID."""
    text = x.ljust(16, b"\0").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def inet6_text(x: bytes) -> str:
    """Print MariaDB's INET6 as the server does: it writes `::` for a single zero, too, where no others are."""
    text = socket.inet_ntop(socket.AF_INET6, x.ljust(16, b"\0"))
    return text if "::" in text else re.sub(r"(^|:)0(:|$)", "::", text, count=1)


def inet4_text(x: bytes) -> str:
    """Print MariaDB's INET4."""
    return socket.inet_ntop(socket.AF_INET, x.ljust(4, b"\0"))


_single = Struct("<f")


def _float32(value: float) -> float:
    return float(_single.unpack(_single.pack(value))[0])


_INTEGERS = {
    "tinyint": (Family.INT16, Family.INT16),
    "smallint": (Family.INT16, Family.INT32),
    "mediumint": (Family.INT32, Family.INT32),
    "int": (Family.INT32, Family.UINT32),
    "bigint": (Family.INT64, Family.UINT64),
}
"""Signed and unsigned."""

_CODES = {"tinyint": "b", "smallint": "h", "mediumint": "3s", "int": "i", "bigint": "q"}

_FAMILIES = {
    "float": Family.FLOAT32,
    "double": Family.FLOAT64,
    "year": Family.INT16,
    "date": Family.DATE,
    # A span of time, negative too, and longer than a day: no time of day.
    "time": Family.INTERVAL,
    "datetime": Family.TIMESTAMP,
    "timestamp": Family.TIMESTAMPTZ,
    "enum": Family.ENUM,
    "json": Family.JSON,
    "uuid": Family.UUID,
    "inet6": Family.TEXT,
    "inet4": Family.TEXT,
}

NAMES: dict[str, Any] = {
    "int_of": int.from_bytes,
    "float32": _float32,
    "json_text": json_text,
    "uuid_text": uuid_text,
    "inet6_text": inet6_text,
    "inet4_text": inet4_text,
    "ZERO": b"\0",
}
"""What fragments may name."""
