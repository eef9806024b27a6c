"""Ordering by commit: whatever Kafka shows when, and whatever dies, each state of the target is one of the source's."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from apply.error_handling.policies import Policies
from apply.limits import Limits
from apply.sink import TopicPartition
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, ForeignKey, TableName, TableSchema
from tests.conformance.sink_suite import EVENTS, INT64, STRING
from tests.unit.apply.rig import MARKS, Member, Rig
from tests.unit.apply.test_simulation import failing

PARENTS = TableSchema(
    TableName("public", "parents"),
    (Column("id", INT64, "bigint", nullable=False), Column("code", STRING, "text"), Column("note", STRING, "text")),
    key=(0,),
)
CHILDREN = TableSchema(
    TableName("public", "children"),
    (Column("id", INT64, "bigint", nullable=False), Column("parent", INT64, "bigint")),
    key=(0,),
    foreign_keys=(ForeignKey("children_parent_fkey", ("parent",), PARENTS.name, ("id",)),),
)
TABLES = (PARENTS, CHILDREN, EVENTS)
State = dict[TableName, list[Row]]


class Source:
    """A database whose constraints hold at each commit, and whose transactions are published piece by piece."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.chance = rig.chance
        self.parents: dict[int, Row] = {}
        self.children: dict[int, Row] = {}
        self.events: list[Row] = []
        self.states: list[State] = [self.state()]
        self._id = 0

    def state(self) -> State:
        rows = {PARENTS: list(self.parents.values()), CHILDREN: list(self.children.values()), EVENTS: self.events}
        return {table.name: sorted(found, key=repr) for table, found in rows.items()}

    def transact(self) -> None:
        """Run and publish one transaction; a long one is cut by marks."""
        for _ in range(self.chance.choice((1, 1, 2, 4, 20))):
            self.chance.choice((self._family, self._swap, self._move, self._leave, self._event, self._rare))()
            if self.chance.random() < 0.05:
                self.rig.topics.put_mark(whole=False)
        self.states.append(self.state())
        # Several transactions share a mark, or the next one is cut by it.
        if self.chance.random() < 0.6:
            self.rig.topics.put_mark(whole=True)

    def _put(self, table: TableSchema, op: str, before: Row | None, after: Row | None) -> None:
        self.rig.topics.put(table, op, before, after)

    def _family(self) -> None:
        """A child comes before its parent, which it may: the constraint waits for the commit."""
        self._id += 1
        self.children[self._id] = (self._id, self._id)
        self._put(CHILDREN, "c", None, self.children[self._id])
        self.parents[self._id] = (self._id, f"code{self._id}", "new")
        self._put(PARENTS, "c", None, self.parents[self._id])

    def _swap(self) -> None:
        """Two parents change a unique value, by way of null; one of the rows is known in part only."""
        if len(self.parents) < 2:
            return
        one, two = self.chance.sample(sorted(self.parents), 2)
        (_, first, note), (_, second, other) = self.parents[one], self.parents[two]
        self.parents[one], self.parents[two] = (one, second, note), (two, first, other)
        self._put(PARENTS, "u", None, (one, None, UNCHANGED))
        self._put(PARENTS, "u", None, (two, first, self.chance.choice((UNCHANGED, other))))
        self._put(PARENTS, "u", None, (one, second, self.chance.choice((UNCHANGED, note))))

    def _move(self) -> None:
        """A parent hands its children and its code to a new one, and goes."""
        if not self.parents:
            return
        old = self.chance.choice(sorted(self.parents))
        self._id += 1
        _, code, note = self.parents.pop(old)
        self._put(PARENTS, "d", (old, UNCHANGED, UNCHANGED), None)
        self.parents[self._id] = (self._id, code, note)
        self._put(PARENTS, "c", None, self.parents[self._id])
        for child in [c for c, (_, parent) in self.children.items() if parent == old]:
            self.children[child] = (child, self._id)
            self._put(CHILDREN, "u", None, self.children[child])

    def _leave(self) -> None:
        if self.children:
            child = self.chance.choice(sorted(self.children))
            del self.children[child]
            self._put(CHILDREN, "d", (child, UNCHANGED), None)

    def _event(self) -> None:
        row = (self.chance.choice("ab"), self.chance.randint(0, 3))
        self.events.append(row)
        self._put(EVENTS, "c", None, row)

    def _rare(self) -> None:
        if self.chance.random() < 0.1:
            self.children.clear()
            self._put(CHILDREN, "t", None, None)
        if self.chance.random() < 0.05:
            self.events.clear()
            self._put(EVENTS, "t", None, None)


class Observer:
    """Looks at the target after each commit, and fails operations now and then."""

    def __init__(self, rig: Rig, source: Source, rate: float) -> None:
        self.rig, self.source, self.rate = rig, source, rate
        self.chance = random.Random(7)
        self.at = 0
        self.commits = 0

    def __call__(self, operation: str) -> None:
        if operation == "flushed":
            self.commits += 1
            found = {table.name: self.rig.target.read(table.name) for table in TABLES}
            while self.source.states[self.at] != found:
                self.at += 1
                assert self.at < len(self.source.states), (
                    "the target shows what the source never committed, or goes back"
                )
        elif self.chance.random() < self.rate:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, f"failed in {operation}")


