"""Two tables of the source that are one at the target, and get a column that was filled with another value in each."""

from __future__ import annotations

from dataclasses import replace

from apply.mapped_sink import MappedSink
from apply.schema_catalog import Known
from apply.sink import Sink, TableBatch
from schemas.mappings.rules import TransformationRule
from schemas.table import Column, TableSchema
from schemas.types import Family, LogicalType

FILLINGS = {"east": "it's east", "west": "west"}
KEPT = [
    ("1", "of east", "it's east"),
    ("1", "of west", "west"),
    ("2", "of east", "it's east"),
    ("2", "of west", "west"),
    ("3", "of west", "own"),
]
"""Key, shard and the new column, of what `fill` leaves."""


def fill(sink: Sink, rules: list[TransformationRule], tables: tuple[TableSchema, ...]) -> None:
    """Write rows of an integer key and two texts before and after the change, and such as come late."""
    known = list(tables)
    mapped = MappedSink(sink, rules, tables=lambda: [Known(table, is_gone=False) for table in known])
    for table in tables:
        mapped.prepare(table)
    for table in tables:
        assert mapped.apply(TableBatch(table, [(1, "a", "x")])) == []
    mapped.flush()
    text = LogicalType(Family.STRING, length=20)
    for place, table in enumerate(tables):
        column = Column("region", text, "character varying(20)", filling=FILLINGS[table.name.table])
        known[place] = replace(table, columns=(*table.columns, column), version=2)
    for table in known:
        mapped.prepare(table)
    for table in tables:
        assert mapped.apply(TableBatch(table, [(2, "b", "y")])) == []
    assert mapped.apply(TableBatch(known[-1], [(3, "c", "z", "own")])) == []
    mapped.flush()
