"""Versions of tables that only the log still knows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import MappedColumn, TableMap
from capture.sources.mysql.catalog import Catalog, layout
from capture.sources.mysql.statements import Effect
from capture.sources.mysql.versions import Versions
from schemas.changes import SchemaChange, Transaction
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
        find_table=lambda name: None,
        is_versioned=lambda name: False,
        is_partial=lambda name: False,
        charsets=SimpleNamespace(widths={45: 4}),
        keeps_old=lambda name, key: not key,
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


def _of(
    *tables: TableSchema,
    now: TableSchema | None,
    loads: bool = True,
    versioned: Collection[TableName] = (),
    visible: int = 0,
) -> Versions:
    catalog = SimpleNamespace(
        find_table=lambda name: now if now is not None and name == now.name else None,
        is_versioned=lambda name: name in versioned,
        is_partial=lambda name: False,
        names=lambda: [TableName("shop", "numbers")],
        charsets=SimpleNamespace(widths={45: 4}),
        keeps_old=lambda name, key: not key,
    )
    return Versions(
        cast("Catalog", catalog),
        Selection(["shop.*"]),
        list(tables),
        "error",
        folds_names=False,
        loads=loads,
        visible_end=lambda txn: max(visible, txn.commit),
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


HISTORY = TableMap(
    "shop",
    "a",
    (
        MappedColumn(binlog.LONG, 0, nullable=False, name="id"),
        MappedColumn(binlog.TIMESTAMP2, 6, nullable=False, name="row_start"),
        MappedColumn(binlog.TIMESTAMP2, 6, nullable=False, name="row_end"),
    ),
    (0, 2),
)
"""A table whose log has its history, too."""


@pytest.mark.parametrize("loads", [True, False])
def test_a_table_that_keeps_its_history_by_now_is_captured_no_more(loads: bool) -> None:
    before = TableSchema(NAME, (_number("id"),), (0,))
    for shown in (HISTORY, _shown(3)):
        versions = _of(before, now=None, loads=loads, versioned=[NAME])
        for told in ([(before, None)], []):
            resolved, changes = versions.resolve(shown)
            assert (resolved.table, resolved.left_out) == (None, None)
            assert [(change.before, change.after) for change in changes] == told
        versions = _of(now=None, loads=loads, versioned=[NAME])
        assert versions.resolve(shown)[1] == []


def test_rows_among_those_of_a_history_are_left_out_once_the_table_keeps_none() -> None:
    """Else each would go out, for the log names its columns."""
    now = TableSchema(NAME, (_number("id"),), (0,))
    for before in ([now], []):
        versions = _of(*before, now=now)
        resolved, changes = versions.resolve(HISTORY)
        assert resolved.table is None
        assert [change.after for change in changes] == [*([None] * len(before)), now]
        # The statement that has taken the history away.
        versions.follow(Effect.OTHER, NAME, is_applied=False)
        resolved, changes = versions.resolve(_shown(1))
        assert (resolved.table, changes) == (now, [])
    # Where nothing is loaded, and the table is gone by now: none of its rows was wanted.
    assert _of(now=None, loads=False).resolve(HISTORY)[1] == []


def test_columns_called_like_those_of_a_history_are_like_others() -> None:
    columns = [
        _number("id"),
        *(
            Column(n, LogicalType(Family.TIMESTAMPTZ, scale=6), "timestamp(6)", nullable=False)
            for n in ("row_start", "row_end")
        ),
    ]
    table = TableSchema(NAME, tuple(columns), (0, 2))
    resolved, changes = _of(table, now=table).resolve(HISTORY)
    assert (resolved.table, changes) == (table, [])


def test_rows_that_statements_write_cost_one_load() -> None:
    """Of those that could be seen when it began: one that comes later costs another."""
    table, names = TableSchema(NAME, (_number("id"),), (0,)), [TableName("shop", "unknown"), NAME]
    versions = _of(table, now=table, visible=20)
    anew = [SchemaChange(NAME, table, table, is_rewritten=True)]
    for commit, told in ((10, anew), (11, []), (20, []), (21, anew)):
        assert versions.rewritten(Effect.WRITE, names, Transaction(str(commit), commit, commit, 0)) == told
    with pytest.raises(TailraceError, match="writes rows") as caught:
        _of(table, now=table, loads=False).rewritten(Effect.WRITE, names, Transaction("1", 1, 1, 0))
    assert caught.value.table == "shop.a"
    assert "binlog_format" in str(caught.value.remedy)
    # Of one that was emptied, or not, a load tells all.
    versions = _of(table, now=table, loads=False)
    assert versions.rewritten(Effect.MAY_TRUNCATE, names, Transaction("1", 1, 1, 0)) == anew


def test_a_table_that_comes_with_rows_of_a_query_is_loaded_or_ends_capture() -> None:
    table, read = TableSchema(NAME, (_number("id"),), (0,)), TableName("shop", "read")
    for name in (NAME, read):
        changes = _of(now=table).follow(Effect.FILL, name, is_applied=False)
        assert [(change.before, change.after) for change in changes] == ([(None, table)] if name == NAME else [])
    with pytest.raises(TailraceError, match="writes rows") as caught:
        _of(now=table, loads=False).follow(Effect.FILL, NAME, is_applied=False)
    assert caught.value.table == "shop.a"
    # It was there (`if not exists`), or is read only.
    assert _of(table, now=table, loads=False).follow(Effect.FILL, NAME, is_applied=False) == []


@pytest.mark.parametrize("nullable", [True, False])
def test_a_table_begins_anew_where_a_column_has_no_nulls_any_more(nullable: bool) -> None:
    before = TableSchema(NAME, (_number("id"), replace(_number("v"), nullable=nullable)), (0,))
    now = TableSchema(NAME, (_number("id"), _number("v")), (0,))
    changes = _of(before, now=now).follow(Effect.TIGHTEN, NAME, is_applied=False)
    assert [(change.before, change.after) for change in changes] == ([(before, None), (None, now)] if nullable else [])


@pytest.mark.parametrize("kind", [binlog.TIMESTAMP2, binlog.DATETIME2])
def test_a_version_that_only_the_log_knows_may_end_like_a_history(kind: int) -> None:
    """Its rows were left out, and where nothing is loaded capture ended: periods are kept by hand, too."""
    before = TableSchema(NAME, (_number("id"),), (0,))
    period = (MappedColumn(kind, 6, nullable=False, name=name) for name in ("row_start", "row_end"))
    shown = TableMap("shop", "a", (MappedColumn(binlog.LONG, 0, nullable=False, name="id"), *period), (0,))
    resolved, (change,) = _of(before, now=before, loads=False).resolve(shown)
    assert resolved.table is change.after is not None
    assert change.after.column_names == ("id", "row_start", "row_end")


def test_a_sequence_is_no_table() -> None:
    for loads in (True, False):
        resolved, changes = _of(now=None, loads=loads).resolve(_shown(8, "numbers"))
        assert (resolved.table, changes) == (None, [])
    with pytest.raises(TailraceError, match="has no names"):
        _of(now=None, loads=False).resolve(_shown(8, "gone"))
