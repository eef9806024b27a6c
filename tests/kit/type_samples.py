"""One list of values for each type, with the edges: what every codec, source and sink must carry unharmed.

Values are canonical (see `schemas.types`); None is left out, since every column may hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from schemas.types import Family, LogicalType
from schemas.types.calendar import INFINITY_US, MINUS_INFINITY_US
from schemas.types.numbers import NAN

ASTRAL = "\U0001f9ff 𝒜𝓈𝓉𝓇𝒶𝓁 👩‍👩‍👧 \U0010fffd"

FIRST_US = -210_866_803_200_000_000
"""4714-11-24 00:00:00 BC, PostgreSQL's first timestamp, microseconds since 1970."""

LAST_US = 9_224_318_015_999_999_999 - (1 << 64)
"""294276-12-31 23:59:59.999999, its last: beyond 64 bits, so wrapped."""

FIRST_DAY = -2_440_588
"""4714-11-24 BC."""

LAST_DAY = 2_145_042_905
"""5874897-12-31, PostgreSQL's last date."""

TEXTS = ("", " ", "a", "Grüße, 世界", ASTRAL, 'quote " backslash \\ tab \t line \n', "\x01\x1f\x7f", "x" * 63, "y" * 64)
LONG_TEXTS = ("z" * 8191, "é" * 4096, "ω" * 40_000)


@dataclass(frozen=True, slots=True)
class TypeSample:
    """A type, how PostgreSQL calls it, and its values."""

    type: LogicalType
    native: str
    values: tuple[Any, ...]


def _sample(family: Family, native: str, *values: Any, **parameters: int) -> TypeSample:
    return TypeSample(LogicalType(family, **parameters), native, values)


def _integers(bits: int) -> tuple[int, ...]:
    top = 1 << bits
    edges = {0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, 32767, -32768}
    edges |= {sign * (1 << n) + d for n in range(6, bits, 7) for sign in (1, -1) for d in (-1, 0, 1)}
    return tuple(sorted(n for n in edges | {top - 1, -top} if -top <= n < top))


