"""Files for Neptune's loader: what another reader makes of them, and what never goes by one."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apply.sinks.neptune.elements import Change, Element, Elements
from apply.sinks.neptune.load_files import ENDS_HEADER, FileForm, can_load, line_of
from deploy.local.neptune import parsed
from schemas.endpoints.neptune import NeptuneTarget
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TABLE = TableSchema(
    name=TableName("public", "odd:names"),
    columns=(
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("na:me", LogicalType(Family.STRING), "text"),
        Column("ok", LogicalType(Family.BOOLEAN), "boolean"),
        Column("small", LogicalType(Family.INT16), "smallint"),
        Column("ratio", LogicalType(Family.FLOAT64), "double precision"),
        Column("price", LogicalType(Family.DECIMAL, precision=38, scale=2), "numeric(38,2)"),
    ),
    key=(0,),
)
ROWS = st.tuples(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.none() | st.text(st.characters(), max_size=20) | st.text("\",;\r\n\t\\ 'a", max_size=20),
    st.none() | st.booleans(),
    st.none() | st.integers(-(1 << 15), (1 << 15) - 1),
    st.none() | st.floats(),
    st.none() | st.integers(-(10**38) + 1, 10**38 - 1),
)


def elements(table: TableSchema, mapping: Any = None) -> list[Element]:
    section = NeptuneTarget.model_validate({"engine": "neptune", "url": "http://127.0.0.1:1", "graph_mapping": mapping})
    return Elements(table, section.graph_mapping).all


def is_sayable(row: tuple[Any, ...]) -> bool:
    """Tell whether a file can say a row, by the loader's documentation."""
    text, ratio = row[1], row[4]
    if text == "" or (text is not None and re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", text)):
        return False
    return ratio is None or math.isfinite(ratio)


@settings(max_examples=50)
@given(st.lists(ROWS, max_size=3))
def test_another_reader_finds_what_was_written(rows: list[tuple[Any, ...]]) -> None:
    (element,) = elements(TABLE)
    assert can_load(element)
    form, lines, expected = FileForm(element), [], []
    for row in rows:
        change = Change(str(row[0]), 7, 0)
        if not is_sayable(row):
            with pytest.raises(ValueError, match=r"text|surrogates"):
                form.line(row, change)
            continue
        line = form.line(row, change)
        assert line is not None
        lines.append(line)
        values = {name: value.text for name, value in element.values(row, change).items() if value is not None}
        expected.append({"~id": f"public.odd:names/{row[0]}", "~label": "odd:names", **values})
    found = parsed("key", form.header + b"".join(map(line_of, lines)))
    assert found.rows == expected
    kinds = {column.name: column.kind for column in found.columns}
    assert kinds == {
        "id": "Long",
        "na:me": "String",
        "ok": "Bool",
        "small": "Int",
        "ratio": "Double",
        "price": "String",
        "tailrace_seq.public.odd:names": "Long",
    }
    assert all(column.is_single for column in found.columns)


def mapping(vertex_id: str = "{id}", label: str | None = "thing", name: str = "name", edge_id: str = "e{id}") -> Any:
    vertex = {"vertex_id_template": vertex_id, "vertex_label": label, "vertex_definition_id": "v"}
    end = {"vertex_id_template": vertex_id, "vertex_definition_id": "v"}
    other = {"vertex_id_template": "t{small}", "vertex_definition_id": "v"}
    properties = [{"property_name": name, "property_value_template": "{na:me}"}]
    edge = {"from_vertex": end, "to_vertex": other, "edge_id_template": {"label": "to", "template": edge_id}}
    rule = {
        "rule_id": "1",
        "table_name": TABLE.name.table,
        "vertex_definitions": [vertex | {"vertex_properties": properties}],
        "edge_definitions": [edge | {"edge_properties": properties}],
    }
    return {"rules": [rule]}


def test_edges_name_their_ends_and_have_them_made() -> None:
    vertex, edge = elements(TABLE, mapping())
    form, row = FileForm(edge), (1, "x", None, 2, None, None)
    assert can_load(vertex)
    assert can_load(edge)
    line = form.line(row, Change("1", 7, 0))
    assert line is not None
    found = parsed("key", form.header + line_of(line))
    assert not any(column.is_single for column in found.columns), "an edge has one value of each property anyway"
    own = {"tailrace_seq.1.0": "7", "tailrace_row.1.0": "1"}
    assert found.rows == [{"~id": "e1", "~from": "1", "~to": "t2", "~label": "to", "name": "x", **own}]
    ends = parsed("key", ENDS_HEADER + b"".join(map(line_of, form.ends(row))))
    assert ends.rows == [{"~id": "1", "~label": "thing"}, {"~id": "t2", "~label": "thing"}]
    # A row in whose ids a column is null has no edge.
    assert form.line((1, "x", None, None, None, None), Change("1", 7, 0)) is None
    assert list(form.ends((1, "x", None, None, None, None))) == []


@pytest.mark.parametrize(
    ("changed", "loaded"),
    [
        ({}, [True, True]),
        # Rows share the vertex, or the edge: the loader would not know whose turn it is.
        ({"vertex_id": "{na:me}"}, [False, True]),
        ({"edge_id": "{small}"}, [True, False]),
        # Its label comes from another definition; the loader would give it one of its own.
        ({"label": None}, [False, False]),
        ({"label": "a;b"}, [False, False]),
        ({"name": "two words"}, [False, False]),
        ({"name": "a\\b"}, [False, False]),
    ],
)
def test_what_the_loader_cannot_do_goes_by_gremlin(changed: Any, loaded: list[bool]) -> None:
    assert [can_load(element) for element in elements(TABLE, mapping(**changed))] == loaded
