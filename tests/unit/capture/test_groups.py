"""Small tables that are asked for together: what is in a request, and what becomes of it when something fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from capture.full_load.loader import Loader
from capture.full_load.reading import GROUP_TABLES
from capture.full_load.state import LoadState, TableLoad
from capture.full_load.window import Horizon
from capture.full_load.worker import (
    Answer,
    Ended,
    Failed,
    GroupRequest,
    Held,
    Opened,
    Planned,
    PlanRequest,
    ReadRequest,
    Request,
)
from capture.source import WHOLE, Chunk
from schemas.errors import ErrorKind
from schemas.service_settings import CaptureSettings
from schemas.table import TableName
from tests.unit.capture.test_loader import TABLE, Seen, rows


class Scripted:
    """A loader process that answers as it is told. A `worker.Worker`."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answers: Iterator[Answer] = iter(())
        self.is_dead = False
        self.is_closed = False

    def send(self, request: Request) -> None:
        self.asked.append(request)

    def receive(self) -> Answer | None:
        if self.is_dead:
            raise EOFError
        return next(self.answers, None)

    def close(self) -> None:
        self.is_closed = True


class Case:
    """A loader, and tables of ten rows."""

    def __init__(self, count: int, chunk_rows: int = 1000, processes: int = 1) -> None:
        self.workers: list[Scripted] = []
        self.now_s = 0.0
        settings = CaptureSettings(load_processes=processes, chunk_rows=chunk_rows)
        self.horizon = Horizon(())
        self.loader = Loader(self._spawn, self.horizon, settings, monotonic=lambda: self.now_s)
        names = [TableName("public", f"t{n}") for n in range(count)]
        self.loads = [TableLoad(replace(TABLE, name=name)) for name in names]
        self.loader.row_estimates = dict.fromkeys(names, 10)
        for load in self.loads:
            self.loader.add(load)

    def _spawn(self) -> Scripted:
        self.workers.append(Scripted())
        return self.workers[-1]

    def asked(self) -> Request:
        """Return what is asked for next."""
        self.loader.pump(0)
        return self.workers[-1].asked[-1]

    def answer(self, *answers: Answer) -> list[TableLoad]:
        """Let the last request be answered so."""
        self.workers[-1].answers = iter(answers)
        return self.loader.pump(0)

    def publish(self) -> list[str]:
        """Let all that may go out do so; return the tables."""
        published = []
        for reading in self.loader.ready(7):
            published.append(reading.load.name.table)
            self.loader.finished(reading)
        return published


def whole() -> list[Answer]:
    """Return the answers for a table that is read at once."""
    snapshot: Any = Seen(7)
    return [Opened(snapshot), rows(10, 5), Ended()]


def names(request: Request) -> list[str]:
    """Return the tables of a request for several."""
    assert isinstance(request, GroupRequest)
    return [table.name.table for table in request.tables]


def test_small_tables_are_asked_for_together_and_go_out_together() -> None:
    case = Case(8)
    assert names(case.asked()) == ["t0", "t1", "t2", "t3"], (
        "half of those that are left: of two processes both have some"
    )
    planned = case.answer(Held([2, 0, 1, 3]), *[answer for _ in range(4) for answer in whole()])
    assert [load.name.table for load in planned] == ["t2", "t0", "t1", "t3"]
    assert case.publish() == ["t0", "t1", "t2", "t3"]
    assert all(load.is_complete for load in case.loads[:4])


def test_a_group_has_as_many_tables_and_rows_as_are_good_for_it() -> None:
    assert len(names(Case(1000).asked())) == GROUP_TABLES
    assert names(Case(100, chunk_rows=100).asked()) == [f"t{n}" for n in range(10)]
    case = Case(8)
    case.loader.row_estimates[case.loads[2].name] = 1001
    del case.loader.row_estimates[case.loads[0].name]
    assert case.asked() == PlanRequest(case.loads[0].table, 1000), "of which nothing is known may be large"
    case = Case(8)
    case.loader.row_estimates[case.loads[2].name] = 1001
    assert names(case.asked()) == ["t0", "t1"], "what comes first by the rules comes first"


def test_what_one_snapshot_does_not_serve_is_asked_for_alone() -> None:
    case = Case(4)
    cut = [Chunk(0, None, ("5",)), Chunk(1, ("5",), None)]
    assert len(names(case.asked())) == 2
    case.answer(Held([1]), *whole())
    assert case.publish() == ["t1"]
    assert case.asked() == PlanRequest(case.loads[0].table, 1000)
    case.answer(Planned(cut))
    assert case.asked() == ReadRequest(case.loads[0].table, cut[0])


