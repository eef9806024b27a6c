"""Values from their wire bytes: numerics, temporals, literals."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.sources.postgresql import temporals
from capture.sources.postgresql.literals import text_of
from capture.sources.postgresql.numerics import read_decimal, unscaled_reader
from schemas.types import Family, LogicalType
from schemas.types.numbers import NAN
from tests.unit.capture.postgresql import wire


@given(st.integers(-(10**60), 10**60), st.integers(0, 40))
def test_a_numeric_of_fixed_scale_is_its_unscaled_integer(unscaled: int, scale: int) -> None:
    assert unscaled_reader(scale)(b"xx" + wire.numeric(unscaled, scale), 2) == unscaled


@given(st.integers(-(10**400), 10**400), st.integers(0, 300))
def test_a_numeric_of_any_scale_keeps_its_scale(unscaled: int, scale: int) -> None:
    value = read_decimal(b"xx" + wire.numeric(unscaled, scale), 2)
    sign, digits, exponent = value.as_tuple()
    assert exponent == -scale
    assert int("".join(map(str, digits))) * (-1 if sign else 1) == unscaled


def test_a_numeric_of_many_digits_is_exact() -> None:
    digits = "9" * 4001
    value = read_decimal(wire.numeric(int(digits), 2001), 0)
    assert str(value) == digits[:2000] + "." + digits[2000:]


@pytest.mark.parametrize(("sign", "expected"), [(0xC000, "NaN"), (0xD000, "Infinity"), (0xF000, "-Infinity")])
def test_special_numerics(sign: int, expected: str) -> None:
    data = pack(">hhHH", 0, 0, sign, 0)
    assert str(read_decimal(data, 0)) == expected
    if sign == 0xC000:
        assert unscaled_reader(2)(data, 0) is NAN
    else:
        with pytest.raises(ValueError, match="sign"):
            unscaled_reader(2)(data, 0)


@given(st.dates())
def test_days_agree_with_the_calendar(date: dt.date) -> None:
    days = date.toordinal() - dt.date(1970, 1, 1).toordinal()
    assert temporals.days_from_civil(date.year, date.month, date.day) == days
    assert temporals.civil_from_days(days) == (date.year, date.month, date.day)
    assert temporals.date_of_text(date.isoformat()) == days


@given(st.integers(-2_440_588, 2_145_042_905))
def test_days_and_text_are_inverse(days: int) -> None:
    assert temporals.date_of_text(text_of(days, LogicalType(Family.DATE))) == days


@given(st.integers(-210_866_803_200_000_000, 9_224_318_015_999_999_999))
def test_timestamps_and_text_are_inverse(us: int) -> None:
    wrapped = us if us < 2**63 else us - 2**64
    for family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        assert temporals.timestamp_of_text(text_of(wrapped, LogicalType(family))) == wrapped


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (2**63 - 1, 9_223_372_036_825_200_000),
        (-(2**63), -9_223_372_036_832_400_000),
        (9_223_371_331_199_999_999, 9_223_371_331_199_999_999 + wire.EPOCH_US - 2**64),
    ],
)
def test_far_timestamps(raw: int, expected: int) -> None:
    assert temporals.far_timestamp(raw) == expected


@pytest.mark.parametrize(
    ("us", "days", "months", "text"),
    [
        (0, 0, 0, "PT0S"),
        (0, 0, 14, "P1Y2M"),
        (-1, 0, 0, "PT-0.000001S"),
        (14_706_789_000, 3, 14, "P1Y2M3DT4H5M6.789S"),
        (-14_706_000_000, 3, -14, "P-1Y-2M3DT-4H-5M-6S"),
        (3_600_000_000, 0, 0, "PT1H"),
        (2**63 - 1, 2**31 - 1, 2**31 - 1, "infinity"),
        (-(2**63), -(2**31), -(2**31), "-infinity"),
    ],
)
def test_intervals_print_as_the_server_prints_them(us: int, days: int, months: int, text: str) -> None:
    assert temporals.read_interval(b"x" + pack(">qii", us, days, months), 1) == text


@pytest.mark.parametrize(
    ("us", "west_s", "server", "canonical"),
    [
        (0, 0, "00:00:00+00", "00:00:00+00:00"),
        (86_400_000_000, -57_599, "24:00:00+15:59:59", "24:00:00+15:59:59"),
        (43_200_500_000, 12_600, "12:00:00.5-03:30", "12:00:00.5-03:30"),
    ],
)
def test_times_with_a_zone_are_the_same_from_both_forms(us: int, west_s: int, server: str, canonical: str) -> None:
    assert temporals.read_timetz(pack(">qi", us, west_s), 0) == canonical
    assert temporals.timetz_of_text(server) == canonical


@pytest.mark.parametrize("text", ["", "24", "x", "2024-13", "infinityy"])
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    for read in (temporals.timestamp_of_text, temporals.date_of_text):
        with pytest.raises((ValueError, KeyError)):
            read(text)
    for read_clock in (temporals.time_of_text, temporals.timetz_of_text):
        with pytest.raises(ValueError, match="this is no time"):
            read_clock(text)


def test_other_literals() -> None:
    assert text_of(-150, LogicalType(Family.DECIMAL, 12, 2)) == "-150e-2"
    assert text_of(NAN, LogicalType(Family.DECIMAL, 12, 2)) == "NaN"
    assert text_of(b"\x00\xff", LogicalType(Family.BYTES)) == "\\x00ff"
    assert text_of(Decimal("1.50"), LogicalType(Family.NUMERIC)) == "1.50"
    assert text_of(0.1, LogicalType(Family.FLOAT64)) == "0.1"
    assert text_of(86_400_000_000, LogicalType(Family.TIME)) == "24:00:00"
