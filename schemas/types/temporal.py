"""Dates, times, timestamps and intervals."""

from __future__ import annotations

import re
from dataclasses import replace
from struct import Struct
from struct import error as struct_error
from typing import Any

from schemas.types.calendar import SECONDS_PER_DAY, US_PER_SECOND, time_text, zoned_of, zoned_text
from schemas.types.form import WireForm, connect
from schemas.types.logical import Family
from schemas.types.numbers import counted2
from schemas.types.text import text_form
from schemas.types.varints import read_integer, read_length, write_integer

ORDINARY_MIN_US = -62_135_596_800_000_000
"""0001-01-01. Between here and year 10000 every TIMESTAMPTZ has a text of 27 bytes."""

ORDINARY_END_US = 253_402_300_800_000_000

ZONED_BYTES = 27

PARTS = ("days", "minutes", "seconds", "thousands", "units")
"""What such a text is made of: date; `T`, hours, minutes and colon; seconds and point; twice three decimals; `Z`."""

_parts = Struct("10s7s3s3s4s")

US_PER_DAY = SECONDS_PER_DAY * US_PER_SECOND

DAY_CACHE_MAX = 16_384
"""Entries, 45 years of days. The cache of times is bounded by the seconds of a day."""

days_written: dict[int, bytes] = {}
"""Union byte, length of the whole and date, by day."""

times_written: dict[int, bytes] = {}
"""`T`, time and point, by second of the day."""

days_text: dict[int, str] = {}
"""Dates by day, for JSON."""

days_read: dict[bytes, int] = {}
"""Microseconds since 1970, by date."""

MINUTES: list[str] = [time_text(60 * i)[:7] for i in range(1440)]
SECONDS: list[str] = [f"{i:02d}." for i in range(60)]
"""The time of day: `T`, hours, minutes and colon; seconds and point. Times are too many to be remembered each."""

THOUSANDS: list[bytes] = [b"%03d" % i for i in range(1000)]
UNITS_ZULU: list[bytes] = [b"%03dZ" % i for i in range(1000)]
THOUSANDS_TEXT: list[str] = [f"{i:03d}" for i in range(1000)]
UNITS_ZULU_TEXT: list[str] = [f"{i:03d}Z" for i in range(1000)]
"""The decimals, three by three."""

minutes_read: dict[bytes, int] = {text.encode(): i * 60 * US_PER_SECOND for i, text in enumerate(MINUTES)}
seconds_read: dict[bytes, int] = {text.encode(): i * US_PER_SECOND for i, text in enumerate(SECONDS)}
thousands_read: dict[bytes, int] = {text: i * 1000 for i, text in enumerate(THOUSANDS)}
units_read: dict[bytes, int] = {text: i for i, text in enumerate(UNITS_ZULU)}
"""Microseconds, by each part of a text."""


def time2(second: int) -> bytes:
    """Return, and remember, the time at a second of the day."""
    minute = second // 60
    found = times_written[second] = (MINUTES[minute] + SECONDS[second - 60 * minute]).encode()
    return found


def zoned2(value: int) -> bytes:
    """Return any TIMESTAMPTZ behind a union byte; remember the day of an ordinary one."""
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError
    result = counted2(zoned_text(value).encode())
    if ORDINARY_MIN_US <= value < ORDINARY_END_US:
        if len(days_written) >= DAY_CACHE_MAX:
            days_written.clear()
        days_written[value // US_PER_DAY] = result[:12]
    return result


def zoned_json(value: int | None) -> str | None:
    """Return the JSON form of a TIMESTAMPTZ."""
    if value is None:
        return None
    second = value // US_PER_SECOND
    day = second // SECONDS_PER_DAY
    date = days_text.get(day)
    if date is not None:
        us = value - second * US_PER_SECOND
        second -= day * SECONDS_PER_DAY
        minute, thousands = second // 60, us // 1000
        time = MINUTES[minute] + SECONDS[second - 60 * minute]
        return date + time + THOUSANDS_TEXT[thousands] + UNITS_ZULU_TEXT[us - 1000 * thousands]
    text = zoned_text(value)
    if ORDINARY_MIN_US <= value < ORDINARY_END_US:
        if len(days_text) >= DAY_CACHE_MAX:
            days_text.clear()
        days_text[day] = text[:10]
    return text


def zoned_bytes(text: bytes) -> int:
    """Read the text of a TIMESTAMPTZ; remember the day of an ordinary one. Raises ValueError."""
    value = zoned_of(text)
    if len(text) == ZONED_BYTES and text[:4].isdigit() and text[10:17] in minutes_read and text[23:] in units_read:
        if len(days_read) >= DAY_CACHE_MAX:
            days_read.clear()
        days_read[text[:10]] = value // US_PER_DAY * US_PER_DAY
    return value


def _write_timestamp(v: str, o: str) -> list[str]:
    return [
        f"h = {v} >> 27",
        "if h > 0:",
        f"    {o} = LOW2[{v} & 8191] + CONTINUED[{v} >> 13 & 16383] + (high_written.get(h) or high_of(h))",
        f"else: {o} = long2({v})",
    ]


def _read_timestamp(v: str, at: int) -> list[str]:
    # From 1978 to 3111 a timestamp has eight bytes, of which the last four change every two minutes.
    return [
        f"x, y, w = unpack_pairs(b, p + {at})",
        "h = high_read.get(w); x = FIRST_PAIR[x]; y = SECOND_PAIR[y]",
        f"if h is not None and x is not None and y is not None: {v} = x + y + h; p += {at + 8}",
        f"else: {v}, p = long_at(b, p + {at})",
    ]


def _write_zoned(v: str, o: str) -> list[str]:
    return [
        f"s = {v} // {US_PER_SECOND}",
        f"t = s // {SECONDS_PER_DAY}",
        "h = days_written.get(t)",
        f"if h is None: {o} = zoned2({v})",
        "else:",
        f"    t = s - t * {SECONDS_PER_DAY}",
        f"    x = {v} - s * {US_PER_SECOND}",
        "    y = x // 1000",
        f"    {o} = h + (times_written.get(t) or time2(t)) + THOUSANDS[y] + UNITS_ZULU[x - y * 1000]",
    ]


def _add_parts(v: str, text: str, unpack: str) -> list[str]:
    """Return the lines that add up a text's parts; one that is not in its table makes `zoned_bytes` read the whole."""
    total = " + ".join(f"{table}_read[{part}]" for table, part in zip(PARTS, "shxyt", strict=True))
    return [
        f"try: s, h, x, y, t = {unpack}; {v} = {total}",
        f"except (KeyError, struct_error): {v} = zoned_bytes({text})",
    ]


def _read_zoned(v: str, at: int) -> list[str]:
    start, end = at + 1, at + 1 + ZONED_BYTES
    return [
        f"if b[p + {at}] == {2 * ZONED_BYTES}:",
        *(f"    {line}" for line in _add_parts(v, f"b[p + {start}:p + {end}]", f"unpack_zoned_from(b, p + {start})")),
        f"    p += {end}",
        "else:",
        *(f"    {line}" for line in read_length(at)),
        f"    {v} = zoned_bytes(b[p:e])",
        "    p = e",
    ]


def _parse_zoned(v: str) -> list[str]:
    return [f"z = {v}.encode()", *_add_parts(v, "z", "unpack_zoned(z)")]


def _number(family: Family, canonical: str, range_: str, schema: str, name: str, bits: int) -> WireForm:
    form = {31: "int", 63: "long"}[bits]
    timestamp = family is Family.TIMESTAMP
    low, high = -(1 << bits), (1 << bits) - 1
    return WireForm(
        family,
        canonical=canonical,
        range=range_,
        json="number",
        connect=connect(schema, name),
        avro_write=_write_timestamp if timestamp else lambda v, o: write_integer(v, o, f"{form}2"),
        avro_read=_read_timestamp if timestamp else lambda v, at: read_integer(v, at, f"{form}_at"),
        json_write=None,
        json_read=lambda v: [f"if {v}.__class__ is not int or not {low} <= {v} <= {high}: wrong()"],
    )


_INTERVAL = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d{1,6}))?S)?)?"
)


