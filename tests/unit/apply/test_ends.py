"""Which ends of partitions an applier has reached, over doubles: a stop behind a load, or now, goes by them."""

from __future__ import annotations

import pytest

from apply.batching.batch import Record
from apply.error_handling.policies import Policies
from apply.error_handling.survey import Progress
from apply.goal import Goal
from apply.sink import TopicPartition
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.sink_suite import ORDERS
from tests.unit.apply.rig import Rig


def test_nobody_has_reached_an_end_that_was_met_before_going_back() -> None:
    rig = Rig([ORDERS])
    member = rig.member(take_all=True)
    rig.topics.put(ORDERS, "c", None, (1, "new", None))
    rig.topics.mark()
    rig.settle(member)
    ends = dict(rig.topics.ends)
    assert member.applier.reached == ends
    rig.topics.put(ORDERS, "c", None, (2, "new", None))
    rig.topics.mark()
    member.consumer.eof.update(rig.topics.ends)
    # As when a parked key is released: what was taken in is read again, before anything was consumed.
    member.applier.rewind()
    assert member.applier.reached == member.applier.cursors.flushed
    goal = Goal({(p.topic, p.partition): end for p, end in rig.topics.ends.items()}, {})
    goal.pass_own(member.applier.reached)
    assert goal.left == rig.topics.ends


def test_one_partition_that_stands_still_keeps_no_other_from_the_end() -> None:
    rig = Rig([ORDERS], partition_count=3)
    late, other, theirs = (TopicPartition("shop.public.orders", number) for number in range(3))
    member = rig.member()
    member.applier.assigned([late, other])
    goal = Goal({(p.topic, p.partition): 5 for p in (late, other, theirs)}, {})
    error = TailraceError(ErrorKind.TRANSPORT, "a record waits for its parts")
    suspension = member.applier.holds.suspension
    member.applier.holds.suspend(late.topic, error, 0.0, (late, 0))
    assert goal.kept(suspension) == [error]
    # Of a table that is suspended others' partitions do not come any further, either.
    member.applier.holds.suspend(late.topic, error, 0.0)
    assert goal.kept(suspension) == [error] * 3


def test_who_ends_with_loads_waits_for_nothing_behind_them() -> None:
    rig = Rig([ORDERS], partition_count=3)
    partitions = [TopicPartition("shop.public.orders", number) for number in range(3)]
    for key in range(60):
        rig.topics.put(ORDERS, "c", None, (key, "a", None))
    holds = (member := rig.member()).applier.holds
    ends: dict[tuple[str, int], int] = {(p.topic, p.partition): end for p, end in rig.topics.ends.items()}
    assert holds.bounded(ends) == ends
    load_ends: dict[TopicPartition, int | None] = dict(zip(partitions, (2, 1000, None), strict=True))
    holds.end_of = load_ends.__getitem__
    member.consumer.rebalance("assign", partitions)
    goal = Goal(holds.bounded(ends), {})
    assert goal.left == {partitions[0]: 2, partitions[1]: rig.topics.ends[partitions[1]]}
    for _ in range(100):
        rig.clock.now += 0.05
        member.applier.step()
    goal.pass_own(member.applier.reached)
    assert goal.left == {}


def test_nobody_has_reached_an_end_behind_what_could_not_be_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig([ORDERS], partition_count=1)
    partition = TopicPartition("shop.public.orders", 0)
    member = rig.member(Policies(decode="stop"), take_all=True)
    rig.topics.put(ORDERS, "c", None, (1, "new", None))
    rig.settle(member)
    rig.topics.put(ORDERS, "c", None, (2, "new", None), raw=b"\x01broken")
    rig.topics.mark()
    consume = member.consumer.consume

    def interrupted(max_records: int, timeout_s: float, *, bytes_max: int) -> list[Record]:
        if consume(max_records, timeout_s, bytes_max=bytes_max):
            raise TailraceError(ErrorKind.TRANSPORT, "a record waits for its parts")
        return []

    monkeypatch.setattr(member.consumer, "consume", interrupted)
    while member.applier.recovery.error is None:
        member.applier.step()
    assert (member.consumer.eof[partition], member.applier.reached[partition]) == (3, 1)
    member.applier.drain()
    monkeypatch.undo()
    add = member.applier.builder.add

    def faulty(_: object) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(member.applier.builder, "add", faulty)
    with pytest.raises(KeyError):
        rig.settle(member)
    # As when the consumer is closed behind what ends the service.
    member.applier.checkpoint()
    assert rig.group == {partition: Progress(1, 1)}
    monkeypatch.setattr(member.applier.builder, "add", add)
    with pytest.raises(TailraceError, match="a broken record"):
        rig.settle(member)
    member.applier.revoked([partition])
    assert rig.group == {partition: Progress(1, 1)}
