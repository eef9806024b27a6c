"""The table of types is complete, and its calendar is the calendar."""

from __future__ import annotations

import datetime as dt
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.types import Family
from schemas.types.calendar import (
    INFINITY_US,
    MINUS_INFINITY_US,
    civil,
    date_text,
    days_of,
    zoned_of,
    zoned_text,
)
from schemas.types.forms import FORMS
from schemas.types.numbers import NAN
from tests.kit.type_samples import FIRST_DAY, FIRST_US, LAST_DAY, LAST_US, SAMPLES

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def test_every_family_has_its_form() -> None:
    assert set(FORMS) == set(Family)


def test_every_family_has_samples() -> None:
    assert {sample.type.family for sample in SAMPLES} == set(Family)


def test_nan_stays_the_same_object_when_it_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(NAN)) is NAN


@given(st.dates())
def test_days_agree_with_the_standard_library(date: dt.date) -> None:
    days = date.toordinal() - 719_163
    assert civil(days) == (date.year, date.month, date.day)
    assert days_of(date.year, date.month, date.day) == days
    assert date_text(days) == date.isoformat()


@given(st.integers(-(1 << 31), (1 << 31) - 1))
def test_days_far_away_come_back(days: int) -> None:
    assert days_of(*civil(days)) == days


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_zoned_text_agrees_with_the_standard_library(moment: dt.datetime) -> None:
    us = (moment - EPOCH) // dt.timedelta(microseconds=1)
    assert zoned_text(us) == moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_every_64_bit_timestamp_comes_back_from_its_text(us: int) -> None:
    if us < -9_222_000_000_000_000_000 or us > FIRST_US:
        assert zoned_of(zoned_text(us).encode()) == us


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (FIRST_US, "-4713-11-24T00:00:00.000000Z"),
        (LAST_US, "+294276-12-31T23:59:59.999999Z"),
        (-62_167_219_200_000_001, "-0001-12-31T23:59:59.999999Z"),
        (INFINITY_US, "infinity"),
        (MINUS_INFINITY_US, "-infinity"),
    ],
)
def test_the_edges_of_time_have_their_iso_texts(us: int, text: str) -> None:
    assert zoned_text(us) == text
    assert zoned_of(text.encode()) == us


def test_the_edges_of_dates_are_postgresqls() -> None:
    assert civil(FIRST_DAY) == (-4713, 11, 24)
    assert civil(LAST_DAY) == (5_874_897, 12, 31)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        (b"1970-01-01T01:00:00+01:00", 0),
        (b"1970-01-01T00:00:00.5Z", 500_000),
        (b"1969-12-31T18:30:00-0530", 0),
        (b"1970-01-01T00:00Z", 0),
        (b"1970-01-01T00:00:00.000001000Z", 1),
    ],
)
def test_texts_of_other_writers_are_read(text: bytes, us: int) -> None:
    assert zoned_of(text) == us


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1970-01-01",
        b"1970-02-30T00:00:00Z",
        b"1970-13-01T00:00:00Z",
        b"1970-01-01T00:00:00.0000001Z",
        b"1970-01-01T00:00:00",
        b"1970-01-01T25:00:00Z",
        b"1970-01-01T00:00:00Z\n",
        b"Infinity",
    ],
)
def test_texts_that_are_no_timestamps_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        zoned_of(text)
