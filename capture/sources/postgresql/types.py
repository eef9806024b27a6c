"""PostgreSQL's types: which logical type each is, and the source text that reads its wire forms.

A fragment is an expression over `m` (the message, bytes), `p` (where the value begins) and `q` (where it ends), or over
what `struct` unpacked, for the binary form; and over `s` (the value's text) for the text form. `rows.py` assembles them
to functions. A type without an entry here is family TEXT: its text is the value. In the binary form such a type is only
readable if `container_text.py` can print what its send function writes; otherwise the stream has to be in text form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from struct import Struct
from typing import Any

from capture.sources.postgresql import temporals
from capture.sources.postgresql.binary_text import Printer
from capture.sources.postgresql.container_text import printer
from capture.sources.postgresql.numerics import read_decimal, unscaled_reader
from schemas.types import Family, LogicalType
from schemas.types.forms import is_loose
from schemas.types.numbers import NAN

TYPMOD_NONE = -1
_DEPTH_MAX = 32
"""How deep types may be nested."""
_UNSENT = "no_binary()"
_VARHDRSZ = 4
"""What a type modifier is off by: the length word of a variable-length value (`c.h`)."""


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """One row of `pg_type`, with what is needed of its relations."""

    oid: int
    schema: str
    name: str
    kind: str
    """`typtype`: b base, c composite, d domain, e enum, r range, m multirange, p pseudo."""
    send: str
    """Name of the send function; empty: the type has no binary form, and travels as text in a binary stream too."""
    delimiter: str = ","
    element: int = 0
    """Of an array: the oid of its elements' type."""
    base: int = 0
    """Of a domain: the oid of the type it is over."""
    base_typmod: int = TYPMOD_NONE
    subtype: int = 0
    """Of a range: its subtype; of a multirange: its range."""
    fields: tuple[tuple[str, int, int], ...] = ()
    """Of a composite: name, type, type modifier of each field."""
    labels: tuple[str, ...] = ()
    extension: str = ""
    """The extension that the type belongs to, or ''."""
    definition: str = ""
    """Of a domain or composite: what creates it, see `schemas.table.UserType`."""
    attributes: tuple[int, ...] = ()
    """Of a composite: the type of each attribute that it ever had, in their order, 0 for one that was dropped."""


Types = Mapping[int, TypeInfo]


@dataclass(frozen=True, slots=True)
class Reader:
    """How a column's value is read from each wire form."""

    type: LogicalType
    text: str
    """Expression over s."""
    binary: str | None = None
    """Expression over m, p, q, for values of any length."""
    code: str | None = None
    """For values of a fixed length: its `struct` code, …"""
    post: str = "{x}"
    """… and the expression that makes the value of what `struct` gave."""
    utf8: str | None = None
    """Expression over m, p, q for the bytes of a text that the binary form holds as it is: the server sees to it that
    they are UTF-8, whatever its own encoding (`pg_server_to_client` in `mbutils.c`)."""
    names: dict[str, Any] = field(default_factory=dict)
    """What the expressions need beside `NAMES`."""

    @property
    def reads_binary(self) -> bool:
        """Whether the binary form can be read."""
        return self.binary is not None or self.code is not None

    @property
    def is_sent(self) -> bool:
        """Whether the binary form comes in a binary stream: a type without a send function comes as text."""
        return self.binary != _UNSENT

    @property
    def skips_version(self) -> bool:
        """Whether a version byte precedes the text of the binary form."""
        return self.binary == _SPECIAL["jsonb"]

    @property
    def is_text(self) -> bool:
        """Whether the value is the text that the server prints."""
        return self.type.family is Family.TEXT


def logical_type(types: Types, oid: int, typmod: int) -> LogicalType:
    """Return the logical type of a column of this type."""
    oid, typmod = _base(types, oid, typmod)
    info = types.get(oid)
    if info is None:
        return LogicalType(Family.TEXT)
    if info.kind == "e":
        return LogicalType(Family.ENUM)
    if info.schema != "pg_catalog" or info.name not in _FAMILIES:
        return LogicalType(Family.TEXT)
    if info.name == "numeric":
        return _numeric(typmod)
    length = typmod - _VARHDRSZ if info.name in ("varchar", "bpchar") and typmod > 0 else None
    return LogicalType(_FAMILIES[info.name], length=length)


