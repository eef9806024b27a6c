"""Rows that wait for others: what of them is counted, kept in order over versions, and when they may be refused."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from confluent_kafka import Message

from apply.error_handling.survey import Progress, Survey
from apply.error_handling.waiting import BYTES_MAX, Waiting
from apply.limits import Limits
from apply.outcome import Outcome, Wait
from apply.sink import TopicPartition
from runtime.kafka.reassembly import SpooledRecord
from runtime.spool import Spool
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import Place
from schemas.parts import Reference
from schemas.table import Column, ForeignKey, TableName, TableSchema
from schemas.types.varints import long
from tests.conformance.sink_suite import EVENTS, INT64, STRING
from tests.unit.apply.rig import Entry, Member, Rig
from tests.unit.apply.test_order import CHILDREN as ORDER_CHILDREN
from tests.unit.apply.test_order import PARENTS as ORDER_PARENTS
from tests.unit.apply.test_order import Source
from tests.unit.apply.test_simulation import Group

PARENTS = TableSchema(TableName("public", "parents"), (Column("id", INT64, "bigint"),), key=(0,))
CHILDREN = TableSchema(
    TableName("public", "children"),
    (Column("id", INT64, "bigint"), Column("parent", INT64, "bigint"), Column("note", STRING, "text")),
    key=(0,),
    foreign_keys=(ForeignKey("fk", ("parent",), PARENTS.name, ("id",)),),
)
CHILDREN_2 = replace(CHILDREN, version=2, columns=(*CHILDREN.columns, Column("more", STRING, "text")))


def rig_of(*tables: TableSchema) -> Rig:
    rig = Rig(tables, partition_count=1)
    rig.target.foreign_keys = True
    return rig


def step(rig: Rig, member: Member, times: int = 60) -> None:
    for _ in range(times):
        rig.clock.now += 0.2
        member.applier.step()


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "waiting"])
@pytest.mark.parametrize(
    ("op", "row", "rows"),
    [
        ("u", (1, 6, "b", "c"), [(1, 6, "b", "c")]),
        ("u", (1, 6, UNCHANGED, "c"), [(1, 6, "a", "c")]),
        ("d", (1, UNCHANGED, UNCHANGED, UNCHANGED), []),
    ],
)
def test_a_later_version_of_a_row_stands_whenever_an_earlier_one_can_be_written(
    op: str, row: Row, rows: list[Row], *, apart: bool
) -> None:
    """Its parent comes with a version of its own, so that it is written last."""
    rig = rig_of(PARENTS, CHILDREN)
    member = rig.member(take_all=True)
    rig.topics.put(PARENTS, "c", None, (6,))
    rig.settle(member)
    rig.topics.put(CHILDREN, "c", None, (1, 5, "a"))
    if apart:
        step(rig, member)
        assert len(member.applier.waiting) == 1
    rig.topics.add(CHILDREN_2)
    parents_2 = replace(PARENTS, version=2, columns=(*PARENTS.columns, Column("more", STRING, "text")))
    rig.topics.put(PARENTS, "c", None, (4,))
    rig.topics.add(parents_2)
    rig.topics.put(parents_2, "c", None, (5, "x"))
    rig.topics.put(CHILDREN_2, op, row if op == "d" else None, None if op == "d" else row)
    rig.settle(member)
    assert rig.target.read(CHILDREN.name) == rows
    assert rig.dead_letters.records == []


def test_a_row_that_a_later_version_resolves_is_not_refused() -> None:
    rig = rig_of(CHILDREN)
    rig.target.unique = {CHILDREN.name: "note"}
    member = rig.member(take_all=True, limits=Limits(conflict_wait_s=10))
    rig.topics.put(CHILDREN, "c", None, (2, None, "a"))
    rig.settle(member)
    rig.topics.put(CHILDREN, "c", None, (1, None, "a"))
    step(rig, member, 10)
    assert len(member.applier.waiting) == 1
    rig.topics.add(CHILDREN_2)
    rig.topics.put(CHILDREN_2, "u", None, (1, None, "b", "c"))
    rig.settle(member)
    assert rig.target.read(CHILDREN.name) == [(1, None, "b", "c"), (2, None, "a", None)]
    assert rig.dead_letters.records == []


def test_no_part_of_a_later_version_is_seen_on_a_row_that_waits_for_an_earlier_one() -> None:
    """A reader sees states that the source had, each key by itself, whatever of it is refused at first."""
    rig = rig_of(PARENTS, CHILDREN)
    member = rig.member(take_all=True)
    rig.topics.put(PARENTS, "c", None, (4,))
    rig.topics.put(CHILDREN, "c", None, (1, 4, "old"))
    rig.settle(member)
    children_3 = replace(CHILDREN_2, version=3, columns=(*CHILDREN_2.columns, Column("most", STRING, "text")))
    for table in (CHILDREN_2, children_3):
        rig.topics.add(table)
    history: list[tuple[TableSchema, Row]] = [
        (CHILDREN, (1, 5, "new")),
        (CHILDREN_2, (1, 6, UNCHANGED, "b")),
        (children_3, (1, UNCHANGED, UNCHANGED, "c", "d")),
    ]
    for table, row in history:
        rig.topics.put(table, "u", None, row)
        rig.topics.put(table, "c", None, (table.version + 1, None, *"xyz"[: len(row) - 2]))
    found: list[Row] = []
    for parent in (None, 5, 6):
        if parent is not None:
            rig.topics.put(PARENTS, "c", None, (parent,))
        for _ in range(60):
            step(rig, member, 1)
            rows = rig.target.read(CHILDREN.name)
            found += [whole for row in rows if row[0] == 1 and (whole := (*row, None, None)[:5]) not in found]
        assert len(rows) == 4, "the others go on"
    assert found == [(1, 4, "old", None, None), (1, 5, "new", None, None), (1, 6, "new", "c", "d")]
    assert rig.dead_letters.records == []


def test_a_row_counts_as_applied_once_however_often_it_was_tried() -> None:
    rig = rig_of(PARENTS, CHILDREN)
    member = rig.member(take_all=True)
    written: list[Outcome] = []
    member.applier.on_written = written.append
    rig.topics.put(CHILDREN, "c", None, (1, 5, "a"))
    rig.topics.put(CHILDREN, "c", None, (2, None, "a"))
    step(rig, member)
    counts = [outcome.batch.rows_by_topic() for outcome in written]
    assert sum(count.get("shop.public.children", 0) for count in counts) == 1
    assert sum(outcome.batch.row_count for outcome in written) == 1
    rig.topics.put(PARENTS, "c", None, (5,))
    rig.settle(member)
    assert sum(outcome.batch.row_count for outcome in written) == 3


def test_a_partition_that_was_held_when_it_was_looked_at_has_yet_to_pass_when_it_goes_on() -> None:
    mine, other = TopicPartition("shop.public.parents", 0), TopicPartition("shop.public.parents", 1)
    survey = Survey({mine: 10, other: 10}, 0.0)
    group = {other: Progress(3, 3)}
    assert not survey.passed({mine: 4}, {}, [mine], lambda _: dict(group), 60, 1.0)
    group[other] = Progress(10, 10)
    # The truncate that both waited for is done.
    assert not survey.passed({mine: 5}, {}, [], lambda _: dict(group), 60, 2.0)
    assert survey.passed({mine: 10}, {}, [], lambda _: dict(group), 60, 3.0)


def test_who_moves_is_waited_for_and_who_has_come_to_the_end_but_for_what_waits_not_for_ever() -> None:
    here, there = TopicPartition("shop.public.parents", 0), TopicPartition("shop.public.parents", 1)
    group = {there: Progress(3, 3)}
    survey = Survey({there: 100}, 0.0)

    def passed(written: int, now: float) -> bool:
        group[there] = Progress(3, written)
        return survey.passed({here: 0}, {}, [], lambda _: dict(group), 10, now)

    assert not any(passed(20 + n, 4.0 * n) for n in range(20)), "its every partition has a row that waits"
    assert not any(passed(100 + n, 80.0 + n) for n in range(100)), "what it waits for may be waited for here, too"
    assert passed(200, 181.0), "what comes later is no progress"


def test_who_goes_over_the_same_again_and_again_is_not_waited_for_for_ever() -> None:
    """As two appliers do that share a suspended table, each time that it is tried again."""
    here, there = TopicPartition("shop.public.parents", 0), TopicPartition("shop.public.parents", 1)
    survey = Survey({there: 100}, 0.0)

    def passed(now: float) -> bool:
        group = {there: Progress(3, 90 if now % 30 else 3)}
        return survey.passed({here: 0}, {}, [], lambda _: dict(group), 10, now)

    assert not any(passed(float(now)) for now in range(100))
    assert any(passed(float(now)) for now in range(100, 130))


@pytest.mark.parametrize("tables", [(PARENTS, CHILDREN), (CHILDREN, PARENTS)], ids=["parents first", "children first"])
def test_a_truncate_waits_for_that_of_the_table_that_refers_to_it(tables: tuple[TableSchema, ...]) -> None:
    """`truncate parents, children` at the source: which of the two is met first is chance."""
    rig = rig_of(*tables)
    rig.topics.put(PARENTS, "c", None, (1,))
    rig.topics.put(CHILDREN, "c", None, (7, 1, None))
    member = rig.member(take_all=True)
    rig.settle(member)
    assert rig.target.read(CHILDREN.name) == [(7, 1, None)]
    for table in tables:
        rig.topics.put(table, "t", None, None)
    rig.topics.put(PARENTS, "c", None, (2,))
    rig.settle(member)
    assert (rig.target.read(PARENTS.name), rig.target.read(CHILDREN.name)) == ([(2,)], [])


def test_a_row_waits_for_a_partition_that_is_to_end_further_on() -> None:
    """What stands before that end has yet to come, also while it is not said where it is."""
    rig = rig_of(PARENTS, CHILDREN)
    parents, children = (TopicPartition(f"shop.{table.name}", 0) for table in (PARENTS, CHILDREN))
    ends: dict[TopicPartition, int | None] = {parents: None, children: 1}
    rig.topics.put(PARENTS, "c", None, (1,))
    rig.topics.put(CHILDREN, "c", None, (7, 1, None))
    member = rig.member(limits=Limits(conflict_wait_s=5))
    member.applier.holds.end_of = ends.__getitem__
    member.consumer.rebalance("assign", [parents, children])
    step(rig, member, 1000)
    assert rig.dead_letters.records == []
    ends[parents] = 1
    rig.settle(member)
    assert rig.target.read(CHILDREN.name) == [(7, 1, None)]
    # What would come behind the end does not come here.
    ends[children] = 2
    rig.topics.put(CHILDREN, "c", None, (8, 2, None))
    rig.topics.put(PARENTS, "c", None, (2,))
    step(rig, member, 1000)
    assert len(rig.dead_letters.records) == 1
    assert rig.target.read(PARENTS.name) == [(1,)]


def test_a_truncate_that_stays_forbidden_suspends_its_table_alone() -> None:
    rig = rig_of(PARENTS, CHILDREN)
    rig.topics.put(PARENTS, "c", None, (1,))
    rig.topics.put(CHILDREN, "c", None, (7, 1, None))
    member = rig.member(take_all=True, limits=Limits(conflict_wait_s=5))
    rig.settle(member)
    rig.topics.put(PARENTS, "t", None, None)
    rig.topics.put(CHILDREN, "u", None, (7, 1, "flows"))
    for _ in range(200):
        rig.clock.now += 0.1
        member.applier.step()
    assert set(member.applier.holds.suspended()) == {"shop.public.parents"}
    assert rig.target.read(CHILDREN.name) == [(7, 1, "flows")]
    assert rig.target.read(PARENTS.name) == [(1,)]


def test_a_key_that_changes_all_the_time_is_refused_in_the_end_and_the_rest_flows() -> None:
    rig = rig_of(PARENTS, CHILDREN)
    member = rig.member(take_all=True, limits=Limits(conflict_wait_s=10))
    for second in range(300):
        rig.topics.put(CHILDREN, "u" if second else "c", None, (1, 5, f"note {second}"))
        rig.topics.put(CHILDREN, "c", None, (10 + second, None, "a"))
        step(rig, member, 5)
        if second == 95:
            assert rig.dead_letters.records == [], "not before its time"
        if rig.dead_letters.records:
            break
    # What comes later queues behind it.
    rig.settle(member)
    assert len(rig.dead_letters.records) == second + 1 < 150
    assert {row[0] for row in rig.target.read(CHILDREN.name)} == set(range(10, 11 + second))


@pytest.mark.parametrize("seed", range(3))
def test_a_key_that_changes_faster_than_what_it_needs_comes_is_written_all_along(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parents are another applier's, which is always half a minute behind."""
    rig = Rig((PARENTS, CHILDREN), seed, partition_count=1)
    rig.target.foreign_keys = True
    limits = Limits(conflict_wait_s=5)
    first, late = rig.member(limits=limits), rig.member(limits=limits)
    parents, children = (TopicPartition(f"shop.public.{name}", 0) for name in ("parents", "children"))
    first.consumer.rebalance("assign", [children])
    late.consumer.rebalance("assign", [parents])
    ends: list[int] = []

    def seen(_: TopicPartition) -> list[Entry]:
        end = late.consumer._visible[parents] = ends[max(0, len(ends) - 30)]
        return [e for e in rig.topics.logs[parents] if e.at < end]

    monkeypatch.setattr(late.consumer, "_seen", seen)
    found: set[Row] = set()
    for second in range(240):
        ends.append(rig.topics.ends[parents])
        rig.topics.put(PARENTS, "c", None, (second,))
        rig.topics.put(CHILDREN, "u" if second else "c", None, (1, second, "a"))
        if second > 5:
            # The parents that it had are gone before long.
            rig.topics.put(PARENTS, "d", (second - 5,), None)
        for _ in range(3):
            rig.clock.now += 1 / 3
            late.applier.step()
            first.applier.step()
        found |= set(rig.target.read(CHILDREN.name))
    assert rig.dead_letters.records == []
    assert len(found) > 3, "it is seen in many states"
    ends[:] = [rig.topics.ends[parents]] * 30
    rig.settle(first, late)
    assert rig.target.read(CHILDREN.name) == [(1, 239, "a")]
    assert rig.dead_letters.records == []


