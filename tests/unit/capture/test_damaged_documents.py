"""Whatever stands in our topics is read rightly or refused with a documented error: never another exception."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.error_handling.parking import ACTION, PARK, RELEASED, RETRY, SKIP, ParkingLot
from capture import checkpoints
from capture.full_load.state import LoadState, TableLoad
from capture.publishing.schemas_topic import Catalogue
from capture.publishing.transactions import Open
from capture.source import Chunk
from schemas.errors import ErrorKind, TailraceError
from schemas.parts import HEADER, Reference, reference
from schemas.position import Position, first_sequence
from schemas.registry import TableVersion, table_record
from schemas.settings import parse
from schemas.transactions import MARK_KEY, Mark, mark_of, mark_record
from tests.kit.simulation import table_schema

unhurried = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
"""Correct on a machine that does other things, too."""

TABLE = table_schema("orders", keyed=True)
SETTINGS = parse(
    {
        "name": "shop",
        "kafka": {"bootstrap.servers": "127.0.0.1:9"},
        "source": {"engine": "postgresql", "host": "h", "database": "d", "user": "u", "tables": ["public.*"]},
    }
)


def whole_checkpoint() -> dict[bytes, bytes]:
    load = TableLoad(TABLE, state=LoadState.LOADING)
    load.chunks, load.done = [Chunk(0, None, ("5",)), Chunk(1, ("5",), None)], {0}
    cut = Open("5:7", 7, 1, {"public.orders": 1}).document()
    records = [
        checkpoints.position_record({"system": "x"}, Position(7, 1), first_sequence(1) + 3, [], ["public.*"], cut),
        checkpoints.tables_record({TABLE.name: 1}, {TABLE.name: "16412.16413"}, {TABLE.name}),
        checkpoints.plan_record(load),
        checkpoints.progress_record(load),
        (checkpoints.SIGNALS_KEY, b'{"version":1,"next":2,"answers":{"a":"paused"}}'),
        (checkpoints.EPOCH_KEY, b'{"version":1,"epoch":2}'),
    ]
    return {key: value for key, value in records if value is not None}


def whole_schemas() -> dict[bytes, bytes]:
    key, value = table_record(TableVersion(TABLE, 1, 2))
    return {key: value, b'["loaded","public","orders"]': b'{"generation":1,"version":1,"offsets":{"0":5}}'}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b"1" * 40


@st.composite
def damaged(draw: st.DrawFn, whole: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Records of which one is cut, overwritten, or has another value in one of its members."""
    records = dict(whole)
    key = draw(st.sampled_from(sorted(records)))
    value = records[key]
    how = draw(st.sampled_from(["cut", "flip", "member", "value", "key"]))
    if how == "cut":
        records[key] = value[: draw(st.integers(0, len(value) - 1))]
    elif how == "flip":
        at = draw(st.integers(0, len(value) - 1))
        records[key] = value[:at] + draw(st.binary(min_size=1, max_size=1)) + value[at + 1 :]
    elif how == "member":
        document = orjson.loads(value)
        document[draw(st.sampled_from(sorted(document)))] = draw(json_values)
        records[key] = _dumped(document)
    elif how == "value":
        records[key] = _dumped(draw(json_values))
    else:
        records[_dumped(draw(json_values))] = value
    return records


@unhurried
@given(damaged(whole_checkpoint()))
def test_a_damaged_checkpoint_is_refused_or_read(records: dict[bytes, bytes]) -> None:
    with contextlib.suppress(TailraceError):
        found = checkpoints.decode(records)
        assert found.sequence >= 0
        # What a start makes of it, before anything else is read.
        assert found.transactions(metadata=True).open_document() in (None, found.transaction)
        assert found.signals.get("next", 0) >= 0
        assert isinstance(dict(found.signals.get("answers", {})), dict)
        assert all(plan["state"] for plan in found.plans.values())
        for name, plan in found.plans.items():
            TableLoad.from_documents(TABLE, plan, found.progress.get(name))


@unhurried
@given(damaged(whole_schemas()))
def test_a_damaged_schemas_topic_is_refused_or_read(records: dict[bytes, bytes]) -> None:
    with contextlib.suppress(TailraceError):
        assert isinstance(Catalogue.of(SETTINGS, records).loaded, dict)


MARK = mark_record(Mark(first_sequence(1), first_sequence(1) + 9, True, {"shop.public.orders": 9}), 0)
BESIDE = {MARK_KEY: MARK[1], HEADER.encode(): reference(b"value", 7, 3).to_header()}


@unhurried
@given(damaged(BESIDE))
def test_damaged_marks_and_references_to_parts_are_refused_or_read(records: dict[bytes, bytes]) -> None:
    for read in (lambda: mark_of(MARK_KEY, records[MARK_KEY]), lambda: Reference.of_header(records[HEADER.encode()])):
        with contextlib.suppress(TailraceError):
            assert isinstance(read(), Mark | Reference)


@pytest.mark.parametrize(
    "records",
    [
        {checkpoints.POSITION_KEY: b'{"version":1}'},
        {checkpoints.POSITION_KEY: b'{"version":1,"identity":{},"position":["1",2],"sequence":1}'},
        {checkpoints.POSITION_KEY: b'{"version":1,"identity":{},"position":[1,2,3],"sequence":1}'},
        {checkpoints.POSITION_KEY: b'{"version":1,"identity":{},"position":[1,2],"sequence":1,"transaction":{}}'},
        {checkpoints.SIGNALS_KEY: b'{"version":1,"next":"2"}'},
        {checkpoints.SIGNALS_KEY: b'{"version":1,"answers":["a"]}'},
        {b'["load","public","orders"]': b'{"version":1}'},
        {checkpoints.TABLES_KEY: b'{"version":1,"tables":[1]}'},
        {checkpoints.EPOCH_KEY: b'{"version":1,"epoch":"x"}'},
        {b"\xff": b"{}"},
    ],
)
def test_the_error_says_which_record_it_is(records: dict[bytes, bytes]) -> None:
    with pytest.raises(TailraceError) as caught:
        checkpoints.decode(records)
    assert caught.value.kind is ErrorKind.DECODE
    assert caught.value.remedy


def test_what_is_whole_is_read() -> None:
    found = checkpoints.decode(whole_checkpoint())
    load = TableLoad.from_documents(TABLE, found.plans[TABLE.name], found.progress[TABLE.name])
    assert (found.position, load.done, found.signals["next"]) == (Position(7, 1), {0}, 2)
    assert Catalogue.of(SETTINGS, whole_schemas()).loaded == {TABLE.name: 1}


texts = st.text(max_size=6) | st.sampled_from([PARK, RETRY, SKIP, RELEASED, "0", "7"])
headers = st.dictionaries(
    st.sampled_from([ACTION, "tailrace.topic", "tailrace.partition", "tailrace.offset", "tailrace.error"]), texts
)


@unhurried
@given(st.lists(st.tuples(st.none() | st.binary(max_size=2), headers), max_size=8))
def test_strange_dead_letters_never_break_the_lot(records: list[tuple[bytes | None, dict[str, str]]]) -> None:
    lot = ParkingLot()
    for at, (key, about) in enumerate(records):
        # What the topic's reader passes over with a word in the log.
        with contextlib.suppress(KeyError, ValueError):
            lot.fold(key, about, at, 0)
    assert len(lot) <= len(records)
    assert all(parked.records for parked in lot.keys.values())
