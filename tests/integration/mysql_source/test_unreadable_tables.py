"""Tables that cannot be read, or not all of it: they are left out or stand still alone, and are told."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture.source import Severity
from capture.sources.mysql.server import LOG_RIGHTS
from deploy.local.kafka import KafkaAddress
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import Reading
from tests.integration.services import Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.refusals import refused

TABLES = (
    "create table a (id int primary key, v int, w int)",
    "create table b (id int primary key)",
    "insert into a values (1, 1, 1)",
    "insert into b values (1)",
)


@pytest.fixture
def account(mysql_database: MysqlDatabase) -> Iterator[str]:
    """A user with the rights to the log, and to the table b."""
    name = f"'u{secrets.token_hex(5)}'@'%'"
    rights = [f"grant {right} on *.* to {name}" for right in LOG_RIGHTS[mysql_database.is_mariadb]]
    user = f"create user {name} identified by 's3cret'"
    mysql_database.execute(*TABLES, user, *rights, f"grant select on {mysql_database.name}.b to {name}")
    yield name
    mysql_database.execute(f"drop user {name}")


def _reading(database: MysqlDatabase, account: str) -> Reading:
    return Reading(database, user=account.split("'")[1], password="s3cret", zero_dates="null")


@pytest.mark.parametrize("columns", ["id, v", "v, w", "w"])
def test_a_table_of_which_some_columns_may_not_be_read_is_left_out_alone(
    mysql_database: MysqlDatabase, account: str, columns: str
) -> None:
    """The catalogue shows no others: it was taken for a table without them."""
    database = mysql_database
    database.execute(f"grant select ({columns}) on {database.name}.a to {account}")
    reading = _reading(database, account)
    try:
        assert [table.name.table for table in reading.tables] == ["b"]
        (found,) = [f for f in reading.source.findings(reading.tables) if f.code == "columns-hidden"]
        assert (found.severity, str(found.table)) == (Severity.WARNS, f"{database.name}.a")
        assert f"grant select on `{database.name}`.`a`" in str(found.remedy)
        database.execute("insert into a values (2, 2, 2)", "alter table a add x int", "update a set v = 3")
        database.execute("insert into b values (2)")
        assert reading.flat() == [("b", "c", None, (2,))]
        database.execute(f"grant select on {database.name}.a to {account}")
        reading.begin()
        assert [table.name.table for table in reading.tables] == ["a", "b"]
        assert reading.rows(reading.tables[0]) == [(1, 3, 1, None), (2, 3, 2, None)]
    finally:
        reading.close()


@pytest.mark.parametrize("columns", ["w", "id, v, w"])
def test_of_a_captured_table_whose_columns_may_not_be_read_any_more_changes_go_on(
    mysql_database: MysqlDatabase, account: str, columns: str
) -> None:
    """It was altered at targets, or dropped."""
    database = mysql_database
    database.execute(f"grant select (id, v, w) on {database.name}.a to {account}")
    reading = _reading(database, account)
    try:
        known = reading.tables
        assert [table.name.table for table in known] == ["a", "b"]
        assert reading.rows(known[0]) == [(1, 1, 1)]
        database.execute(f"revoke select ({columns}) on {database.name}.a from {account}")
        database.execute("insert into a values (2, 2, 2)")
        assert reading.source.tables() == known
        assert reading.source.has_table(known[0].name)
        assert reading.flat() == [("a", "c", None, (2, 2, 2))]
        with pytest.raises(TailraceError) as caught:
            reading.rows(known[0])
        assert caught.value.kind is ErrorKind.PREREQUISITE, "it stands still alone"
        if columns == "w":
            with refused(ErrorKind.PREREQUISITE, "may not read the column w", "grant select on"):
                reading.rows(known[0])
        database.execute(f"grant select on {database.name}.a to {account}", "drop table b")
        assert reading.rows(known[0]) == [(1, 1, 1), (2, 2, 2)]
        assert reading.source.tables() == known[:1]
        assert not reading.source.has_table(known[1].name)
    finally:
        reading.close()


def test_a_value_that_cannot_be_read_keeps_its_table_alone_from_being_loaded(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, mysql_database: MysqlDatabase
) -> None:
    mysql_database.execute(
        *("create table a (id int primary key, day date)", "create table b (id int primary key, day date)"),
        *("insert into a values (1, '2024-01-01'), (2, '0000-00-00')", "insert into b values (1, '2024-01-02')"),
    )
    target = create_mysql_database(mysql_database.address)

    def has(table: str, *rows: str) -> bool:
        try:
            return target.rows(f"select concat_ws(',', id, day) from {table} order by id") == [[row] for row in rows]
        except TailraceError:
            return False

    try:
        with Services(tmp_path, replication, kafka_server, mysql_database, target) as services, services.moving():
            name = f"{mysql_database.name}.a"
            services.wait(lambda: has("b", "1,2024-01-02"), "the other one is loaded")
            services.wait(lambda: services.status()["tables"][name]["state"] == "suspended", "it is told")
            error = services.status()["error"]
            assert error["table"] == name
            assert error["message"].startswith("column day: ")
            assert "source.zero_dates" in error["remedy"]
            mysql_database.execute("insert into b values (2, '2024-01-03')")
            services.wait(lambda: has("b", "1,2024-01-02", "2,2024-01-03"), "the other one goes on")
            mysql_database.execute("update a set day = '2024-01-04' where id = 2")
            services.wait(lambda: has("a", "1,2024-01-01", "2,2024-01-04"), "it is loaded once it can be read")
            services.wait(lambda: services.status()["error"] is None, "it is no error any more")
    finally:
        drop_mysql_database(target)