def reader(types: Types, oid: int, typmod: int, *, of_old: bool = False) -> Reader:
    """Return how values of a column of this type are read; for `of_old` see `container_text.printer`."""
    logical = logical_type(types, oid, typmod)
    family = logical.family
    if family is Family.TEXT:
        return _text_reader(types, oid, of_old=of_old)
    if family is Family.DECIMAL:
        scale = logical.scale or 0
        return Reader(
            logical,
            f"unscaled_of_text(s, {scale})",
            f"unscaled_{scale}(m, p)",
            names={f"unscaled_{scale}": unscaled_reader(scale)},
        )
    base = types[_base(types, oid, typmod)[0]]
    if base.name in _SPECIAL:
        return Reader(logical, "s", _SPECIAL[base.name], utf8=_plain(_SPECIAL[base.name]))
    if family in _FIXED:
        code, post, text = _FIXED[family]
        return Reader(logical, text, code=code, post=post)
    binary, text = _VARIABLE[family]
    return Reader(logical, text, binary, utf8=_plain(binary))


def _plain(expression: str) -> str | None:
    """Return the bytes of a text that an expression only decodes."""
    return expression.removesuffix(".decode()") if expression.endswith("].decode()") else None


_SEVERAL_FORMS = frozenset({"numeric", "float4", "float8", "interval", "jsonb"})
"""Types whose equal values may print differently: 1.0 and 1.00, 0 and -0, a month and 30 days, and all this in JSON."""


def has_one_form(types: Types, oid: int, typmod: int) -> bool:
    """Tell whether equal values of a column of this type have equal bytes in a record's key.

    The codecs see to it for the logical types (`WireForm.key`), not within a text. Of an extension's type nobody knows.
    """
    if is_loose(logical_type(types, oid, typmod).family):
        return True
    return _prints_alike(types, *_base(types, oid, typmod))


def _prints_alike(types: Types, oid: int, typmod: int, depth: int = 0) -> bool:
    info = types.get(oid)
    if info is None or info.extension or depth > _DEPTH_MAX:
        return False
    if info.kind == "e":
        return True
    # A modifier of an array's, say, is not its element's, save for that of `character`.
    parts = [(info.element, typmod), (info.base, info.base_typmod), (info.subtype, TYPMOD_NONE)]
    parts += [(part, modifier) for _, part, modifier in info.fields]
    inner = [part for part in parts if part[0]]
    if inner:
        return all(_prints_alike(types, part, modifier, depth + 1) for part, modifier in inner)
    if info.schema != "pg_catalog":
        return False
    # Without a length `character` ignores blanks at the end and keeps them.
    return info.name not in _SEVERAL_FORMS and (info.name != "bpchar" or typmod > 0)


def text_expression(types: Types, oid: int, column: str) -> str:
    """Return the SQL that prints a column of family TEXT as its output function does.

    A cast to text is that, unless the type has a cast function of its own: `inet` prints its mask there, and what an
    extension's type prints is anybody's guess.
    """
    info = types.get(_base(types, oid, TYPMOD_NONE)[0])
    if info is None or not (info.extension or info.name in ("inet", "cidr")):
        return f"{column}::text"
    return f"case when {column} is not null then format('%s', {column}) end"


def _text_reader(types: Types, oid: int, *, of_old: bool) -> Reader:
    text = LogicalType(Family.TEXT)
    info = types.get(oid)
    if info is None:
        return Reader(text, "s")
    if not info.send:
        # Never sent in binary form; should it be, that is an error.
        return Reader(text, "s", _UNSENT)
    name = f"print_{oid}"
    function: Printer | None = printer(types, oid, of_old=of_old)
    return Reader(text, "s", f"{name}(m[p:q])" if function else None, names={name: function} if function else {})


def _numeric(typmod: int) -> LogicalType:
    if typmod < _VARHDRSZ:
        return LogicalType(Family.NUMERIC)
    precision = (typmod - _VARHDRSZ) >> 16 & 0xFFFF
    # Eleven bits, signed, since PostgreSQL 15 (`numeric_typmod_scale` in `numeric.c`); 0 to 1000 before.
    scale = ((typmod - _VARHDRSZ & 0x7FF) ^ 1024) - 1024
    if 0 <= scale <= precision:
        return LogicalType(Family.DECIMAL, precision, scale)
    return LogicalType(Family.NUMERIC)


def _base(types: Types, oid: int, typmod: int) -> tuple[int, int]:
    """Follow domains down to what they are over."""
    for _ in range(64):
        info = types.get(oid)
        if info is None or info.kind != "d":
            break
        oid, typmod = info.base, info.base_typmod if typmod == TYPMOD_NONE else typmod
    return oid, typmod


def _unscaled_of_text(text: str, scale: int) -> Any:
    if text == "NaN":
        return NAN
    # The server prints exactly `scale` digits after the point.
    return int(text.replace(".", "", 1)) if scale else int(text)


def _read_uuid(data: bytes) -> str:
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_single = Struct(">f")


def _float32_of_text(text: str) -> float:
    # The shortest text of a real is not its value: 0.1 stands for the float nearest to it.
    (value,) = _single.unpack(_single.pack(float(text)))
    return float(value)