def test_a_group_in_which_something_fails_comes_again_one_by_one_and_nobody_is_blamed() -> None:
    case = Case(6)
    assert len(names(case.asked())) == 3
    snapshot: Any = Seen(7)
    failed = Failed(ErrorKind.DECODE, "no row", None)
    case.answer(Held([0, 1, 2]), *whole(), Opened(snapshot), failed)
    assert case.publish() == ["t0"]
    assert [load.attempts for load in case.loads[:3]] == [0, 0, 0]
    for load in case.loads[1:3]:
        assert case.asked() == ReadRequest(load.table, WHOLE)
        case.answer(*whole())
    assert case.publish() == ["t1", "t2"]
    # So does one that is refused before anything is known of it.
    assert names(case.asked())[0] == "t3"
    case.answer(Failed(ErrorKind.SOURCE_CONNECTION, "locked", None))
    assert case.asked() == PlanRequest(case.loads[3].table, 1000)


@pytest.mark.parametrize("dies", [True, False])
def test_a_source_that_is_gone_is_held_against_one_table_alone(*, dies: bool) -> None:
    case = Case(6)
    assert len(names(case.asked())) == 3
    snapshot: Any = Seen(7)
    case.answer(Held([0, 1, 2]), *whole(), Opened(snapshot))
    if dies:
        case.workers[-1].is_dead = True
        case.loader.pump(0)
    else:
        case.answer(Failed(ErrorKind.SOURCE_CONNECTION, "no answer", None, is_of_all=True))
    assert case.publish() == ["t0"]
    assert [load.attempts for load in case.loads[:3]] == [0, 1, 0]
    assert all(load.state is LoadState.LOADING for load in case.loads[:3])
    assert case.loads[2].not_before_s == case.loads[1].not_before_s > 0, "it is not asked at once for the others"
    assert not any(case.horizon.has_outstanding(load.name) for load in case.loads[:3])


def test_a_table_that_is_given_up_takes_nothing_with_it() -> None:
    case = Case(6)
    assert len(names(case.asked())) == 3
    case.answer(Held([0, 1, 2]), *whole()[:3])
    for load in case.loads[:2]:
        case.loader.cancel(load.name)
        load.begin_again(load.table, 0)
    assert not case.workers[-1].is_closed, "it reads another"
    case.answer(Ended(), *whole(), *whole())
    assert case.publish() == ["t2"]
    assert names(case.workers[-1].asked[-1])[:2] == ["t0", "t1"]


def test_rows_of_a_group_wait_for_the_log_and_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capture.full_load.in_flight.BUFFER_BYTES_MAX", 1)
    case = Case(8)
    assert len(names(case.asked())) == 4
    case.answer(Held([0, 1, 2, 3]), *[answer for _ in range(4) for answer in whole()])
    assert [*case.loader.ready(6)] == []
    assert case.loader.high_max == 7
    assert isinstance(next(case.workers[-1].answers), Ended), "others are not taken before there is room"


def test_a_table_that_is_locked_waits_and_is_held_against_nobody() -> None:
    case = Case(2)
    case.loader.row_estimates = {}
    locked = Failed(ErrorKind.SOURCE_CONNECTION, "process 7 holds it", None, is_locked=True)
    for load in case.loads:
        assert case.asked() == PlanRequest(load.table, 1000)
        case.answer(locked)
    assert [(load.waits_for, load.attempts) for load in case.loads] == [("process 7 holds it", 0)] * 2
    case.now_s += 10
    assert case.asked() == PlanRequest(case.loads[0].table, 1000)
    case.answer(Planned([WHOLE]))
    assert [load.waits_for for load in case.loads] == [None, "process 7 holds it"]


def test_one_process_waits_for_a_lock_and_the_others_go_on() -> None:
    case = Case(2, processes=2)
    case.loader.row_estimates = {}
    first, other = case.loads
    first.state, first.chunks = LoadState.LOADING, [Chunk(number, None, None) for number in range(4)]
    first.waits_for = "process 7 holds it"
    case.asked()
    assert [worker.asked[-1] for worker in case.workers] == [
        ReadRequest(first.table, first.chunks[0], None),
        PlanRequest(other.table, 1000),
    ]
    case.workers[0].answers = iter(whole()[:1])
    case.loader.pump(0)
    assert first.waits_for is None


def test_a_load_that_meets_another_error_waits_for_no_lock() -> None:
    case = Case(1)
    case.loader.row_estimates = {}
    case.asked()
    case.answer(Failed(ErrorKind.SOURCE_CONNECTION, "process 7 holds it", None, is_locked=True))
    assert case.loads[0].waits_for is not None
    case.now_s += 10
    case.asked()
    case.answer(Failed(ErrorKind.PREREQUISITE, "permission denied", None))
    assert case.loads[0].suspension is not None
    assert case.loads[0].waits_for is None
