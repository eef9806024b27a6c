"""Trouble that comes again: how often it may, and what is believed afterwards."""

from __future__ import annotations

import pytest

from apply.recovery import FENCES_MAX
from runtime.kafka.errors import FencedError
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.sink_suite import EVENTS, ORDERS
from tests.unit.apply.rig import Rig


def test_who_is_fenced_again_and_again_ends() -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    fenced = 0

    def refuse(operation: str) -> None:
        nonlocal fenced
        if operation == "flush":
            fenced += 1
            raise FencedError("claimed by another")

    rig.target.fail = refuse
    member = rig.member(take_all=True)
    with pytest.raises(FencedError):
        rig.settle(member, steps=20_000)
    assert fenced == FENCES_MAX + 1


@pytest.mark.parametrize("error", [FencedError("claimed"), TailraceError(ErrorKind.TARGET_CONNECTION, "cut")])
def test_trouble_that_was_overcome_counts_no_more(error: TailraceError) -> None:
    rig = Rig([ORDERS])
    member = rig.member(take_all=True, retry_for_s=100)
    for i in range(2 * FENCES_MAX):
        member.applier.fail(error)
        rig.topics.put(ORDERS, "c", None, (i, "a", None))
        rig.clock.now += 60
        rig.settle(member)
    assert len(rig.target.read(ORDERS.name)) == 2 * FENCES_MAX


def test_rows_of_a_partition_that_another_had_meanwhile_are_not_fresh() -> None:
    rig = Rig([ORDERS])
    one, two = rig.member(take_all=True), rig.member()
    rig.topics.put(ORDERS, "r", None, (1, "a", None))
    rig.settle(one)
    one.consumer.rebalance("lose", rig.topics.logs)
    one.applier.step()
    two.consumer.rebalance("assign", rig.topics.logs)
    rig.topics.put(ORDERS, "c", None, (2, "b", None))
    rig.settle(two)
    two.consumer.rebalance("revoke", rig.topics.logs)
    two.applier.step()
    one.consumer.rebalance("assign", rig.topics.logs)
    one.sink.batches.clear()
    for i in range(10):
        rig.topics.put(ORDERS, "r", None, (10 + i, "a", None))
    rig.settle(one)
    assert {batch.fresh for batch in one.sink.batches} == {False}


def test_what_is_being_written_when_another_table_is_suspended_is_written_once() -> None:
    rig = Rig([EVENTS, ORDERS], partition_count=1)
    member = rig.member(take_all=True)
    member.applier.step()
    for i in range(20):
        rig.topics.put(EVENTS, "c", None, ("a", i))
        while member.applier.idle:
            member.applier.step()
        member.applier.fail(TailraceError(ErrorKind.TARGET_SCHEMA, "no such column", table=str(ORDERS.name)))
    rig.settle(member)
    assert sorted(rig.target.read(EVENTS.name)) == [("a", i) for i in range(20)]


def test_who_stands_still_holds_nothing_open_at_the_target() -> None:
    rig = Rig([EVENTS], partition_count=1)
    member = rig.gathering()
    rig.topics.put(EVENTS, "c", None, ("a", 1))
    while not member.applier.writer.is_open:
        member.applier.step()
    member.applier.paused = True
    member.applier.step()
    assert member.applier.idle
    member.applier.paused = member.applier.writer.patient = False
    rig.settle(member)
    assert rig.target.read(EVENTS.name) == [("a", 1)]
