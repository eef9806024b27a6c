"""Whole old rows of tables with a key, where a target asks for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from capture.sources.mysql.source import MysqlServer
from schemas.changes import UNCHANGED, RowChanges, SchemaChange
from tests.integration.mysql_source.reading import SERVER_ID, Reading, flatten


@pytest.fixture
def asking(reading: Reading) -> Reading:
    """A source of which a target wants the old rows of table `a`."""
    reading.source.close()
    reading.source = MysqlServer(reading.settings, SERVER_ID, keeps_old=lambda name: name.table == "a")
    return reading


def test_old_rows_are_whole_of_those_tables_that_are_asked_for(asking: Reading) -> None:
    asking.database.execute(
        "create table a (id int primary key, t varchar(20))", "create table b (id int primary key, t varchar(20))"
    )
    asking.begin()
    assert [(table.name.table, table.full_before) for table in asking.tables] == [("a", True), ("b", False)]
    for table in ("a", "b"):
        asking.database.execute(
            f"insert into {table} values (1, 'one')",
            f"update {table} set t = 'two'",
            f"update {table} set id = 2",
            f"alter table {table} add column n int",
            f"update {table} set n = 3",
            f"delete from {table}",
        )
    rows = [one for one in asking.flat() if one[1] != "s"]
    assert rows == [
        ("a", "c", None, (1, "one")),
        ("a", "u", (1, "one"), (1, "two")),
        ("a", "u", (1, "two"), (2, "two")),
        ("a", "u", (2, "two", None), (2, "two", 3)),
        ("a", "d", (2, "two", 3), None),
        ("b", "c", None, (1, "one")),
        ("b", "u", None, (1, "two")),
        ("b", "u", (1, UNCHANGED), (2, "two")),
        ("b", "u", None, (2, "two", 3)),
        ("b", "d", (2, UNCHANGED, UNCHANGED), None),
    ]


def test_an_old_row_of_a_part_of_the_columns_stops_nothing(asking: Reading) -> None:
    asking.database.execute(
        "create table a (id int primary key, t varchar(20), n int)", "insert into a values (1, 'x', 1)"
    )
    asking.begin()
    connection = asking.database.connect()
    connection.run("set session binlog_row_image = 'MINIMAL'")
    connection.run("update a set t = 'y'")
    connection.run("delete from a")
    connection.close()
    assert asking.flat() == [
        ("a", "u", (1, None, None), (1, "y", UNCHANGED)),
        ("a", "d", (1, None, None), None),
    ]


@pytest.mark.parametrize("was", [False, True])
def test_a_capture_that_is_asked_for_others_goes_on_with_another_version(asking: Reading, was: bool) -> None:
    asking.database.execute("create table a (id int primary key, t varchar(20))", "insert into a values (1, 'x')")
    asking.begin()
    wants = [table.name.table for table in asking.tables if table.full_before] if not was else []
    asking.tables = [replace(table, full_before=was) for table in asking.tables]
    source = MysqlServer(asking.settings, SERVER_ID, keeps_old=lambda name: name.table in wants)
    asking.source.close()
    asking.source = source
    asking.database.execute("update a set t = 'y'")
    first, *changes = asking.changes()
    assert isinstance(first, SchemaChange)
    assert first.before == asking.tables[0]
    assert first.after == source.tables()[0]
    assert first.after is not None
    assert first.after.full_before is not was
    assert flatten(changes) == [("a", "u", None if was else (1, "x"), (1, "y"))]
    assert all(change.table == first.after for change in changes if isinstance(change, RowChanges))
