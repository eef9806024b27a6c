"""Appliers that crash, lose partitions, meet errors and wake up late: in the end the target equals the replay."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

import pytest

from apply.batching.batch import Batch, Record
from apply.batching.net_change import merge
from apply.limits import Limits
from apply.sink import TopicPartition
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from tests.conformance.sink_suite import EVENTS, ORDERS, SEATS
from tests.unit.apply.rig import Member, Rig

SEEDS = range(12)


class Model:
    """What the target must hold, by replaying each change as it is published."""

    def __init__(self) -> None:
        self.keyed: dict[TableSchema, dict[Row, Row]] = {ORDERS: {}, SEATS: {}}
        self.events: list[Row] = []

    def random_change(self, rig: Rig) -> None:
        chance = rig.chance
        if chance.random() < 0.15:
            self._event(rig)
            return
        table = ORDERS if chance.random() < 0.6 else SEATS
        if chance.random() < 0.01:
            self.keyed[table].clear()
            rig.topics.put(table, "t", None, None)
            return
        row: Row = (chance.randint(0, 12), chance.choice(["a", "b", None]), chance.choice([True, False, None]))
        if table is SEATS:
            row = (chance.choice("xyz"), chance.choice(["g", None]), chance.randint(0, 4))
        key = tuple(row[i] for i in table.key)
        rows = self.keyed[table]
        if key not in rows:
            rows[key] = row
            rig.topics.put(table, "c", None, row)
        elif chance.random() < 0.3:
            del rows[key]
            before = tuple(row[i] if i in table.key else UNCHANGED for i in range(3))
            rig.topics.put(table, "d", before, None)
        else:
            partial = tuple(v if i in table.key or chance.random() < 0.6 else UNCHANGED for i, v in enumerate(row))
            rows[key] = merge(rows[key], partial)
            rig.topics.put(table, "u", None, partial)
        if chance.random() < 0.2:
            rig.topics.mark()

    def _event(self, rig: Rig) -> None:
        row = (rig.chance.choice("ab"), rig.chance.randint(0, 3))
        if self.events and rig.chance.random() < 0.4:
            gone = rig.chance.choice(self.events)
            self.events.remove(gone)
            if rig.chance.random() < 0.5:
                rig.topics.put(EVENTS, "d", gone, None)
                return
            self.events.append(row)
            rig.topics.put(EVENTS, "u", gone, row)
            return
        self.events.append(row)
        rig.topics.put(EVENTS, "c", None, row)

    def check(self, rig: Rig) -> None:
        for table, rows in self.keyed.items():
            assert rig.target.read(table.name) == sorted(rows.values(), key=repr)
        assert rig.target.read(EVENTS.name) == sorted(self.events, key=repr)


class Group:
    """Shares the partitions among the members that live, as a broker does: revoke first, assign later."""

    def __init__(self, rig: Rig, conflict_wait_s: float = 60.0) -> None:
        self.rig = rig
        self.conflict_wait_s = conflict_wait_s
        self.members: list[Member] = []
        self.zombies: list[Member] = []
        self.owner: dict[TopicPartition, int] = {}

    def start(self) -> None:
        rows = self.rig.chance.choice([1, 5, 50, 1000])
        self.members.append(self.rig.member(limits=Limits(batch_rows=rows, conflict_wait_s=self.conflict_wait_s)))
        self.share()

    def share(self) -> None:
        wanted = {p: self.rig.chance.randrange(len(self.members)) for p in self.rig.topics.logs}
        for i, member in enumerate(self.members):
            gone = [p for p, owner in self.owner.items() if owner == i and wanted[p] != i]
            if gone:
                member.consumer.rebalance("revoke", gone)
                self.step(member)
        for i, member in enumerate(self.members):
            added = [p for p, owner in wanted.items() if owner == i and self.owner.get(p) != i]
            if added:
                member.consumer.rebalance("assign", added)
        self.owner = wanted

    def crash(self, *, zombie: bool) -> None:
        """A member dies, or hangs so long that its partitions go to others and it wakes up without them."""
        victim = self.members.pop(self.rig.chance.randrange(len(self.members)))
        self.owner = {}
        for member in self.members:
            member.consumer.rebalance("lose", self.rig.topics.logs)
        if zombie:
            self.zombies.append(victim)
        if self.members:
            self.share()
        else:
            self.start()

    def step(self, member: Member) -> None:
        self.rig.clock.now += 0.2
        member.applier.step()

    def step_all(self) -> None:
        for member in self.members:
            self.step(member)
        for zombie in list(self.zombies):
            # It wakes up once, does something stale, and then hears that it lost everything.
            zombie.applier.step()
            zombie.consumer.rebalance("lose", self.rig.topics.logs)
            zombie.applier.step()
            self.zombies.remove(zombie)


def failing(rig: Rig, chance: random.Random, rate: float) -> Any:
    """Return what makes the target fail now and then, before or after it did what was asked."""

    def fail(operation: str) -> None:
        if chance.random() < rate:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, f"failed in {operation}")

    return fail


@pytest.mark.parametrize("seed", SEEDS)
def test_the_target_equals_the_replay_whatever_dies(seed: int) -> None:
    rig = Rig([ORDERS, SEATS, EVENTS], seed, partition_count=1 + seed % 3)
    model, group = Model(), Group(rig)
    group.start()
    rig.target.fail = failing(rig, random.Random(seed), 0.02 if seed % 2 else 0.0)
    for _ in range(100):
        for _ in range(rig.chance.randint(0, 12)):
            model.random_change(rig)
        group.step_all()
        event = rig.chance.random()
        if event < 0.04:
            group.start()
        elif event < 0.10:
            group.share()
        elif event < 0.14:
            group.crash(zombie=rig.chance.random() < 0.5)
    rig.target.fail = None
    while len(group.members) > 1:
        group.crash(zombie=False)
    rig.settle(*group.members)
    model.check(rig)


class SlowFuture(Future[Any]):
    """A job whose work is done at once, and told of when its time has come."""

    def __init__(self, rig: Rig, job: Callable[[], Any], seconds: float) -> None:
        super().__init__()
        self._rig = rig
        self._at = rig.clock.now + seconds
        self.set_result(job())

    def done(self) -> bool:
        return self._rig.clock.now >= self._at


class SlowExecutor(Executor):
    """A target that takes its time for every row."""

    def __init__(self, rig: Rig, row_s: float) -> None:
        self.rig = rig
        self.row_s = row_s
        self.row_count = self.total = 0
        """Of the batch that was handed over last, and of all."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # A truncate has none.
        batch = next((argument for argument in args if isinstance(argument, Batch)), Batch())
        self.row_count = batch.row_count
        self.total += batch.row_count
        return SlowFuture(self.rig, partial(fn, *args, **kwargs), batch.row_count * self.row_s)


