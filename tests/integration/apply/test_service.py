"""The apply service on a real broker and a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any, Self

import pytest

from apply.error_handling import dead_letters
from apply.error_handling.parking import COMMANDS
from apply.service import run
from control import parked as parked_commands
from runtime.kafka.ranges import read_ranges
from runtime.lifecycle import StopRequest
from schemas.changes import UNCHANGED
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings, parse
from schemas.table import Column, Index
from tests.conformance.sink_suite import EVENTS, ORDERS, ORDERS_2, STRING
from tests.integration.apply.publishing import Publisher
from tests.integration.apply.waiting import until
from tests.kit.servers import Database

pytestmark = pytest.mark.integration


def apply_now(settings: Settings) -> int:
    """Apply what the topics hold now, and end."""
    stop = StopRequest()
    timer = threading.Timer(480, stop.request, ["the test took too long"])
    timer.start()
    try:
        return run(settings, "replica", stop_at="now", stop=stop)
    finally:
        timer.cancel()
        assert not stop.stopping, "the applier did not reach its goal"


class Running:
    """An applier in a thread, until the block ends."""

    def __init__(self, settings: Settings) -> None:
        self._stop = StopRequest()
        self._result: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(settings,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop in order; repeatable."""
        self._stop.request("the test is over")
        self._thread.join(480)
        assert self._result == [0]

    def failure(self) -> TailraceError:
        """Wait until it ends by itself; return the error that it ends with."""
        self._thread.join(480)
        (error,) = self._result
        assert isinstance(error, TailraceError), error
        self._result[:] = [0]
        return error

    def _run(self, settings: Settings) -> None:
        try:
            self._result.append(run(settings, "replica", stop=self._stop))
        except TailraceError as error:
            self._result.append(error)


def test_a_load_and_the_changes_behind_it_arrive(
    settings: Settings, publisher: Publisher, target_database: Database
) -> None:
    orders = replace(ORDERS, indexes=(Index("orders_status", False, "using btree (status)"),))
    publisher.add(orders, EVENTS)
    publisher.load(orders, [(i, f"s{i % 7}", i % 2 == 0) for i in range(5000)])
    publisher.loaded(orders)
    publisher.change(orders, *[("u", None, (i, UNCHANGED, None)) for i in range(100)])
    publisher.change(orders, ("d", (7, UNCHANGED, UNCHANGED), None), ("c", None, (9999, "new", True)))
    publisher.change(EVENTS, ("c", None, ("a", 1)), ("c", None, ("a", 1)), ("d", ("a", 1), None))
    assert apply_now(settings) == 0
    expected = {(i, f"s{i % 7}", None if i < 100 else i % 2 == 0) for i in range(5000) if i != 7} | {
        (9999, "new", True)
    }
    assert set(target_database.rows("select id, status, paid from public.orders")) == expected
    assert target_database.rows("select * from public.events") == [("a", 1)]
    # Once more: nothing is left to do, and it ends all the same.
    assert apply_now(settings) == 0
    publisher.change(orders, ("u", None, (1, "late", None)))
    assert apply_now(settings) == 0
    assert target_database.rows("select status from public.orders where id = 1") == [("late",)]
    indexes = target_database.rows("select indexname from pg_indexes where tablename = 'orders'")
    assert ("orders_status",) in indexes


def test_a_table_waits_whose_column_somebody_drops_at_the_target(
    document: dict[str, Any], target_database: Database
) -> None:
    settings = parse({**document, "apply": {"suspended_retry_s": 1}})
    with Publisher(settings) as publisher:
        publisher.add(ORDERS, EVENTS)
        publisher.load(ORDERS, [(1, "new", False)])
        publisher.loaded(ORDERS)
        publisher.change(EVENTS, ("c", None, ("a", 1)))
        assert apply_now(settings) == 0
        with Running(settings):
            publisher.change(ORDERS, ("u", None, (1, "old", UNCHANGED)))
            until(lambda: target_database.rows("select status from public.orders") == [("old",)])
            target_database.execute("alter table public.orders drop column status")
            publisher.change(ORDERS, ("c", None, (2, "kept", True)), ("u", None, (1, "kept", UNCHANGED)))
            publisher.change(EVENTS, ("c", None, ("b", 2)))
            until(lambda: target_database.rows("select count(*) from public.events") == [(2,)])
            assert target_database.rows("select id from public.orders") == [(1,)]
            target_database.execute("alter table public.orders add column status text")
            kept = {(1, "kept", False), (2, "kept", True)}
            until(lambda: set(target_database.rows("select id, status, paid from public.orders")) == kept)


