"""The native types of columns: how the catalogue and the log write them, in one spelling.

A native type's text is all that decoding needs: `int unsigned`, `varchar(20) character set latin1`, `enum('a','b')`.
`utf8mb4` is not named. Display widths, `zerofill`, and the digits of `float(7,4)`, which say nothing of the values, are
left out; so is MariaDB's `compressed`, which a map tells of its rows. What the log cannot tell apart (`uuid` is
`binary(16)` there) is reconciled by `matches`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import MappedColumn
from capture.sources.mysql.charsets import decoder
from capture.sources.mysql.quoting import literal

UTF8 = "utf8mb4"

_TYPE = re.compile(r"(?P<base>[a-z0-9_]+)(?:\((?P<args>(?:'(?:[^']|'')*'|[^()'])*)\))?(?P<rest>.*)", re.DOTALL)
_VALUE = re.compile(r"'((?:[^']|'')*)'")

TEXTS = {"tinytext": 1, "text": 2, "mediumtext": 3, "longtext": 4}
BLOBS = {"tinyblob": 1, "blob": 2, "mediumblob": 3, "longblob": 4}
GEOMETRIES = (
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
)
_INTEGERS = {
    binlog.TINY: "tinyint",
    binlog.SHORT: "smallint",
    binlog.INT24: "mediumint",
    binlog.LONG: "int",
    binlog.LONGLONG: "bigint",
}
_WIDTHLESS = frozenset({*_INTEGERS.values(), "float", "double", "year"})
_SYNONYMS = {"geomcollection": "geometrycollection", "utf8": "utf8mb3"}
_AS_BINARY = {"uuid": 16, "inet6": 16, "inet4": 4}
"""MariaDB's types that the log shows as BINARY."""


class Native(NamedTuple):
    """A native type, taken apart."""

    base: str
    args: tuple[int, ...] = ()
    unsigned: bool = False
    charset: str = ""
    """Of character types, enums and sets."""
    values: tuple[str, ...] = ()
    """Of enums and sets."""

    @property
    def length(self) -> int:
        """The first argument; 0 where there is none."""
        return self.args[0] if self.args else 0

    def text(self) -> str:
        """Print the type."""
        arguments = ",".join(map(literal, self.values)) if self.values else ",".join(map(str, self.args))
        return (
            self.base
            + (f"({arguments})" if arguments else "")
            + (" unsigned" if self.unsigned else "")
            + (f" character set {self.charset}" if self.charset not in ("", UTF8) else "")
        )


@lru_cache(maxsize=4096)
def parse_native(text: str) -> Native:
    """Read what `Native.text` printed, or what the catalogue has as COLUMN_TYPE. Raises ValueError."""
    found = _TYPE.fullmatch(text)
    if found is None:
        raise ValueError("a type that is not known")
    base = _SYNONYMS.get(found["base"], found["base"])
    arguments, rest = found["args"] or "", found["rest"]
    charset = re.search(r"character set (\w+)", rest)
    is_text = base in TEXTS or base in ("char", "varchar", "enum", "set")
    name = charset[1] if charset else UTF8 if is_text else ""
    values: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    if base in ("enum", "set"):
        values = tuple(value.replace("''", "'") for value in _VALUE.findall(arguments))
    elif arguments and base not in _WIDTHLESS:
        numbers = tuple(int(part) for part in arguments.split(","))
    if base == "decimal":
        numbers = (*numbers, 0)[:2] if numbers else (10, 0)
    if base == "bit" and not numbers:
        numbers = (1,)
    if base in ("time", "datetime", "timestamp") and numbers == (0,):
        numbers = ()
    return Native(base, numbers, "unsigned" in rest, _SYNONYMS.get(name, name), values)


def of_catalogue(column_type: str, charset: str | None) -> str:
    """Return the native type of a column that the catalogue describes so. Raises ValueError."""
    native = parse_native(column_type)
    return (native._replace(charset=_SYNONYMS.get(charset, charset)) if charset else native).text()


class Charsets(NamedTuple):
    """What a server says of its charsets."""

    by_collation: Mapping[int, str]
    widths: Mapping[str, int]
    """Most bytes of one character."""


