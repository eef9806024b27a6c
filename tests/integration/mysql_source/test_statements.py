"""Statements that servers log in ways of their own: what is published of them leads to the rows that are there."""

from __future__ import annotations

import contextlib

import pytest

from schemas.changes import UNCHANGED, Change, Row
from schemas.errors import TailraceError
from tests.integration.mysql_source.reading import Flat, Reading, flatten, positions_in


def _rows_of(reading: Reading) -> dict[str, list[Row]]:
    return {table.name.table: sorted(reading.rows(table), key=repr) for table in reading.source.tables()}


def _replayed(reading: Reading) -> dict[str, list[Row]]:
    """Return what the log's changes lead to, of tables whose key is their first column."""
    found: dict[str, dict[object, Row]] = {}
    for name, op, before, after in reading.flat():
        rows = found.setdefault(name, {})
        if op in ("t", "s"):
            if op == "t" or after is None:
                rows.clear()
            continue
        old = before if before is not None else after
        assert old is not None
        kept = rows.pop(old[0], None)
        if after is not None:
            had = kept or (None,) * len(after)
            rows[after[0]] = tuple(h if v is UNCHANGED else v for h, v in zip(had, after, strict=True))
    return {name: sorted(rows.values(), key=repr) for name, rows in found.items()}


def _told(changes: list[Change]) -> list[Flat]:
    """Return what positions count."""
    return [flat for flat in flatten(changes, told=True) if flat[1] != "s"]


def test_a_table_made_of_a_query_comes_with_its_rows(any_reading: Reading) -> None:
    """MySQL logs it as a definition within a transaction, whose rows follow."""
    reading = any_reading
    database = reading.database
    database.execute("create table a (id int primary key, v varchar(9))", "insert into a values (1, 'x'), (2, 'y')")
    reading.begin()
    try:
        database.execute("create table made (primary key (id)) as select id, concat(v, '!') w from a")
    except TailraceError:
        if database.is_mariadb or database.rows("select version() like '8.0.15%'") == [["0"]]:
            raise
        pytest.skip("MySQL has it with GTIDs from 8.0.21 on")
    database.execute("insert into made values (3, 'z')", "create table empty_ as select * from a where id > 9")
    if database.is_mariadb:
        database.execute("create or replace table made (primary key (id)) as select id, v w from a")
    changes = reading.changes()
    told = _told(changes)
    first = [("made", "c", None, (1, "x!")), ("made", "c", None, (2, "y!")), ("made", "c", None, (3, "z"))]
    again = [("made", "c", None, (1, "x")), ("made", "c", None, (2, "y"))] if database.is_mariadb else []
    # Those of the first table may be read when there is another one of its name already: they are void.
    assert [flat for flat in told if flat[1] != "m"] in ([*first, *again], again)
    done = 0
    for i, position in enumerate(positions_in(changes, reading.start)):
        done += i > 0 and position.row > 0
        assert _told(reading.changes(position)) == told[done:]


def test_rows_that_go_by_other_statements_and_by_triggers(reading: Reading) -> None:
    database = reading.database
    database.execute(
        "create table a (id int primary key, v int, unique key (v))",
        "create table b (id int primary key, a int)",
        "create table told (id int auto_increment primary key, what varchar(40))",
        "create trigger told_of after update on a for each row insert into told (what) values (concat(old.v, new.v))",
        "create trigger counts before insert on b for each row set new.a = coalesce(new.a, 0) + 1",
    )
    reading.begin()
    database.execute(
        "insert into a values (1, 1), (2, 2), (3, 3), (4, 4)",
        "insert into b values (1, 1), (2, 2), (3, null)",
        "replace into a values (1, 2)",
        "insert into a values (3, 30), (5, 5) on duplicate key update v = v + 100",
        "update a, b set a.v = a.v + 1000, b.a = b.a * 2 where a.id = b.id",
        "delete a, b from a join b on a.id = b.id where a.id = 3",
        "insert ignore into a values (4, 9), (6, 6)",
        "update a set id = id + 10 order by id desc",
        "insert into b select id, v from a",
    )
    assert _replayed(reading) == _rows_of(reading)


def test_partitions_and_tables_change_places(reading: Reading) -> None:
    """No statement of these names rows: both tables begin anew."""
    database = reading.database
    database.execute(
        "create table p (id int primary key, v int) partition by range (id) "
        "(partition p0 values less than (100), partition p1 values less than maxvalue)",
        "create table t (id int primary key, v int)",
        "insert into p values (1, 1), (200, 2)",
        "insert into t values (7, 7)",
    )
    reading.begin()
    database.execute("alter table p exchange partition p0 with table t", "insert into t values (8, 8)")
    found = reading.flat()
    for name in ("p", "t"):
        assert [after for table, op, _, after in found if (table, op) == (name, "s")][:2] == [None, ("id", "v")]
    assert found[-1] == ("t", "c", None, (8, 8))
    assert _rows_of(reading) == {"p": [(200, 2), (7, 7)], "t": [(1, 1), (8, 8)]}