def key_interval(text: str) -> str:
    """Return one interval for all that PostgreSQL holds equal: a month is 30 days, a day 24 hours (`interval_cmp`).

    Any other text, such as `infinity`, stands for itself.
    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        return text
    years, months, days, hours, minutes = (int(part or 0) for part in match.groups()[:5])
    sign, seconds, fraction = match.groups()[5:]
    us = int(seconds or 0) * 1_000_000 + int((fraction or "").ljust(6, "0"))
    total = (((12 * years + months) * 30 + days) * 24 + hours) * 60 + minutes
    total_us = total * 60_000_000 + (-us if sign else us)
    whole, rest = divmod(abs(total_us), 1_000_000)
    return f"PT{'-' if total_us < 0 else ''}{whole}" + (f".{rest:06d}".rstrip("0") if rest else "") + "S"


FORMS: list[WireForm] = [
    _number(
        Family.DATE,
        "int, days since 1970-01-01",
        "-2147483648 is -infinity, 2147483647 is infinity; between them every day of PostgreSQL's calendar",
        "int32",
        "io.debezium.time.Date",
        31,
    ),
    _number(
        Family.TIME,
        "int, microseconds since midnight",
        "0 to 86400000000 inclusive",
        "int64",
        "io.debezium.time.MicroTime",
        63,
    ),
    _number(
        Family.TIMESTAMP,
        "int, microseconds since 1970-01-01 without a zone",
        "4713 BC to 294276 AD, wrapped modulo 2^64 beyond 294247; 9223372036825200000 is infinity,"
        " -9223372036832400000 -infinity",
        "int64",
        "io.debezium.time.MicroTimestamp",
        63,
    ),
    WireForm(
        Family.TIMESTAMPTZ,
        canonical="int, microseconds since 1970-01-01 UTC",
        range="as timestamp",
        json="ISO 8601 in UTC with six decimals; infinity, -infinity",
        connect=connect("string", "io.debezium.time.ZonedTimestamp"),
        avro_write=_write_zoned,
        avro_read=_read_zoned,
        json_write=lambda v: f"zoned_json({v})",
        json_read=_parse_zoned,
    ),
    text_form(Family.TIMETZ, "ISO 8601 with the offset as given", "io.debezium.time.ZonedTime"),
    replace(
        text_form(Family.INTERVAL, "ISO 8601 with signed fields", "io.debezium.time.Interval"), key="key_interval({v})"
    ),
]

NAMES: dict[str, Any] = {
    "key_interval": key_interval,
    "unpack_pairs": Struct("<HHI").unpack_from,
    "days_written": days_written,
    "times_written": times_written,
    "days_read": days_read,
    "minutes_read": minutes_read,
    "seconds_read": seconds_read,
    "thousands_read": thousands_read,
    "units_read": units_read,
    "unpack_zoned": _parts.unpack,
    "unpack_zoned_from": _parts.unpack_from,
    "struct_error": struct_error,
    "time2": time2,
    "zoned2": zoned2,
    "zoned_bytes": zoned_bytes,
    "zoned_json": zoned_json,
    "THOUSANDS": THOUSANDS,
    "UNITS_ZULU": UNITS_ZULU,
}
