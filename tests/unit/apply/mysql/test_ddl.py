"""Statements that lead a MySQL table to a later version."""

from __future__ import annotations

import pytest

from apply.frames.relational.difference import difference
from apply.sinks.mysql.catalog import TargetColumn, TargetTable
from apply.sinks.mysql.ddl import alter_table
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

NAME = TableName("shop", "a")
FIRST = Column("id", LogicalType(Family.INT32), "int", nullable=False, number=1)
SECOND = Column("v", LogicalType(Family.INT32), "int", nullable=False, number=2)


@pytest.mark.parametrize("is_there", [True, False])
def test_another_keys_columns_are_not_null(is_there: bool) -> None:
    """MySQL takes no key over others: a table whose key went to another column stood still with 1171."""
    before = TableSchema(NAME, (FIRST, SECOND) if is_there else (FIRST,), (0,))
    after = TableSchema(NAME, (FIRST, SECOND), (1,))
    columns = {
        column.name: TargetColumn(column.name, "int", "int", "", "", column is FIRST, False, False, 0)
        for column in before.columns
    }
    target = TargetTable(NAME, kind="table", storage="InnoDB", columns=columns, unique=(), referring=())
    clauses = alter_table(after, difference(before, after), target, frozenset())
    assert clauses[-1] == "add primary key (`v`)"
    (clause,) = [clause for clause in clauses if "column `v`" in clause]
    assert "not null" in clause
