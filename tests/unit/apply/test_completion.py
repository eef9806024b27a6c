"""Indexes and foreign keys come once every partition has passed the loaded rows, made by one applier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from apply.batching.versions import Versions
from apply.completion import GROUP_RECORDS_MAX, RETRY_S, Completion, ranks
from apply.error_handling.policies import Policies
from apply.goal import all_loaded
from apply.grouping import GROUP_TABLES_MAX, Load
from apply.schema_catalog import Dropped, Loaded
from apply.sink import TopicPartition
from apply.writer import Writer
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Mode
from schemas.table import ForeignKey, TableName, TableSchema
from tests.conformance.sink_suite import EVENTS, ORDERS, ORDERS_2, SEATS
from tests.kit.memory_sink import MemorySink
from tests.unit.apply.rig import Member, PlainCatalog, Rig


class _Forgetful(MemorySink):
    """It stores no offsets."""

    capabilities = replace(MemorySink.capabilities, stores_offsets=False)

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {}


def completion(rig: Rig, member: Member, *, drops: bool = True) -> Completion:
    return Completion(
        member.applier.versions,
        member.applier.writer,
        lambda job: job(),
        rig.clock,
        drops=drops,
    )


def test_a_load_is_completed_when_both_appliers_have_passed_it() -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "r", None, (1, "a", None))
    rig.topics.put(ORDERS, "r", None, (2, "a", None))
    rig.topics.loaded(ORDERS)
    one, two = rig.member(), rig.member()
    first, second = completion(rig, one), completion(rig, two)
    zero, other = TopicPartition("shop.public.orders", 0), TopicPartition("shop.public.orders", 1)
    first.attend({zero: 1})
    assert rig.target.completed == []
    second.attend({other: 0})
    assert rig.target.completed == []
    second.attend({other: 1})
    first.attend({zero: 1})
    assert rig.target.completed == [ORDERS.name]
    assert first.is_done("shop.public.orders")
    assert second.is_done("shop.public.orders")


def test_appliers_that_have_tables_of_their_own_know_both_when_all_is_loaded() -> None:
    rig = Rig([ORDERS, SEATS])
    settings: Any = SimpleNamespace(mode=Mode.FULL_LOAD_AND_CDC)
    orders, seats = "shop.public.orders", "shop.public.seats"
    member = rig.member()
    done = completion(rig, member)
    catalog = PlainCatalog(rig.topics)

    def is_loaded(*own: TopicPartition) -> bool:
        applier: Any = SimpleNamespace(catalog=catalog, cursors=SimpleNamespace(positions=dict.fromkeys(own, 0)))
        return all_loaded(settings, done, applier)

    mine = [p for p in rig.topics.logs if p.topic == orders]
    rig.topics.loaded(ORDERS)
    done.attend(dict.fromkeys(mine, 0))
    assert done.is_done(orders)
    assert not is_loaded(*mine), "the other table is not published"
    rig.topics.loaded(SEATS)
    assert is_loaded(*mine)
    assert not is_loaded(*mine, TopicPartition(seats, 0)), "it is this one's to complete"
    assert not is_loaded(), "nobody has given it anything yet"


@pytest.mark.parametrize(("is_published", "drops"), [(False, True), (True, True), (False, False), (True, False)])
def test_a_load_that_never_ends_is_not_waited_for(*, is_published: bool, drops: bool) -> None:
    """The source has dropped its table. Who keeps it here has what was published."""
    rig = Rig([ORDERS, SEATS])
    settings: Any = SimpleNamespace(mode=Mode.FULL_LOAD_AND_CDC)
    member = rig.member()
    done = completion(rig, member, drops=drops)
    rig.topics.loaded(SEATS)
    if is_published:
        rig.topics.loaded(ORDERS)
    # Not yet reached: the record that says so comes behind what is applied.
    rig.topics.schemas["shop.public.orders"].dropped = Dropped(ORDERS.version, {0: 9, 1: 9})
    reached = dict.fromkeys(rig.topics.logs, 0)
    catalog, cursors = PlainCatalog(rig.topics), SimpleNamespace(positions=reached)
    applier: Any = SimpleNamespace(catalog=catalog, cursors=cursors)
    assert not all_loaded(settings, done, applier), "the other table is to be completed"
    done.attend(reached)
    assert all_loaded(settings, done, applier)
    assert (ORDERS.name in rig.target.completed) == (is_published and not drops)


def test_a_dropped_table_does_not_come_back_by_what_was_read_before_the_group_had_its_offset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig([ORDERS], partition_count=1)
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    known = rig.topics.schemas["shop.public.orders"]
    known.dropped = Dropped(ORDERS.version, {0: 1})

    def refused(*_: object) -> None:
        raise TailraceError(ErrorKind.TRANSPORT, "no broker")

    for dies in (True, False):
        member = rig.member(take_all=True, other=_Forgetful(rig.target))
        if dies:
            monkeypatch.setattr(member.consumer, "commit", refused)
        rig.settle(member)
        done = completion(rig, member)
        for _ in range(2):
            if member.applier.checkpoint():
                done.attend(member.applier.reached)
        assert (ORDERS.name in rig.target.tables) == dies


def test_a_partition_without_rows_has_passed_from_the_beginning() -> None:
    rig = Rig([ORDERS])
    rig.topics.loaded(ORDERS)
    member = rig.member()
    done = completion(rig, member)
    done.attend(dict.fromkeys(rig.topics.logs, 0))
    assert rig.target.completed == [ORDERS.name]


def test_what_the_target_refuses_is_tried_again_later() -> None:
    rig = Rig([ORDERS])
    rig.topics.loaded(ORDERS)
    refusing = True

    def refuse(operation: str) -> None:
        if operation == "complete_load" and refusing:
            raise TailraceError(ErrorKind.TARGET_SCHEMA, "no such collation")

    rig.target.fail = refuse
    done = completion(rig, rig.member())
    reached = dict.fromkeys(rig.topics.logs, 0)
    done.attend(reached)
    assert list(done.failed) == ["shop.public.orders"]
    refusing = False
    done.attend(reached)
    assert rig.target.completed == []
    rig.clock.now += RETRY_S + 1
    done.attend(reached)
    assert rig.target.completed == [ORDERS.name]
    assert done.failed == {}


def test_a_table_that_waited_for_this_one_is_completed_with_it() -> None:
    key = ForeignKey("fk", ("weight",), SEATS.name, ("number",))
    events = replace(EVENTS, foreign_keys=(key,))
    rig = Rig([events, SEATS])
    done = completion(rig, rig.member())
    reached = dict.fromkeys(rig.topics.logs, 0)
    rig.topics.loaded(events)
    done.attend(reached)
    rig.topics.loaded(SEATS)
    done.attend(reached)
    assert rig.target.completed == [EVENTS.name, SEATS.name, EVENTS.name]


def test_tables_rank_behind_those_that_they_refer_to() -> None:
    seats = replace(SEATS, foreign_keys=(ForeignKey("a", ("number",), ORDERS.name, ("id",)),))
    events = replace(
        EVENTS,
        foreign_keys=(
            ForeignKey("b", ("weight",), SEATS.name, ("number",)),
            ForeignKey("c", ("weight",), TableName("other", "gone"), ("id",)),
        ),
    )
    rig = Rig([events, seats, ORDERS])
    found = ranks(Versions(PlainCatalog(rig.topics)))  # type: ignore[arg-type]
    assert sorted(found, key=lambda name: found[name]) == [ORDERS.name, SEATS.name, EVENTS.name]


def test_circles_of_foreign_keys_are_ranked_somehow() -> None:
    seats = replace(SEATS, foreign_keys=(ForeignKey("a", ("number",), ORDERS.name, ("id",)),))
    orders = replace(ORDERS, foreign_keys=(ForeignKey("b", ("id",), SEATS.name, ("number",)),))
    rig = Rig([seats, orders])
    found = ranks(Versions(PlainCatalog(rig.topics)))  # type: ignore[arg-type]
    assert set(found) == {ORDERS.name, SEATS.name}


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_table_that_no_row_follows_is_altered(is_loaded: bool) -> None:
    """Loaded, or never (mode `cdc`)."""
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    if is_loaded:
        rig.topics.loaded(ORDERS)
    member = rig.member(take_all=True)
    rig.settle(member)
    done = completion(rig, member)
    reached = dict.fromkeys(rig.topics.logs, 5)
    for _ in range(3):
        done.attend(reached)
    rig.topics.add(ORDERS_2)
    done.attend({})
    assert rig.target.tables[ORDERS.name].schema is ORDERS, "it has no partition of it"
    done.attend(reached)
    assert rig.target.tables[ORDERS.name].schema is ORDERS_2
    assert rig.target.read(ORDERS.name) == [(1, None, None)]


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_table_is_not_altered_ahead_of_its_truncate_or_its_end(is_gone: bool) -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    known = rig.topics.schemas["shop.public.orders"]
    known.loaded = Loaded(1, {0: 1, 1: 1}, ORDERS.version)
    member = rig.member(take_all=True)
    rig.settle(member)
    done = Completion(
        member.applier.versions,
        member.applier.writer,
        lambda job: job(),
        rig.clock,
        drops=False,
    )
    reached = dict.fromkeys(rig.topics.logs, 5)
    done.attend(reached)
    assert rig.target.completed == [ORDERS.name]
    rig.topics.add(replace(ORDERS_2, life=1 if is_gone else 2))
    if is_gone:
        known.dropped = Dropped(ORDERS_2.version, {0: 1, 1: 1})
    for _ in range(3):
        done.attend(reached)
    assert rig.target.tables[ORDERS.name].schema is ORDERS


@pytest.mark.parametrize("stays", [False, True])
def test_what_is_parked_of_a_dropped_table_is_over_unless_its_rows_stay(
    monkeypatch: pytest.MonkeyPatch, *, stays: bool
) -> None:
    """They stay where others are in the target's table: what was refused of them counts."""
    rig = Rig([ORDERS], partition_count=1)
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    rig.topics.schemas["shop.public.orders"].dropped = Dropped(ORDERS.version, {0: 1})
    member = rig.member(take_all=True)
    rig.settle(member)
    monkeypatch.setattr(member.applier.writer, "stays", lambda _table, *, is_gone: is_gone and stays)
    ended: list[tuple[TopicPartition, int]] = []
    done = Completion(
        member.applier.versions,
        member.applier.writer,
        lambda job: job(),
        rig.clock,
        end_parked=lambda *place: ended.append(place),
    )
    done.attend({TopicPartition("shop.public.orders", 0): 1})
    assert ended == ([] if stays else [(TopicPartition("shop.public.orders", 0), 1)])