@pytest.mark.parametrize("encoding", ["json", "json-with-schema"])
def test_json_topics_arrive_too(document: dict[str, Any], encoding: str, target_database: Database) -> None:
    settings = parse({**document, "topics": {"partitions": 2, "format": encoding}})
    with Publisher(settings) as publisher:
        publisher.add(ORDERS)
        publisher.load(ORDERS, [(i, 'a"b', None) for i in range(100)])
        publisher.change(ORDERS, ("u", None, (1, UNCHANGED, True)), ("d", (2, UNCHANGED, UNCHANGED), None))
        publisher.add(ORDERS_2)
        publisher.change(ORDERS_2, ("u", None, (3, True, '"schema_version":1')))
        assert apply_now(settings) == 0
    rows = set(target_database.rows("select id, paid, note from public.orders"))
    assert rows == {(i, None, None) for i in range(100) if i not in (1, 2, 3)} | {
        (1, True, None),
        (3, True, '"schema_version":1'),
    }


def test_appliers_share_a_table_and_meet_at_a_truncate(
    settings: Settings, publisher: Publisher, target_database: Database
) -> None:
    publisher.add(ORDERS)
    publisher.load(ORDERS, [(i, "old", None) for i in range(1000)])
    with Running(settings), Running(settings) as second:
        until(lambda: _count(target_database) == 1000)
        publisher.truncate(ORDERS)
        publisher.change(ORDERS, *[("c", None, (i, "new", None)) for i in range(500, 800)])
        until(lambda: _count(target_database, "where status = 'new'") == 300 and _count(target_database) == 300)
        second.end()
        publisher.change(ORDERS, *[("c", None, (i, "newer", None)) for i in range(900, 1000)])
        until(lambda: _count(target_database) == 400)


def test_a_refused_row_is_parked_and_released_when_the_operator_says_so(
    settings: Settings, publisher: Publisher, target_database: Database
) -> None:
    publisher.add(ORDERS)
    publisher.load(ORDERS, [(i, "ok", None) for i in range(10)])
    assert apply_now(settings) == 0
    target_database.execute("alter table public.orders add constraint tame check (status <> 'wild')")
    publisher.change(ORDERS, ("u", None, (1, "wild", None)), ("u", None, (2, "tame", None)))
    assert apply_now(settings) == 0
    publisher.change(ORDERS, ("u", None, (1, UNCHANGED, True)), ("u", None, (3, "tame", None)))
    assert apply_now(settings) == 0
    # What follows on a parked row waits behind it, and nothing else does.
    assert target_database.rows("select id, status, paid from public.orders where id in (1, 2, 3) order by id") == [
        (1, "ok", None),
        (2, "tame", None),
        (3, "tame", None),
    ]
    lot = dead_letters.read_lot(settings, "replica")
    [parked] = lot.keys.values()
    assert len(parked.records) == 2
    with Running(settings):
        dead_letters.command(settings, "replica", parked.records[0].reference, "retry")
        until(lambda: next(iter(dead_letters.read_lot(settings, "replica").keys.values())).command is None)
        assert target_database.rows("select status from public.orders where id = 1") == [("ok",)]
        target_database.execute("alter table public.orders drop constraint tame")
        dead_letters.command(settings, "replica", parked.records[0].reference, "retry")
        until(lambda: not dead_letters.read_lot(settings, "replica").keys)
        publisher.change(ORDERS, ("u", None, (1, UNCHANGED, False)))
        until(lambda: target_database.rows("select status, paid from public.orders where id = 1") == [("wild", False)])
    audit = parked_commands.audit(settings, "replica")
    assert [entry["action"] for entry in audit] == ["park", "park", "retry", "refused", "retry", "released"]
    assert all(bool(entry["by"]) is (entry["action"] in COMMANDS) for entry in audit)


def test_a_parked_record_keeps_the_schema_that_it_brought(document: dict[str, Any], target_database: Database) -> None:
    settings = parse({**document, "topics": {"partitions": 1, "format": "json-with-schema"}})
    with Publisher(settings) as publisher:
        publisher.add(ORDERS)
        publisher.load(ORDERS, [(i, "ok", None) for i in range(10)])
        assert apply_now(settings) == 0
        target_database.execute("alter table public.orders add constraint tame check (status <> 'wild')")
        publisher.change(ORDERS, ("u", None, (1, "wild", None)))
        assert apply_now(settings) == 0
    [parked] = dead_letters.read_lot(settings, "replica").keys.values()
    topic, partition, offset = parked.records[0][:3]
    [records] = read_ranges(settings.kafka, {(topic, partition): (offset, offset + 1)}).values()
    with closing(dead_letters.DeadLettersTopic(settings, "replica")) as letters:
        [letter] = letters.letters(parked)
    assert letter.value() == records[0].value
    target_database.execute("alter table public.orders drop constraint tame")
    dead_letters.command(settings, "replica", parked.records[0].reference, "retry")
    assert apply_now(settings) == 0
    assert target_database.rows("select status from public.orders where id = 1") == [("wild",)]


