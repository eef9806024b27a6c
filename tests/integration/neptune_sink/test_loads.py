"""The full load by files, on a real bucket and a real Gremlin Server behind a relay that has the loader's API.

Who writes dies after each of its steps, is overtaken by another applier, or has its files refused: the graph comes
to the same, and no file is left.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apply.sink import TableBatch, TopicPartition
from apply.sinks.neptune.sink import NeptuneSink
from deploy.local.gremlin import GremlinServer
from deploy.local.s3 import S3Server
from schemas.changes import UNCHANGED, Row
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.table import TableSchema
from tests.conformance.changes import Giver
from tests.conformance.under_death import TRIPS, Died
from tests.integration.neptune_sink.test_conformance import BORN, MAPPING, PEOPLE, PHOTOS, Loading, ask
from tests.unit.apply.rig import Rig

pytestmark = pytest.mark.integration


@pytest.fixture
def loading(gremlin_server: GremlinServer, s3_server: S3Server) -> Iterator[Loading]:
    made = Loading(gremlin_server, s3_server)
    yield made
    made.close()


def rows(loading: Loading, table: str = "trips") -> set[Row]:
    """Return the rows of a table, whose first column is its key."""
    found = ask(loading.server, f"g.V().hasLabel('{table}').valueMap()")
    columns = ("id", "note", "done")
    assert len(found) == len({vertex["id"][0] for vertex in found if "id" in vertex})
    return {tuple(vertex[name][0] if name in vertex else None for name in columns) for vertex in found}


def upserts(*given: Row, fresh: bool = True) -> TableBatch:
    return TableBatch(TRIPS, upserts=list(given), fresh=fresh)


class Story:
    """A table that is loaded, and changed meanwhile."""

    def __init__(self, seed: int) -> None:
        self.rig = Rig([TRIPS])
        self.rows: dict[int, Row] = {}
        for i in range(8):
            self.put("r", (i, f"n{i}", None))
        self._seed = seed

    def put(self, op: str, row: Row) -> None:
        """Let a row be read, or written."""
        self.rows[row[0]] = row
        self.rig.topics.put(TRIPS, op, None, row)

    def change(self) -> None:
        """Change and delete rows that are being loaded, and load others."""
        gone, changed = self._seed % 8, (self._seed + 3) % 8
        self.rig.topics.put(TRIPS, "d", (gone, UNCHANGED, UNCHANGED), None)
        del self.rows[gone]
        self.rig.topics.put(TRIPS, "u", None, (changed, UNCHANGED, True))
        self.rows[changed] = (changed, self.rows[changed][1], True)
        self.put("c", (20, "new", False))
        for i in range(30, 34):
            self.put("r", (i, "", None) if i == 31 else (i, f"n{i}", False))

    def run(self, sink: NeptuneSink) -> None:
        """Let a new applier write all of it."""
        member = self.rig.member(take_all=True, other=sink)
        member.applier.writer.patient = False
        self.rig.settle(member)


def dying(sink: NeptuneSink, number: int) -> Callable[[], bool]:
    """Let a sink's process die right after the `number`th request that leaves a trace; return whether it has."""
    calls = itertools.count()
    died = threading.Event()
    assert sink._loads is not None
    staging = sink._loads._staging

    def then_die(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if died.is_set():
                raise Died
            result = function(*arguments, **more)
            if next(calls) == number:
                died.set()
                raise Died
            return result

        return call

    sink._control.claim = then_die(sink._control.claim)  # type: ignore[method-assign]
    staging.put = then_die(staging.put)  # type: ignore[method-assign]
    sink._client.load = then_die(sink._client.load)  # type: ignore[method-assign]
    sink._loads._loader._wait = then_die(sink._loads._loader._wait)  # type: ignore[method-assign]
    staging.remove = then_die(staging.remove)  # type: ignore[method-assign]
    return died.is_set


def test_appliers_may_die_after_each_step_of_a_load(loading: Loading) -> None:
    for number in itertools.count():
        ask(loading.server, "g.V().drop()")
        story = Story(number)
        first = loading.open()
        has_died = dying(first, number)
        try:
            story.run(first)
        except Died:
            assert has_died()
            loading.forget(first)
        story.change()
        story.run(loading.open())
        loading.loader.settle()
        assert rows(loading) == set(story.rows.values()), f"died after step {number}"
        assert loading.files == []
        assert "LOAD_COMPLETED" in {told["status"] for told in loading.loader.loads.values()}
        # Whoever takes over looks at each.
        loading.loader.loads.clear()
        if not has_died():
            break
    assert number >= 5, "a load takes more steps than that"


def test_a_load_that_goes_on_is_waited_for_by_whoever_takes_over(loading: Loading) -> None:
    story, second = Story(0), threading.Event()

    def held(source: str) -> None:
        second.wait(60)

    loading.loader.before = held
    first = loading.open()
    assert first._loads is not None

    def die(load: str) -> Any:
        # Neptune has been asked; nobody waits for it.
        raise Died

    first._loads._loader._wait = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        story.run(first)
    loading.forget(first)
    assert rows(loading) == set()
    story.change()
    begin = loading.loader._begin

    def noted(request: dict[str, Any]) -> tuple[int, bytes]:
        answer = begin(request)
        second.set()
        return answer

    loading.loader._begin = noted  # type: ignore[method-assign]
    story.run(loading.open())
    loading.loader.settle()
    assert rows(loading) == set(story.rows.values())
    assert loading.files == []


def test_a_load_that_ended_halfway_is_loaded_again(loading: Loading) -> None:
    """What has come of it lacks what tells whose it is: a delete alone would not find it."""
    ended: list[str] = []

    def halfway(source: str, done: int) -> str | None:
        if not ended and done:
            ended.append(source)
            return "LOAD_UNEXPECTED_ERROR"
        return None

    loading.loader.fail = halfway
    story = Story(1)
    story.run(loading.open(error_retry_duration=0))
    story.change()
    story.run(loading.open())
    assert ended
    assert rows(loading) == set(story.rows.values())


def test_rows_are_gathered_over_batches_and_wait_for_no_change_of_others(loading: Loading) -> None:
    sink, giver = loading.open(), Giver()
    sink.prepare(TRIPS)

    def give(*batches: TableBatch) -> None:
        for batch in batches:
            assert sink.apply(giver.given(batch, sink.capabilities)) == []

    give(upserts((1, "a", None), (2, "b", None)), upserts((3, "c", True)))
    # An empty text is none to the loader: this row, and a change of a row that does not wait, go at once.
    give(upserts((4, "", None), (5, "e", None)), TableBatch(TRIPS, upserts=[(9, "x", None)], deletes=[(8,)]))
    assert rows(loading) == {(4, "", None), (9, "x", None)}
    assert loading.loader.loads == {}
    # A change of one that waits lets all be loaded first.
    give(TableBatch(TRIPS, updates=[(2, UNCHANGED, True)]))
    assert rows(loading) == {
        (1, "a", None),
        (2, "b", True),
        (3, "c", True),
        (4, "", None),
        (5, "e", None),
        (9, "x", None),
    }
    assert len(loading.loader.loads) == 1
    assert loading.files == []
    # Once the load is complete, rows that are read again may be others than those which are there.
    sink.complete_load(TRIPS)
    give(upserts((1, None, True)))
    sink.flush()
    assert len(loading.loader.loads) == 1
    assert (1, None, True) in rows(loading)
    # A table that was emptied is loaded again.
    sink.truncate([TRIPS])
    give(upserts((1, "z", None)))
    sink.flush()
    assert len(loading.loader.loads) == 2
    assert rows(loading) == {(1, "z", None)}


def test_an_applier_that_was_overtaken_loads_nothing(loading: Loading) -> None:
    late, giver = loading.open(), Giver()
    late.prepare(TRIPS)
    batch = upserts((1, "old", None), (2, "b", None))
    late.apply(giver.given(batch, late.capabilities))
    other = loading.open()
    other.prepare(TRIPS)
    for given in (batch, TableBatch(TRIPS, upserts=[(1, "new", None)], deletes=[(2,)])):
        other.apply(giver.given(given, other.capabilities))
    other.flush()
    with pytest.raises(TailraceError) as caught:
        late.flush()
    assert caught.value.kind is ErrorKind.INVARIANT
    late.rollback()
    assert rows(loading) == {(1, "new", None)}


def test_an_applier_that_looked_just_before_it_was_overtaken_loads_nothing(loading: Loading) -> None:
    late, giver = loading.open(), Giver()
    late.prepare(TRIPS)
    batch = upserts((1, "old", None), (2, "b", None))
    late.apply(giver.given(batch, late.capabilities))
    assert late._loads is not None
    run = late._loads._loader.run

    def overtaken(source: str) -> Any:
        other = loading.open()
        other.prepare(TRIPS)
        for given in (batch, TableBatch(TRIPS, upserts=[(1, "new", None)], deletes=[(2,)])):
            other.apply(giver.given(given, other.capabilities))
        other.flush()
        return run(source)

    late._loads._loader.run = overtaken  # type: ignore[method-assign]
    with pytest.raises(TailraceError) as caught:
        late.flush()
    assert caught.value.action is Action.RETRY
    assert rows(loading) == {(1, "new", None)}


WHERE = [TopicPartition(f"shop.{TRIPS.name}", 0)]


def test_an_applier_that_stood_still_before_its_first_row_claims_nothing_over_its_successor(loading: Loading) -> None:
    late, giver = loading.open(), Giver()
    late.load_offsets(WHERE)
    late.prepare(TRIPS)
    batch = upserts((1, "old", None), (2, "b", None))
    giver.given(batch, late.capabilities)
    other = loading.open()
    other.load_offsets(WHERE)
    other.prepare(TRIPS)
    for given in (batch, TableBatch(TRIPS, upserts=[(1, "new", None)], deletes=[(2,)])):
        other.apply(giver.given(given, other.capabilities))
    other.flush()
    other.apply(giver.given(upserts((3, "c", None)), other.capabilities))
    with pytest.raises(TailraceError) as caught:
        late.apply(giver.given(batch, late.capabilities))
    assert caught.value.kind is ErrorKind.INVARIANT
    late.rollback()
    # Asked where it stands, it does not take them back before the group had the time to tell.
    with pytest.raises(TailraceError) as caught:
        late.load_offsets(WHERE)
    assert caught.value.kind is ErrorKind.INVARIANT
    other.flush()
    assert rows(loading) == {(1, "new", None), (3, "c", None)}
    # If they are its own after all, it goes on.
    late.load_offsets(WHERE)
    late.apply(giver.given(TableBatch(TRIPS, deletes=[(3,)]), late.capabilities))
    assert rows(loading) == {(1, "new", None)}


def test_an_applier_that_is_overtaken_as_it_takes_over_removes_no_file_of_its_successor(loading: Loading) -> None:
    late, giver = loading.open(), Giver()
    late.load_offsets(WHERE)
    late.prepare(TRIPS)
    batch = upserts((1, "a", None), (2, "b", None))
    giver.given(batch, late.capabilities)
    other = loading.open()
    note = late._control.note

    def overtaken(table: TableSchema, is_empty: bool) -> dict[str, Any]:
        known = note(table, is_empty)
        other.load_offsets(WHERE)
        other.prepare(TRIPS)
        other.apply(giver.given(batch, other.capabilities))
        return known

    late._control.note = overtaken  # type: ignore[method-assign]
    with pytest.raises(TailraceError) as caught:
        late.apply(giver.given(batch, late.capabilities))
    assert caught.value.kind is ErrorKind.INVARIANT
    other.flush()
    assert rows(loading) == {(1, "a", None), (2, "b", None)}


def test_files_that_are_refused_go_by_gremlin(loading: Loading) -> None:
    """Of a row that came in part, with its sequence, the rest is written."""
    loading.loader.tear = lambda _: True
    story = Story(2)
    story.run(loading.open())
    assert rows(loading) == set(story.rows.values())
    assert [told["status"] for told in loading.loader.loads.values()] == ["LOAD_FAILED"]
    story.change()
    story.run(loading.open())
    assert rows(loading) == set(story.rows.values())
    assert len(loading.loader.loads) == 1, "it would be refused again"
    assert loading.files == []


def test_vertices_and_edges_of_several_tables_come_by_one_load(loading: Loading) -> None:
    sink, giver = loading.open(graph_mapping=MAPPING), Giver()
    people = [(1, "Ann", 2, BORN), (2, "Bo", None, None), (3, "Cy", 1, None)]

    def give(batch: TableBatch) -> None:
        sink.prepare(batch.table)
        assert sink.apply(giver.given(batch, sink.capabilities)) == []

    give(TableBatch(PHOTOS, upserts=[(1, "a.png"), (9, "z.png")], fresh=True))
    give(TableBatch(PEOPLE, upserts=people, fresh=True))
    # Photos add to vertices of others: they have no label to load them by.
    assert {vertex["id"] for vertex in ask(loading.server, "g.V().has('photo').valueMap(true)")} == {"p1", "p9"}
    sink.flush()
    assert [told["status"] for told in loading.loader.loads.values()] == ["LOAD_COMPLETED"]
    edges = ask(loading.server, "g.E().project('i','o','n','a').by(T.id).by(__.outV().id()).by(__.inV().id()).by('as')")
    assert {tuple(edge.values()) for edge in edges} == {
        ("1_2", "p1", "p2", "Ann of 2"),
        ("e1", "p1", "p2", "Ann of 2"),
        ("3_1", "p3", "p1", "Cy of 1"),
        ("e3", "p3", "p1", "Cy of 1"),
    }
    (ann,) = ask(loading.server, "g.V('p1').valueMap('name','born','photo')")
    assert (ann["name"], ann["photo"]) == (["Ann"], ["a.png"])
    assert ann["born"][0].startswith("1980-01-01T00:00")
    # What was loaded moves, and goes, as what was written.
    give(TableBatch(PEOPLE, upserts=[(1, "Ann", 3, BORN)], deletes=[(3,)]))
    assert set(ask(loading.server, "g.E().id()")) == {"1_3", "e1"}
    give(TableBatch(PEOPLE, deletes=[(1,), (2,)]))
    assert set(ask(loading.server, "g.V().not(__.hasLabel(TextP.startingWith('tailrace_'))).id()")) == {"p1", "p9"}
