"""What takes long, or does not come, keeps nobody else: not the group, and no other partition."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from apply.batching.batch import Record
from apply.limits import Limits
from apply.sink import TopicPartition
from runtime.kafka.reassembly import LostRecord
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from tests.conformance.sink_suite import ORDERS
from tests.unit.apply.rig import Rig
from tests.unit.apply.test_applier import CUSTOMERS


def test_the_group_hears_of_an_applier_that_empties_a_table_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig([ORDERS, CUSTOMERS], partition_count=1)
    member = rig.member(take_all=True)
    begun, may_end = threading.Event(), threading.Event()
    truncate, consume, asked = member.sink.truncate, member.consumer.consume, [0]

    def slow(tables: Sequence[TableSchema]) -> None:
        begun.set()
        assert may_end.wait(60)
        truncate(tables)

    def counted(max_records: int, timeout_s: float, *, bytes_max: int) -> list[Record]:
        asked[0] += 1
        return consume(max_records, timeout_s, bytes_max=bytes_max)

    monkeypatch.setattr(member.sink, "truncate", slow)
    monkeypatch.setattr(member.consumer, "consume", counted)
    rig.topics.put(ORDERS, "c", None, (1, "new", None))
    rig.topics.put(ORDERS, "t", None, None)
    rig.topics.put(ORDERS, "c", None, (2, "new", None))
    at_once = member.applier.thread.executor
    with ThreadPoolExecutor(1) as executor:
        monkeypatch.setattr(member.applier.thread, "executor", executor)
        threading.Timer(20, may_end.set).start()
        while not begun.is_set():
            rig.clock.now += 0.05
            member.applier.step()
        assert not may_end.is_set(), "a step took as long as the truncate"
        rig.topics.put(CUSTOMERS, "c", None, (1,))
        asked[0] = 0
        for _ in range(50):
            rig.clock.now += 0.05
            member.applier.step()
        assert not may_end.is_set()
        assert asked[0] >= 50
        assert member.applier.cursors.positions[TopicPartition("shop.public.customers", 0)] == 1, "taken in meanwhile"
        may_end.set()
    # The thread has ended: from here on the rig's own time is all that counts.
    monkeypatch.setattr(member.applier.thread, "executor", at_once)
    rig.settle(member)
    assert rig.target.read(ORDERS.name) == [(2, "new", None)]
    assert rig.target.read(CUSTOMERS.name) == [(1,)]


def test_parts_that_do_not_come_keep_back_their_partition_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large record; what is behind it in its partition waits, and nothing that was taken in is given up."""
    rig = Rig([ORDERS])
    member = rig.member(take_all=True)
    rig.settle(member)
    for i in range(40):
        rig.topics.put(ORDERS, "c", None, (i, "new", None))
    where, late_at = TopicPartition("shop.public.orders", 0), 3
    consume, coming = member.consumer.consume, [False]

    def consumed(max_records: int, timeout_s: float, *, bytes_max: int) -> list[Record]:
        records = consume(max_records, timeout_s, bytes_max=bytes_max)
        is_late = [(r.topic(), r.partition(), r.offset()) == (*where, late_at) for r in records]
        return [Late(r) if late and not coming[0] else r for r, late in zip(records, is_late, strict=True)]

    monkeypatch.setattr(member.consumer, "consume", consumed)
    monkeypatch.setattr(member.applier, "fail", pytest.fail)
    monkeypatch.setattr(member.applier.writer, "abandon", pytest.fail)

    def go_on() -> None:
        for _ in range(100):
            rig.clock.now += 0.05
            member.applier.step()

    go_on()
    ends = {p: member.applier.cursors.flushed[p] for p in rig.topics.ends}
    assert ends == {p: late_at if p == where else end for p, end in rig.topics.ends.items()}
    assert member.applier.holds.suspended()[where.topic].kind is ErrorKind.TRANSPORT
    rig.topics.put(ORDERS, "c", None, (100, "new", None))
    rig.topics.put(ORDERS, "c", None, (101, "new", None))
    go_on()
    coming[0] = True
    rig.clock.now += Limits().suspended_retry_s
    rig.settle(member)
    assert set(rig.target.read(ORDERS.name)) == {(i, "new", None) for i in [*range(40), 100, 101]}
    assert not member.applier.holds.suspended()


class Late(LostRecord):
    """A large record whose parts do not come."""

    def __init__(self, record: Any) -> None:
        super().__init__(record, TailraceError(ErrorKind.TRANSPORT, "a record waits for its parts"))
        self._value = record.value()[:1] + b"broken"
