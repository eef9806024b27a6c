"""What a change of a table means for the rows that targets have."""

from __future__ import annotations

import pytest

from capture.schema_changes import changes_key, rewrites_rows
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType


def _table(labels: str, *, key: int = 0) -> TableSchema:
    columns = (
        Column("id", LogicalType(Family.INT32), "integer", nullable=False, number=1),
        Column("mood", LogicalType(Family.ENUM), "public.mood", nullable=False, number=2),
    )
    types = (UserType("public", "mood", "enum", tuple(labels)),)
    return TableSchema(TableName("public", "t"), columns, (key,), user_types=types, number=7, storage=5)


@pytest.mark.parametrize(
    ("labels", "renames"),
    [("ab", False), ("abc", False), ("cadb", False), ("ac", True), ("ba", True), ("cb", True), ("", True)],
)
def test_renamed_labels_are_a_rewriting_and_added_ones_are_none(labels: str, renames: bool) -> None:
    before, after = _table("ab"), _table(labels)
    assert rewrites_rows(before, after, before.storage) is renames
    # Where a key is of the type, the rows have other keys.
    assert not changes_key(before, after)
    assert changes_key(_table("ab", key=1), _table(labels, key=1)) is renames
