"""Booleans, integers, floats and decimals."""

from __future__ import annotations

import math
from binascii import a2b_base64, b2a_base64
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from struct import Struct
from typing import Any

from schemas.types.form import ConnectSchema, WireForm, connect, expect
from schemas.types.logical import Family, LogicalType
from schemas.types.varints import FINAL, SMALL2, bytes_at, int_at, long, read_integer, read_length, write_integer


class NotANumber:
    """The type of `NAN`: the NaN of a DECIMAL column, whose other values are unscaled integers.

    It is neither below nor above any number, as the NaN of floats: whoever sorts numbers by size gets to it last.
    """

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __lt__

    def __repr__(self) -> str:
        return "NAN"

    def __reduce__(self) -> str:
        return "NAN"


NAN = NotANumber()

DECIMAL_NAME = "org.apache.kafka.connect.data.Decimal"
VARIABLE_SCALE_NAME = "io.debezium.data.VariableScaleDecimal"

SCALE_MAX = 200_000
"""Digits after the point (or zeros before it) of a NUMERIC. PostgreSQL knows 16,383 after and 131,072 before it."""

TEXT_LENGTH_MAX = 60

DIGITS_AT_ONCE = 4000
BITS_AT_ONCE = 16_384
"""Larger numbers are converted by halves: the library's conversions between decimal and binary are quadratic."""

EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Decimal arithmetic that never rounds."""

_float32 = Struct("<f")
_float64 = Struct("<d")

_SPECIAL = {Decimal("Infinity"): b"\2\2\0", Decimal("-Infinity"): b"\2\1\0"}
"""VariableScaleDecimal has no form for these; ours is an empty value with scale 1 or -1 (NaN: 0)."""


def twos_complement(n: int) -> bytes:
    """Return the shortest big-endian two's complement, as Java's BigInteger.toByteArray does."""
    return n.to_bytes(((n if n >= 0 else ~n).bit_length() >> 3) + 1, "big", signed=True)


def counted2(content: bytes) -> bytes:
    """Return Avro bytes behind a union byte."""
    n = len(content)
    return (SMALL2[n] if n < 8192 else b"\2" + long(n)) + content


def decimal2(n: int | NotANumber) -> bytes:
    """Return an unscaled decimal behind a union byte. NaN is zero bytes long."""
    return b"\2\0" if n is NAN else counted2(twos_complement(n))  # type: ignore[arg-type]


DECIMAL_ONE2: list[bytes] = [b"\2\2" + n.to_bytes(1, "big", signed=True) for n in (*range(128), *range(-128, 0))]
"""Decimals of one byte behind union byte and length, those of negative numbers by negative index."""


SEXTETS: list[str] = [b2a_base64((n << 12).to_bytes(3, "big"), newline=False)[:2].decode() for n in range(4096)]
"""Two characters of base64, by their twelve bits: two of these are a decimal of three bytes, as most amounts are."""


def decimal_text(n: int | NotANumber | None) -> str | None:
    """Return the JSON form of an unscaled decimal: base64 of the two's complement."""
    if n is None:
        return None
    if n is NAN:
        return ""
    if 32768 <= n < 8388608:
        return SEXTETS[n >> 12] + SEXTETS[n & 4095]  # type: ignore[operator]
    return b2a_base64(twos_complement(n), newline=False).decode()  # type: ignore[arg-type]


def decimal_of(text: str) -> int | NotANumber:
    """Read the JSON form of an unscaled decimal. Raises ValueError or TypeError."""
    return int.from_bytes(a2b_base64(text, strict_mode=True), "big", signed=True) if text else NAN


def scaled(value: Decimal) -> tuple[int, int]:
    """Return the unscaled number and the scale of a finite Decimal."""
    text = str(value)
    if len(text) <= TEXT_LENGTH_MAX and "E" not in text:
        # By far the fastest way for numbers of ordinary size.
        whole_text, _, decimals = text.partition(".")
        return int(whole_text + decimals), len(decimals)
    exponent = value.as_tuple()[2]
    if not isinstance(exponent, int) or abs(exponent) > SCALE_MAX:
        raise OverflowError
    whole = value.scaleb(-exponent, EXACT)
    if whole.adjusted() < DIGITS_AT_ONCE:
        return int(whole), -exponent
    n = _integer_of(str(whole.copy_abs()))
    return -n if whole < 0 else n, -exponent


