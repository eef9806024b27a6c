"""Signals: what is written is read, anything else is refused, and bounds are checked before a source sees them."""

from __future__ import annotations

import contextlib

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import signals
from schemas.errors import ErrorKind, TailraceError
from schemas.key_bounds import refusal
from schemas.signals import PAUSE, RELOAD, RESUME, Signal
from schemas.table import Column, TableName, TableSchema
from schemas.types.logical import Family, LogicalType

unhurried = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
"""Correct on a machine that does other things, too."""

words = st.text(min_size=1, max_size=20)
bounds = st.none() | st.lists(st.text(max_size=10), min_size=1, max_size=3).map(tuple)


def commands(*names: str) -> st.SearchStrategy[Signal]:
    return st.builds(
        Signal,
        words,
        st.sampled_from(names),
        st.none() | words,
        st.none() | words,
        words if names == (RELOAD,) else st.none() | words,
        bounds,
        bounds,
        st.booleans(),
    )


@unhurried
@given(commands(PAUSE, RESUME) | commands(RELOAD))
def test_signals_come_back_as_they_were(signal: Signal) -> None:
    assert signals.decode(signals.encode(signal)[1]) == signal


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
near = st.fixed_dictionaries(
    {},
    optional={
        name: json_values | st.sampled_from(["reload", "pause", 1, True])
        for name in ("version", "command", *Signal._fields)
    },
)


@unhurried
@given(st.binary(max_size=60) | near.map(orjson.dumps) | json_values.map(orjson.dumps))
def test_whatever_else_is_there_is_refused(value: bytes) -> None:
    with contextlib.suppress(TailraceError):
        signal = signals.decode(value)
        assert signal.command in signals.COMMANDS
        assert signals.decode(signals.encode(signal)[1]) == signal


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[]", b"{}", b'{"version":2}', b'{"version":1,"id":"a","command":"reload"}']
)
def test_the_error_is_of_a_documented_kind(value: bytes) -> None:
    with pytest.raises(TailraceError) as caught:
        signals.decode(value)
    assert caught.value.kind is ErrorKind.DECODE


def table(*families: Family) -> TableSchema:
    columns = tuple(Column(f"k{i}", LogicalType(family), "native", nullable=False) for i, family in enumerate(families))
    return TableSchema(TableName("public", "t"), columns, tuple(range(len(columns))))


@pytest.mark.parametrize(
    ("families", "bound", "right"),
    [
        ([Family.INT32], ["1_000"], False),
        ([Family.NUMERIC], ["1_0.5"], False),
        ([Family.DECIMAL], ["\u0661"], False),
        ([Family.UUID], ["urn:uuid:12345678-1234-5678-1234-567812345678"], False),
        ([Family.INT32], ["2147483647"], True),
        ([Family.INT32], ["2147483648"], False),
        ([Family.INT32], ["1; drop table x"], False),
        ([Family.INT32], ["1", "2"], False),
        ([Family.INT64, Family.STRING], ["-1", "it's"], True),
        ([Family.INT64, Family.STRING], ["-1", "a\0b"], False),
        ([Family.UUID], ["6f9619ff-8b86-d011-b42d-00cf4fc964ff"], True),
        ([Family.UUID], ["6f9619ff"], False),
        ([Family.NUMERIC], ["1.5"], True),
        ([Family.NUMERIC], ["NaN"], False),
        ([Family.TIMESTAMPTZ], ["2026-11-29T12:00:00+00:00"], True),
        ([Family.TIMESTAMPTZ], ["2026-11-29T12:00:00"], False),
        ([Family.DATE], ["2026-02-30"], False),
        ([Family.JSON], ["{}"], False),
        ([], ["1"], False),
    ],
)
def test_bounds_are_checked(families: list[Family], bound: list[str], right: bool) -> None:
    why = refusal(table(*families), bound)
    assert (why is None) == right
    assert why is None or all(part not in why for part in bound if len(part) > 2)
