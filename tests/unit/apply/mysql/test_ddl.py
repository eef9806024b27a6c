"""Statements that lead a MySQL table to a later version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apply.sink_kinds.relational.difference import difference
from apply.sinks.mysql.catalog import PRIMARY, TargetColumn, TargetTable, UniqueIndex
from apply.sinks.mysql.ddl import Alteration
from apply.sinks.mysql.errors import refusal
from schemas.errors import ErrorKind
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
    clauses = Alteration(after, difference(before, after), target, frozenset()).clauses()
    assert clauses[-1] == "add primary key (`v`)"
    (clause,) = [clause for clause in clauses if "column `v`" in clause]
    assert "not null" in clause


@pytest.mark.parametrize("is_key", [True, False])
def test_a_column_is_added_under_a_name_that_another_one_had(is_key: bool) -> None:
    """It was left out, since the name was there: the rows' statements met a table without it (1054)."""
    added = Column("id", LogicalType(Family.INT32), "int", nullable=False, number=3)
    before = TableSchema(NAME, (FIRST, replace(SECOND, number=0)), ())
    after = TableSchema(NAME, (replace(FIRST, name="v"), added), (1,) if is_key else ())
    columns = {
        column.name: TargetColumn(column.name, "int", "int", "", "", False, False, False, 0)
        for column in before.columns
    }
    target = TargetTable(NAME, kind="table", storage="InnoDB", columns=columns, unique=(), referring=())
    change = difference(before, after)
    assert change.reused == {"id", "v"}
    assert Alteration(after, change, target, frozenset()).clauses() == [
        "drop column `v`",
        "change column `id` `v` int null default null",
        "add column `id` int not null" if is_key else "add column `id` int null default null",
        *(["add primary key (`id`)"] if is_key else []),
    ]


def test_a_column_that_counts_becomes_the_keys_first() -> None:
    """The same columns in another order were no other key: no server takes a counting column behind another (1075)."""
    key = [replace(column, nullable=False) for column in (FIRST, SECOND)]
    before = TableSchema(NAME, tuple(key), (0, 1))
    after = TableSchema(NAME, (key[0], replace(key[1], identity="by default")), (1, 0))
    columns = {
        column.name: TargetColumn(column.name, "int", "int", "", "", True, False, False, 0) for column in before.columns
    }
    primary = UniqueIndex(PRIMARY, frozenset(columns), whole=True)
    target = TargetTable(NAME, kind="table", storage="InnoDB", columns=columns, unique=(primary,), referring=())
    assert Alteration(after, difference(before, after), target, frozenset()).clauses() == [
        "drop primary key",
        f"change column `{key[1].name}` `{key[1].name}` int not null auto_increment",
        f"add primary key (`{key[1].name}`, `{key[0].name}`)",
    ]


def test_a_name_that_is_too_long_suspends_its_table_with_what_to_do() -> None:
    error = refusal(1059, "creating a table", "shop.a")
    assert (error.kind, error.table) == (ErrorKind.TARGET_SCHEMA, "shop.a")
    assert "64 characters" in str(error.remedy)
