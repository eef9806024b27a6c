"""Tables, and parts of them, that are loaded again behind what is published of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from capture.full_load.state import LoadState, TableLoad
from capture.full_load.worker import Answer, Ended, Opened, Planned, PlanRequest, ReadRequest, Request
from capture.publishing.feed import Feed
from capture.source import Chunk
from schemas.changes import UNCHANGED, RowChanges, Transaction
from schemas.mappings.segments import Segment
from schemas.signals import Signal
from tests.unit.capture.test_loader import ENCODER, TABLE, Discarding, Seen, loads, rows
from tests.unit.capture.test_simulation import World


class Asked:
    """A loader process that answers what a test says. A `worker.Worker`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[Answer] = []

    def send(self, request: Request) -> None:
        self.requests.append(request)

    def receive(self) -> Answer | None:
        return self.answers.pop(0) if self.answers else None

    def close(self) -> None:
        return


def test_one_load_is_enough_for_all_that_nobody_could_tell_before_it_reads() -> None:
    """Each part of the log that had such a row began another one, and consumers were told of it each time."""
    feed, worker = Feed(TABLE, TABLE, ENCODER, "orders", 4), Asked()
    publisher, _, load = loads(feed, Discarding(), lambda: worker, source_end=lambda: 10)
    assert load.load_again(feed, 5)
    (table,) = load.loads.values()
    moved = RowChanges(TABLE, Transaction("1", 1, 6, 1), ["u"], [(1, UNCHANGED)], [(2, UNCHANGED)])
    publisher.rows(moved)
    assert feed.window is not None
    assert len(feed.window) == 2
    assert not load.load_again(feed, 6)
    assert len(feed.window) == 0, "no whole row went out, which an update of some columns would complete"
    load.step(9)
    assert worker.requests == [], "the log is not yet where the table was"
    assert not load.load_again(feed, 9)
    load.step(10)
    assert [type(request) for request in worker.requests] == [PlanRequest]
    assert not load.load_again(feed, 11), "where it is cut says nothing of its rows"
    assert table.generation == 1
    worker.answers.append(Planned([Chunk(0, None, None)]))
    load.step(11)
    assert [type(request) for request in worker.requests] == [PlanRequest, ReadRequest]
    assert (load.load_again(feed, 11), table.generation) == (True, 2), "its snapshot may not see the row"
    assert (load.load_again(feed, 11), table.generation) == (False, 2)
    snapshot: Any = Seen(11)
    worker.answers += [Opened(snapshot), Ended()]
    load.step(11)
    assert not table.chunks, "nothing of the former one counts"
    load.step(11)
    worker.answers += [Planned([Chunk(0, None, None)]), Opened(snapshot), Ended()]
    for _ in range(3):
        load.step(11)
    assert table.state is LoadState.LOADED
    assert (load.load_again(feed, 12), table.generation) == (True, 3)


def test_a_table_that_is_being_cut_by_partitions_is_cut_again_for_a_row_that_may_be_in_a_later_one() -> None:
    """Its chunks were those of the partitions that it had before: the row was loaded by none, for good."""
    feed = Feed(TABLE, TABLE, ENCODER, "orders", 4)
    workers: list[Asked] = []

    def spawn() -> Asked:
        workers.append(Asked())
        return workers[-1]

    _, _, load = loads(feed, Discarding(), spawn, source_end=lambda: 10, parallel_load={"type": "partitions-auto"})
    assert load.load_again(feed, 5)
    (table,) = load.loads.values()
    assert not load.load_again(feed, 9), "no partition was looked at"
    load.step(10)
    assert [type(request) for request in workers[-1].requests] == [PlanRequest]
    assert (load.load_again(feed, 10), table.generation) == (True, 2)
    assert (load.load_again(feed, 10), table.generation) == (False, 2)
    load.step(10)
    assert [[type(request) for request in worker.requests] for worker in workers] == [[PlanRequest], [PlanRequest]]


