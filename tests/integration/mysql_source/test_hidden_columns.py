"""Users who may read some columns of a table only: nothing of it is left out in silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from capture.sources.mysql.source import MysqlServer
from tests.integration.mysql_source.reading import SERVER_ID, Reading, flatten, read_to
from tests.kit.mysql import MysqlDatabase


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


def test_a_table_whose_log_has_no_names_is_left_out_with_all_its_rows(narrow: MysqlDatabase) -> None:
    """They were taken for rows of a table of two columns, and led to a load each."""
    reading = Reading(narrow, user="narrow", password="narrow")
    try:
        assert reading.tables == []
        assert [f.code for f in reading.source.findings([]) if f.table is not None] == ["columns-hidden"]
        with reading.log() as log:
            for i in (1, 2):
                narrow.execute(f"insert into a values ({i}, {i}, {i})")
                assert flatten(read_to(log, reading.source.current_position())) == []
    finally:
        reading.close()


@pytest.mark.parametrize("mysql_database", ["mysql"], indirect=True)
def test_an_index_over_a_column_that_is_hidden_refuses_no_other_table(narrow: MysqlDatabase) -> None:
    """MariaDB does not show such an index."""
    narrow.execute(
        "create index i on a (hidden)",
        "create table b (id int primary key)",
        f"grant select on {narrow.name}.b to narrow",
    )
    source = MysqlServer(narrow.source(user="narrow", password="narrow"), SERVER_ID)
    try:
        assert [table.name.table for table in source.tables()] == ["b"]
    finally:
        source.close()
