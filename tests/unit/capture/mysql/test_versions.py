"""Versions of tables that only the log still knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import MappedColumn, TableMap
from capture.sources.mysql.catalog import Catalog, layout
from capture.sources.mysql.versions import Versions
from schemas.changes import SchemaChange
from schemas.selection import Selection
from schemas.table import Column, GeneratedColumn, TableName, TableSchema
from schemas.types import Family, LogicalType

NAME = TableName("shop", "a")


def test_a_virtual_column_stands_where_the_map_has_it() -> None:
    """A column has come before it, and its type has changed: rows were read by the columns beside theirs."""
    number = Column("id", LogicalType(Family.INT32), "int", nullable=False)
    before = TableSchema(NAME, (number,), (0,), generated=(GeneratedColumn("v", "int", "id * 2", 1),))
    catalog = SimpleNamespace(
        find_table=lambda name: None, charsets=SimpleNamespace(widths={45: 4}), keeps_old=lambda name, key: not key
    )
    versions = Versions(cast("Catalog", catalog), Selection(["shop.*"]), [before], "error", folds_names=False)
    columns = [
        MappedColumn(kind, 0, name != "id", name=name)
        for name, kind in (("w", binlog.SHORT), ("id", binlog.LONG), ("v", binlog.LONGLONG))
    ]
    resolved, changes = versions.resolve(TableMap("shop", "a", tuple(columns), (1,)))
    (change,) = changes
    assert isinstance(change, SchemaChange)
    assert change.after is not None
    assert layout(change.after) == [("w", "smallint", 0), ("id", "int", 1), ("v", "bigint", None)]
    assert [column.place for column in resolved.columns] == [0, 1, None]