def test_a_table_that_cannot_be_altered_yet_keeps_nobody_waiting() -> None:
    """Somebody reads it at the target, and no row of it is there to be written."""
    rig = Rig([ORDERS])
    member = rig.member(take_all=True)
    done = completion(rig, member)
    rig.topics.add(ORDERS_2)
    reached = dict.fromkeys(rig.topics.logs, 0)
    locked = True

    def refuse(operation: str) -> None:
        if operation == "prepare" and locked:
            raise TailraceError(ErrorKind.TARGET_THROTTLED, "locked")

    rig.target.fail = refuse
    done.attend(reached)
    locked = False
    done.attend(reached)
    assert ORDERS.name not in rig.target.tables, "too early"
    rig.clock.now += RETRY_S + 1
    done.attend(reached)
    assert rig.target.tables[ORDERS.name].schema is ORDERS_2
    assert done.failed == {}


def test_many_loads_are_completed_together_and_one_by_one_where_the_target_refuses_one() -> None:
    tables = [replace(ORDERS, name=TableName("public", f"t{number:03}")) for number in range(GROUP_TABLES_MAX + 7)]
    bad = tables[3].name
    rig = Rig(tables, partition_count=1)
    for table in tables:
        rig.topics.loaded(table)

    class Refusing(MemorySink):
        def complete_load(self, table: TableSchema) -> None:
            if table.name == bad:
                raise TailraceError(ErrorKind.TARGET_SCHEMA, "no such collation", table=str(table.name))
            super().complete_load(table)

    member = rig.member(other=Refusing(rig.target))
    done = completion(rig, member)
    before = rig.target.flushes
    done.attend(dict.fromkeys(rig.topics.logs, 0))
    assert {*rig.target.completed} == {table.name for table in tables} - {bad}
    assert [*done.failed] == [f"shop.public.{bad.table}"]
    assert done.is_done("shop.public.t000")
    assert not done.is_done(f"shop.public.{bad.table}")
    # Those of the group with the bad one each alone, the seven that are left together.
    assert rig.target.flushes - before == GROUP_TABLES_MAX - 1 + 1


def test_large_tables_are_completed_alone() -> None:
    tables = [replace(ORDERS, name=TableName("public", f"t{number}")) for number in range(4)]
    rig = Rig(tables, partition_count=1)
    for table, records in zip(tables, (10, GROUP_RECORDS_MAX, 10, 10), strict=True):
        rig.topics.loaded(table)
        known = rig.topics.schemas[f"shop.public.{table.name.table}"]
        assert known.loaded is not None
        known.loaded = Loaded(known.loaded.generation, {0: records}, known.loaded.version)
    done = completion(rig, rig.member())
    before = rig.target.flushes
    done.attend(dict.fromkeys(rig.topics.logs, GROUP_RECORDS_MAX))
    assert len(rig.target.completed) == 4
    assert rig.target.flushes - before == 3


def test_the_writer_completes_a_load_once() -> None:
    rig = Rig([ORDERS])
    sink = MemorySink(rig.target)
    writer = Writer(sink, rig.dead_letters, Policies(), lambda _name: 0)
    sink.arrive("b", TopicPartition("shop.public.orders", 0), 1)
    writer.complete_loads([Load("b", ORDERS, [])])
    writer.complete_loads([Load("b", ORDERS, [])])
    assert rig.target.completed == [ORDERS.name]
