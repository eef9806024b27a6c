"""Users who may read some columns of a table only: nothing of it is left out in silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from capture.sources.mysql.source import MysqlServer
from schemas.errors import ErrorKind
from tests.integration.mysql_source.reading import SERVER_ID, Reading, flatten, read_to
from tests.kit.mysql import MysqlDatabase
from tests.kit.refusals import refused


@pytest.fixture
def narrow(mysql_database: MysqlDatabase) -> Iterator[MysqlDatabase]:
    """A table of which a user sees two columns of three, in a log without names."""
    metadata = mysql_database.rows("select @@global.binlog_row_metadata")[0][0]
    monitor = "binlog monitor" if mysql_database.is_mariadb else "replication client"
    mysql_database.execute(
        "set global binlog_row_metadata = MINIMAL",
        "create table a (id int primary key, v int, hidden int)",
        "create user narrow identified by 'narrow'",
        f"grant replication slave, {monitor} on *.* to narrow",
        f"grant select (id, v) on {mysql_database.name}.a to narrow",
    )
    yield mysql_database
    mysql_database.execute("drop user narrow", f"set global binlog_row_metadata = {metadata}")


def test_rows_that_come_after_the_load_are_not_left_out(narrow: MysqlDatabase) -> None:
    """Each was left out, behind the load that the first had led to."""
    reading = Reading(narrow, user="narrow", password="narrow")
    try:
        narrow.execute("insert into a values (1, 1, 1)")
        end = reading.source.current_position()
        with reading.log() as log:
            found = flatten(read_to(log, end))
            assert found == [("a", "s", None, None), ("a", "s", None, ("id", "v"))]
            narrow.execute("insert into a values (2, 2, 2)")
            with refused(ErrorKind.SOURCE_SCHEMA, "the log's rows have other columns"):
                read_to(log, reading.source.current_position())
    finally:
        reading.close()


@pytest.mark.parametrize("mysql_database", ["mysql"], indirect=True)
def test_an_index_over_a_column_that_is_hidden_is_told(narrow: MysqlDatabase) -> None:
    """MariaDB does not show such an index."""
    narrow.execute("create index i on a (hidden)")
    source = MysqlServer(narrow.source(user="narrow", password="narrow"), SERVER_ID)
    try:
        with refused(ErrorKind.PREREQUISITE, "may not read the column hidden", "grant select on"):
            source.tables()
    finally:
        source.close()
