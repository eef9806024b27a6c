"""Servers whose settings are unlike others': nothing of them changes what is loaded or what the log says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture.source import WHOLE, Severity
from deploy.local.mysql import MysqlServer
from schemas.changes import UNCHANGED
from tests.integration.mysql_source.reading import Reading
from tests.kit.mysql import MysqlDatabase, create_mysql_database

SETTINGS = {
    "default-time-zone": "+09:00",
    "sql-mode": "ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH,PIPES_AS_CONCAT,IGNORE_SPACE",
    "character-set-server": "latin1",
    "collation-server": "latin1_german1_ci",
    "transaction-isolation": "READ-UNCOMMITTED",
    "explicit-defaults-for-timestamp": "0",
    "autocommit": "0",
    # Nearly every row is an event of its own.
    "binlog-row-event-max-size": "256",
}
GLOBALS = ("sql_select_limit = 2", "sql_big_selects = 0", "max_join_size = 1", "sql_quote_show_create = 0")
"""What sessions begin with: two rows of each query, for one."""
IDLE = "idle_transaction_timeout = 1"


@pytest.fixture(params=["11.4", "mysql"])
def odd(request: pytest.FixtureRequest, servers_directory: Path) -> Iterator[MysqlDatabase]:
    """A database on such a server."""
    series = request.param
    more = {"binlog-annotate-row-events": "1"} if series == "11.4" else {"binlog-rows-query-log-events": "1"}
    limits = ("max_execution_time = 1",) if series == "mysql" else ("max_statement_time = 0.001", IDLE)
    with MysqlServer(servers_directory / f"odd-{series}", series=series, settings=SETTINGS | more) as server:
        database = create_mysql_database(server.address)
        database.execute(f"set global {', global '.join((*GLOBALS, *limits))}")
        yield database


def test_an_odd_server_is_read_as_any_other(odd: MysqlDatabase) -> None:
    numbers = "with recursive s(n) as (select 0 union all select n + 1 from s where n < 9) "
    odd.execute(
        "create table a (id int primary key, c char(5) character set utf8mb4, t timestamp(6) null, "
        "l varchar(9) character set latin1, d datetime)",
        "create table large (id int primary key, word varchar(20))",
        f"insert into large {numbers} select a.n + b.n * 10 + c.n * 100 + d.n * 1000, 'x' from s a, s b, s c, s d",
    )
    reading = Reading(odd)
    try:
        reading.begin()
        session = odd.connect()
        for statement in (
            "insert into a values (1, 'a ', '2024-06-01 12:00:00.5', 'é\\', '2024-06-01 12:00:00')",
            "set time_zone = '-03:30'",
            "insert into a values (2, 'é', '2024-06-01 12:00:00', '€', '2024-06-01 12:00:00')",
            "set time_zone = '+13:00', sql_mode = ''",
            "insert into a values (3, '', '2024-06-01 12:00:00', null, null)",
            "update a set l = 'ü' where id = 3",
            "delete from large where id between 10 and 12",
        ):
            session.run(statement)
        session.close()
        tables = {table.name.table: table for table in reading.tables}
        noon = 1_717_243_200_000_000
        rows = [
            (1, "a", noon + 500_000, "é\\", noon),
            (2, "é", noon + 12_600_000_000, "€", noon),
            (3, "", noon - 46_800_000_000, "ü", None),
        ]
        assert reading.flat() == [
            *(("a", "c", None, row) for row in rows[:2]),
            ("a", "c", None, (*rows[2][:3], None, None)),
            ("a", "u", None, rows[2]),
            *(("large", "d", (n, UNCHANGED), None) for n in (10, 11, 12)),
        ]
        assert sorted(reading.rows(tables["a"])) == rows
        chunks = reading.reader.plan(tables["large"], 3000)
        assert len(chunks) == 4
        found = [
            row for chunk in chunks for batch in reading.reader.read(tables["large"], chunk, 1000) for row in batch
        ]
        assert sorted(found) == [(n, "x") for n in range(10_000) if n not in (10, 11, 12)]
        assert not [f for f in reading.source.findings(reading.tables) if f.severity is Severity.BLOCKS]
    finally:
        reading.close()


def test_a_chunk_outlives_a_wait_for_kafka(odd: MysqlDatabase) -> None:
    """The server has sent all of it, and waits in a transaction for what the loader says next."""
    odd.execute("create table a (id int primary key)", "insert into a values (1), (2), (3)")
    reading = Reading(odd)
    try:
        (table,) = reading.tables
        batches = reading.reader.read(table, WHOLE, 2)
        found = [*next(iter(batches))]
        time.sleep(2)
        assert [*found, *(row for batch in batches for row in batch)] == [(1,), (2,), (3,)]
    finally:
        reading.close()


def test_a_log_that_is_encrypted_is_read_as_any_other(servers_directory: Path) -> None:
    """The server decrypts what it sends, but tells how its file is encrypted: that was taken for an event that it had
    not decrypted, and ended capture.
    """
    keys = servers_directory / "keys"
    keys.write_text(f"1;{'ab' * 32}\n")
    settings = {
        "plugin-load-add": "file_key_management",
        "file-key-management-filename": str(keys),
        "encrypt-binlog": "1",
    }
    with MysqlServer(servers_directory / "encrypted", series="mariadb", settings=settings) as server:
        database = create_mysql_database(server.address)
        assert database.rows("select @@encrypt_binlog") == [["1"]]
        database.execute("create table a (id int primary key)")
        reading = Reading(database)
        try:
            database.execute("insert into a values (1)", "flush binary logs", "insert into a values (2)")
            assert reading.flat() == [("a", "c", None, (1,)), ("a", "c", None, (2,))]
            assert reading.flat(reading.source.find_position(1)) == reading.flat()
        finally:
            reading.close()
