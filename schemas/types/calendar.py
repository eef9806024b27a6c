"""Days, seconds and ISO 8601 text over the whole range of databases' calendars, which Python's `datetime` lacks.

Proleptic Gregorian, astronomical years (year 0 is 1 BC), as ISO 8601 and `java.time` have it: `-4712-01-01`,
`+294276-12-31`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US_PER_SECOND = 1_000_000
SECONDS_PER_DAY = 86_400

INFINITY_US = 9_223_372_036_825_200_000
"""The timestamp `infinity` as a number: Debezium's number, the JDBC driver's `PGStatement.DATE_POSITIVE_INFINITY`."""

MINUS_INFINITY_US = -9_223_372_036_832_400_000
"""`-infinity`: `PGStatement.DATE_NEGATIVE_INFINITY`."""

WRAPPED_BELOW_US = -9_000_000_000_000_000_000
"""PostgreSQL's last years are beyond 64-bit microseconds since 1970 and come as numbers below this one, which no
timestamp reaches otherwise: the first is in 4713 BC."""

_ZONED = re.compile(
    rb"([+-]?\d{4,6})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)\Z"
)


def moment(us: int) -> datetime:
    """Return the moment so many microseconds after 1970, where `datetime` has it."""
    return EPOCH + timedelta(microseconds=us)


def civil(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a number of days since 1970-01-01."""
    # Count in eras of 400 years (146,097 days) that begin on the first of March, so that leap days come last.
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    return year_of_era + era * 400 + (month <= 2), month, day


def days_of(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01. Raises ValueError for a date that is none."""
    shifted = year - (month <= 2)
    era, year_of_era = divmod(shifted, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468
    if civil(days) != (year, month, day):
        raise ValueError
    return days


def date_text(days: int) -> str:
    """Return the ISO date."""
    year, month, day = civil(days)
    if 0 <= year <= 9999:
        return f"{year:04d}-{month:02d}-{day:02d}"
    return f"{year:+05d}-{month:02d}-{day:02d}"


def second_text(second: int) -> str:
    """Return date and time, with the `T` between and a point behind, of a second since 1970 UTC."""
    days, rest = divmod(second, SECONDS_PER_DAY)
    return f"{date_text(days)}{time_text(rest)}"


def time_text(second: int) -> str:
    """Return the time, with the `T` before and a point behind, at a second of the day."""
    minutes, seconds = divmod(second, 60)
    return f"T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}."


def zoned_text(value: int) -> str:
    """Return the ISO text of a TIMESTAMPTZ in UTC with six decimals, or `infinity`, `-infinity`."""
    if value == INFINITY_US:
        return "infinity"
    if value == MINUS_INFINITY_US:
        return "-infinity"
    if value < WRAPPED_BELOW_US:
        value += 1 << 64
    second, us = divmod(value, US_PER_SECOND)
    return f"{second_text(second)}{us:06d}Z"


def zoned_of(text: bytes) -> int:
    """Return the TIMESTAMPTZ of an ISO text with any offset.

    Raises ValueError for any other text, and for decimals that microseconds do not hold.
    """
    if text in {b"infinity", b"-infinity"}:
        return INFINITY_US if text == b"infinity" else MINUS_INFINITY_US
    match = _ZONED.match(text)
    if match is None:
        raise ValueError
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    if int(hour) > 24 or int(minute) > 59 or int(second or 0) > 60:
        raise ValueError
    decimals = (fraction or b"").ljust(9, b"0")
    if decimals[6:] != b"000":
        raise ValueError
    seconds = days_of(int(year), int(month), int(day)) * SECONDS_PER_DAY
    seconds += int(hour) * 3600 + int(minute) * 60 + int(second or 0) - _offset_seconds(offset)
    value = seconds * US_PER_SECOND + int(decimals[:6])
    if value >= 1 << 63:
        value -= 1 << 64
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError
    return value


def _offset_seconds(offset: bytes) -> int:
    if offset == b"Z":
        return 0
    digits = offset[1:].replace(b":", b"").ljust(6, b"0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:])
    return -seconds if offset.startswith(b"-") else seconds