@pytest.mark.parametrize(
    ("charset", "codec", "name"), [("latin1", "latin-1", "größe"), ("gbk", "gbk", "联通"), ("sjis", "shift_jis", "表")]
)
def test_tables_are_found_whatever_charset_their_names_are_sent_in(
    reading: Reading, charset: str, codec: str, name: str
) -> None:
    """A truncate was passed over, and a table that went under another name: statements are logged as they were sent."""
    database = reading.database
    database.execute(f"create table `{name}` (id int primary key)", f"create table `{name}2` (id int primary key)")
    reading.begin()
    session = database.connect()
    session.run(f"set names {charset}")

    def send(statement: str) -> None:
        session.send(b"\3" + statement.encode(codec))
        session.receive()

    try:
        send(f"insert into `{name}` values (1)")
        send(f"truncate table `{name}`")
        send(f"rename table `{name}` to `{name}1`")
        send(f"drop table `{name}2`")
        send(f"create table `{name}3` like `{name}1`")
        send(f"insert into `{name}3` values (3)")
    finally:
        session.close()
    columns = ("id",)
    assert reading.flat() == [
        (name, "c", None, (1,)),
        (name, "t", None, None),
        (name, "s", None, None),
        (f"{name}1", "s", None, columns),
        (f"{name}2", "s", None, None),
        (f"{name}3", "s", None, columns),
        (f"{name}3", "c", None, (3,)),
    ]


@pytest.mark.parametrize("mysql_database", ["mariadb"], indirect=True)
def test_statements_with_settings_of_their_own_and_in_strings_mean_what_they_do(reading: Reading) -> None:
    """Such a truncate was passed over."""
    reading.database.execute("create table a (id int primary key)", "insert into a values (1)")
    reading.begin()
    reading.database.execute(
        "set statement lock_wait_timeout = 50, sql_mode = 'ANSI' for truncate table a",
        "execute immediate 'truncate table a'",
        "begin not atomic truncate table a; end",
        "set statement max_statement_time = 0 for alter table a add column v int",
        "insert into a values (2, 2)",
        "set statement max_statement_time = 0 for rename table a to b",
    )
    assert reading.flat() == [
        *[("a", "t", None, None)] * 3,
        ("a", "s", None, ("id", "v")),
        ("a", "c", None, (2, 2)),
        ("a", "s", None, None),
        ("b", "s", None, ("id", "v")),
    ]


def test_a_database_that_goes_takes_its_tables_along(reading: Reading) -> None:
    name = reading.database.name
    reading.database.execute("create table a (id int primary key)", "create table b (id int primary key)")
    reading.begin()
    reading.database.execute(
        "insert into a values (1)",
        f"drop database {name}",
        f"create database {name} character set utf8mb4",
        f"create table {name}.a (id int primary key, v int)",
        f"insert into {name}.a values (1, 2)",
    )
    found = reading.flat()
    assert found[0] == ("a", "c", None, (1,))
    assert {f for f in found if f[3] is None} == {("a", "s", None, None), ("b", "s", None, None)}
    assert found[-1] == ("a", "c", None, (1, 2))


@pytest.mark.parametrize("mysql_database", ["mariadb"], indirect=True)
def test_images_without_what_did_not_change_and_sequences_of_mariadb(reading: Reading) -> None:
    database = reading.database
    database.execute("create table a (id int primary key, v int default 5, t text)", "create sequence numbers")
    reading.begin()
    database.execute("create sequence gone", "do next value for gone", "drop sequence gone")
    session = database.connect()
    for image in ("FULL_NODUP", "FULL"):
        with contextlib.suppress(TailraceError):
            # From 11.4 on.
            session.run(f"set session binlog_row_image = '{image}'")
        for statement in (
            f"insert into a (id, t) values ({len(image)}, 'x'), ({len(image) + 1}, null)",
            "update a set v = 6 where t is not null",
            "update a set t = 'y', v = next value for numbers where t is null",
            f"update a set id = id + 100 where id = {len(image)}",
            f"delete from a where id = {len(image) + 1}",
        ):
            session.run(statement)
    session.close()
    assert _replayed(reading) == _rows_of(reading)
    database.execute("set global binlog_row_metadata = 'NO_LOG'")
    try:
        reading.begin()
        database.execute("do next value for numbers", "insert into a values (1, 1, 'last')")
        assert reading.flat() == [("a", "c", None, (1, 1, "last"))]
    finally:
        database.execute("set global binlog_row_metadata = 'FULL'")