def rig_of(seed: int) -> Rig:
    rig = Rig(TABLES, seed, partition_count=1 + seed % 4)
    rig.topics.begin_marks()
    rig.target.foreign_keys = True
    rig.target.unique = {PARENTS.name: "code"}
    return rig


@pytest.mark.parametrize("seed", range(10))
def test_each_commit_at_the_target_is_a_commit_of_the_source(seed: int) -> None:
    rig = rig_of(seed)
    source = Source(rig)
    observer = Observer(rig, source, 0.02 if seed % 2 else 0.0)
    rig.target.fail = observer
    limits = Limits(batch_rows=rig.chance.choice((3, 20, 200)))
    member = rig.member(limits=limits, take_all=True, by_commit=True)
    zombies: list[Member] = []
    for _ in range(50):
        for _ in range(rig.chance.randint(0, 3)):
            source.transact()
        for _ in range(rig.chance.randint(1, 4)):
            rig.clock.now += 0.2
            member.applier.step()
        if rig.chance.random() < 0.05:
            # It dies, or hangs; in this ordering nobody else has any partition.
            zombies.append(member)
            member = rig.member(limits=limits, take_all=True, by_commit=True)
        while zombies and rig.chance.random() < 0.3:
            zombie = zombies.pop()
            zombie.applier.step()
            zombie.consumer.rebalance("lose", rig.topics.logs)
            zombie.applier.step()
    rig.topics.put_mark(whole=True)
    observer.rate = 0.0
    rig.settle(member)
    assert {table.name: rig.target.read(table.name) for table in TABLES} == source.state()
    assert observer.commits > 10
    assert not rig.dead_letters.records


def test_half_a_transaction_waits_for_its_other_half_and_what_precedes_it_does_not() -> None:
    rig = rig_of(1)
    source = Source(rig)
    source._family()
    rig.topics.put_mark(whole=True)
    committed = source.state()
    for _ in range(30):
        source._family()
    rig.topics.put_mark(whole=False)
    member = rig.member(limits=Limits(batch_rows=5), take_all=True, by_commit=True)
    for _ in range(200):
        rig.clock.now += 0.2
        member.applier.step()
    assert {table.name: rig.target.read(table.name) for table in TABLES} == committed
    assert member.applier.writer.is_open, "the first half is merged, so that memory is free"
    rig.topics.put_mark(whole=True)
    rig.settle(member)
    assert {table.name: rig.target.read(table.name) for table in TABLES} == source.state()


def test_what_compaction_removed_is_not_waited_for() -> None:
    rig = rig_of(2)
    source = Source(rig)
    for _ in range(20):
        source._family()
        source._swap()
    rig.topics.put_mark(whole=True)
    last: dict[tuple[TopicPartition, bytes | None], int] = {
        (p, e.key()): e.at for p, log in rig.topics.logs.items() if p != MARKS for e in log
    }
    for partition, log in rig.topics.logs.items():
        if partition.topic.endswith("children"):
            log[:] = [e for e in log if last[partition, e.key()] == e.at and e.at % 3]
    member = rig.member(take_all=True, by_commit=True)
    rig.target.foreign_keys = False
    rig.settle(member)
    assert rig.target.read(PARENTS.name) == source.state()[PARENTS.name]
    assert 0 < len(rig.target.read(CHILDREN.name)) < 20


def test_a_row_that_the_target_refuses_is_parked_with_what_depends_on_it_and_the_rest_goes_on() -> None:
    rig = rig_of(3)
    source = Source(rig)
    rig.target.refuse = lambda table, kind, row: (
        ErrorKind.ROW_REJECTED if table == PARENTS.name and kind == "upserts" and row[0] == 2 else None
    )
    for _ in range(3):
        source._family()
    rig.topics.put_mark(whole=True)
    member = rig.member(take_all=True, by_commit=True)
    rig.settle(member)
    assert [row[0] for row in rig.target.read(PARENTS.name)] == [1, 3]
    assert [row[0] for row in rig.target.read(CHILDREN.name)] == [1, 3]
    # Each once: nothing is said of a batch that is rolled back, and tried row by row.
    kinds = [(record.topic, record.kind) for _, record in rig.dead_letters.records]
    assert sorted(kinds) == [("shop.public.children", "row-conflict"), ("shop.public.parents", "row-rejected")]


def test_tables_that_a_transaction_empties_are_emptied_children_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rig_of(5)
    member = rig.member(take_all=True, by_commit=True)
    emptied: list[TableName] = []
    truncate = member.sink.truncate

    def noted(tables: Sequence[TableSchema]) -> None:
        emptied.extend(table.name for table in tables)
        truncate(tables)

    monkeypatch.setattr(member.sink, "truncate", noted)
    for table in (PARENTS, CHILDREN):
        rig.topics.put(table, "t", None, None)
    rig.topics.put_mark(whole=True)
    rig.settle(member)
    assert emptied == [CHILDREN.name, PARENTS.name]


