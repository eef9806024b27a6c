"""Statements that change rows which the log does not name: loads bring what they have led to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pymysql
import pytest

from capture.sources.mysql.source import MysqlServer
from schemas.errors import ErrorKind
from tests.integration.mysql_source.reading import SERVER_ID, Flat, Reading, flatten, positions_in, read_to
from tests.kit.refusals import refused

TABLES = (
    "create table a (id int primary key, v int)",
    "create table b (id int primary key, v int)",
    "insert into a values (1, 1), (2, 2), (3, 3)",
    "insert into b values (7, 7)",
)


@contextmanager
def _statements(reading: Reading) -> Iterator[pymysql.Connection]:
    """Open a session that logs statements, as tools that compare tables do."""
    address = reading.database.address
    session = pymysql.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=reading.database.name,
        autocommit=True,
        local_infile=True,
    )
    with closing(session):
        _run(session, "set session binlog_format = 'STATEMENT'")
        yield session


def _run(session: pymysql.Connection, *statements: str) -> None:
    with session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _told(table: str) -> list[Flat]:
    """What leads to a load."""
    return [(table, "s", None, ("id", "v"))]


def _anew(table: str) -> list[Flat]:
    """What lets a table begin anew."""
    return [(table, "s", None, None), *_told(table)]


def test_a_table_that_statements_write_begins_anew(any_reading: Reading) -> None:
    reading = any_reading
    reading.database.execute(*TABLES)
    reading.begin()
    with _statements(reading) as session:
        _run(session, "update a set v = v + 10 where id < 3", "delete from a where id = 3")
        # It reads the other one.
        _run(session, "insert into b (id, v) select id + 100, v from a")
        _run(session, "set session binlog_format = 'ROW'", "insert into a values (4, 4)")
    found = reading.flat()
    assert found[:1] == _told("a")
    # What could be seen by then is in the load that the first one has led to.
    assert [flat for flat in found if flat[1] != "s"] == [("a", "c", None, (4, 4))]
    assert [flat for flat in found if flat[0] == "b"] == _told("b")
    tables = {table.name.table: table for table in reading.source.tables()}
    assert sorted(reading.rows(tables["a"])) == [(1, 11), (2, 12), (4, 4)]
    assert sorted(reading.rows(tables["b"])) == [(7, 7), (101, 11), (102, 12)]


def test_reading_goes_on_in_a_transaction_of_rows_and_statements(any_reading: Reading) -> None:
    reading = any_reading
    reading.database.execute(*TABLES)
    reading.begin()
    with _statements(reading) as session:
        _run(
            session,
            "set session binlog_format = 'ROW'",
            "set autocommit = 0",
            "insert into b values (8, 8)",
            "commit",
            "set session binlog_format = 'STATEMENT'",
            "update a set v = 0",
            "insert into b values (9, 9)",
            "commit",
            "set session binlog_format = 'ROW'",
            "delete from b where id = 7",
            "commit",
        )
    changes = reading.changes()
    rows = [flat for flat in flatten(changes) if flat[1] != "s"]
    assert [(op, (after or before or ())[0]) for _, op, before, after in rows] == [("c", 8), ("d", 7)]
    assert [flat for flat in flatten(changes) if flat[1] == "s"] == [*_told("a"), *_told("b")]
    done = 0
    for i, position in enumerate(positions_in(changes, reading.start)):
        done += i > 0 and position.row > 0
        assert [flat for flat in reading.flat(position) if flat[1] != "s"] == rows[done:]


def test_what_a_file_brings_is_loaded(any_reading: Reading, tmp_path: Path) -> None:
    reading = any_reading
    reading.database.execute(*TABLES)
    reading.begin()
    file = tmp_path / "rows.csv"
    file.write_text("21,1\n22,2\n")
    with _statements(reading) as session:
        _run(session, f"load data local infile '{file}' into table a fields terminated by ',' (id, v)")
    assert reading.flat() == _told("a")


def test_of_xa_the_commit_tells(any_reading: Reading) -> None:
    """Before it no load sees what was written."""
    reading = any_reading
    reading.database.forget_log()
    reading.database.execute(*TABLES)
    reading.begin()
    with _statements(reading) as session:
        _run(session, "xa start 'x'", "update a set v = 5", "xa end 'x'", "xa prepare 'x'")
    try:
        assert reading.flat() == []
    finally:
        reading.database.execute("xa commit 'x'")
    (table,) = (table for table in reading.tables if table.name.table == "a")
    changes = reading.changes()
    assert flatten(changes) == _told("a")
    assert {row[1] for row in reading.rows(table)} == {5}


def test_a_table_made_of_a_query_is_loaded(reading: Reading) -> None:
    reading.database.execute(*TABLES)
    reading.begin()
    with _statements(reading) as session:
        _run(session, "create table d (id int primary key, v int) select * from a")
    assert reading.flat() == [("d", "s", None, ("id", "v"))]
    (table,) = (table for table in reading.source.tables() if table.name.table == "d")
    assert sorted(reading.rows(table)) == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(
    "statement", ["insert into b select * from a", "create table d (id int primary key, v int) select * from a"]
)
def test_where_nothing_is_loaded_reading_ends(reading: Reading, statement: str) -> None:
    reading.database.execute(*TABLES)
    reading.begin()
    with _statements(reading) as session:
        _run(session, statement)
    source = MysqlServer(reading.settings, SERVER_ID, loads=False)
    try:
        end = source.current_position()
        with (
            closing(source.open_log(reading.start, reading.tables)) as log,
            refused(ErrorKind.PREREQUISITE, "writes rows of the table", "binlog_format = 'ROW'"),
        ):
            read_to(log, end)
    finally:
        source.close()


@pytest.mark.parametrize("format_", ["STATEMENT", "MIXED", "ROW"])
def test_a_truncate_of_a_temporary_table_empties_no_other_one(any_reading: Reading, format_: str) -> None:
    """Sessions that log statements log it as they would one of the table that it hides."""
    reading = any_reading
    reading.database.execute(*TABLES)
    reading.begin()
    with reading.log() as log:
        with _statements(reading) as session:
            _run(session, f"set session binlog_format = '{format_}'", "create temporary table a (id int, v int)")
            _run(session, "truncate table a", "insert into a values (9, 9)", "truncate a", "drop table a")
            _run(session, "create temporary table a (id int)", "truncate a")
        with _statements(reading) as session:
            _run(session, f"set session binlog_format = '{format_}'", "truncate table b")
        assert flatten(read_to(log, reading.source.current_position())) == [("b", "t", None, None)]
    # Where nothing tells which one it was the table would be loaded.
    assert reading.flat() == [("b", "t", None, None)]
    (table,) = (table for table in reading.tables if table.name.table == "a")
    assert sorted(reading.rows(table)) == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("mysql_database", ["mariadb"], indirect=True)
@pytest.mark.parametrize("format_", ["STATEMENT", "ROW"])
@pytest.mark.parametrize("renamed", ["rename table a to c", "alter table a rename to c"])
def test_a_temporary_table_that_is_renamed_takes_no_other_one_along(
    reading: Reading, format_: str, renamed: str
) -> None:
    reading.database.execute(*TABLES)
    reading.begin()
    with _statements(reading) as session:
        _run(session, f"set session binlog_format = '{format_}'", "create temporary table a (id int, v int)")
        _run(session, renamed, "truncate table c", "drop temporary table c", "insert into a values (4, 4)")
    found = reading.flat()
    assert [flat for flat in found if flat[1] == "s" and flat not in _told("a")] in ([], _anew("a")[:1])
    assert not [flat for flat in found if flat[1] == "t"]
    assert {table.name.table for table in reading.source.tables()} == {"a", "b"}


@pytest.mark.parametrize("loads", [True, False])
def test_a_truncate_in_a_routine_with_temporary_tables_is_one(any_reading: Reading, *, loads: bool) -> None:
    """Of a session that was there before, nothing tells: the table is loaded, in mode `cdc` too."""
    reading = any_reading
    reading.database.execute(
        *TABLES,
        "create procedure empties() begin create temporary table x (id int); insert into x values (1); "
        "truncate table x; truncate table a; drop temporary table x; end",
    )
    reading.begin()
    source = MysqlServer(reading.settings, SERVER_ID, loads=loads)
    inserted = ("a", "c", None, (4, 4))
    try:
        with closing(source.open_log(reading.start, reading.tables)) as log:
            reading.database.execute("call empties()", "insert into a values (4, 4)")
            assert flatten(read_to(log, source.current_position())) == [("a", "t", None, None), inserted]
        with closing(source.open_log(reading.start, reading.tables)) as log:
            found = flatten(read_to(log, source.current_position()))
            assert found in ([*_told("a"), inserted], [("a", "t", None, None), inserted])
    finally:
        source.close()


def test_nulls_that_an_alter_makes_zeros_are_loaded_again(reading: Reading) -> None:
    """Where a session is not strict no error tells of them, and no row."""
    reading.database.execute("create table a (id int primary key, v int)", "insert into a values (1, null), (2, 2)")
    reading.begin()
    # Sessions of tests are not strict.
    reading.database.execute("alter table a modify v int not null")
    assert reading.flat() == _anew("a")
    (table,) = reading.source.tables()
    assert sorted(reading.rows(table)) == [(1, 0), (2, 2)]


@pytest.mark.parametrize("mysql_database", ["mariadb"], indirect=True)
def test_rows_that_an_alter_ignores_are_gone(reading: Reading) -> None:
    """MariaDB keeps one row of those that have the same value of a new unique index."""
    reading.database.execute(
        "create table a (id int primary key, v int)", "insert into a values (1, 5), (2, 5), (3, 6)"
    )
    reading.begin()
    reading.database.execute("alter ignore table a add unique key (v)")
    assert reading.flat() == _anew("a")
    (table,) = reading.source.tables()
    assert len(reading.rows(table)) == 2
