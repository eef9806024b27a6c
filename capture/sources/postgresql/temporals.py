"""PostgreSQL's dates, times and intervals: from binary and from text (`datestyle` ISO, `intervalstyle` iso_8601).

Canonical values stand in `schemas.types.logical`. Binary forms: days or microseconds since 2000-01-01 with the integer
extremes as infinities (`datatype/timestamp.h`). The years that a 64-bit count since 1970 cannot hold (from 294247 AD)
wrap modulo 2**64.
"""

from __future__ import annotations

import re
from struct import Struct

EPOCH_DAYS = 10_957
"""Days from 1970-01-01 to 2000-01-01."""
EPOCH_US = 946_684_800_000_000
"""Microseconds from 1970-01-01 to 2000-01-01."""
DATE_INFINITY = 2**31 - 1
DATE_MINUS_INFINITY = -(2**31)
TIMESTAMP_INFINITY = 9_223_372_036_825_200_000
TIMESTAMP_MINUS_INFINITY = -9_223_372_036_832_400_000
FAR_US = 2**63 - EPOCH_US
"""Microseconds since 2000 from which a timestamp wraps."""

_DAY_US = 86_400_000_000
_interval = Struct(">qii").unpack_from
_timetz = Struct(">qi").unpack_from
_DATE = re.compile(r"(\d{4,})-(\d\d)-(\d\d)(?: (BC))?")
_STAMP = re.compile(r"(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,6})?)(\+00)?( BC)?")
_CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?")
_ZONED = re.compile(r"(\d\d:\d\d:\d\d(?:\.\d{1,6})?)([+-]\d\d)(:\d\d)?(:\d\d)?")


def far_timestamp(since_2000_us: int) -> int:
    """Return the canonical value of a binary timestamp that is infinite, or beyond 64 bits since 1970."""
    if since_2000_us == 2**63 - 1:
        return TIMESTAMP_INFINITY
    if since_2000_us == -(2**63):
        return TIMESTAMP_MINUS_INFINITY
    return since_2000_us + EPOCH_US - 2**64


def date_of_text(text: str) -> int:
    """Read a date."""
    match = _DATE.fullmatch(text)
    if match is None:
        return {"infinity": DATE_INFINITY, "-infinity": DATE_MINUS_INFINITY}[text]
    year, month, day, before_christ = match.groups()
    return days_from_civil(1 - int(year) if before_christ else int(year), int(month), int(day))


def time_of_text(text: str) -> int:
    """Read a time of day, in microseconds."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError("this is no time of day")
    hour, minute, second, fraction = match.groups()
    return ((int(hour) * 60 + int(minute)) * 60 + int(second)) * 1_000_000 + int((fraction or "").ljust(6, "0"))


def timestamp_of_text(text: str) -> int:
    """Read a timestamp; one with a zone is in UTC."""
    match = _STAMP.fullmatch(text)
    if match is None:
        return {"infinity": TIMESTAMP_INFINITY, "-infinity": TIMESTAMP_MINUS_INFINITY}[text]
    day, clock, _, before_christ = match.groups()
    value = date_of_text(day + (before_christ or "")) * _DAY_US + time_of_text(clock)
    return value if value < 2**63 else value - 2**64


def timetz_of_text(text: str) -> str:
    """Read a time with a zone: ISO 8601 with the offset written in full (`12:00:00+05:30`)."""
    match = _ZONED.fullmatch(text)
    if match is None:
        raise ValueError("this is no time of day with a zone")
    clock, hours, minutes, seconds = match.groups()
    return f"{clock}{hours}{minutes or ':00'}{seconds or ''}"


def read_timetz(data: bytes, at: int) -> str:
    """Read a binary time with a zone, which is given in seconds west of Greenwich."""
    time_us, west_s = _timetz(data, at)
    offset = abs(west_s)
    zone = f"{'-' if west_s > 0 else '+'}{offset // 3600:02d}:{offset // 60 % 60:02d}"
    return clock_text(time_us) + zone + (f":{offset % 60:02d}" if offset % 60 else "")


def clock_text(time_us: int) -> str:
    """Print a time of day as PostgreSQL does: the fraction without trailing zeros."""
    seconds, fraction = divmod(time_us, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


def read_interval(data: bytes, at: int) -> str:
    """Read a binary interval and print it as `EncodeInterval` does with INTSTYLE_ISO_8601 (`datetime.c`)."""
    time_us, days, months = _interval(data, at)
    if months == 2**31 - 1 and days == 2**31 - 1 and time_us == 2**63 - 1:
        return "infinity"
    if months == -(2**31) and days == -(2**31) and time_us == -(2**63):
        return "-infinity"
    if not (time_us or days or months):
        return "PT0S"
    years = int(months / 12)
    months -= 12 * years
    text = "P" + "".join(f"{n}{unit}" for n, unit in ((years, "Y"), (months, "M"), (days, "D")) if n)
    if not time_us:
        return text
    sign = "-" if time_us < 0 else ""
    seconds, fraction = divmod(abs(time_us), 1_000_000)
    text += "T"
    for number, unit in ((seconds // 3600, "H"), (seconds // 60 % 60, "M")):
        if number:
            text += f"{sign}{number}{unit}"
    if seconds % 60 or fraction:
        text += f"{sign}{seconds % 60}" + (f".{fraction:06d}".rstrip("0") if fraction else "") + "S"
    return text


def days_from_civil(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01 of a date in the proleptic Gregorian calendar; year 0 is 1 BC."""
    # The era arithmetic of Howard Hinnant's `days_from_civil`: years begin in March, 400 of them have 146097 days.
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def civil_from_days(days: int) -> tuple[int, int, int]:
    """Return (year, month, day) of the days since 1970-01-01; year 0 is 1 BC."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + (3 if shifted < 10 else -9)
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1
