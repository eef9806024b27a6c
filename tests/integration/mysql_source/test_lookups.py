"""Values that images of rows lack, looked up by keys of every type, and in tables that were altered since."""

from __future__ import annotations

import os

import pytest

from capture.sources.mysql.catalog import Catalog
from schemas.changes import UNCHANGED, Row, RowChanges
from schemas.errors import TailraceError
from schemas.table import TableName
from tests.integration.mysql_source.reading import Reading
from tests.kit.mysql import MysqlDatabase
from tests.kit.mysql_samples import samples_of
from tests.kit.random_mysql import KEYS, begin_writer, open_session

NO_KEYS = (
    *("text", "blob", "json", "point", "geometry", "linestring", "polygon", "multi", "geom", "vector"),
    "compressed",
)
ALTERED = [
    # (type, value, canonical value, later type, what stands for the value or is looked up)
    ("bit(8)", "b'01100001'", "01100001", "int", None),
    ("bit(8)", "b'01100001'", "01100001", "bit(16)", None),
    ("bit(1)", "b'1'", True, "int", None),
    ("int", "65", 65, "varchar(9)", None),
    ("varchar(9)", "'65'", "65", "int", None),
    ("varchar(9)", "'65'", "65", "varbinary(9)", None),
    ("int", "65", 65, "int unsigned", 65),
    ("int", "65", 65, "bigint", 65),
    ("bigint unsigned", "65", 65, "smallint", 65),
    ("decimal(9,2)", "1.5", 150, "decimal(9,4)", None),
    ("decimal(9,2)", "1.5", 150, "decimal(12,2)", 150),
    ("datetime", "'2024-02-29 01:02:03'", 1_709_168_523_000_000, "timestamp", None),
    ("datetime", "'2024-02-29 01:02:03'", 1_709_168_523_000_000, "datetime(3)", 1_709_168_523_000_000),
    ("enum('a','b')", "'b'", "b", "enum('b','a')", "b"),
    ("enum('a','b')", "'b'", "b", "enum('a','b','c')", "b"),
    ("enum('a','b')", "'b'", "b", "varchar(9)", None),
    ("set('a','b')", "'a,b'", "a,b", "set('b','a')", "b,a"),
    ("varchar(9)", "'é'", "é", "varchar(20)", "é"),
    ("varchar(9) character set latin1", "'é'", "é", "varchar(9)", "é"),
    ("varchar(9)", "'é'", "é", "varchar(9) character set latin1", "é"),
    ("varchar(9)", "'é'", "é", "longtext", "é"),
    ("binary(3)", "x'610000'", b"a\0\0", "binary(5)", None),
    ("varbinary(3)", "x'6100'", b"a\0", "blob", b"a\0"),
    ("float", "0.1", 0.10000000149011612, "double", None),
    ("year", "2024", 2024, "int", 2024),
    ("date", "'2024-02-29'", 19782, "datetime", None),
    ("time", "'01:02:03'", "PT1H2M3S", "time(2)", "PT1H2M3S"),
]


def _moves(reading: Reading) -> list[RowChanges]:
    return [c for c in reading.changes() if isinstance(c, RowChanges) and "u" in c.ops]


def test_rows_are_found_by_keys_of_every_type(reading: Reading) -> None:
    """One row of each value is given it as its key, the other lies there."""
    samples = samples_of(reading.database)
    kinds = [(kind.native, kind.values) for kind in KEYS]
    kinds += [
        (native.replace(" null", ""), tuple(literal for literal, value in values if value is not None))
        for native, values in samples
        if not any(word in native.lower() for word in NO_KEYS)
    ]
    writer = reading.database.connect()
    tables = {}
    for n, (native, values) in enumerate(kinds):
        if not values:
            continue
        writer.run(f"create table t{n} (i int, k {native} not null, v varchar(9) not null, primary key (k, i))")
        tables[f"t{n}"] = native
        for i in range(len(values)):
            first = values[0] if i else values[-1]
            writer.run(f"insert into t{n} values ({i}, {first}, 'v{i}'), ({i + 2000}, {first}, 'other')")
    reading.begin()
    writer.run("set session binlog_row_image = 'MINIMAL'")
    moved = 0
    for n, (_, values) in enumerate(kinds):
        for i, value in enumerate(values):
            writer.run(f"update t{n} set k = {value}, i = {1000 + i} where i = {i}")
            moved += 1
    writer.close()
    updates = _moves(reading)
    assert sum(update.count for update in updates) == moved
    wrong = []
    for update in updates:
        reading.source.complete(update)
        for row in update.after:
            assert row is not None
            if row[2] != f"v{row[0] - 1000}":
                wrong.append((tables[update.table.name.table], row))
    assert not wrong


