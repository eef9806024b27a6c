"""Tables that a target cannot take, and that the source drops or begins anew before it can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apply.error_handling.policies import Policies
from apply.limits import Limits
from apply.schema_catalog import Dropped
from apply.sink import Capabilities, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.history import HistorySink
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from tests.conformance.sink_suite import EVENTS, ORDERS
from tests.kit.memory_sink import MemorySink
from tests.unit.apply.rig import Rig

AGAIN = replace(ORDERS, version=2, life=2)


class Refusing(MemorySink):
    """A target that cannot have the first version of a table."""

    def prepare(self, table: TableSchema) -> None:
        """See `Sink`."""
        if table.name == ORDERS.name and table.version == 1:
            raise TailraceError(ErrorKind.TARGET_SCHEMA, "no such type", table=str(table.name))
        super().prepare(table)


class Keeping(HistorySink):
    """A target that keeps every change, and cannot have a table before its second version."""

    capabilities = Capabilities(stores_offsets=False, truncates=True, alters=True, keyless=True, history=True)

    def __init__(self) -> None:
        self.ops: list[str] = []

    def prepare(self, table: TableSchema) -> None:
        """See `Sink`."""
        if table.name == ORDERS.name and table.version == 1:
            raise TailraceError(ErrorKind.TARGET_SCHEMA, "no such type", table=str(table.name))

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """See `Sink`."""
        if batch.table.name == ORDERS.name:
            self.ops += [op for op, _, _ in batch.sequence]
        return []

    def flush(self) -> None:
        """See `Sink`."""


def _write_first_life(rig: Rig) -> None:
    for i in range(6):
        rig.topics.put(ORDERS, "c", None, (i, "a", True))
    rig.topics.put(ORDERS, "t", None, None)
    for i in range(6):
        rig.topics.put(ORDERS, "c", None, (i, "b", True))
    rig.topics.put(EVENTS, "c", None, ("a", 1))


@pytest.mark.parametrize("appliers", [1, 2])
def test_a_suspended_table_that_begins_anew_goes_on_there(appliers: int) -> None:
    rig = Rig([ORDERS, EVENTS])
    members = [rig.member(other=Refusing(rig.target), limits=Limits(suspended_retry_s=5)) for _ in range(appliers)]
    for i, member in enumerate(members):
        member.consumer.rebalance("assign", [p for p in rig.topics.logs if p.partition % appliers == i])
    _write_first_life(rig)
    for _ in range(200):
        rig.clock.now += 0.1
        for member in members:
            member.applier.step()
    assert any(member.applier.holds.suspended() for member in members)
    rig.topics.add(AGAIN)
    rig.topics.put(AGAIN, "t", None, None)
    for i in range(4, 8):
        rig.topics.put(AGAIN, "r", None, (i, "c", True))
    rig.settle(*members)
    assert set(rig.target.read(ORDERS.name)) == {(i, "c", True) for i in range(4, 8)}
    assert rig.target.read(EVENTS.name) == [("a", 1)]
    assert not any(member.applier.holds.suspended() for member in members)


@pytest.mark.parametrize(("drops", "left"), [(True, False), (False, True)])
def test_a_suspended_table_that_is_dropped_is_passed_over_where_drops_are_applied(*, drops: bool, left: bool) -> None:
    rig = Rig([ORDERS, EVENTS])
    _write_first_life(rig)
    member = rig.member(other=Refusing(rig.target), take_all=True, limits=Limits(suspended_retry_s=5, drops=drops))
    topic = rig.topics.add(ORDERS)
    ends = {p.partition: end for p, end in rig.topics.ends.items() if p.topic == topic}
    rig.topics.schemas[topic].dropped = Dropped(ORDERS.version, ends)
    for _ in range(400):
        rig.clock.now += 0.1
        member.applier.step()
    assert bool(member.applier.holds.suspended()) is left
    reached = {p: rig.target.offsets.get(TopicPartition(topic, p), 0) for p in ends}
    assert (reached == ends) is not left
    assert ORDERS.name not in rig.target.tables
    assert rig.target.read(EVENTS.name) == [("a", 1)]


def test_a_transaction_is_whole_without_the_rows_of_a_table_that_begins_anew() -> None:
    rig = Rig([ORDERS, EVENTS])
    rig.topics.begin_marks()
    _write_first_life(rig)
    rig.topics.put_mark(whole=True)
    member = rig.member(other=Refusing(rig.target), take_all=True, by_commit=True)
    for _ in range(50):
        rig.clock.now += 1
        member.applier.step()
    assert member.applier.recovery.error is not None
    assert rig.target.read(EVENTS.name) == []
    rig.topics.add(AGAIN)
    rig.topics.put(AGAIN, "t", None, None)
    rig.topics.put(AGAIN, "r", None, (7, "c", True))
    rig.topics.put_mark(whole=True)
    rig.settle(member, steps=20_000)
    assert rig.target.read(ORDERS.name) == [(7, "c", True)]
    assert rig.target.read(EVENTS.name) == [("a", 1)]


def test_a_table_that_was_gone_goes_on_in_the_life_that_it_comes_back_in() -> None:
    rig = Rig([ORDERS, EVENTS])
    _write_first_life(rig)
    member = rig.member(other=Refusing(rig.target), take_all=True, limits=Limits(suspended_retry_s=5))
    topic = rig.topics.add(ORDERS)
    ends = {p.partition: end for p, end in rig.topics.ends.items() if p.topic == topic}
    rig.topics.schemas[topic].dropped = Dropped(ORDERS.version, ends)
    rig.settle(member)
    # As in mode `cdc`, where nothing is loaded and so nothing is void: renamed, and renamed back.
    again = replace(ORDERS, version=2)
    rig.topics.add(again)
    rig.topics.put(again, "c", None, (7, "c", True))
    rig.settle(member)
    assert rig.target.read(ORDERS.name) == [(7, "c", True)]


def test_a_history_keeps_the_rows_of_a_table_that_begins_anew() -> None:
    rig = Rig([ORDERS, EVENTS])
    sink = Keeping()
    member = rig.member(other=sink, take_all=True, limits=Limits(suspended_retry_s=5))
    _write_first_life(rig)
    for _ in range(200):
        rig.clock.now += 0.1
        member.applier.step()
    assert member.applier.holds.suspended()
    rig.topics.add(AGAIN)
    rig.topics.put(AGAIN, "t", None, None)
    rig.topics.put(AGAIN, "r", None, (7, "c", True))
    rig.settle(member)
    assert {op: sink.ops.count(op) for op in "ctr"} == {"c": 12, "t": 4, "r": 1}


def test_what_cannot_be_read_of_a_table_that_is_passed_over_is_refused_as_ever() -> None:
    rig = Rig([ORDERS, EVENTS])
    _write_first_life(rig)
    member = rig.member(
        Policies(decode="skip"), other=Refusing(rig.target), take_all=True, limits=Limits(suspended_retry_s=5)
    )
    for _ in range(200):
        rig.clock.now += 0.1
        member.applier.step()
    rig.topics.add(AGAIN)
    rig.topics.put(AGAIN, "t", None, None, raw=bytes([1]) + b"broken")
    rig.topics.put(AGAIN, "t", None, None)
    rig.topics.put(AGAIN, "r", None, (7, "c", True))
    rig.settle(member)
    assert rig.target.read(ORDERS.name) == [(7, "c", True)]