def _read_char(data: bytes) -> str:
    # As `charout` prints it since PostgreSQL 16: the zero byte is the empty string, high bytes are octal.
    if not data or data == b"\0":
        return ""
    return chr(data[0]) if data[0] < 128 else f"\\{data[0]:03o}"


def _no_binary() -> None:
    raise ValueError("a binary value of a type that has no send function")


_FAMILIES = {
    "bool": Family.BOOLEAN,
    "int2": Family.INT16,
    "int4": Family.INT32,
    "int8": Family.INT64,
    "oid": Family.UINT32,
    "float4": Family.FLOAT32,
    "float8": Family.FLOAT64,
    "numeric": Family.NUMERIC,
    "text": Family.STRING,
    "varchar": Family.STRING,
    "bpchar": Family.STRING,
    "name": Family.STRING,
    "char": Family.STRING,
    "bytea": Family.BYTES,
    "date": Family.DATE,
    "time": Family.TIME,
    "timetz": Family.TIMETZ,
    "timestamp": Family.TIMESTAMP,
    "timestamptz": Family.TIMESTAMPTZ,
    "interval": Family.INTERVAL,
    "uuid": Family.UUID,
    "json": Family.JSON,
    "jsonb": Family.JSON,
    "xml": Family.XML,
}
"""The logical family of each type of `pg_catalog` that is not TEXT."""

_STAMP = "{x} + EPOCH_US if -0x8000000000000000 < {x} < FAR_US else far_timestamp({x})"

_FIXED = {
    Family.BOOLEAN: ("B", "{x} == 1", "s == 't'"),
    Family.INT16: ("h", "{x}", "int(s)"),
    Family.INT32: ("i", "{x}", "int(s)"),
    Family.INT64: ("q", "{x}", "int(s)"),
    Family.UINT32: ("I", "{x}", "int(s)"),
    Family.FLOAT32: ("f", "{x}", "float32_of_text(s)"),
    Family.FLOAT64: ("d", "{x}", "float(s)"),
    Family.DATE: ("i", "{x} + EPOCH_DAYS if -0x80000000 < {x} < 0x7FFFFFFF else {x}", "date_of_text(s)"),
    Family.TIME: ("q", "{x}", "time_of_text(s)"),
    Family.TIMETZ: ("12s", "read_timetz({x}, 0)", "timetz_of_text(s)"),
    Family.TIMESTAMP: ("q", _STAMP, "timestamp_of_text(s)"),
    Family.TIMESTAMPTZ: ("q", _STAMP, "timestamp_of_text(s)"),
    Family.INTERVAL: ("16s", "read_interval({x}, 0)", "s"),
    Family.UUID: ("16s", "read_uuid({x})", "s"),
}
"""Families whose binary form has a fixed length: `struct` code, expression over it, expression over text."""

_VARIABLE = {
    Family.NUMERIC: ("read_decimal(m, p)", "Decimal(s)"),
    Family.STRING: ("m[p:q].decode()", "s"),
    Family.BYTES: ("m[p:q]", "fromhex(s[2:])"),
    Family.JSON: ("m[p:q].decode()", "s"),
    Family.XML: ("m[p:q].decode()", "s"),
    Family.ENUM: ("m[p:q].decode()", "s"),
}
"""The others: expression over the message, expression over text."""

_SPECIAL = {
    # jsonb_send writes a version byte before the text (`jsonb.c`).
    "jsonb": "m[p + 1:q].decode()",
    "char": "read_char(m[p:q])",
}
"""Types whose binary form is not their family's."""

NAMES: dict[str, Any] = {
    **{f"u_{code}": Struct(f">{code}").unpack_from for code in ("B", "h", "i", "I", "q", "f", "d", "12s", "16s")},
    "EPOCH_DAYS": temporals.EPOCH_DAYS,
    "EPOCH_US": temporals.EPOCH_US,
    "FAR_US": temporals.FAR_US,
    "far_timestamp": temporals.far_timestamp,
    "date_of_text": temporals.date_of_text,
    "time_of_text": temporals.time_of_text,
    "timetz_of_text": temporals.timetz_of_text,
    "timestamp_of_text": temporals.timestamp_of_text,
    "read_timetz": temporals.read_timetz,
    "read_interval": temporals.read_interval,
    "read_decimal": read_decimal,
    "read_uuid": _read_uuid,
    "read_char": _read_char,
    "unscaled_of_text": _unscaled_of_text,
    "float32_of_text": _float32_of_text,
    "no_binary": _no_binary,
    "fromhex": bytes.fromhex,
    "Decimal": Decimal,
}
"""What fragments may name."""