@pytest.mark.parametrize(("native", "value", "canonical", "later", "found"), ALTERED)
def test_values_are_never_read_by_another_type_than_theirs(
    reading: Reading, native: str, value: str, canonical: object, later: str, found: object
) -> None:
    """Bits became the octets of a number's text, and hundredths ten-thousandths."""
    reading.database.execute(f"create table a (id int primary key, v {native} not null)")
    reading.begin()
    writer = reading.database.connect()
    writer.run("set session binlog_row_image = 'MINIMAL'")
    writer.run(f"insert into a values (1, {value})")
    writer.run("update a set id = 2")
    writer.run(f"alter table a modify v {later} not null")
    writer.close()
    inserted, moved = (c for c in reading.changes() if isinstance(c, RowChanges))
    assert inserted.after == [(1, canonical)]
    assert moved.after == [(2, UNCHANGED)]
    reading.source.complete(moved)
    assert list(reading.source.untold()) == ([moved.table.name] if found is None else [])
    assert moved.after == [(2, UNCHANGED if found is None else found)]


@pytest.mark.parametrize(
    ("native", "later", "number"),
    [
        ("tinyint", "int", -129),
        ("tinyint unsigned", "int", 256),
        ("mediumint", "bigint", 8_388_608),
        ("int unsigned", "bigint", 4_294_967_296),
        ("year", "int", 1900),
    ],
)
def test_a_number_that_the_logged_type_does_not_hold_is_none_of_its_row(
    reading: Reading, native: str, later: str, number: int
) -> None:
    """The target's column would have refused it."""
    reading.database.execute(f"create table a (id int primary key, v {native} default '3')")
    reading.begin()
    writer = reading.database.connect()
    writer.run("set session binlog_row_image = 'MINIMAL'")
    writer.run("insert into a (id) values (1), (2)")
    writer.run(f"alter table a modify v {later}")
    writer.run(f"update a set v = {number} where id = 1")
    writer.run("update a set v = 100 where id = 2" if native != "year" else "update a set v = 2100 where id = 2")
    writer.close()
    inserted = next(c for c in reading.changes() if isinstance(c, RowChanges))
    assert inserted.after == [(1, 2003 if native == "year" else 3), (2, 2100 if native == "year" else 100)]


@pytest.mark.parametrize(
    ("native", "value", "later", "other"),
    [
        ("varchar(9)", "'x'", "int", "0"),
        ("varchar(9)", "'7.0'", "int", "7"),
        ("bigint", "7", "varchar(9)", "'7'"),
        ("binary(2)", "x'6100'", "binary(3)", "x'610000'"),
        ("datetime", "'2024-02-29 01:02:03'", "timestamp", "'2024-02-29 01:02:03'"),
    ],
)
def test_rows_are_not_looked_up_by_keys_of_another_type(
    reading: Reading, native: str, value: str, later: str, other: str
) -> None:
    """A text that is no number equals zero: another row's value came with the row."""
    reading.database.execute(f"create table a (k {native} not null, i int, v int, primary key (i, k))")
    reading.begin()
    writer = reading.database.connect()
    writer.run("set session binlog_row_image = 'MINIMAL'")
    writer.run(f"insert into a values ({value}, 1, 5)")
    writer.run("update a set i = 2")
    writer.run("delete from a")
    writer.run(f"alter table a modify k {later} not null")
    writer.run(f"insert into a values ({other}, 2, 6)")
    writer.close()
    (moved,) = _moves(reading)
    reading.source.complete(moved)
    assert list(reading.source.untold()) == [moved.table.name]
    assert UNCHANGED in (moved.after[0] or ())


ZERO = [
    ("date", "0000-00-00"),
    ("date", "2024-00-10"),
    ("date", "2024-02-31"),
    ("date", "0000-01-01"),
    ("datetime(3)", "2024-05-00 01:02:03.004"),
    ("timestamp", "0000-00-00 00:00:00"),
]


@pytest.mark.parametrize("policy", ["null", "1970-01-02"])
@pytest.mark.parametrize(("native", "value"), ZERO)
def test_rows_are_found_by_keys_with_dates_that_no_calendar_has(
    mysql_database: MysqlDatabase, policy: str, native: str, value: str
) -> None:
    """Nulls were no value to look up by, and the date that stands for such a one is in no row."""
    writer = mysql_database.connect()
    writer.run("set session sql_mode = 'ALLOW_INVALID_DATES', binlog_row_image = 'MINIMAL'")
    writer.run(f"create table a (k {native} not null, i int, v int, primary key (i, k))")
    reading = Reading(mysql_database, zero_dates=policy)
    writer.run(f"insert into a values ('{value}', 1, 5), ('2024-02-29 01:02:03', 2, 6), ('2024-02-28', 3, 7)")
    writer.run("update a set i = i + 2 order by i desc")
    writer.close()
    (moved,) = _moves(reading)
    reading.source.complete(moved)
    reading.close()
    assert sorted(row[1:] for row in moved.after if row) == [(3, 5), (4, 6), (5, 7)]


