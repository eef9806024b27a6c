"""Canonical values as text that PostgreSQL reads: for the keys of rows that are looked up."""

from __future__ import annotations

from typing import Any

from capture.sources.postgresql import temporals
from schemas.types import Family, LogicalType
from schemas.types.numbers import NAN

_DAY_US = 86_400_000_000
_INFINITIES = {
    Family.DATE: {temporals.DATE_INFINITY: "infinity", temporals.DATE_MINUS_INFINITY: "-infinity"},
    Family.TIMESTAMP: {
        temporals.TIMESTAMP_INFINITY: "infinity",
        temporals.TIMESTAMP_MINUS_INFINITY: "-infinity",
    },
}
_INFINITIES[Family.TIMESTAMPTZ] = _INFINITIES[Family.TIMESTAMP]
_FIRST_TIMESTAMP_US = -210_866_803_200_000_000
"""4714-11-24 BC (`timestamp.h`: MIN_TIMESTAMP); what is smaller has wrapped."""


def text_of(value: Any, kind: LogicalType) -> str:
    """Return the text that the column's input function turns into the value."""
    family = kind.family
    if value in _INFINITIES.get(family, {}):
        return _INFINITIES[family][value]
    if family is Family.BYTES:
        return "\\x" + str(value.hex())
    if family is Family.DECIMAL:
        return "NaN" if value is NAN else f"{value}e-{kind.scale or 0}"
    if family is Family.DATE:
        return _date_text(value)
    if family is Family.TIME:
        return temporals.clock_text(value)
    if family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        days, time_us = divmod(value if value >= _FIRST_TIMESTAMP_US else value + 2**64, _DAY_US)
        date, _, era = _date_text(days).partition(" ")
        zone = "+00" if family is Family.TIMESTAMPTZ else ""
        return f"{date} {temporals.clock_text(time_us)}{zone}" + (f" {era}" if era else "")
    return repr(value) if isinstance(value, float) else str(value)


def _date_text(days: int) -> str:
    year, month, day = temporals.civil_from_days(days)
    return f"{year:04d}-{month:02d}-{day:02d}" if year > 0 else f"{1 - year:04d}-{month:02d}-{day:02d} BC"