class Families(Source):
    """Children come before their parents and move from one to another, and parents go; nothing else."""

    def transact(self) -> None:
        for _ in range(self.chance.choice((1, 1, 2, 6))):
            if len(self.parents) < 4:
                self._family()
            else:
                self.chance.choice((self._family, self._move, self._move, self._leave))()


@pytest.mark.parametrize("seed", range(6))
def test_appliers_that_share_a_legal_history_refuse_none_of_it(seed: int) -> None:
    """They come, go, die, wake up late, and are slow: longer than a row waits in vain."""
    rig = Rig((ORDER_PARENTS, ORDER_CHILDREN), seed, partition_count=1 + seed % 3)
    rig.target.foreign_keys = True
    source, group = Families(rig), Group(rig, conflict_wait_s=15.0)
    for _ in range(1 + seed % 4):
        group.start()
    for turn in range(200):
        for _ in range(rig.chance.choice((0, 0, 1, 1, 2))):
            source.transact()
        for member in group.members[turn % 2 :]:
            # The first one is slow.
            group.step(member)
        event = rig.chance.random()
        if event < 0.01:
            group.start()
        elif event < 0.03:
            group.share()
        elif event < 0.04:
            group.crash(zombie=rig.chance.random() < 0.5)
            group.step_all()
    rig.settle(*group.members, steps=5000)
    assert rig.dead_letters.records == []
    assert {table.name: rig.target.read(table.name) for table in (ORDER_PARENTS, ORDER_CHILDREN)} == {
        name: rows for name, rows in source.state().items() if name != EVENTS.name
    }


def test_large_values_in_files_are_bounded_like_those_in_memory() -> None:
    spool, head = Spool.make(), long(BYTES_MAX)
    os.ftruncate(spool.descriptor, len(head) + BYTES_MAX)
    spool.write([head])
    where = Reference(0, 1, len(head) + BYTES_MAX, "", (Place(len(head), BYTES_MAX, False),))
    message = Message(topic="rows", partition=0, offset=5, key=b"k", value=b"small")
    record = SpooledRecord(message, where, spool)
    assert len(record.value()) < 100
    waiting = Waiting(1.0, dict, lambda _: {})
    waiting.hold({("rows", b"k"): Wait([record], TailraceError(ErrorKind.ROW_CONFLICT, "its parent is missing"))}, 0.0)
    assert waiting.to_pause == {TopicPartition("rows", 0)}