def test_a_chunk_from_a_server_that_is_behind_is_read_again() -> None:
    """Where a host leads to several by turns: its rows went out over newer ones, and stayed."""

    class Behind(Seen):
        def sees(self, _: object) -> bool:
            return False

    feed, worker = Feed(TABLE, TABLE, ENCODER, "orders", 4), Asked()
    publisher, _, load = loads(feed, Discarding(), lambda: worker)
    load.begin(feed, TableLoad(TABLE, state=LoadState.LOADING, chunks=[Chunk(0, None, None)]))
    (table,) = load.loads.values()

    def answered(*answers: Answer) -> None:
        worker.answers += answers
        for _ in range(4):
            load.step(9)

    load.step(9)
    publisher.rows(RowChanges(TABLE, Transaction("1", 1, 6, 1), ["u"], [(1, "a")], [(1, "b")]))
    snapshots: list[Any] = [Seen(9), Behind(9)]
    present, behind = map(Opened, snapshots)
    answered(present, rows(1, 5), Ended())
    assert (table.state, table.row_count) == (LoadState.LOADED, 1)
    load.order(feed, 9, None, None, empty=False)
    answered(Planned([Chunk(0, None, None)]))
    answered(behind, rows(1, 5), Ended())
    assert (table.state, table.row_count, table.attempts) == (LoadState.LOADING, 0, 1)
    table.not_before_s = 0.0
    answered()
    answered(present, rows(1, 5), Ended())
    assert (table.state, table.row_count) == (LoadState.LOADED, 1)


def test_a_reload_takes_no_snapshot_that_lacks_what_was_published_before_it() -> None:
    """A row may stand in the log before snapshots see it. Its former values went out behind it."""
    feed, worker, producer = Feed(TABLE, TABLE, ENCODER, "orders", 4), Asked(), Discarding()
    _, loader, load = loads(feed, producer, lambda: worker)
    load.order(feed, 10, None, None, empty=False)
    load.step(10)
    former: Any = Seen(9)
    worker.answers += [Planned([Chunk(0, None, None)]), Opened(former), rows(1, 5), Ended()]
    for _ in range(3):
        load.step(10)
    (table,) = load.loads.values()
    assert (table.state, table.row_count, producer.largest) == (LoadState.LOADING, 0, 0)
    assert loader.load_count == 1
    table.not_before_s = 0.0
    load.step(10)
    assert [type(request) for request in worker.requests] == [PlanRequest, ReadRequest, ReadRequest]
    present: Any = Seen(10)
    worker.answers += [Opened(present), rows(1, 5), Ended()]
    for _ in range(2):
        load.step(10)
    assert (table.state, table.row_count) == (LoadState.LOADED, 1)


class SeenBut:
    """A snapshot that sees everything but one transaction."""

    def __init__(self, high: int, xid: int) -> None:
        self.high, self._xid = high, xid

    def sees(self, txn: Transaction) -> bool:
        return txn.xid != self._xid

    settled = sees


def test_a_reload_waits_longer_and_longer_until_it_sees_who_wrote_while_nobody_remembered_it() -> None:
    """What is committed is in the log before it is seen: its former values went out behind it."""
    feed, worker, now = Feed(TABLE, TABLE, ENCODER, "orders", 4), Asked(), [0.0]
    _, _, load = loads(feed, Discarding(), lambda: worker, lambda: now[0], unseen=lambda _: [77])
    load.order(feed, 10, None, None, empty=False)
    (table,) = load.loads.values()
    worker.answers.append(Planned([Chunk(0, None, None)]))
    load.step(10)
    blind: Any = SeenBut(10, 77)
    waits = []
    for _ in range(8):
        while table.not_before_s > now[0] or not isinstance(worker.requests[-1], ReadRequest):
            waits.append(table.not_before_s - now[0])
            now[0] = table.not_before_s
            load.step(10)
        worker.answers += [Opened(blind), rows(1, 5), Ended()]
        for _ in range(2):
            load.step(10)
    assert waits[-7:] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0]
    assert table.row_count == 0
    # So does a service that comes after.
    again = TableLoad.from_documents(TABLE, table.plan_document(), None)
    assert [txn.xid for txn in again.unseen] == [77]
    seeing: Any = Seen(10)
    now[0] = table.not_before_s
    load.step(10)
    worker.answers += [Opened(seeing), rows(1, 5), Ended()]
    for _ in range(2):
        load.step(10)
    assert (table.state, table.row_count, table.unseen) == (LoadState.LOADED, 1, ())


def test_a_reload_waits_no_more_for_who_is_known_by_now_not_to_have_been_published() -> None:
    """A session that stays idle in its transaction kept the table from being loaded for good."""
    feed, worker, now, open_ = Feed(TABLE, TABLE, ENCODER, "orders", 4), Asked(), [0.0], [77, 78]
    _, _, load = loads(feed, Discarding(), lambda: worker, lambda: now[0], unseen=lambda _: open_)
    load.order(feed, 10, None, None, empty=False)
    (table,) = load.loads.values()
    worker.answers.append(Planned([Chunk(0, None, None)]))
    load.step(10)

    def read_once(xid: int) -> None:
        now[0] = table.not_before_s
        load.step(10)
        assert isinstance(worker.requests[-1], ReadRequest)
        blind: Any = SeenBut(10, xid)
        worker.answers += [Opened(blind), rows(1, 5), Ended()]
        for _ in range(2):
            load.step(10)

    read_once(77)
    assert (table.row_count, table.waits_for) == (0, "2 transactions that may have written to it, as 77, 78")
    # Another one that came later was not published before either.
    open_[:] = [77, 79]
    read_once(77)
    assert ([txn.xid for txn in table.unseen], table.row_count) == ([77], 0)
    open_[:] = [79]
    read_once(77)
    assert (table.unseen, table.row_count) == ((), 0)
    assert "unseen" not in table.plan_document()
    read_once(77)
    assert (table.state, table.row_count, table.waits_for) == (LoadState.LOADED, 1, None)


