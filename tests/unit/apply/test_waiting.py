"""Rows that wait for others: what of them is counted, kept in order over versions, and when they may be refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apply.limits import Limits
from apply.outcome import Outcome
from apply.sink import TopicPartition
from apply.survey import Survey
from schemas.changes import UNCHANGED, Row
from schemas.table import Column, ForeignKey, TableName, TableSchema
from tests.conformance.sink_suite import INT64, STRING
from tests.unit.apply.rig import Member, Rig

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
    group = {other: 3}
    assert not survey.passed({mine: 4}, {}, [mine], lambda _: dict(group), 60, 1.0)
    group[other] = 10
    # The truncate that both waited for is done.
    assert not survey.passed({mine: 5}, {}, [], lambda _: dict(group), 60, 2.0)
    assert survey.passed({mine: 10}, {}, [], lambda _: dict(group), 60, 3.0)