def test_an_hour_of_a_source_ten_times_faster_than_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches are in memory at most; the rest stays in Kafka, and the group hears of the member all the time."""
    rig, model = Rig([ORDERS, SEATS, EVENTS], 5, partition_count=3), Model()
    member = rig.member(limits=Limits(batch_rows=20), take_all=True)
    executor = SlowExecutor(rig, row_s=5.0)
    member.applier.thread.executor = executor
    consumed = 0
    consume = member.consumer.consume

    def counted(max_records: int, timeout_s: float, *, bytes_max: int) -> list[Record]:
        nonlocal consumed
        consumed += 1
        return consume(max_records, timeout_s, bytes_max=bytes_max)

    monkeypatch.setattr(member.consumer, "consume", counted)
    for second in range(0, 3600, 20):
        for _ in range(20 * 2):
            model.random_change(rig)
        for _ in range(4):
            rig.clock.now += 5
            member.applier.step()
            assert member.applier.builder.batch.row_count + executor.row_count <= 2 * 20, f"after {second} s"
    assert 600 < executor.total <= 3600 / 5 + 20
    assert consumed > 3600 / 5 / 2
    executor.row_s = 0.0
    # Each truncate takes steps of its own.
    rig.settle(member, steps=4000)
    model.check(rig)
