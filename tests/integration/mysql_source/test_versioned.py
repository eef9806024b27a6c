"""MariaDB's system-versioned tables: the log has what was in them among what is."""

from __future__ import annotations

from pathlib import Path

import pytest

from capture.source import Severity
from deploy.local.kafka import KafkaAddress
from schemas.errors import TailraceError
from tests.integration.mysql_source.reading import Reading
from tests.integration.services import Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database

pytestmark = pytest.mark.parametrize("mysql_database", ["mariadb"], indirect=True)


def test_tables_that_keep_their_history_are_left_out_and_others_captured(reading: Reading) -> None:
    """Rows of the history come with the log, and not with a load. One such table kept all from being captured."""
    database = reading.database
    database.execute(
        "create table a (id int primary key) with system versioning",
        "create table b (id int primary key, v int)",
        "create table c (id int, s timestamp(6) generated always as row start invisible, e timestamp(6) generated "
        "always as row end invisible, period for system_time (s, e)) with system versioning",
        "insert into b values (1, 1)",
    )
    reading.begin()
    assert [table.name.table for table in reading.tables] == ["b"]
    found = {str(f.table): f for f in reading.source.findings(reading.tables) if f.code == "system-versioned"}
    assert sorted(found) == [f"{database.name}.a", f"{database.name}.c"]
    first = found[f"{database.name}.a"]
    assert first.severity is Severity.WARNS
    assert f"`!{database.name}.a`" in str(first.remedy)
    assert not [f for f in reading.source.findings(reading.tables) if f.severity is Severity.BLOCKS]
    database.execute("insert into a values (1)", "update a set id = 2", "insert into c values (1)", "delete from a")
    database.execute("update b set v = 2", "truncate b", "create table d (id int primary key) with system versioning")
    database.execute("insert into d values (1)")
    assert reading.flat() == [("b", "u", None, (1, 2)), ("b", "t", None, None)]
    assert reading.rows(reading.tables[0]) == []


@pytest.mark.parametrize("metadata", ["FULL", "NO_LOG"])
def test_a_table_is_captured_until_it_keeps_its_history_and_again_when_it_keeps_none(
    reading: Reading, metadata: str
) -> None:
    database = reading.database
    database.execute(f"set global binlog_row_metadata = '{metadata}'")
    try:
        database.execute("create table a (id int primary key, v int)", "create table b (id int primary key)")
        reading.begin()
        database.execute(
            "insert into a values (1, 1)",
            "alter table a add system versioning",
            "update a set v = 2",
            "delete from a",
            "insert into a values (2, 2)",
            "insert into b values (1)",
        )
        left = [("a", "c", None, (1, 1)), ("a", "s", None, None)]
        assert reading.flat() == [*left, ("b", "c", None, (1,))]
        assert [table.name.table for table in reading.source.tables()] == ["b"]
        database.execute("alter table a drop system versioning", "insert into a values (3, 3)")
        # The catalogue says nothing of the history that is in the log by now.
        back = ("a", "s", None, ("id", "v"))
        assert reading.flat() == [*left, back, ("b", "c", None, (1,)), ("a", "c", None, (3, 3))]
        assert reading.rows(reading.source.tables()[0]) == [(2, 2), (3, 3)]
    finally:
        database.execute("set global binlog_row_metadata = 'FULL'")


def test_a_table_that_keeps_its_history_costs_no_other_one(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, mysql_database: MysqlDatabase
) -> None:
    columns = "(id int primary key, v int)"
    mysql_database.execute(
        f"create table a {columns} with system versioning",
        *(f"create table {name} {columns}" for name in "bc"),
        *(f"insert into {name} values (1, 1)" for name in "abc"),
    )
    target = create_mysql_database(mysql_database.address)

    def has(table: str, *rows: str) -> bool:
        try:
            return target.rows(f"select concat_ws(',', id, v) from {table} order by id") == [[row] for row in rows]
        except TailraceError:
            return False

    try:
        with Services(tmp_path, replication, kafka_server, mysql_database, target) as services:
            with services.moving() as plan:
                assert "system-versioned" in plan
                services.wait(lambda: has("b", "1,1") and has("c", "1,1"), "others are loaded")
                mysql_database.execute("alter table c add system versioning", "update c set v = 2")
                mysql_database.execute("delete from a", "insert into b values (2, 2)")
                services.wait(lambda: has("b", "1,1", "2,2"), "others go on")
                assert has("c", "1,1")
                assert services.said("capture", "the log holds its history")
                mysql_database.execute("alter table c drop system versioning", "insert into c values (3, 3)")
                services.wait(lambda: has("c", "1,2", "3,3"), "it begins anew")
            assert not target.rows("show tables like 'a'")
    finally:
        drop_mysql_database(target)