def test_rows_whose_dates_become_the_same_are_not_taken_for_each_other(
    reading: Reading, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = reading.database.connect()
    writer.run("set session sql_mode = '', binlog_row_image = 'MINIMAL'")
    writer.run("create table a (k date primary key, v int)")
    reading.begin()
    writer.run("insert into a values ('0000-00-00', 5), ('2024-01-01', 6)")
    writer.run("update a set k = '2024-00-10' where v = 6")
    writer.close()
    (moved,) = _moves(reading)
    capsys.readouterr()
    for _ in range(2):
        reading.source.complete(moved)
        assert moved.after == [(None, UNCHANGED)], "neither has the other's"
        assert list(reading.source.untold()) == [moved.table.name]
    assert capsys.readouterr().out.count("the keys of several rows the same") == 1, "each part of the log may have some"


def test_another_column_than_what_is_looked_up_may_have_become_anything(reading: Reading) -> None:
    """It stopped capture, although the log had its value."""
    reading.database.execute("create table a (id int primary key, v bit(8), w int)", "insert into a values (1, 65, 5)")
    reading.begin()
    writer = reading.database.connect()
    writer.run("set session binlog_row_image = 'MINIMAL'")
    writer.run("update a set id = 2, v = 66")
    writer.run("alter table a change v renamed text")
    writer.close()
    (moved,) = _moves(reading)
    reading.source.complete(moved)
    assert moved.after == [(2, "01000010", 5)]


def test_a_table_is_not_altered_between_a_look_and_what_the_catalogue_says(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is read by the types that the catalogue tells."""
    reading.database.execute("create table a (id int primary key, v bit(8), w int)", "insert into a values (1, 65, 5)")
    reading.begin()
    writer = reading.database.connect()
    writer.run("set session binlog_row_image = 'MINIMAL'")
    writer.run("update a set id = 2, w = 6")
    (moved,) = _moves(reading)
    writer.run("set session lock_wait_timeout = 1")
    natives = Catalog.natives
    refused = []

    def altered(self: Catalog, name: TableName) -> dict[str, str]:
        found = natives(self, name)
        with pytest.raises(TailraceError, match=r"(?i)lock wait timeout") as caught:
            writer.run("alter table a modify v int")
        refused.append(caught.value)
        return found

    monkeypatch.setattr(Catalog, "natives", altered)
    reading.source.complete(moved)
    assert moved.after == [(2, "01000001", 6)]
    assert refused
    writer.run("alter table a modify v int")
    writer.close()


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_random_changes_lead_to_the_rows_that_are_there(reading: Reading, image: str) -> None:
    """Whatever is looked up meanwhile, of rows that go on changing, or go. `SEED` and `STEPS` in the environment."""
    seed, steps = int(os.environ.get("SEED") or 1), int(os.environ.get("STEPS") or 40)
    session = open_session(reading.database)
    writer = begin_writer(session, seed, reading.database, takes_nul=True, row_image=image)
    writer.definitions.alone_share = 0.0
    reading.begin()
    before = {table.name: reading.rows(table) for table in reading.tables}
    writer.write(steps)
    session.close()
    after = _replayed(reading, before)
    for captured in reading.tables:
        there = sorted(map(repr, reading.rows(captured)))
        assert sorted(map(repr, after[captured.name].values())) == there, f"seed {seed}, {captured.name}"


def _replayed(reading: Reading, before: dict[TableName, list[Row]]) -> dict[TableName, dict[Row, Row]]:
    """Return the rows by table and key as the log leaves them behind."""
    keys = {table.name: table.key for table in reading.tables}

    def key_of(name: TableName, row: Row) -> Row:
        return tuple(row[i] for i in keys[name])

    state = {name: {key_of(name, row): row for row in rows} for name, rows in before.items()}
    for change in reading.changes():
        if not isinstance(change, RowChanges):
            continue
        reading.source.complete(change)
        name = change.table.name
        rows = state[name]
        for old, new in zip(change.before, change.after, strict=True):
            if new is None:
                assert old is not None
                del rows[key_of(name, old)]
                continue
            at = key_of(name, new)
            if old is not None and key_of(name, old) != at:
                # What it lacks, of a row that is gone, stays unknown: it may not be there in the end.
                del rows[key_of(name, old)]
            known = rows.get(at)
            rows[at] = (
                new if known is None else tuple(k if n is UNCHANGED else n for k, n in zip(known, new, strict=True))
            )
    return state
