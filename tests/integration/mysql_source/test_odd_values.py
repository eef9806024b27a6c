"""Values that no other engine has: what becomes of them, and what is said of them, by full load and by log."""

from __future__ import annotations

from datetime import date
from functools import partial

import pytest

from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import Reading
from tests.integration.mysql_source.test_types import same_by_full_load_and_by_log
from tests.kit.mysql import MysqlDatabase

ODD_DATES = (
    ("date", "0000-00-00"),
    ("date", "2024-00-10"),
    ("date", "2024-02-31"),
    ("datetime(3)", "0000-00-00 00:00:00"),
    ("datetime(3)", "2024-05-00 01:02:03.004"),
    ("timestamp(2) null", "0000-00-00 00:00:00"),
)


def test_dates_that_no_calendar_has_become_the_one_that_stands_for_them(mysql_database: MysqlDatabase) -> None:
    """The time of their day stays."""
    day = (date(2001, 2, 3) - date(1970, 1, 1)).days
    midnight = day * 86_400_000_000
    reading = Reading(mysql_database, zero_dates="2001-02-03")
    values = (day, day, day, midnight, midnight + 3_723_004_000, midnight)
    samples = [(native, [(f"'{text}'", value)]) for (native, text), value in zip(ODD_DATES, values, strict=True)]
    try:
        same_by_full_load_and_by_log(reading, samples)
    finally:
        reading.close()


@pytest.mark.parametrize("image", ["FULL", "MINIMAL"])
def test_dates_that_no_calendar_has_end_reading_with_the_name_of_their_table(
    mysql_database: MysqlDatabase, image: str
) -> None:
    """Of the log only the position was said where it is not for the compiled twin."""
    reading = Reading(mysql_database)
    session = mysql_database.connect()
    session.run(f"set session binlog_row_image = '{image}'")
    try:
        for number, (native, text) in enumerate(ODD_DATES):
            session.run(f"create table t{number} (id int primary key, v {native}, w int)")
            reading.begin()
            session.run(f"insert into t{number} (id, v) values (1, '{text}')")
            (table,) = (table for table in reading.tables if table.name.table == f"t{number}")
            for read in (partial(reading.rows, table), reading.flat):
                with pytest.raises(TailraceError, match="zero_dates") as caught:
                    read()
                assert (caught.value.kind, caught.value.table) == (ErrorKind.DECODE, str(table.name))
            assert caught.value.position
    finally:
        session.close()
        reading.close()


@pytest.mark.parametrize("image", ["FULL", "MINIMAL"])
def test_a_text_that_is_none_in_its_charset_ends_reading_with_the_name_of_its_table(
    reading: Reading, image: str
) -> None:
    """It was called a fault of ours, in some table."""
    reading.database.execute("create table a (id int primary key, v varchar(9) character set dec8, w int)")
    reading.begin()
    (table,) = reading.tables
    session = reading.database.connect()
    session.run(f"set session binlog_row_image = '{image}'")
    session.run("insert into a (id, v) values (1, x'a4')")
    session.close()
    with pytest.raises(TailraceError, match="charset") as caught:
        reading.flat()
    assert (caught.value.kind, caught.value.table) == (ErrorKind.DECODE, str(table.name))
    assert str(caught.value.remedy).startswith("correct the row")
    with pytest.raises(TailraceError) as caught:
        reading.rows(table)
    assert (caught.value.kind, caught.value.table) == (ErrorKind.DECODE, str(table.name))
