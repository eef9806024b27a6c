"""Tables that are rebuilt or altered without new rows, amid changes: what is read of them by log, load and look-up."""

from __future__ import annotations

import pytest

from capture.sources.mysql import source
from capture.sources.mysql.completion import Completion
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.position import Place
from capture.sources.mysql.snapshot import MysqlSnapshotReader, begin_snapshot
from schemas.changes import UNCHANGED, RowChanges
from tests.integration.mysql_source.reading import Reading


def test_a_table_that_is_rebuilt_behind_a_snapshot_is_read_in_another_one(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading.database.execute("create table a (id int primary key, v int)", "insert into a values (1, 2)")
    (table,) = reading.source.tables()
    (chunk,) = reading.reader.plan(table, 10)
    placed = MysqlSnapshotReader._placed
    begun: list[Place] = []

    def rebuilt(reader: MysqlSnapshotReader, connection: Connection) -> Place:
        begun.append(placed(reader, connection))
        if len(begun) == 1:
            reading.database.execute("alter table a force", "insert into a values (3, 4)")
        return begun[-1]

    monkeypatch.setattr(MysqlSnapshotReader, "_placed", rebuilt)
    rows = [row for batch in reading.reader.read(table, chunk, 10) for row in batch]
    assert sorted(rows) == [(1, 2), (3, 4)]
    assert reading.reader.snapshot().high == begun[1].size > begun[0].size


def test_values_are_looked_up_in_a_table_that_is_rebuilt_meanwhile(reading: Reading) -> None:
    """A snapshot does not know a table that was rebuilt after it began (error 1412)."""
    reading.database.execute("create table a (id int primary key, v int default 7)", "insert into a values (0, 0)")
    reading.begin()
    session, other = reading.database.connect(), reading.database.connect()
    session.run("set session binlog_row_image = 'MINIMAL'")
    session.run("insert into a (id) values (1)")
    (changes,) = [change for change in reading.changes() if isinstance(change, RowChanges)]

    def begin(connection: Connection) -> Place:
        place = begin_snapshot(connection, by_files=False)
        other.run("alter table a force")
        return place

    changes.after[0] = (1, UNCHANGED)
    Completion(lambda: session, begin, "null").complete(changes)
    assert changes.after == [(1, 7)]
    session.close()
    other.close()


def test_one_snapshot_tells_that_all_is_visible_which_the_log_held(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capture that was behind asked the server six questions for each transaction, and came no nearer."""
    reading.database.execute("create table a (id int primary key, v int default 7)")
    reading.begin()
    session = reading.database.connect()
    session.run("set session binlog_row_image = 'MINIMAL'")
    for key in range(5):
        session.run(f"insert into a (id) values ({key})")
    begun: list[Place] = []

    def counted(connection: Connection, *, by_files: bool) -> Place:
        begun.append(begin_snapshot(connection, by_files=by_files))
        return begun[-1]

    monkeypatch.setattr(source, "begin_snapshot", counted)
    assert [after for *_, after in reading.flat()] == [(key, 7) for key in range(5)]
    assert len(begun) == 1
    session.run("insert into a (id) values (5)")
    assert len(reading.flat()) == 6
    assert len(begun) == 2, "what came behind it needs another one"
    session.close()


def test_values_of_a_table_that_is_gone_are_their_defaults(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key, v int default 7)")
    reading.begin()
    session = reading.database.connect()
    session.run("set session binlog_row_image = 'MINIMAL'")
    session.run("insert into a (id) values (1)")
    session.run("drop table a")
    session.close()
    assert reading.flat() == [("a", "c", None, (1, 7)), ("a", "s", None, None)]


def test_rebuilds_and_columns_that_are_added_at_once_leave_rows_as_they_are(reading: Reading) -> None:
    """By the server's own word the rows that are there hold nothing of an instant column: its default is elsewhere."""
    reading.database.execute(
        "create table a (id int primary key, v varchar(9))", "insert into a values (1, 'one'), (2, 'two')"
    )
    reading.begin()
    session = reading.database.connect()
    for statement in (
        "alter table a engine = InnoDB",
        "update a set v = 'uno' where id = 1",
        "alter table a add column n int not null default 7, algorithm = instant",
        "alter table a add column t datetime(2) default '2024-02-29 01:02:03.45', algorithm = instant",
        "insert into a (id) values (3)",
        "update a set v = 'zwei' where id = 2",
        "alter table a alter column n set default 8",
        "alter table a add column first_ decimal(5,2) default 1.50 first, algorithm = instant",
        "insert into a (id) values (4)",
        "alter table a drop column v, algorithm = instant",
        "optimize table a",
        "update a set n = n + 1 where id in (1, 3)",
        "delete from a where id = 2",
        "alter table a row_format = dynamic, force",
    ):
        session.run(statement)
    at, price = 1_709_168_523_450_000, 150
    rows = [after or before for _, op, before, after in reading.flat() if op != "s"]
    assert rows == [
        (1, "uno"),
        (3, None, 7, at),
        (2, "zwei", 7, at),
        (price, 4, None, 8, at),
        (price, 1, 8, at),
        (price, 3, 8, at),
        (UNCHANGED, 2, UNCHANGED, UNCHANGED),
    ]
    (table,) = reading.source.tables()
    assert sorted(reading.rows(table)) == [(price, 1, 8, at), (price, 3, 8, at), (price, 4, 8, at)]
    session.close()


@pytest.mark.parametrize("mysql_database", ["mysql"], indirect=True)
@pytest.mark.parametrize("shown", [0, 1])
def test_a_key_that_the_server_made_is_a_key(reading: Reading, shown: int) -> None:
    """MySQL's `sql_generate_invisible_primary_key`: an invisible column, which the catalogue may not show."""
    reading.database.execute(f"set global show_gipk_in_create_table_and_information_schema = {shown}")
    reading.close()
    session = reading.database.connect()
    session.run("set session sql_generate_invisible_primary_key = 1")
    session.run("create table a (v int)")
    reading.begin()
    (table,) = reading.tables
    assert (table.column_names, table.key_names) == (("my_row_id", "v"), ("my_row_id",))
    for statement in ("insert into a values (5), (5)", "update a set v = 6 limit 1", "delete from a where v = 5"):
        session.run(statement)
    session.close()
    assert reading.flat() == [
        ("a", "c", None, (1, 5)),
        ("a", "c", None, (2, 5)),
        ("a", "u", None, (1, 6)),
        ("a", "d", (2, UNCHANGED), None),
    ]
    assert reading.rows(table) == [(1, 6)]
    reading.database.execute("set global show_gipk_in_create_table_and_information_schema = 1")