def test_rows_are_parked_whatever_their_size_and_number(
    settings: Settings, publisher: Publisher, target_database: Database
) -> None:
    """A record that leaves no room for headers waits in its place; more of them than the producer's queue takes."""
    publisher.add(ORDERS)
    publisher.load(ORDERS, [(1, "ok", None)])
    assert apply_now(settings) == 0
    large = "x" * 999_500
    publisher.change(ORDERS, ("u", None, (1, large, None)), ("u", None, (1, UNCHANGED, True)))
    for n in range(2, 14):
        publisher.change(ORDERS, ("c", None, (n, "y" * 980_000, None)))
    assert apply_now(settings) == 0
    lot = dead_letters.read_lot(settings, "replica")
    assert (len(lot.keys), lot.record_count) == (13, 14)
    target_database.execute("alter table public.orders alter column status type text")
    (reference,) = (found.records[0].reference for found in lot.keys.values() if len(found.records) == 2)
    dead_letters.command(settings, "replica", reference, "retry")
    assert apply_now(settings) == 0
    assert target_database.rows("select length(status), paid from public.orders where id = 1") == [(999_500, True)]


def test_what_cannot_be_read_waits_in_its_place_and_the_rest_flows(
    document: dict[str, Any], settings: Settings, publisher: Publisher, target_database: Database
) -> None:
    """Noise and cut records: somebody wrote to the topic."""
    ways: tuple[Callable[[bytes], bytes], ...] = (
        lambda _: b"",
        lambda _: b"noise",
        lambda _: b'{"payload": []}',
        lambda value: value[:15],
        lambda value: value[:5],
    )
    publisher.add(ORDERS)
    publisher.load(ORDERS, [(i, "old", None) for i in range(10)])
    for i, spoil in enumerate(ways):
        publisher.strange(ORDERS, (i, "spoilt", None), spoil)
    publisher.change(ORDERS, *[("u", None, (i, "new", None)) for i in range(10)])
    stopping = parse({**document, "apply": {**document["apply"], "errors": {"decode": "stop"}}})
    for _ in range(2):
        with pytest.raises(TailraceError) as caught:
            apply_now(stopping)
        assert (caught.value.kind, str(caught.value.position).partition("/")[0]) == (
            ErrorKind.DECODE,
            f"{settings.name}.public.orders",
        )
    assert apply_now(settings) == 0
    count = len(ways)
    rows = "select id, status from public.orders order by id"
    assert target_database.rows(rows) == [(i, "old" if i < count else "new") for i in range(10)]
    lot = dead_letters.read_lot(settings, "replica")
    assert [len(found.records) for found in lot.keys.values()] == [2] * count
    for found in lot.keys.values():
        dead_letters.command(settings, "replica", found.records[0].reference, "skip")
    assert apply_now(settings) == 0
    assert target_database.rows(rows) == [(i, "new") for i in range(10)]


def test_new_tables_and_columns_are_picked_up_while_it_runs(
    settings: Settings, publisher: Publisher, target_database: Database
) -> None:
    publisher.add(ORDERS)
    publisher.change(ORDERS, ("c", None, (1, "a", True)))
    with Running(settings):
        until(lambda: _count(target_database) == 1)
        publisher.add(EVENTS)
        publisher.change(EVENTS, ("c", None, ("a", 1)))
        version_2 = replace(ORDERS, version=2, columns=(*ORDERS.columns, Column("note", STRING, "text")))
        publisher.add(version_2)
        publisher.change(version_2, ("u", None, (1, "a", True, "n")), ("c", None, (2, "b", None, None)))
        until(lambda: _count(target_database) == 2)
        until(lambda: target_database.rows("select note from public.orders where id = 1") == [("n",)])
        until(lambda: target_database.rows("select to_regclass('public.events') is not null") == [(True,)])
        until(lambda: target_database.rows("select * from public.events") == [("a", 1)])


def _count(database: Database, where: str = "") -> int:
    if database.rows("select to_regclass('public.orders')") == [(None,)]:
        return 0
    [(count,)] = database.rows(f"select count(*) from public.orders {where}")
    assert isinstance(count, int)
    return count