def test_partitions_that_brought_rows_are_loaded_alone_and_behind_what_is_being_loaded() -> None:
    feed, worker = Feed(TABLE, TABLE, ENCODER, "orders", 4), Asked()
    _, _, load = loads(feed, Discarding(), lambda: worker)
    load.begin(feed, TableLoad(TABLE))
    (table,) = load.loads.values()

    def loaded(chunks: list[Chunk]) -> tuple[int, ...]:
        load.step(10)
        request = worker.requests[-1]
        assert isinstance(request, PlanRequest)
        snapshot: Any = Seen(10)
        worker.answers.append(Planned(chunks))
        for _ in chunks:
            worker.answers += [Opened(snapshot), rows(1, 5), Ended()]
        for _ in range(2 + 2 * len(chunks)):
            load.step(10)
        return request.parts

    load.step(10)
    load.load_parts(feed, 5, (8,))
    load.load_parts(feed, 5, (8, 9))
    document = table.plan_document()
    assert (TableLoad.from_documents(TABLE, document, None).later, document["version"]) == ((8, 9), 3)
    assert (loaded([Chunk(0, None, None)]), table.state) == ((), LoadState.PLANNED)
    assert load.completed == [], "not all is there"
    again = TableLoad.from_documents(TABLE, table.plan_document(), None)
    assert (again.parts, again.later, again.generation) == ((8, 9), (), 2)
    segment = Segment("p", "8")
    assert loaded([Chunk(0, None, ("5",), segment), Chunk(1, ("5",), None, segment)]) == (8, 9)
    assert (table.state, table.parts, load.completed) == (LoadState.LOADED, (), [table])
    # They may be gone again before they are looked for.
    load.load_parts(feed, 10, (7,))
    assert (loaded([]), table.state, table.generation) == ((7,), LoadState.LOADED, 3)
    # Of a part that is being loaded something else may be missing.
    load.load_parts(feed, 10, (7,))
    assert (load.load_again(feed, 10), table.parts) == (True, ())


def test_of_a_table_without_a_key_or_of_which_a_rule_loads_a_part_no_other_part_is_loaded_alone() -> None:
    keyless = replace(TABLE, key=())
    feed = Feed(keyless, keyless, ENCODER, "orders", 4)
    _, _, load = loads(feed, Discarding(), Asked)
    load.skip(TableLoad(keyless))
    load.load_parts(feed, 5, (8,))
    (table,) = load.loads.values()
    assert (table.state, table.generation, table.parts) == (LoadState.PLANNED, 2, ())
    load.close()
    feed = Feed(TABLE, TABLE, ENCODER, "orders", 4)
    listed: Any = {"type": "partitions-list", "partitions": ["a"]}
    _, _, load = loads(feed, Discarding(), Asked, parallel_load=listed)
    load.skip(TableLoad(TABLE))
    load.load_parts(feed, 5, (8,))
    assert [(x.state, x.generation, x.parts) for x in load.loads.values()] == [(LoadState.PLANNED, 2, ())]
    # In mode `cdc` there is no load, and none begins.
    load.loads.clear()
    load.load_parts(feed, 5, (8,))
    assert load.loads == {}


@pytest.mark.parametrize("seed", range(8))
def test_a_reload_sees_what_was_published_of_a_loaded_table_and_could_not_be_seen(seed: int) -> None:
    """Nobody remembers that: the rows that it had before went out behind it, and stayed."""
    world = World(seed, crash_rate=0.0 if seed % 2 else 0.03)
    world.live(10)
    session = world.current = world.session()
    session.start()
    for _ in range(40):
        world.database.transact()
    # In the log, while a synchronous standby has not confirmed it.
    world.database.readable = len(world.database.log)
    while session.committed.commit < world.database.end():
        session.step(0)
    for name in world.database.tables:
        assert session.reload(Signal("1", "reload", table=str(name))).startswith("reloads")
    session.commit()
    world.chaos.rate = world.crash_rate
    for _ in range(100):
        world.database.drift()
        world._step()
    world.live(0)
    world.check_rows()
