"""Values before an update in DMS's documents, as `BeforeImageSettings` say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.before_image import BeforeImageSettings
from schemas.changes import UNCHANGED, Row
from schemas.dms_json import document_writer
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TABLE = TableSchema(
    TableName("s", "t"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("word", LogicalType(Family.STRING, length=20), "varchar(20)"),
        Column("essay", LogicalType(Family.STRING), "text"),
    ),
    key=(0,),
    full_before=True,
)
OLD, NEW = (1, "old", "long"), (1, "new", "longer")


@pytest.mark.parametrize(
    ("columns", "before", "expected"),
    [
        ("pk-only", OLD, {"id": 1}),
        ("non-lob", OLD, {"id": 1, "word": "old"}),
        ("all", OLD, {"id": 1, "word": "old", "essay": "long"}),
        # The log held no old row: the key is the same.
        ("pk-only", None, {"id": 1}),
        ("all", None, {"id": 1}),
        ("all", (1, UNCHANGED, None), {"id": 1, "essay": None}),
    ],
)
def test_an_update_holds_the_values_before_it_under_the_name_that_is_said(
    columns: Any, before: Row | None, expected: dict[str, Any]
) -> None:
    write = document_writer(TABLE, BeforeImageSettings(field="before-image", columns=columns))
    document = write("u", before, NEW, 7, 0, None)
    assert document["before-image"] == expected
    assert "before" not in document
    assert document["data"] == {"id": 1, "word": "new", "essay": "longer"}
    moved = write("c", (7, "old", UNCHANGED), NEW, 7, 0, None)
    assert moved["before-image"] == ({"id": 7} if columns == "pk-only" else {"id": 7, "word": "old"})
    assert "before" not in moved
    for op, old, new in (("c", None, NEW), ("r", None, NEW), ("d", OLD, None), ("t", None, None)):
        assert "before-image" not in write(op, old, new, 7, 0, None)


def test_without_settings_all_that_the_log_held_is_there() -> None:
    write = document_writer(TABLE)
    assert write("u", OLD, NEW, 7, 0, None)["before"] == {"id": 1, "word": "old", "essay": "long"}
    assert "before" not in write("u", None, NEW, 7, 0, None)
    # Another key makes an insert of it, which tells the old one.
    assert write("c", (7, UNCHANGED, UNCHANGED), NEW, 7, 0, None)["before"] == {"id": 7}
    assert "before" not in write("c", None, NEW, 7, 0, None)
    with pytest.raises(ValidationError, match="another member"):
        BeforeImageSettings(field="data")
