"""Columns of two versions, whatever was renamed, dropped and added between them, and whatever is known of it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from apply.batching.projection import Projection
from apply.sink import TableBatch
from apply.sink_kinds.relational.difference import difference
from schemas.matching import matches
from schemas.table import Column, TableName, TableSchema
from tests.conformance.sink_suite import INT64

_names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)


@st.composite
def versions(draw: st.DrawFn) -> tuple[TableSchema, TableSchema]:
    """Return two versions of a table: which column is which is decided by chance, and told of some only."""
    found = []
    for version in (1, 2):
        names = draw(_names)
        numbers = draw(st.lists(st.integers(1, 8), min_size=len(names), max_size=len(names), unique=True))
        known = draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
        columns = tuple(
            Column(name, INT64, "bigint", number=number if is_known else 0)
            for name, number, is_known in zip(names, sorted(numbers), known, strict=True)
        )
        found.append(TableSchema(TableName("public", "t"), columns, (), version=version, number=7))
    return found[0], found[1]


@given(versions())
def test_numbers_decide_first_and_names_what_is_left(pair: tuple[TableSchema, TableSchema]) -> None:
    old, new = pair
    found = matches(new, old)
    earlier = [column for column in found if column is not None]
    assert len({column.name for column in earlier}) == len(earlier), "one column was matched twice"
    numbers = {column.number for column in old.columns if column.number}
    for column, before in zip(new.columns, found, strict=True):
        if column.number in numbers:
            assert before is not None
            assert before.number == column.number
        elif before is not None:
            assert before.name == column.name
            assert 0 in (column.number, before.number)
        else:
            left = [c for c in old.columns if c.name == column.name and c not in earlier]
            assert all(column.number and c.number for c in left), "a column of this name was left over"
    assert {(a.name, b.name) for a, b in zip(new.columns, found, strict=True) if b} == {
        (b.name, a.name) for a, b in zip(old.columns, matches(old, new), strict=True) if b
    }, "it matters which version is the older one"


@given(versions())
def test_a_target_that_is_altered_and_rows_that_are_cut_agree(pair: tuple[TableSchema, TableSchema]) -> None:
    old, new = pair
    change = difference(old, new)
    renames = dict(change.renamed)
    altered = {renames.get(name, name): name for name in old.column_names if name not in change.dropped}
    assert sorted([*altered, *(column.name for column in change.added)]) == sorted(new.column_names)
    projection = Projection(old, new, comes_again=False)
    # A value is the name of the column that it is of.
    (row,) = projection.batch(TableBatch(old, upserts=[old.column_names])).upserts
    assert dict(zip(projection.table.column_names, row, strict=True)) == altered


def test_a_column_without_a_number_is_none_that_went_elsewhere() -> None:
    one = TableSchema(TableName("public", "t"), (Column("a", INT64, "bigint", number=1),), ())
    two = replace(one, version=2, columns=(Column("a", INT64, "bigint"), Column("b", INT64, "bigint", number=1)))
    assert [found and found.name for found in matches(two, one)] == [None, "a"]
    assert difference(one, two).added == [two.columns[0]]
    assert Projection(one, two).table.column_names == ("b",)


def test_a_column_that_leaves_the_key_may_hold_nulls_at_the_target_too() -> None:
    columns = (Column("a", INT64, "bigint", number=1), Column("b", INT64, "bigint", number=2))
    one = TableSchema(TableName("public", "t"), columns, (0,))
    change = difference(one, replace(one, version=2, key=(1,)))
    assert change.changed == [(replace(columns[0], nullable=False), columns[0])]
    assert difference(one, replace(one, version=2)).changed == []