def of_log(column: MappedColumn, charsets: Charsets, known: Native | None) -> Native:
    """Return the native type of a column that the log describes so, in a table map. `known` helps where the map has no
    signs, charsets and values.

    Raises ValueError for a type that is not supported.
    """
    kind, meta = binlog.real_type(column.type, column.meta)
    unsigned = column.unsigned if column.unsigned is not None else known is not None and known.unsigned
    if kind in _INTEGERS:
        return Native(_INTEGERS[kind], unsigned=unsigned)
    if kind in _FIXED:
        return Native(_FIXED[kind], unsigned=unsigned and kind in (binlog.FLOAT, binlog.DOUBLE))
    if kind == binlog.NEWDECIMAL:
        return Native("decimal", (meta >> 8, meta & 0xFF), unsigned)
    if kind in _FRACTIONAL:
        return Native(_FRACTIONAL[kind], (meta,) if meta else ())
    if kind == binlog.BIT:
        return Native("bit", ((meta >> 8) * 8 + (meta & 0xFF),))
    if kind == binlog.GEOMETRY:
        return Native(GEOMETRIES[column.detail] if column.detail < len(GEOMETRIES) else "geometry")
    if kind == binlog.VECTOR:
        return Native("vector", (column.detail,) if column.detail else known.args if known else ())
    charset = _charset(column, charsets, known)
    if kind in _LABELLED:
        values = tuple(decoder(charset)(value) for value in column.values)
        return Native(_LABELLED[kind], charset=charset, values=values or (known.values if known else ()))
    if kind == binlog.VARCHAR_COMPRESSED:
        # A byte of it tells how a value is compressed.
        kind, meta = binlog.VARCHAR, meta - 1
    is_binary = charset == "binary"
    if kind in (binlog.VARCHAR, binlog.VAR_STRING, binlog.STRING):
        name = "char" if kind == binlog.STRING else "varchar"
        if is_binary:
            return Native(name.replace("char", "binary"), (meta,))
        return Native(name, (meta // charsets.widths[charset],), charset=charset)
    if kind in (binlog.BLOB, binlog.BLOB_COMPRESSED):
        name = next(name for name, size in (BLOBS if is_binary else TEXTS).items() if size == meta)
        return Native(name, charset="" if is_binary else charset)
    raise ValueError(f"a column type of the log that is not supported ({kind})")


def _charset(column: MappedColumn, charsets: Charsets, known: Native | None) -> str:
    """Return the charset of a column's values, `binary` of bytes. Raises ValueError for one that is not known."""
    if not column.collation:
        return (known.charset if known else "") or "binary"
    if column.collation not in charsets.by_collation:
        raise ValueError(f"a collation that the server does not list ({column.collation})")
    return charsets.by_collation[column.collation]


def matches(shown: Native, known: Native, *, is_full: bool) -> bool:
    """Tell whether a column of type `known` looks like `shown` in the log."""
    if known.base in _AS_BINARY:
        return shown.base == "binary" and shown.length == _AS_BINARY[known.base]
    if known.base == "vector" and shown.base in ("varbinary", "vector"):
        # MariaDB's is a VARBINARY of four bytes an element.
        return shown.base == "vector" or shown.length == 4 * known.length
    if not is_full:
        if shown.base in GEOMETRIES:
            return known.base in GEOMETRIES
        if known.base in TEXTS or known.base in BLOBS:
            return (BLOBS.get(shown.base) or TEXTS.get(shown.base)) == (TEXTS | BLOBS)[known.base]
    return shown == known


_FIXED = {
    binlog.FLOAT: "float",
    binlog.DOUBLE: "double",
    binlog.YEAR: "year",
    binlog.DATE: "date",
    binlog.NEWDATE: "date",
    binlog.JSON: "json",
}
_LABELLED = {binlog.ENUM: "enum", binlog.SET: "set"}
_FRACTIONAL = {binlog.TIME2: "time", binlog.DATETIME2: "datetime", binlog.TIMESTAMP2: "timestamp"}
