"""MySQL's binary JSON, as it stands in the log, to the text that the server prints of it.

Form: `json_binary.h` (a type byte, then offsets and values; large ones with offsets of four bytes). The text is the
server's own: a blank behind colons and commas, members in the stored order, and its spelling of numbers, dates and
other values that JSON has no notation for (`json_dom.cc`, `wrapper_to_string`).
"""

from __future__ import annotations

from base64 import b64encode
from decimal import Decimal
from json.encoder import encode_basestring
from struct import Struct

from capture.sources.mysql.numerics import decimal_bytes, decimal_reader

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = range(5)
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING = range(5, 13)
_OPAQUE = 15

_LITERALS = {0: "null", 1: "true", 2: "false"}
_NUMBERS = {
    _INT32: Struct("<i").unpack_from,
    _UINT32: Struct("<I").unpack_from,
    _INT64: Struct("<q").unpack_from,
    _UINT64: Struct("<Q").unpack_from,
}
_INLINE = {_INT16: Struct("<h").unpack_from, _UINT16: Struct("<H").unpack_from}
_INLINE_LARGE = {_INT32: Struct("<i").unpack_from, _UINT32: Struct("<I").unpack_from}
_POINT_MAX = 15
"""How far from the first digit the point may be in a number without an exponent (`DBL_DIG`)."""

_DEPTH_MAX = 100
"""The server's own bound (`JSON_DOCUMENT_MAX_DEPTH`): a damaged document may hold itself."""

_double = Struct("<d").unpack_from

_DECIMAL, _DATE, _TIME, _DATETIME, _TIMESTAMP = 246, 10, 11, 12, 7
"""Column types of opaque values (`field_types.h`)."""


def json_text(m: bytes) -> str:
    """Return the text of a binary JSON value. Raises ValueError, IndexError or struct.error for anything else."""
    # An empty value stands for the null literal, in a column that was made `not null` without a default.
    return _value(m, m[0], 1) if m else "null"


def _value(m: bytes, kind: int, at: int, depth: int = 0) -> str:
    if kind in (_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY):
        return _container(m, kind, at, depth + 1)
    if kind == _LITERAL:
        return _LITERALS[m[at]]
    if kind in _INLINE:
        return str(_INLINE[kind](m, at)[0])
    if kind in _NUMBERS:
        return str(_NUMBERS[kind](m, at)[0])
    if kind == _DOUBLE:
        return double_text(_double(m, at)[0])
    if kind == _STRING:
        size, at = _length(m, at)
        return _quoted(m[at : at + size])
    if kind == _OPAQUE:
        size, start = _length(m, at + 1)
        return _opaque(m[at], m[start : start + size])
    raise ValueError("a JSON value of an unknown type")


def _container(m: bytes, kind: int, base: int, depth: int) -> str:
    is_large = kind in (_LARGE_OBJECT, _LARGE_ARRAY)
    is_object = kind in (_SMALL_OBJECT, _LARGE_OBJECT)
    width = 4 if is_large else 2

    def number(at: int) -> int:
        return int.from_bytes(m[at : at + width], "little")

    count = number(base)
    at = base + 2 * width
    entry_bytes = 2 * width + 3 if is_object else width + 1
    if depth > _DEPTH_MAX or at + count * entry_bytes > len(m):
        # Slices beyond the end are empty, and no error: a count may be of four bytes.
        raise ValueError("a JSON document that is nested too deeply, or ends within an object or array")
    keys = []
    if is_object:
        for _ in range(count):
            start = base + number(at)
            size = int.from_bytes(m[at + width : at + width + 2], "little")
            keys.append(_quoted(m[start : start + size]))
            at += width + 2
    values = []
    for _ in range(count):
        kind = m[at]
        if kind == _LITERAL or kind in _INLINE or (is_large and kind in _INLINE_LARGE):
            values.append(_value(m, kind, at + 1, depth))
        else:
            values.append(_value(m, kind, base + number(at + 1), depth))
        at += 1 + width
    if is_object:
        return "{" + ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True)) + "}"
    return "[" + ", ".join(values) + "]"


def _length(m: bytes, at: int) -> tuple[int, int]:
    """Read a length of seven bits a byte: its value and where it ends."""
    value = shift = 0
    while True:
        byte = m[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _quoted(content: bytes) -> str:
    return encode_basestring(content.decode())


def double_text(value: float) -> str:
    """Print a double as the server does: the shortest digits; an exponent where the point is far off (`my_gcvt`)."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    point = len(text) + exponent if value else 1
    head = "-" if sign else ""
    if not -_POINT_MAX < point <= max(_POINT_MAX, len(text) - 1):
        return f"{head}{text[0]}{'.' if len(text) > 1 else ''}{text[1:]}e{point - 1}"
    if point <= 0:
        return f"{head}0.{'0' * -point}{text}"
    return f"{head}{text[:point].ljust(point, '0')}.{text[point:] or '0'}"


def _opaque(kind: int, x: bytes) -> str:
    if kind == _DECIMAL:
        precision, scale = x[0], x[1]
        digits = decimal_reader(precision, scale)(x[2 : 2 + decimal_bytes(precision, scale)])
        text = str(abs(digits)).rjust(scale + 1, "0")
        sign = "-" if digits < 0 else ""
        return sign + (f"{text[:-scale]}.{text[-scale:]}" if scale else text)
    if kind in (_DATE, _DATETIME, _TIMESTAMP, _TIME):
        packed = int.from_bytes(x[:8], "little", signed=True)
        negative, packed = packed < 0, abs(packed)
        us, whole = packed & 0xFFFFFF, packed >> 24
        clock = f"{whole >> 6 & 63:02d}:{whole & 63:02d}.{us:06d}"
        if kind == _TIME:
            return f'"{"-" if negative else ""}{whole >> 12 & 0x3FF:02d}:{clock}"'
        day = whole >> 17
        month = day >> 5
        date = f"{month // 13:04d}-{month % 13:02d}-{day & 31:02d}"
        return f'"{date}"' if kind == _DATE else f'"{date} {whole >> 12 & 31:02d}:{clock}"'
    return f'"base64:type{kind}:{b64encode(x).decode()}"'
