"""Tables of the source that are one at the target: when one of them has been dropped, the others get a column that is
filled with another value in each.
"""

from __future__ import annotations

from dataclasses import replace

from apply.mapped_sink import MappedSink
from apply.schema_catalog import Known
from apply.sink import Sink, TableBatch
from schemas.mappings.rules import TransformationRule
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

FILLINGS = {"east": "it's east", "west": "west"}
KEPT = [
    ("1", "of east", "it's east"),
    ("1", "of north", None),
    ("1", "of west", "west"),
    ("2", "of east", "it's east"),
    ("2", "of north", None),
    ("2", "of west", "west"),
    ("3", "of west", "own"),
]
"""Key, shard and the new column, of what `fill` leaves."""


def fill(sink: Sink, rules: list[TransformationRule], tables: tuple[TableSchema, ...]) -> None:
    """Write rows of an integer key and two texts before and after the change, and such as come late."""
    north = replace(tables[0], name=TableName(tables[0].name.schema, "north"))
    known, gone = [*tables, north], set[TableName]()
    tables = (*tables, north)
    mapped = MappedSink(sink, rules, tables=lambda: [Known(table, table.name in gone) for table in known])
    for table in tables:
        mapped.prepare(table)
    for table in tables:
        assert mapped.apply(TableBatch(table, [(1, "a", "x")])) == []
    mapped.flush()
    gone.add(north.name)
    text = LogicalType(Family.STRING, length=20)
    for place, table in enumerate(tables[:-1]):
        filling = FILLINGS[table.name.table]
        column = Column("region", text, "character varying(20)", nullable=False, filling=filling)
        known[place] = replace(table, columns=(*table.columns, column), version=2)
    for table in known[:-1]:
        mapped.prepare(table)
    # Of each there are rows of before on their way.
    for table in tables:
        assert mapped.apply(TableBatch(table, [(2, "b", "y")])) == []
    assert mapped.apply(TableBatch(known[-2], [(3, "c", "z", "own")])) == []
    mapped.flush()
