"""Columns that servers make for themselves: nobody asked for them, the catalogue does not show them, and no row has
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from schemas.changes import UNCHANGED, SchemaChange
from tests.integration.mysql_source.reading import Flat, Reading, flatten, read_to


@pytest.fixture(params=["FULL", "MINIMAL", "NO_LOG"])
def metadata(request: pytest.FixtureRequest, reading: Reading) -> Iterator[None]:
    """Let the log say of columns what it says in each of its modes."""
    reading.database.execute(f"set global binlog_row_metadata = '{request.param}'")
    yield
    reading.database.execute("set global binlog_row_metadata = 'FULL'")


def _follow(reading: Reading, steps: Sequence[tuple[Sequence[str], list[Flat]]]) -> None:
    """Run statements one after the other, each read before the next, and compare their rows; at last with a load."""
    with reading.log() as log:
        for statements, rows in steps:
            reading.database.execute(*statements)
            changes = read_to(log, reading.source.current_position())
            assert [flat for flat in flatten(changes) if flat[1] != "s"] == rows, statements
            for change in changes:
                if isinstance(change, SchemaChange) and change.after is not None:
                    assert change.after.column_names == reading.source.tables()[0].column_names


@pytest.mark.usefixtures("metadata")
@pytest.mark.parametrize("mysql_database", ["mariadb"], indirect=True)
def test_the_hash_of_a_long_unique_value_is_nobodys_column(reading: Reading) -> None:
    """The log has one for each such index, behind all other columns. It was taken for a column of the table's, or its
    rows for those of another table.
    """
    reading.database.execute(
        "create table a (id int primary key, t text, u varchar(3000), v int unsigned, g int as (v + 1) virtual, "
        "unique (t), unique (u))"
    )
    reading.begin()
    (table,) = reading.tables
    assert table.column_names == ("id", "t", "u", "v")
    old = (UNCHANGED,) * 3
    _follow(
        reading,
        [
            (
                (
                    "insert into a (id, t, u, v) values (1, 'x', 'y', 1), (2, null, 'z', 4294967295)",
                    "update a set t = 'w' where id = 1",
                ),
                [
                    ("a", "c", None, (1, "x", "y", 1)),
                    ("a", "c", None, (2, None, "z", 4_294_967_295)),
                    ("a", "u", None, (1, "w", "y", 1)),
                ],
            ),
            (
                ("alter table a add column w int default 5", "insert into a (id, t, u, v) values (3, 't', 'u', 3)"),
                [("a", "c", None, (3, "t", "u", 3, 5))],
            ),
            (("alter table a drop index t", "delete from a where id = 2"), [("a", "d", (2, *old, UNCHANGED), None)]),
            (
                ("alter table a add unique b (t), add unique (v) using hash", "update a set w = 7 where id = 3"),
                [("a", "u", None, (3, "t", "u", 3, 7))],
            ),
            (
                ("alter table a drop index b, drop index u, drop index v", "update a set w = 8 where id = 3"),
                [("a", "u", None, (3, "t", "u", 3, 8))],
            ),
        ],
    )
    assert sorted(reading.rows(reading.source.tables()[0])) == [(1, "w", "y", 1, 5), (3, "t", "u", 3, 8)]


@pytest.mark.parametrize("mysql_database", ["mariadb"], indirect=True)
def test_a_hash_that_only_the_log_still_knows_is_none_either(reading: Reading) -> None:
    """The index is gone by the time its rows are read, and so is one of the columns."""
    database = reading.database
    database.execute("create table a (id int primary key, t text, v int, unique (t))")
    reading.begin()
    database.execute(
        "insert into a values (1, 'x', 1)",
        "alter table a add column w int first",
        "insert into a values (2, 2, 'y', 2)",
        "alter table a drop column v, drop index t",
        "insert into a values (3, 3, 'z')",
    )
    found = reading.flat()
    assert [flat for flat in found if flat[1] == "c"] == [
        ("a", "c", None, (1, "x", 1)),
        ("a", "c", None, (2, 2, "y", 2)),
        ("a", "c", None, (3, 3, "z")),
    ]
    assert {after for _, op, _, after in found if op == "s"} == {("w", "id", "t", "v"), ("w", "id", "t")}


@pytest.mark.parametrize("mysql_database", ["mysql", "mysql8"], indirect=True)
def test_what_an_index_over_an_expression_is_kept_in_is_nobodys_column(reading: Reading) -> None:
    """MySQL 8.0.15 logged it, under names that nobody can tell from those of other columns."""
    reading.database.execute(
        "create table a (id int primary key, t varchar(20), v int, key f ((lower(t))), unique g ((v * 2)))"
    )
    reading.begin()
    _follow(
        reading,
        [
            (
                ("insert into a values (1, 'X', 1), (2, null, 2)", "update a set t = 'W' where id = 1"),
                [
                    ("a", "c", None, (1, "X", 1)),
                    ("a", "c", None, (2, None, 2)),
                    ("a", "u", None, (1, "W", 1)),
                ],
            ),
            (
                (
                    "alter table a add column w int default 5, add key h ((w + v))",
                    "insert into a values (3, 't', 3, 6)",
                ),
                [("a", "c", None, (3, "t", 3, 6))],
            ),
            (
                ("alter table a drop index h, drop index f, drop column w", "delete from a where id = 2"),
                [("a", "d", (2, UNCHANGED, UNCHANGED), None)],
            ),
        ],
    )
    assert sorted(reading.rows(reading.source.tables()[0])) == [(1, "W", 1), (3, "t", 3)]
