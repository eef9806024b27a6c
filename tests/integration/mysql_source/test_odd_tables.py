"""Tables that are unlike most: of other storage engines, and with keys over the beginning of a text."""

from __future__ import annotations

import pytest

from schemas.changes import UNCHANGED, Row
from schemas.errors import TailraceError
from tests.integration.mysql_source.reading import Flat, Reading, flatten, positions_in


@pytest.mark.parametrize("storage", ["MyISAM", "MEMORY"])
def test_rows_that_no_transaction_holds_come_as_they_are_written(any_reading: Reading, storage: str) -> None:
    reading, database = any_reading, any_reading.database
    database.execute(
        f"create table m (id int primary key, v int) engine = {storage}",
        "create table a (id int primary key)",
        "insert into m values (1, 1)",
    )
    reading.begin()
    session = database.connect()
    session.run("insert into m values (2, 2), (3, 3)")
    with pytest.raises(TailraceError):
        # The first row stays.
        session.run("insert into m values (4, 4), (3, 5)")
    session.run("update m set v = v + 10 where id > 2")
    mixed: list[Flat] = []
    if database.is_mariadb:
        # MySQL takes such a transaction only where GTIDs need not be consistent.
        for statement in ("begin", "insert into a values (1)", "insert into m values (5, 5)", "rollback"):
            session.run(statement)
        mixed = [("m", "c", None, (5, 5))]
    for statement in ("delete from m where id = 1", "insert into a values (2)", "truncate table m"):
        session.run(statement)
    session.run("insert into m values (6, 6)")
    session.close()
    changes = reading.changes()
    found = flatten(changes)
    assert found == [
        *(("m", "c", None, (n, n)) for n in (2, 3, 4)),
        *(("m", "u", None, (n, n + 10)) for n in (3, 4)),
        *mixed,
        ("m", "d", (1, UNCHANGED), None),
        ("a", "c", None, (2,)),
        ("m", "t", None, None),
        ("m", "c", None, (6, 6)),
    ]
    told, done = flatten(changes, told=True), 0
    for i, position in enumerate(positions_in(changes, reading.start)):
        done += i > 0 and position.row > 0
        assert reading.flat(position, told=True) == told[done:]
    (table,) = (table for table in reading.tables if table.name.table == "m")
    assert reading.rows(table) == [(6, 6)]
    (warning,) = (f for f in reading.source.findings(reading.tables) if f.code == "storage-engine")
    assert warning.table == table.name
    assert f"{storage} has no transactions" in warning.message


def test_a_key_over_the_beginning_of_a_text_is_the_text(reading: Reading) -> None:
    database = reading.database
    database.execute(
        "create table a (t text character set latin1, b blob, v int, primary key (t(3), b(2)))",
        "insert into a values ('ä 1', 'one', 1), ('b', '', 2), ('c', x'00ff', 3), ('d', 'd', 4), ('E', 'e', 5)",
    )
    reading.begin()
    (table,) = reading.tables
    assert table.key_names == ("t", "b")
    session = database.connect()
    for image in ("FULL", "MINIMAL", "NOBLOB"):
        session.run(f"set session binlog_row_image = '{image}'")
        session.run("update a set v = v + 1 where v > 4")
        session.run("update a set t = concat(t, '!') where t like 'ä%'")
    session.run("delete from a where t = 'b'")
    session.close()
    first: list[Row] = [("ä 1", b"one", 1), ("b", b"", 2), ("c", b"\0\xff", 3), ("d", b"d", 4), ("E", b"e", 5)]
    rows = {row[:2]: row for row in first}
    for _, _, before, after in reading.flat():
        old = rows.pop((before or after or ())[:2])
        if after is not None:
            row = tuple(o if a is UNCHANGED else a for o, a in zip(old, after, strict=True))
            rows[row[:2]] = row
    assert sorted(reading.rows(table)) == sorted(rows.values())
    assert sorted(rows) == [("E", b"e"), ("c", b"\0\xff"), ("d", b"d"), ("ä 1!!!", b"one")]
