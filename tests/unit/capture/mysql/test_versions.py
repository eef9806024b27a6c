"""Versions of tables that only the log still knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import MappedColumn, TableMap
from capture.sources.mysql.catalog import Catalog, layout
from capture.sources.mysql.statements import Effect
from capture.sources.mysql.versions import Versions
from schemas.changes import SchemaChange
from schemas.errors import TailraceError
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


def _number(name: str) -> Column:
    return Column(name, LogicalType(Family.INT32), "int", nullable=False)


def _of(*tables: TableSchema, now: TableSchema | None, loads: bool = True) -> Versions:
    catalog = SimpleNamespace(
        find_table=lambda name: now if now is not None and name == now.name else None,
        names=lambda: [TableName("shop", "numbers")],
        charsets=SimpleNamespace(widths={45: 4}),
        keeps_old=lambda name, key: not key,
    )
    return Versions(
        cast("Catalog", catalog), Selection(["shop.*"]), list(tables), "error", folds_names=False, loads=loads
    )


def _shown(count: int, table: str = "a") -> TableMap:
    return TableMap("shop", table, (MappedColumn(binlog.LONG, 0, nullable=False),) * count)


def test_rows_whose_columns_nothing_tells_are_left_out_and_loaded() -> None:
    before, now = (TableSchema(NAME, tuple(map(_number, names)), (0,)) for names in (("id",), ("id", "v", "w")))
    versions = _of(before, now=now)
    for count, told in ((2, [(before, None), (None, now)]), (2, []), (4, [(now, None), (None, now)])):
        if count == 4:
            # It may have come and gone behind the load that the first rows have led to.
            assert versions.follow(Effect.OTHER, NAME, is_applied=False) == []
        resolved, changes = versions.resolve(_shown(count))
        assert resolved.table is None
        assert [(change.before, change.after) for change in changes] == told
    resolved, changes = versions.resolve(_shown(3))
    assert (resolved.table, changes) == (now, [])
    # Another time it is another load.
    assert len(versions.resolve(_shown(2))[1]) == 2
    with pytest.raises(TailraceError, match="has no names"):
        _of(before, now=now, loads=False).resolve(_shown(2))


def test_a_sequence_is_no_table() -> None:
    for loads in (True, False):
        resolved, changes = _of(now=None, loads=loads).resolve(_shown(8, "numbers"))
        assert (resolved.table, changes) == (None, [])
    with pytest.raises(TailraceError, match="has no names"):
        _of(now=None, loads=False).resolve(_shown(8, "gone"))
