"""Lines of CSV are the same whoever makes them: the compiled twin, built or not, or Python."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.sink_kinds.row_files.formats import CsvFormat
from apply.sink_kinds.row_files.shape import shape_of
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.files import FilesTarget
from schemas.table import Column, TableName, TableSchema
from schemas.twin import built
from schemas.types import Family, LogicalType
from tests.kit.twin import Find, unbuilt
from tests.kit.type_samples import SAMPLES

FINDS = [pytest.param(built, id="built"), pytest.param(cache(unbuilt), id="unbuilt")]
TABLE = TableSchema(
    TableName("s", "t"), tuple(Column(f"c{i}", sample.type, sample.native) for i, sample in enumerate(SAMPLES)), (0,)
)
TEXTS = TableSchema(TableName("s", "t"), tuple(Column(n, LogicalType(Family.STRING), "text") for n in "ab"), (0,))
SETTINGS: list[dict[str, Any]] = [
    {},
    {"csv_delimiter": "\t", "csv_null_value": "", "csv_row_delimiter": "\r\n"},
    {"csv_delimiter": "é", "csv_null_value": "0", "csv_row_delimiter": ":-"},
]


def _nothing(_: str) -> None:
    return None


@cache
def _format(table: TableSchema, place: int, find: Find) -> CsvFormat:
    section = FilesTarget.model_validate({"engine": "files", "directory": str(Path("x")), **SETTINGS[place]})
    return CsvFormat(shape_of(table, section, loads=True), section, find)


def _row(turn: int) -> Row:
    return tuple(sample.values[turn % len(sample.values)] for sample in SAMPLES)


@pytest.mark.parametrize("place", range(len(SETTINGS)))
@pytest.mark.parametrize("find", FINDS)
def test_every_value_of_every_type_is_written_alike(find: Find, place: int) -> None:
    rows = [_row(turn) for turn in range(max(len(sample.values) for sample in SAMPLES))]
    rows += [tuple(UNCHANGED if i % 3 == part else None for i in range(len(SAMPLES))) for part in range(3)]
    expected = _format(TABLE, place, _nothing).encode(rows)
    assert _format(TABLE, place, find).encode(rows) == expected
    assert len(expected[0]) == len(rows)


@pytest.mark.parametrize("find", FINDS)
@given(
    st.lists(st.text() | st.sampled_from(("NULL", "0", "", "__debezium_unavailable_value")), min_size=2, max_size=2),
    st.sampled_from(range(len(SETTINGS))),
)
def test_texts_are_quoted_alike(find: Find, texts: list[str], place: int) -> None:
    rows = [tuple(texts)]
    assert _format(TEXTS, place, find).encode(rows) == _format(TEXTS, place, _nothing).encode(rows)


@pytest.mark.parametrize("find", [*FINDS, pytest.param(_nothing, id="python")])
def test_rows_of_other_widths_are_refused(find: Find) -> None:
    with pytest.raises(ValueError, match=r"^"):
        _format(TEXTS, 0, find).encode([("a",)])
