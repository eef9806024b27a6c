"""Claims of the control index: one holds it, the dead let go of it, and there is an end to waiting. A real OpenSearch:
the conformance tests of data streams.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from apply.sinks.opensearch import control
from apply.sinks.opensearch.client import Client
from apply.sinks.opensearch.control import NEW, PAUSE_S, ControlIndex
from apply.sinks.opensearch.streams import DataStreamSink
from runtime import metrics
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.sink_suite import ORDERS

CLAIM = "claim/orders"
PATIENCE_S = 5.0


class Index:
    """Documents as OpenSearch keeps them: each write has a number, by which a later one may ask."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.written = 0
        self.lost = ""

    def request(self, method: str, path: str, _body: Any = None, *, absent: int, **condition: str) -> dict[str, Any]:
        if method == self.lost:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")
        there = self.numbers.get(path)
        if method == "GET":
            return {} if there is None else self._answer(there) | {"_source": {}}
        if "_doc" not in path:
            return {}
        if there != (int(condition["if_seq_no"]) if "if_seq_no" in condition else None):
            assert absent == 409
            return {}
        self.written += 1
        if method == "DELETE":
            del self.numbers[path]
        else:
            self.numbers[path] = self.written
        return self._answer(self.written)

    def _answer(self, number: int) -> dict[str, Any]:
        return {"_seq_no": number, "_primary_term": 1}


class Clock:
    """A clock that stands still but for who sleeps, who sees to what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(control, "clock", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep))
    return made


@pytest.fixture
def index() -> Index:
    return Index()


def opened(index: Index) -> ControlIndex:
    return ControlIndex(cast("Client", index), "control")


def test_who_comes_second_waits_until_the_first_one_lets_go(index: Index, clock: Clock) -> None:
    first = opened(index).claim("orders", PATIENCE_S)
    first.__enter__()
    looks: list[float] = []

    def meanwhile() -> None:
        looks.append(clock.now)
        if len(looks) == 3:
            first.__exit__(None, None, None)

    clock.meanwhile = meanwhile
    with opened(index).claim("orders", PATIENCE_S):
        assert looks == pytest.approx([PAUSE_S, 2 * PAUSE_S, 3 * PAUSE_S])
        assert opened(index).read(CLAIM)[1] != NEW
    assert opened(index).read(CLAIM) == (None, NEW)
    # Claims of other things are others'.
    with opened(index).claim("orders", PATIENCE_S), opened(index).claim("lines", PATIENCE_S):
        assert clock.now == pytest.approx(3 * PAUSE_S)


def test_who_is_dead_lets_go_after_a_while_and_takes_nothing_away_when_he_is_not(index: Index, clock: Clock) -> None:
    dead = opened(index).claim("orders", PATIENCE_S)
    dead.__enter__()
    with opened(index).claim("orders", PATIENCE_S):
        assert PATIENCE_S <= clock.now < PATIENCE_S + 2 * PAUSE_S
        mine = opened(index).read(CLAIM)
        dead.__exit__(None, None, None)
        assert opened(index).read(CLAIM) == mine


def test_each_of_many_that_come_before_is_given_its_time_but_there_is_an_end(index: Index, clock: Clock) -> None:
    busy = opened(index)
    assert busy.write(CLAIM, {}, NEW) is not None
    clock.meanwhile = lambda: busy.write(CLAIM, {}, busy.read(CLAIM)[1])
    with pytest.raises(TailraceError) as caught, opened(index).claim("orders", PATIENCE_S):
        pytest.fail("somebody else has it")
    assert caught.value.kind is ErrorKind.TARGET_THROTTLED
    assert clock.now >= control.HOLDERS_MAX * PATIENCE_S


def test_a_claim_that_cannot_be_removed_hides_no_error(index: Index, clock: Clock) -> None:
    index.lost = "DELETE"
    with pytest.raises(TailraceError, match="what went wrong"), opened(index).claim("orders", PATIENCE_S):
        raise TailraceError(ErrorKind.TARGET_CONNECTION, "what went wrong")
    index.lost = ""
    with opened(index).claim("orders", PATIENCE_S):
        assert clock.now >= PATIENCE_S


def test_who_waits_for_a_dead_one_is_not_taken_for_dead_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was ended for that and began anew would wait anew, for ever."""
    waits: list[float] = []

    def claim(_index: ControlIndex, _what: str, patience_s: float) -> contextlib.AbstractContextManager[None]:
        waits.append(patience_s)
        return contextlib.nullcontext()

    monkeypatch.setattr(ControlIndex, "claim", claim)
    monkeypatch.setattr(DataStreamSink, "_takes", lambda _sink, _table, *, goes_on: goes_on)
    for timeout_s in (60, 3600):
        target = OpensearchTarget(engine="opensearch", url="http://127.0.0.1:9", timeout_s=timeout_s)
        DataStreamSink(target).prepare(ORDERS)
    assert waits[0] == 2 * 60
    assert 0 < waits[1] < metrics.STALL_LIMIT_S / 2