def test_a_policy_to_stop_stops_before_anything_of_the_transaction_is_written() -> None:
    rig = rig_of(4)
    source = Source(rig)
    rig.target.refuse = lambda table, kind, row: ErrorKind.ROW_REJECTED if row[0] == 2 else None
    for _ in range(2):
        source._family()
    rig.topics.put_mark(whole=True)
    member = rig.member(policies=Policies(row_rejected="stop"), take_all=True, by_commit=True)
    with pytest.raises(TailraceError, match="refused"):
        rig.settle(member)
    assert rig.target.read(PARENTS.name) == []


@pytest.mark.parametrize("seed", range(8))
def test_a_target_that_was_written_by_key_comes_to_one_commit_sequence(seed: int) -> None:
    """Also topics from before there were marks: what no mark counts is applied by key."""
    rig = rig_of(seed)
    rig.target.foreign_keys = False
    rig.target.unique = {}
    source = Source(rig)
    for _ in range(30):
        source._family()
        source._event()
    rig.topics.marked, rig.topics.counts = rig.topics.sequence, {}
    by_key = rig.member(limits=Limits(batch_rows=7), take_all=True)
    for _ in range(rig.chance.randint(2, 20)):
        rig.clock.now += 0.2
        by_key.applier.step()
    by_key.consumer.rebalance("lose", [p for p in rig.topics.logs if p != MARKS])
    by_key.applier.step()
    source.transact()
    rig.topics.put_mark(whole=True)
    member = rig.member(limits=Limits(batch_rows=7), take_all=True, by_commit=True)
    for _ in range(10):
        rig.clock.now += 0.2
        member.applier.step()
        source.transact()
    rig.topics.put_mark(whole=True)
    rig.settle(member)
    assert member.applier.order.exact
    assert {table.name: rig.target.read(table.name) for table in TABLES} == source.state()


def test_offsets_that_were_written_by_key_are_not_taken_for_one_moment() -> None:
    rig = rig_of(3)
    rig.target.foreign_keys, rig.target.unique = False, {}
    source = Source(rig)
    for _ in range(30):
        source._family()
        source._event()
        rig.topics.put_mark(whole=True)
    by_key = rig.member(limits=Limits(batch_rows=7), take_all=True)
    while not by_key.applier.reached or not any(by_key.applier.reached.values()):
        rig.clock.now += 0.2
        by_key.applier.step()
    by_key.consumer.rebalance("lose", [p for p in rig.topics.logs if p != MARKS])
    by_key.applier.step()
    member = rig.member(take_all=True, by_commit=True)
    member.applier.step()
    assert not member.applier.order.exact
    source.transact()
    rig.topics.put_mark(whole=True)
    rig.settle(member)
    assert {table.name: rig.target.read(table.name) for table in TABLES} == source.state()


class HotSource(Source):
    """Few parents, which change places all the time: what waits is hardly ever at rest."""

    def transact(self) -> None:
        for _ in range(self.chance.choice((1, 2, 5))):
            if len(self.parents) < 4:
                self._family()
            else:
                self.chance.choice((self._swap, self._swap, self._move))()
        self.rig.topics.put_mark(whole=True)


@pytest.mark.parametrize("seed", range(12))
def test_by_key_no_row_of_a_legal_history_is_refused_whatever_the_speeds_of_partitions(seed: int) -> None:
    """Rows need each other in every way. Unique values stand in one partition, as capture sees to, or in several."""
    rig = Rig(TABLES, seed, partition_count=1 + seed % 4, single=[PARENTS.name] if seed % 2 else [])
    rig.topics.begin_marks()
    rig.target.foreign_keys = True
    rig.target.unique = {PARENTS.name: "code"}
    source = HotSource(rig) if seed % 4 > 1 else Source(rig)
    rig.target.fail = failing(rig, random.Random(seed), 0.01) if seed % 3 == 1 else None
    limits = Limits(batch_rows=rig.chance.choice((3, 20, 200)), conflict_wait_s=20.0)
    member = rig.member(limits=limits, take_all=True)
    for _ in range(60):
        for _ in range(1 if seed % 4 > 1 else rig.chance.randint(0, 3)):
            source.transact()
        for _ in range(rig.chance.randint(1, 3)):
            rig.clock.now += 0.4
            member.applier.step()
        if rig.chance.random() < 0.03:
            # Where its partitions stood, and what waited, its successor finds out.
            member.consumer.rebalance("lose", [p for p in rig.topics.logs if p != MARKS])
            member.applier.step()
            member = rig.member(limits=limits, take_all=True)
    rig.target.fail = None
    rig.settle(member, steps=5000)
    assert rig.dead_letters.records == []
    assert {table.name: rig.target.read(table.name) for table in TABLES} == source.state()