SAMPLES: tuple[TypeSample, ...] = (
    _sample(Family.BOOLEAN, "boolean", True, False),
    _sample(Family.INT16, "smallint", *_integers(15)),
    _sample(Family.INT32, "integer", *_integers(31)),
    _sample(Family.INT64, "bigint", *_integers(63)),
    _sample(Family.UINT32, "oid", 0, 1, 8191, 8192, 2_147_483_648, 4_294_967_295),
    # PostgreSQL has no unsigned 64-bit integer; its nearest is the target's type for it.
    _sample(Family.UINT64, "numeric(20,0)", 0, 1, 32767, 32768, 2_147_483_648, 1 << 63, (1 << 64) - 1),
    _sample(
        Family.FLOAT32,
        "real",
        *(0.0, -0.0, 1.0, -1.5, 3.4028234663852886e38, 1.1754943508222875e-38, 1.401298464324817e-45),
        *(0.10000000149011612, float("inf"), float("-inf"), float("nan")),
    ),
    _sample(
        Family.FLOAT64,
        "double precision",
        *(0.0, -0.0, 1.0, 0.1, -1e300, 1.7976931348623157e308, 2.2250738585072014e-308, 5e-324),
        *(float("inf"), float("-inf"), float("nan")),
    ),
    _sample(
        Family.DECIMAL,
        "numeric(12,2)",
        *(0, 1, -1, 127, 128, -128, -129, 32767, 32768, -32768, -32769, 8_388_607, 8_388_608, -8_388_608),
        *(2_147_483_647, 2_147_483_648, -2_147_483_648, -2_147_483_649, 999_999_999_999, -999_999_999_999, NAN),
        precision=12,
        scale=2,
    ),
    _sample(Family.DECIMAL, "numeric(5,0)", 0, 99_999, -99_999, NAN, precision=5, scale=0),
    _sample(Family.DECIMAL, "numeric(38,10)", 0, 10**38 - 1, 1 - 10**38, 12_345, NAN, precision=38, scale=10),
    _sample(Family.DECIMAL, "numeric(1000,500)", 0, 10**1000 - 1, 1 - 10**1000, precision=1000, scale=500),
    _sample(
        Family.NUMERIC,
        "numeric",
        *(Decimal(t) for t in ("0", "0.00", "1", "-1", "1.10", "-0.000001", "123456789.987654321", "NaN")),
        *(Decimal(t) for t in ("1" + "0" * 500, "-" + "9" * 131_072, "0." + "0" * 16_382 + "7")),
        Decimal("3." + "14159" * 200),
    ),
    # PostgreSQL 14 and later.
    _sample(Family.NUMERIC, "numeric", Decimal("Infinity"), Decimal("-Infinity")),
    _sample(Family.STRING, "text", *TEXTS, *LONG_TEXTS),
    _sample(Family.STRING, "varchar(100)", *TEXTS, length=100),
    _sample(Family.STRING, "char(8)", "        ", "ab      ", "12345678", "世界      ", length=8),
    _sample(Family.BYTES, "bytea", b"", b"\0", b"\xff" * 63, bytes(range(256)), b"\\x00", b"q" * 8191, b"r" * 70_000),
    _sample(Family.DATE, "date", 0, 1, -1, 19_782, -719_162, FIRST_DAY, LAST_DAY, -(1 << 31), (1 << 31) - 1),
    _sample(Family.TIME, "time", 0, 1, 43_200_000_000, 86_399_999_999, 86_400_000_000),
    _sample(
        Family.TIMETZ, "timetz", "00:00:00+00", "12:34:56.789012+05:30", "24:00:00-15:59", "23:59:59.999999+15:59:59"
    ),
    _sample(
        Family.TIMESTAMP,
        "timestamp",
        *(0, 1, -1, 134_217_727, 134_217_728, 946_684_800_000_000, 1_735_697_676_444_453, -62_135_596_800_000_000),
        *(1 << 48, (1 << 55) - 1, 1 << 55, 253_402_300_799_999_999, 253_402_300_800_000_000),
        *(FIRST_US, LAST_US, (1 << 63) - 1, -(1 << 63), INFINITY_US, MINUS_INFINITY_US),
    ),
    _sample(
        Family.TIMESTAMPTZ,
        "timestamptz",
        *(0, 1, -1, 999_999, 946_684_800_000_000, 1_735_697_676_444_453, -62_135_596_800_000_000),
        *(-62_135_596_800_000_001, -62_167_219_200_000_001, 253_402_300_799_999_999, 253_402_300_800_000_000),
        *(FIRST_US, LAST_US, (1 << 63) - 1, -(1 << 63), INFINITY_US, MINUS_INFINITY_US),
    ),
    _sample(
        Family.INTERVAL,
        "interval",
        *("PT0S", "P1Y2M3DT4H5M6.789012S", "P-1Y-2M3DT-4H-5M-6S", "P178000000Y", "PT-0.000001S", "P10675199D"),
    ),
    _sample(Family.UUID, "uuid", "00000000-0000-0000-0000-000000000000", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
    _sample(
        Family.JSON,
        "json",
        *(
            "null",
            '""',
            "0",
            "[]",
            '{"a": 1.0,  "a": 2}',
            '"\\u00e9\\ud83d\\ude00"',
            '{"z": [1, {"k": "v"}], "n": 1e400}',
        ),
    ),
    _sample(Family.JSON, "jsonb", "null", "{}", '{"a": 1.0, "b": [true, null]}', '"😀"', "[" * 60 + "]" * 60),
    _sample(Family.XML, "xml", "<a/>", '<a b="c">&lt;é</a>', "text only"),
    _sample(Family.TEXT, "inet", "127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"),
    _sample(Family.TEXT, "integer[]", "{}", "{1,NULL,-2147483648}", "{{1,2},{3,4}}", "[0:1]={5,6}"),
    _sample(Family.TEXT, "text[]", "{}", '{"",NULL,"NULL","a\\"b","c,d"}', "{世界}"),
    _sample(Family.TEXT, "int4range", "empty", "[1,5)", "(,)", "[3,)"),
    _sample(Family.TEXT, "bit varying", "", "1", "0101" * 20),
    _sample(Family.TEXT, "point", "(0,0)", "(1.5,-2)", "(NaN,Infinity)"),
    _sample(Family.TEXT, "tsvector", "", "'a':1 'cat':2A,3"),
    _sample(Family.ENUM, "mood", "sad", "ok", "happy", "très heureux", "it's", 'with "quotes"'),
)
"""Every family of `schemas.types` is here: a test checks it."""
