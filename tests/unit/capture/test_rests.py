"""Tables that statements write on and on: they are loaded again and again, and rest in between."""

from __future__ import annotations

from capture.full_load.rests import REST_MAX_S, REST_MIN_S, Rests
from capture.full_load.state import AGAIN_VERSION, LoadState, TableLoad
from capture.publishing.feed import Feed
from capture.source import Chunk
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName
from tests.unit.capture.test_loader import ENCODER, TABLE, Discarding, loads, rows
from tests.unit.capture.test_unreadable_rows import Broken


class Rig:
    """One table, and the time."""

    def __init__(self, load: TableLoad | None = None) -> None:
        self.now = 0.0
        feed, worker = Feed(TABLE, TABLE, ENCODER, "orders", 4), Broken(rows(3, 1), 1, 1)
        worker.is_mended = True
        publisher, _, self.loading = loads(feed, Discarding(), lambda: worker, monotonic=lambda: self.now)
        self.load = load or TableLoad(TABLE, state=LoadState.LOADING, chunks=[Chunk(0, None, None)])
        self.rests = Rests(self.loading, publisher.feeds, lambda: self.now)
        self.loading.restore(feed, self.load, 1, announced=True)
        self.rests.restore()

    def write(self) -> int:
        """Let a statement write; return how often the table was begun."""
        assert self.rests.written(TABLE.name, 1)
        return self.load.generation

    def told(self) -> str | None:
        return self.load.waits_for

    def is_over(self) -> bool:
        return self.rests.are_over

    def finish(self) -> None:
        for _ in range(10):
            self.loading.step(1)
        assert self.load.state is LoadState.LOADED
        self.rests.step(1)

    def step(self, seconds: float) -> int:
        self.now += seconds
        self.rests.step(1)
        return self.load.generation


def test_the_first_load_begins_at_once_and_each_later_one_after_a_longer_rest() -> None:
    """Each statement emptied the table at targets, and nothing was ever loaded."""
    rig = Rig()
    assert rig.write() == 2, "what is being read may not see it"
    generation, rest_s = 2, REST_MIN_S
    for _ in range(12):
        assert [rig.write() for _ in range(3)] == [generation] * 3, "while it is loaded"
        rig.finish()
        assert rig.told() == f"a rest of {rest_s:.0f} s between loads, while sessions that log statements write it"
        assert not rig.is_over(), "a stop at a position waits"
        assert rig.write() == generation, "while it rests"
        assert rig.step(rest_s - 1) == generation
        generation += 1
        assert rig.step(1) == generation
        assert (rig.load.again, rig.told()) == (False, None)
        rest_s = min(2 * rest_s, REST_MAX_S)
    assert rest_s == REST_MAX_S
    rig.finish()
    assert rig.is_over()
    # It was left alone for longer than any rest.
    rig.step(2 * REST_MAX_S + 1)
    assert rig.write() == generation + 1
    rig.write()
    rig.finish()
    assert rig.step(REST_MIN_S) == generation + 2


def test_what_is_due_outlives_the_process() -> None:
    rig = Rig()
    rig.write()
    rig.write()
    rig.finish()
    document = rig.load.plan_document()
    assert (document["version"], document["again"]) == (AGAIN_VERSION, True)
    later = Rig(TableLoad.from_documents(TABLE, document, rig.load.progress_document()))
    assert later.load.again
    assert not later.is_over()
    assert later.step(0) == document["generation"] + 1, "at once"
    later.finish()
    assert later.is_over()
    document = later.load.plan_document()
    assert (document["version"], "again" in document) == (1, False)
    assert not TableLoad.from_documents(TABLE, document, None).again, "as earlier releases wrote it"


def test_a_table_that_is_gone_or_not_loaded_is_left_alone() -> None:
    rig = Rig()
    assert not rig.rests.written(TableName("public", "other"), 1)
    rig.write()
    rig.write()
    rig.loading.forget(TABLE.name)
    rig.step(REST_MAX_S)
    assert rig.is_over()


def test_a_load_that_stands_still_rests_when_it_is_over() -> None:
    rig = Rig()
    rig.write()
    rig.write()
    rig.load.suspension = TailraceError(ErrorKind.PREREQUISITE, "a right is lacking")
    assert rig.step(2 * REST_MAX_S) == 2
    rig.finish()
    assert rig.step(REST_MIN_S) == 3


def test_in_mode_cdc_a_table_is_loaded_that_was_not_before() -> None:
    rig = Rig()
    rig.loading.forget(TABLE.name)
    assert rig.rests.written(TABLE.name, 1)
    assert rig.loading.loads[TABLE.name].generation == 1
    assert not rig.is_over()
