"""Columns that are of other types at the source by now: their values at the target differ, and stop no comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from apply.sink_kinds.folding import MISFIT
from control.verify.canonical import RowsSide, Shape
from control.verify.comparison import Limits, TableResult, compare_tables
from schemas.changes import Row
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TYPES = {"bigint": Family.INT64, "text": Family.STRING, "jsonb": Family.JSON, "bytea": Family.BYTES}


def table(key: str, value: str) -> TableSchema:
    columns = (Column("k", LogicalType(TYPES[key]), key, nullable=False), Column("v", LogicalType(TYPES[value]), value))
    return TableSchema(TableName("public", "a"), columns, key=(0,))


class Fixed(RowsSide):
    """A side with these rows of a table of its own."""

    def __init__(self, own: TableSchema, rows: Sequence[Row]) -> None:
        self._own, self._rows = own, rows

    def position(self) -> int:
        return 1

    def shape(self, name: TableName, schema: TableSchema) -> Shape:
        return self._shape(self._own, schema, list(enumerate(self._own.columns)))

    def read(self, shape: Shape, on_piece: Callable[[float], None] | None) -> Iterator[Row]:
        yield from self._rows

    def close(self) -> None: ...


class Silent:
    def start(self, table: str) -> None: ...
    def advance(self, fraction: float) -> None: ...
    def note(self, text: str) -> None: ...
    def finish(self, result: object) -> None: ...


class Gate:
    def __init__(self, *, passes: bool) -> None:
        self._passes = passes

    def wait(self, position: int, timeout_s: float) -> bool:
        return self._passes


def compared(
    source: TableSchema, rows: Sequence[Row], target: TableSchema, old: Sequence[Row], *, passes: bool = True
) -> TableResult:
    sides = Fixed(source, rows), Fixed(target, old)
    (result,) = compare_tables(*sides, [(source, target.name, len(rows))], Gate(passes=passes), Limits(), Silent())
    assert result.error is None
    return result


@pytest.mark.parametrize(("key", "old"), [("bigint", "k1"), ("bigint", MISFIT), ("bytea", "k1")])
def test_keys_of_an_earlier_type_are_others(key: str, old: object) -> None:
    """Their text was no number: verify ended with an error of Python's."""
    now, before = table(key, "text"), table("text", "text")
    row = (b"k1" if key == "bytea" else 1, "v")
    result = compared(now, [row], before, [(old, "v")])
    assert sorted(one.kind for one in result.differences) == ["extra", "missing"]
    assert not result.undecided
    assert compared(now, [row], before, [(old, "v")], passes=False).undecided, "it may be mere lag"


@pytest.mark.parametrize(("value", "held"), [("bigint", 1), ("jsonb", "[1]"), ("bytea", b"1")])
def test_values_of_an_earlier_type_differ(value: str, held: object) -> None:
    result = compared(table("bigint", value), [(1, held), (2, None)], table("bigint", "text"), [(1, "one"), (2, None)])
    assert [(one.key, one.kind) for one in result.differences] == [(("1",), "different")]


def test_a_number_is_not_taken_for_as_many_octets() -> None:
    result = compared(table("bigint", "bytea"), [(1, bytes(5))], table("bigint", "bigint"), [(1, 5)])
    assert [one.kind for one in result.differences] == ["different"]


def test_the_same_number_under_another_type_is_the_same() -> None:
    assert compared(table("text", "text"), [("1", "v")], table("bigint", "text"), [(1, "v")]).equal
