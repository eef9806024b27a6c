"""MariaDB's snapshots know their place in the log where `binlog_gtid_pos` does not tell it, too."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from schemas.changes import RowChanges
from tests.integration.mysql_source.reading import Reading
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database

MIB = 1 << 20
PACKET = "max_allowed_packet"


@pytest.fixture(params=["mariadb", "mariadb10"])
def database(request: pytest.FixtureRequest) -> Iterator[MysqlDatabase]:
    """A database with a table that has no key, on a server whose log has an event larger than it takes one to be.

    MariaDB 10.11 does not tell a place behind such a one.
    """
    found = create_mysql_database(request.getfixturevalue(f"{request.param}_server"))
    (before,) = found.rows(f"select @@global.{PACKET}")[0]
    found.execute("create table bag (v longtext)", "flush binary logs")
    found.execute(f"insert into bag values (repeat('x', {2 * MIB}))", "delete from bag")
    found.execute(f"set global {PACKET} = {MIB}")
    yield found
    found.execute(f"set global {PACKET} = {before}", "flush binary logs")
    drop_mysql_database(found)


def test_the_place_behind_an_event_that_is_larger_than_a_packet_is_known(database: MysqlDatabase) -> None:
    said = {str(name).lower(): value for name, value in database.rows("show status like 'binlog_snapshot_%'")}
    place = f"binlog_gtid_pos('{said['binlog_snapshot_file']}', {said['binlog_snapshot_position']})"
    end = database.rows("select @@global.gtid_binlog_pos")
    assert database.rows(f"select {place}") == ([[None]] if database.version() < (11,) else end)
    reading = Reading(database)
    assert [[reading.start.mark]] == end
    reading.close()


def test_rows_of_a_table_without_a_key_come_once_while_they_are_written(database: MysqlDatabase) -> None:
    reading = Reading(database)
    (table,) = reading.tables
    stop = threading.Event()
    written: list[tuple[str]] = []

    def write() -> None:
        connection = database.connect()
        while not stop.is_set():
            connection.run(f"insert into bag values ('{len(written)}')")
            written.append((str(len(written)),))
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        loads = [(reading.rows(table), reading.reader.snapshot()) for _ in range(20)]
    finally:
        stop.set()
        writer.join()
    changes = [change for change in reading.changes() if isinstance(change, RowChanges)]
    for rows, seen in loads:
        later = [row for change in changes if not seen.sees(change.txn) for row in change.after if row is not None]
        assert sorted(rows + later) == sorted(written)
    reading.close()


@pytest.fixture(params=["mariadb", "mariadb10"])
def semi_synchronous(request: pytest.FixtureRequest) -> Iterator[MysqlDatabase]:
    """A database whose commits wait for a replica that is not there, after they have filled a file of the log."""
    found = create_mysql_database(request.getfixturevalue(f"{request.param}_server"))
    names = ["max_binlog_size", *(f"rpl_semi_sync_master_{name}" for name in ("wait_point", "timeout", "enabled"))]
    before = found.rows(f"select {', '.join(f'@@global.{name}' for name in names)}")[0]
    found.execute("create table bag (v longtext)")
    for name, value in zip(names, ("4096", "'AFTER_SYNC'", "2000", "1"), strict=True):
        found.execute(f"set global {name} = {value}")
    yield found
    for name, was in zip(names, before, strict=True):
        found.execute(f"set global {name} = {was if str(was).isdigit() else repr(was)}")
    drop_mysql_database(found)


def test_what_fills_a_file_of_the_log_is_in_no_snapshot_before_it_is_committed(semi_synchronous: MysqlDatabase) -> None:
    database = semi_synchronous
    reading = Reading(database)
    ((begun,),) = database.rows("select @@global.gtid_binlog_pos")
    writer = threading.Thread(target=database.execute, args=(f"insert into bag values (repeat('x', {1 << 16}))",))
    writer.start()
    while database.rows("select @@global.gtid_binlog_pos") == [[begun]]:
        pass
    (table,) = reading.tables
    rows = reading.rows(table)
    seen = reading.reader.snapshot()
    writer.join()
    changes = [change for change in reading.changes() if isinstance(change, RowChanges)]
    assert len(changes) == 1
    assert len(rows) == seen.sees(changes[0].txn)
    reading.close()
