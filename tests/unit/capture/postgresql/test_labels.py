"""Labels that came to an enum after its table's version was made, beside other changes of the table."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from capture.sources.postgresql.catalog import Catalog
from capture.sources.postgresql.labels import Labels
from capture.sources.postgresql.versions import Versions
from capture.table_versions import changes_key, rewrites_rows
from schemas.changes import Change, RowChanges, SchemaChange, Transaction
from schemas.position import Position
from schemas.selection import Selection
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType

NAME = TableName("public", "t")
MOOD = UserType("public", "mood", "enum", labels=("a",))
TXN = Transaction("1", 1, 10, 0)
FORMER = TableSchema(
    NAME,
    (Column("m", LogicalType(Family.ENUM), "public.mood", nullable=False, number=1),),
    (0,),
    user_types=(MOOD,),
    number=7,
)
ALTERED = replace(
    FORMER, columns=(*FORMER.columns, Column("n", LogicalType(Family.INT32), "integer", number=2)), version=2
)


class Known:
    """What the catalogue knows of the type; each time that it is read, one label more than before if there is one."""

    def __init__(self, *labels: tuple[str, ...]) -> None:
        self._labels = list(labels)
        self.types = {1: SimpleNamespace(kind="e", schema="public", name="mood", labels=("a",))}

    def reload_user_types(self) -> None:
        if self._labels:
            self.types[1].labels = self._labels.pop(0)


def _rows(table: TableSchema, *rows: tuple[object, ...]) -> RowChanges:
    return RowChanges(table, TXN, ["c"] * len(rows), [None] * len(rows), list(rows))


def _versions(known: Known, in_force: TableSchema) -> Versions:
    return Versions(
        cast("Catalog", known), Selection(["public.*"]), [in_force], lambda _txn: None, lambda: Position(100)
    )


@pytest.mark.parametrize("labels", [[("a", "b")], [("a", "b"), ("a", "b", "c")]])
def test_a_version_behind_rows_with_later_labels_has_them_too(labels: list[tuple[str, ...]]) -> None:
    """It was read before they were: the labels seemed to be gone, so that the table was loaded again, or began anew
    where its key has them. And two versions had one number.
    """
    versions = _versions(Known(*labels), ALTERED)
    changes: list[Change] = [_rows(FORMER, ("b",)), SchemaChange(NAME, FORMER, ALTERED), _rows(ALTERED, ("b", 1))]
    renewed = Labels(versions.renewed).announce(changes)
    first, before, second, after = changes
    assert isinstance(first, SchemaChange)
    assert isinstance(second, SchemaChange)
    assert isinstance(before, RowChanges)
    assert isinstance(after, RowChanges)
    assert first.after is not None
    assert second.after is not None
    assert (first.before, second.before) == (FORMER, first.after)
    assert (before.table, after.table) == (first.after, second.after)
    assert first.after.user_types[0].labels == labels[0]
    assert second.after.user_types[0].labels == labels[-1]
    assert [c.name for c in second.after.columns] == ["m", "n"]
    assert (first.after.version, second.after.version) == (2, 3)
    assert not rewrites_rows(first.after, second.after, None)
    assert not changes_key(first.after, second.after)
    assert renewed[id(ALTERED)] is second.after
    assert versions.renewed(second.after, 0) is second.after
    changes = [_rows(second.after, ("c", 2))]
    Labels(_versions(Known(("a", "b", "c")), second.after).renewed).announce(changes)
    assert changes[-1].table.user_types[0].labels == ("a", "b", "c")  # type: ignore[union-attr]


def test_a_table_that_goes_and_comes_behind_such_rows_begins_anew() -> None:
    another = replace(ALTERED, number=8, version=1)
    versions = _versions(Known(("a", "b")), another)
    gone, come = SchemaChange(NAME, FORMER, None), SchemaChange(NAME, None, another)
    changes: list[Change] = [_rows(FORMER, ("b",)), gone, come, _rows(another, ("a", 1))]
    Labels(versions.renewed).announce(changes)
    told, _, left, begun, rows = changes
    assert isinstance(told, SchemaChange)
    assert isinstance(left, SchemaChange)
    assert isinstance(rows, RowChanges)
    assert (left.before, left.after) == (told.after, None)
    assert begun is come
    assert rows.table is another


def test_what_an_applier_has_altered_behind_such_rows_says_nothing_of_the_version() -> None:
    versions = _versions(Known(("a", "b")), FORMER)
    applied = SchemaChange(NAME, FORMER, FORMER, is_applied=True)
    changes: list[Change] = [_rows(FORMER, ("b",)), applied, _rows(FORMER, ("b",))]
    Labels(versions.renewed).announce(changes)
    told, first, said, second = changes
    assert isinstance(told, SchemaChange)
    assert isinstance(said, SchemaChange)
    assert isinstance(first, RowChanges)
    assert isinstance(second, RowChanges)
    assert said.is_applied
    assert said.before is said.after is told.after is first.table is second.table
