"""Dates and times: the log's packed forms and the text of query results, both to canonical values.

Forms: `my_time.cc` (`my_datetime_packed_to_binary` and its neighbours); the calendar is proleptic Gregorian. Values
with a zero year, month or day, which MySQL stores and nobody else knows, follow the policy `source.zero_dates`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from schemas.errors import ErrorKind, TailraceError

US = 1_000_000
DAY_US = 86_400 * US
CACHE_MAX = 16_384
"""Days that are remembered: 45 years of them."""

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_SCALES = (0, 10_000, 100, 1)
"""Microseconds of one unit of a fraction of so many bytes."""

Read = Callable[[bytes], Any]


def day_of(year: int, month: int, day: int) -> int:
    """Return the days since 1970. Raises ValueError for a day that no calendar has.

    A server lets `2024-02-31` in under ALLOW_INVALID_DATES.
    """
    return date(year, month, day).toordinal() - _EPOCH_ORDINAL


class ZeroDates:
    """The policy for dates with a zero part: `error`, `null`, or a date in their place."""

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._day = None if policy in ("error", "null") else day_of(*map(int, policy.split("-")))

    def day(self) -> int | None:
        """Return the day that stands for such a date. Raises DECODE where the policy is to stop."""
        if self._policy == "error":
            raise TailraceError(
                ErrorKind.DECODE,
                "a date with a zero year, month or day (or one that no calendar has)",
                remedy="set source.zero_dates to `null`, or to a date that stands for it; or correct the row",
            )
        return self._day


class _Days(dict[Any, Any]):
    """Days by their packed form, computed when they are first met."""

    def __init__(self, unpack: Callable[[Any], tuple[int, int, int]], zero: ZeroDates, scale: int) -> None:
        super().__init__()
        self._unpack = unpack
        self._zero = zero
        self._scale = scale

    def __missing__(self, packed: Any) -> int | None:
        try:
            day: int | None = day_of(*self._unpack(packed))
        except ValueError:
            day = self._zero.day()
        if len(self) >= CACHE_MAX:
            self.clear()
        value = self[packed] = None if day is None else day * self._scale
        return value


def log_dates(zero: ZeroDates) -> _Days:
    """Return the mapping from a DATE's three bytes to days."""

    def unpack(x: bytes) -> tuple[int, int, int]:
        n = x[0] | x[1] << 8 | x[2] << 16
        return n >> 9, n >> 5 & 15, n & 31

    return _Days(unpack, zero, 1)


def text_dates(zero: ZeroDates) -> _Days:
    """Return the mapping from a date's text, as bytes, to days."""
    return _Days(_split_date, zero, 1)


def log_datetime(zero: ZeroDates, digits: int) -> Read:
    """Return the reader of a DATETIME with so many fractional digits: five bytes and the fraction, big-endian."""
    # Year and month are one number, base 13.
    days = _Days(lambda n: (n // 32 // 13, n // 32 % 13, n % 32), zero, DAY_US)
    scale = _SCALES[(digits + 1) // 2]

    def read(x: bytes) -> int | None:
        n = int.from_bytes(x[:5], "big") - 0x8000000000
        day: int | None = days[n >> 17]
        if day is None:
            return None
        clock = n & 0x1FFFF
        whole = day + ((clock >> 12) * 3600 + (clock >> 6 & 63) * 60 + (clock & 63)) * US
        return whole + int.from_bytes(x[5:], "big") * scale if scale else whole

    return read


def log_timestamp(zero: ZeroDates, digits: int) -> Read:
    """Return the reader of a TIMESTAMP: four bytes of seconds since 1970 and the fraction; zero is `0000-00-00`."""
    scale = _SCALES[(digits + 1) // 2]

    def read(x: bytes) -> int | None:
        seconds = int.from_bytes(x[:4], "big")
        if not seconds and not any(x):
            return _zero_us(zero)
        return seconds * US + int.from_bytes(x[4:], "big") * scale

    return read


def text_datetime(zero: ZeroDates) -> Read:
    """Return the reader of a DATETIME's or TIMESTAMP's text: `2024-02-29 12:00:00.5`."""
    days = _Days(_split_date, zero, DAY_US)

    def read(x: bytes) -> int | None:
        day: int | None = days[x[:10]]
        if day is None:
            return None
        clock = (int(x[11:13]) * 3600 + int(x[14:16]) * 60 + int(x[17:19])) * US
        return day + clock + (int(x[20:].ljust(6, b"0")) if len(x) > 20 else 0)

    return read


def log_time(digits: int) -> Read:
    """Return the reader of a TIME: a sign, hours to 838, and the fraction, as one big-endian number with an offset."""
    size = (digits + 1) // 2
    scale, bits = _SCALES[size], 8 * size

    def read(x: bytes) -> str:
        n = int.from_bytes(x, "big") - (0x800000 << bits)
        packed = -n if n < 0 else n
        clock = packed >> bits
        us = (packed & (1 << bits) - 1) * scale
        return interval(n < 0, clock >> 12 & 0x3FF, clock >> 6 & 63, clock & 63, us)

    return read


def text_time(x: bytes) -> str:
    """Read a TIME's text: `-838:59:59.000000`."""
    negative = x[:1] == b"-"
    hours, minutes, rest = x.lstrip(b"-").split(b":")
    us = int(rest[3:].ljust(6, b"0")) if len(rest) > 3 else 0
    return interval(negative, int(hours), int(minutes), int(rest[:2]), us)


def interval(negative: bool, hours: int, minutes: int, seconds: int, us: int) -> str:
    """Return a span of time in ISO 8601 with signed fields: `PT-1H-30M`."""
    sign = "-" if negative else ""
    parts = []
    if hours:
        parts.append(f"{sign}{hours}H")
    if minutes:
        parts.append(f"{sign}{minutes}M")
    if seconds or us:
        fraction = f".{us:06d}".rstrip("0") if us else ""
        parts.append(f"{sign}{seconds}{fraction}S")
    return "PT" + "".join(parts) if parts else "PT0S"


def _zero_us(zero: ZeroDates) -> int | None:
    day = zero.day()
    return None if day is None else day * DAY_US


def _split_date(x: bytes) -> tuple[int, int, int]:
    return int(x[:4]), int(x[5:7]), int(x[8:10])
