"""Changes of a table without a key collapse to counts that give what replaying them gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.sink_kinds.relational.keyless import Entry
from apply.sinks.postgresql.catalog import TargetColumn, TargetTable
from apply.sinks.postgresql.keyless import net_counts
from apply.sinks.postgresql.statements import TablePlan
from schemas.changes import UNCHANGED
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

BAG = TableSchema(
    TableName("s", "bag"),
    (
        Column("a", LogicalType(Family.INT32), "integer"),
        Column("b", LogicalType(Family.STRING), "text"),
    ),
    (),
    primary_key=False,
    full_before=True,
)


def _column(name: str, type_: str, base: str) -> TargetColumn:
    return TargetColumn(name, type_, base, not_null=False, has_default=False, generated=False, identity="")


PLAN = TablePlan(
    BAG,
    TargetTable(
        BAG.name,
        1,
        "table",
        {"a": _column("a", "integer", "int4"), "b": _column("b", "text", "text")},
        (),
        acts_on_delete=False,
    ),
)

ROWS = st.tuples(st.none() | st.integers(0, 1), st.sampled_from([None, "", "x"]))
CHANGES = st.one_of(
    st.tuples(st.sampled_from(["c", "r"]), st.none(), ROWS),
    st.tuples(st.just("u"), ROWS, ROWS),
    st.tuples(st.just("d"), ROWS, st.none()),
)


def image(row: tuple[Any, ...]) -> bytes:
    """Return a row as the counts know it."""
    return PLAN.upsert_encoder()([row])[0]


@given(st.lists(CHANGES))
def test_counts_are_those_of_the_changes_one_by_one(entries: list[Entry]) -> None:
    expected: Counter[bytes] = Counter()
    for _, before, after in entries:
        if before is not None:
            expected[image(before)] -= 1
        if after is not None:
            expected[image(after)] += 1
    counts, partial = net_counts(PLAN, entries)
    assert {k: n for k, n in counts.items() if n} == {k: n for k, n in expected.items() if n}
    assert partial == {}


def test_a_new_row_takes_unchanged_values_from_the_old_one() -> None:
    counts, _ = net_counts(PLAN, [("u", (1, "long"), (2, UNCHANGED))])
    assert counts == {image((1, "long")): -1, image((2, "long")): 1}


def test_an_old_row_that_is_known_in_part_is_looked_for_by_that_part() -> None:
    counts, partial = net_counts(PLAN, [("d", (1, UNCHANGED), None)])
    assert not counts
    ((known, rows),) = partial.items()
    assert [column.target.name for column in known] == ["a"]
    assert rows == [(1, UNCHANGED)]


@pytest.mark.parametrize(
    "entry",
    [
        ("u", None, (1, "x")),
        ("d", None, None),
        ("d", (UNCHANGED, UNCHANGED), None),
        ("u", (1, UNCHANGED), (1, UNCHANGED)),
        ("c", None, (1, UNCHANGED)),
    ],
)
def test_a_change_that_does_not_say_which_row_it_was_is_rejected(entry: Entry) -> None:
    with pytest.raises(TailraceError) as caught:
        net_counts(PLAN, [entry])
    assert caught.value.kind is ErrorKind.ROW_REJECTED