def from_scaled(n: int, scale: int) -> Decimal:
    """Return the Decimal of an unscaled number and a scale. Raises ValueError beyond SCALE_MAX."""
    if not -SCALE_MAX <= scale <= SCALE_MAX:
        raise ValueError
    return _decimal_of(n).scaleb(-scale, EXACT) if scale else _decimal_of(n)


def _integer_of(digits: str) -> int:
    """Return the number that many digits make, in less than quadratic time."""
    if len(digits) <= DIGITS_AT_ONCE:
        return int(digits)
    low = len(digits) // 2
    weight: int = 10**low
    return _integer_of(digits[:-low]) * weight + _integer_of(digits[-low:])


def _decimal_of(n: int) -> Decimal:
    """Return the Decimal of an integer of any size, in less than quadratic time."""
    bits = n.bit_length()
    if bits <= BITS_AT_ONCE:
        return Decimal(n)
    low = bits // 2
    high = n >> low
    return EXACT.fma(_decimal_of(high), _power_of_two(low), _decimal_of(n - (high << low)))


def _power_of_two(exponent: int) -> Decimal:
    if exponent <= BITS_AT_ONCE:
        return Decimal(1 << exponent)
    root = _power_of_two(exponent // 2)
    square = EXACT.multiply(root, root)
    return EXACT.add(square, square) if exponent & 1 else square


def special_of(scale: int) -> Decimal:
    """Return the number that is none: what a VariableScaleDecimal without a byte stands for. Raises ValueError."""
    if scale == 0:
        return Decimal("NaN")
    if scale in (1, -1):
        return Decimal("Infinity") * scale
    raise ValueError


def numeric2(value: Decimal) -> bytes:
    """Return a VariableScaleDecimal record behind a union byte."""
    if not value.is_finite():
        return b"\2\0\0" if value.is_nan() else _SPECIAL[value]
    n, scale = scaled(value)
    content = twos_complement(n)
    size = len(content)
    if 0 <= scale < 8192 and size < 64:
        return SMALL2[scale] + FINAL[size << 1] + content
    return b"\2" + long(scale) + long(size) + content


def numeric_at(b: bytes, p: int) -> tuple[Decimal, int]:
    """Read a VariableScaleDecimal record: the value and where it ends."""
    scale, p = int_at(b, p)
    p, e = bytes_at(b, p)
    if p == e:
        return special_of(scale), e
    return from_scaled(int.from_bytes(b[p:e], "big", signed=True), scale), e


def numeric_record(value: Decimal | None) -> dict[str, Any] | None:
    """Return the JSON form of a VariableScaleDecimal."""
    if value is None:
        return None
    if not value.is_finite():
        return {"scale": 0 if value.is_nan() else 1 if value > 0 else -1, "value": ""}
    n, scale = scaled(value)
    return {"scale": scale, "value": decimal_text(n)}


def numeric_of(record: dict[str, Any]) -> Decimal:
    """Read the JSON form of a VariableScaleDecimal. Raises ValueError, TypeError or KeyError."""
    scale, text = record["scale"], record["value"]
    if scale.__class__ is not int:
        raise ValueError
    if not text:
        return special_of(scale)
    n = decimal_of(text)
    return from_scaled(n, scale)  # type: ignore[arg-type]


def key_decimal(value: Decimal) -> Decimal:
    """Return the shortest of all decimals that are equal: 1.50 is 1.5, 100 stays 100, and -0 is 0."""
    if not value.is_finite():
        return value
    if not value:
        return Decimal(0)
    short = value.normalize(EXACT)
    exponent = short.as_tuple()[2]
    return short.quantize(Decimal(1), context=EXACT) if isinstance(exponent, int) and exponent > 0 else short


def float_text(value: float | None) -> float | str | None:
    """Return what JSON can say of a float."""
    if value is None or value - value == 0:
        return value
    return "Infinity" if value > 0 else "-Infinity" if value < 0 else "NaN"


def float_of(value: object) -> float:
    """Read the JSON form of a float. Raises ValueError."""
    if value.__class__ is float or value.__class__ is int:
        return float(value)
    if value in {"NaN", "Infinity", "-Infinity"}:
        return float(value)
    raise ValueError


def _decimal_schema(type_: LogicalType) -> ConnectSchema:
    scale, precision = (0, 20) if type_.family is Family.UINT64 else (type_.scale or 0, type_.precision)
    parameters = {"scale": str(scale)}
    if precision is not None:
        parameters["connect.decimal.precision"] = str(precision)
    return {"type": "bytes", "name": DECIMAL_NAME, "version": 1, "parameters": parameters}


def _variable_scale_schema(_: LogicalType) -> ConnectSchema:
    return {
        "type": "struct",
        "name": VARIABLE_SCALE_NAME,
        "version": 1,
        "fields": [
            {"type": "int32", "optional": False, "field": "scale"},
            {"type": "bytes", "optional": False, "field": "value"},
        ],
    }


def _write_decimal(v: str, o: str) -> list[str]:
    return [
        # Packed with the union byte and the length before them. Tables would take 12 MiB of each process.
        f"if -128 <= {v} < 128: {o} = DECIMAL_ONE2[{v}]",
        f"elif -32768 <= {v} < 32768: {o} = pack_decimal_2(0x0204, {v})",
        f"elif -8388608 <= {v} < 8388608: {o} = pack_decimal_3(0x0206, {v} >> 16, {v} & 65535)",
        f"elif -2147483648 <= {v} < 2147483648: {o} = pack_decimal_4(0x0208, {v})",
        f"else: {o} = decimal2({v})",
    ]


def _read_decimal(v: str, at: int) -> list[str]:
    # Two and three bytes hold most amounts of money. A number cut short by the buffer's end must not pass: its first
    # bytes would be another number.
    return [
        f"x = b[p + {at}]",
        f"if x == 4: {v}, = unpack_2(b, p + {at + 1}); p += {at + 3}",
        f"elif x == 6: x, y = unpack_3(b, p + {at + 1}); {v} = x << 16 | y; p += {at + 4}",
        "else:",
        *(f"    {line}" for line in read_length(at)),
        f"    {v} = integer_of(b[p:e], 'big', signed=True) if p != e else NAN",
        "    p = e",
    ]


def _read_uint64(v: str, at: int) -> list[str]:
    return [*_read_decimal(v, at), f"if not 0 <= {v} <= 18446744073709551615: wrong()"]


def _integer(family: Family, low: int, high: int, schema: str, write: str, read: str) -> WireForm:
    return WireForm(
        family,
        canonical="int",
        range=f"{low} to {high}",
        json="number",
        connect=connect(schema),
        avro_write=lambda v, o: write_integer(v, o, write),
        avro_read=lambda v, at: read_integer(v, at, read, inline=2 if family is Family.INT16 else 3),
        json_write=None,
        json_read=lambda v: [f"if {v}.__class__ is not int or not {low} <= {v} <= {high}: wrong()"],
    )


def _float(family: Family, schema: str, size: int, names: str) -> WireForm:
    return WireForm(
        family,
        canonical="float",
        range="every IEEE 754 value, NaN and the infinities included",
        json='number; "NaN", "Infinity" or "-Infinity"',
        connect=connect(schema),
        avro_write=lambda v, o: [f"{o} = b'\\2' + pack_{names}({v})"],
        avro_read=lambda v, at: [f"{v}, = unpack_{names}(b, p + {at})", f"p += {at + size}"],
        json_write=lambda v: f"float_text({v})",
        json_read=lambda v: [f"{v} = float_of({v})"],
        # -0.0 + 0.0 is 0.0.
        key="({v} + 0.0 if {v} == {v} else NOT_A_NUMBER)",
    )


FORMS: list[WireForm] = [
    WireForm(
        Family.BOOLEAN,
        canonical="bool",
        range="true, false",
        json="true, false",
        connect=connect("boolean"),
        avro_write=lambda v, o: [f"{o} = BOOLEAN2[{v}]"],
        avro_read=lambda v, at: [f"{v} = BOOLEANS[b[p + {at}]]", f"p += {at + 1}"],
        json_write=lambda v: f"BOOLEAN_JSON[{v}]",
        json_read=lambda v: expect(v, "bool"),
    ),
    _integer(Family.INT16, -(1 << 15), (1 << 15) - 1, "int16", "short2", "short_at"),
    _integer(Family.INT32, -(1 << 31), (1 << 31) - 1, "int32", "int2", "int_at"),
    _integer(Family.INT64, -(1 << 63), (1 << 63) - 1, "int64", "long2", "long_at"),
    _integer(Family.UINT32, 0, (1 << 32) - 1, "int64", "long2", "long_at"),
    WireForm(
        Family.UINT64,
        canonical="int",
        range=f"0 to {(1 << 64) - 1}",
        json="base64 of the two's complement",
        connect=_decimal_schema,
        avro_write=_write_decimal,
        avro_read=_read_uint64,
        json_write=lambda v: f"decimal_text({v})",
        json_read=lambda v: [f"{v} = decimal_of({v})", f"if not 0 <= {v} <= 18446744073709551615: wrong()"],
    ),
    _float(Family.FLOAT32, "float", 4, "float32"),
    _float(Family.FLOAT64, "double", 8, "float64"),
    WireForm(
        Family.DECIMAL,
        canonical="int, unscaled by the type's scale; NAN",
        range="up to 1000 digits; NaN",
        json="base64 of the two's complement of the unscaled number; empty for NaN",
        connect=_decimal_schema,
        avro_write=_write_decimal,
        avro_read=_read_decimal,
        json_write=lambda v: f"decimal_text({v})",
        json_read=lambda v: [f"{v} = decimal_of({v})"],
    ),
    WireForm(
        Family.NUMERIC,
        canonical="Decimal",
        range="any scale and size; NaN, Infinity, -Infinity",
        json='{"scale": number, "value": base64}; NaN, Infinity, -Infinity: an empty value with scale 0, 1, -1',
        connect=_variable_scale_schema,
        avro_write=lambda v, o: [f"{o} = numeric2({v})"],
        avro_read=lambda v, at: [f"{v}, p = numeric_at(b, p + {at})"],
        json_write=lambda v: f"numeric_record({v})",
        json_read=lambda v: [f"{v} = numeric_of({v})"],
        key="key_decimal({v})",
    ),
]

NAMES: dict[str, Any] = {
    "NAN": NAN,
    "NOT_A_NUMBER": math.nan,
    "key_decimal": key_decimal,
    "BOOLEAN2": {True: b"\2\1", False: b"\2\0"},
    "BOOLEANS": (False, True),
    "BOOLEAN_JSON": {True: True, False: False, None: None},
    "pack_float32": _float32.pack,
    "pack_float64": _float64.pack,
    "unpack_float32": _float32.unpack_from,
    "unpack_float64": _float64.unpack_from,
    "DECIMAL_ONE2": DECIMAL_ONE2,
    "pack_decimal_2": Struct(">Hh").pack,
    "pack_decimal_3": Struct(">HbH").pack,
    "pack_decimal_4": Struct(">Hi").pack,
    "decimal2": decimal2,
    "integer_of": int.from_bytes,
    "unpack_2": Struct(">h").unpack_from,
    "unpack_3": Struct(">bH").unpack_from,
    "numeric2": numeric2,
    "numeric_at": numeric_at,
    "decimal_text": decimal_text,
    "decimal_of": decimal_of,
    "numeric_record": numeric_record,
    "numeric_of": numeric_of,
    "float_text": float_text,
    "float_of": float_of,
}
