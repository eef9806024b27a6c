"""Inserts of which nobody could tell all values: they are in nobody's way, and are there where others refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from apply.batching import incomplete_inserts
from apply.batching.incomplete_inserts import IncompleteInserts
from apply.batching.net_change import Change
from apply.error_handling.conflicts import ConflictPolicies
from apply.error_handling.policies import Policies
from apply.limits import Limits
from apply.mapped_sink import MappedSink
from apply.sink import Origin, TableBatch
from schemas.changes import UNCHANGED, Row
from schemas.errors import TailraceError
from schemas.table import Column, ForeignKey, GeneratedColumn, Index, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType
from tests.unit.apply.rig import Rig
from tests.unit.apply.test_mapped_sink import PLACE, TABLE, Recorder, rule
from tests.unit.apply.test_waiting import CHILDREN

U = UNCHANGED
INT, TEXT = LogicalType(Family.INT64), LogicalType(Family.STRING)
PEOPLE = TableSchema(
    TableName("public", "people"),
    (
        Column("id", INT, "bigint", nullable=False),
        Column("mail", TEXT, "text", nullable=False),
        Column("note", TEXT, "text"),
    ),
    key=(0,),
)
UNIQUE = (Index("people_mail", True, "using btree (mail)"),)


def settled(table: TableSchema, changes: Sequence[Change], *, refers: bool) -> Sequence[Change]:
    return IncompleteInserts(lambda _name: refers).settled("t", table, [b"k"] * len(changes), changes)


def of(table: TableSchema, *values: Any) -> Any:
    """Return what becomes of an insert."""
    ((op, before, after),) = settled(table, [("c", None, values)], refers=True)
    assert (before is None) == (op == "c")
    return after if op == "c" else op


def with_column(native: str, family: Family, **more: Any) -> TableSchema:
    return replace(PEOPLE, columns=(*PEOPLE.columns, Column("x", LogicalType(family), native, nullable=False, **more)))


def test_what_is_whole_and_what_is_no_insert_stays() -> None:
    changes: list[Change] = [
        ("c", None, (1, "a", None)),
        ("c", None, b"a line"),
        ("u", None, (1, U, "b")),
        ("d", (1, U, U), None),
        ("r", None, (2, "b", None)),
    ]
    assert settled(PEOPLE, changes, refers=True) is changes
    found = settled(PEOPLE, [*changes, ("c", None, (3, U, U))], refers=True)
    assert found == [*changes, ("c", None, (3, "", None))]
    found = settled(PEOPLE, [*changes, ("c", None, (3, U, U))], refers=False)
    assert found == [*changes, ("d", (3, U, U), None)]


@pytest.mark.parametrize(
    ("native", "family", "value"),
    [
        ("int", Family.INT32, 0),
        ("bytea", Family.BYTES, b""),
        ("varbinary(9)", Family.BYTES, b""),
        ("mediumblob", Family.BYTES, b""),
        ("text[]", Family.TEXT, "{}"),
    ],
)
def test_columns_have_what_they_take(native: str, family: Family, value: Any) -> None:
    assert of(with_column(native, family), 1, "a", U, U) == (1, "a", None, value)


@pytest.mark.parametrize(
    ("native", "family"),
    [
        ("enum('a')", Family.ENUM),
        ("point", Family.BYTES),
        ("vector(3)", Family.BYTES),
        ("inet6", Family.TEXT),
    ],
)
def test_a_row_is_left_out_where_nothing_is_what_a_column_takes(native: str, family: Family) -> None:
    assert of(with_column(native, family), 1, "a", U, U) == "d"


def test_a_row_is_left_out_where_it_could_be_in_anothers_way() -> None:
    assert of(PEOPLE, 1, U, U) == (1, "", None)
    people = replace(PEOPLE, indexes=UNIQUE)
    assert of(people, 1, U, "n") == "d"
    assert of(people, 1, "a", U) == (1, "a", None)
    assert of(replace(PEOPLE, indexes=(replace(UNIQUE[0], unique=False),)), 1, U, U) == (1, "", None)
    computed = replace(people, generated=(GeneratedColumn("low", "text", "lower(note)", 3),))
    assert of(computed, 1, "a", U) == "d", "a unique index may be of the computed column"


def test_a_row_is_left_out_that_a_partition_may_have_taken_along() -> None:
    """No log would tell its end: it would stay for good."""
    assert of(replace(PEOPLE, partitions=(16400,)), 1, "a", U) == "d"
    assert of(replace(PEOPLE, partitions=(16400,)), 1, "a", None) == (1, "a", None)


def test_names_are_found_however_they_are_quoted() -> None:
    columns = (*PEOPLE.columns[:1], replace(PEOPLE.columns[1], name='e"ma`il'), *PEOPLE.columns[2:])
    for quoted in ('using btree ("e""ma`il")', 'using btree (`e"ma``il`)'):
        assert of(replace(PEOPLE, columns=columns, indexes=(Index("i", True, quoted),)), 1, U, "n") == "d"


def test_a_row_is_left_out_where_a_domain_may_refuse_what_stands_for_a_value() -> None:
    people = with_column('public."Positive"', Family.INT32)
    people = replace(people, user_types=(UserType("public", "Positive", "domain", definition="integer not null"),))
    assert of(people, 1, "a", U, 5) == (1, "a", None, 5)
    assert of(people, 1, "a", "n", U) == "d"
    column = replace(people.columns[3], nullable=True)
    assert of(replace(people, columns=(*people.columns[:3], column)), 1, "a", "n", U) == "d"


def test_a_target_that_keeps_changes_has_such_a_row_whatever_is_made_of_it() -> None:
    """What an expression made of values of which some were known was refused."""
    type_ = {"type": "string"}
    rules = [
        rule("add-column", value="both", expression="$name || $essay", data_type=type_),
        rule("data-masking-digits-mask", "name", value="#"),
    ]
    recorder = Recorder()
    sink = MappedSink(recorder, rules)
    batch = TableBatch(TABLE, sequence=[("c", None, (1, "a1", U)), ("c", None, (2, "b2", "c"))])
    batch.origins = {"sequence": [Origin(PLACE, n, n, n, None) for n in range(2)]}
    assert sink.apply(batch) == []
    (made,) = recorder.batches
    assert made.sequence == [("c", None, (1, "a#", U, U)), ("c", None, (2, "b#", "c", "b2c"))]


def test_a_row_is_left_out_where_it_would_refer_to_none() -> None:
    assert of(CHILDREN, 1, U, U) == (1, None, None)
    loose, strict = CHILDREN.columns[1], replace(CHILDREN.columns[1], nullable=False)
    children = replace(CHILDREN, columns=tuple(strict if c is loose else c for c in CHILDREN.columns))
    assert of(children, 1, U, U) == "d"
    assert of(children, 1, 5, U) == (1, 5, None)


@pytest.mark.parametrize("batch_rows", [1, 100])
@pytest.mark.parametrize("by_commit", [False, True])
@pytest.mark.parametrize("indexes", [UNIQUE, ()], ids=["the source's index", "the target's own"])
def test_a_true_row_is_written_beside_those_that_nobody_can_tell(
    batch_rows: int, indexes: tuple[Index, ...], *, by_commit: bool
) -> None:
    """One that nobody refers to is not made up, whatever the target has of its own."""
    people = replace(PEOPLE, indexes=indexes)
    rig = Rig([people], partition_count=1)
    rig.target.unique[people.name] = "mail"
    if by_commit:
        rig.topics.begin_marks()
    member = rig.member(take_all=True, by_commit=by_commit, limits=Limits(batch_rows=batch_rows, conflict_wait_s=0))

    def publish(*changes: tuple[str, Row | None, Row | None]) -> None:
        for change in changes:
            rig.topics.put(people, *change)
            if by_commit:
                rig.topics.put_mark(whole=True)
        rig.settle(member)

    publish(("r", None, (1, "a", None)), ("r", None, (2, "b", None)))
    # Both have other keys, and are gone when they are looked up; a third has the empty value in truth.
    publish(("d", (1, U, U), None), ("c", None, (11, U, U)), ("d", (2, U, U), None), ("c", None, (12, U, U)))
    publish(("c", None, (3, "", "true")), ("u", None, (11, U, "n")))
    assert rig.target.read(people.name) == [(3, "", "true")]
    # One is told in the end, the other gone.
    publish(("d", (12, U, U), None), ("u", None, (11, "c", "n")))
    assert rig.target.read(people.name) == [(11, "c", "n"), (3, "", "true")]
    assert not rig.dead_letters.records


def test_others_may_refer_to_a_row_that_nobody_can_tell() -> None:
    parents = replace(PEOPLE, name=TableName("public", "parents"))
    children = replace(CHILDREN, foreign_keys=(ForeignKey("fk", ("parent",), parents.name, ("id",)),))
    rig = Rig([parents, children], partition_count=1)
    rig.target.foreign_keys = True
    member = rig.member(take_all=True, limits=Limits(batch_rows=1, conflict_wait_s=0))
    rig.topics.put(parents, "c", None, (1, U, U))
    rig.topics.put(parents, "u", None, (1, U, "n"))
    rig.settle(member)
    rig.topics.put(children, "c", None, (7, 1, "refers"))
    rig.settle(member)
    assert rig.target.read(parents.name) == [(1, "", "n")]
    assert rig.target.read(children.name) == [(7, 1, "refers")]
    assert not rig.dead_letters.records


def test_what_follows_a_row_that_was_left_out_does_not_contradict_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incomplete_inserts, "LEFT_OUT_MAX", 1)
    people = replace(PEOPLE, indexes=UNIQUE)
    rig = Rig([people], partition_count=1)
    stops = Policies(contradictions=ConflictPolicies("stop", "stop", "stop"))
    member = rig.member(stops, take_all=True, loads=False)
    for key in (1, 2):
        rig.topics.put(people, "c", None, (key, U, U))
        rig.settle(member)
        rig.topics.put(people, "u", None, (key, U, "n"))
        rig.settle(member)
        rig.topics.put(people, "d", (key, U, U), None)
        rig.settle(member)
    assert rig.target.read(people.name) == []
    # Not for ever: memory is bounded.
    rig.topics.put(people, "d", (1, U, U), None)
    with pytest.raises(TailraceError, match="row to delete is missing"):
        rig.settle(member)
