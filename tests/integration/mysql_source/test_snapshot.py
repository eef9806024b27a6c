"""Full loads from real servers: chunks cover tables, and their snapshots stand where the log says."""

from __future__ import annotations

import threading
import time

import pytest

from capture.sources.mysql import server
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.position import Place
from capture.sources.mysql.snapshot import MysqlSnapshotReader
from schemas.changes import RowChanges
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import ON_OLDER_TOO, Reading

KEYS = {
    "k1": ("id int unsigned", ["0", "1", "5", "4294967295", "7", "8", "9", "10"]),
    "k2": (
        "s varchar(20) character set latin1 collate latin1_german1_ci",
        ["'a'", "'B'", "'ö'", "''", "'''q'", "'zz'", "'b2'"],
    ),
    "k3": ("b varbinary(5)", ["x'00'", "x''", "x'ff00'", "x'27'", "x'ff'", "x'0001'"]),
    "k4": ("d decimal(20,5)", ["-1.5", "0", "100000.00001", "3", "2", "1"]),
    "k5": ("t datetime(6)", ["'2024-01-01'", "'1000-01-01'", "'2024-01-01 00:00:00.000001'", "'9999-12-31'"]),
    "k6": ("e enum('z','a','m')", ["'z'", "'a'", "'m'"]),
    "k7": ("n bigint", ["-9223372036854775808", "9223372036854775807", "0", "-1", "1"]),
    "k8": ("t time(2)", ["'-838:59:59'", "'0'", "'00:00:00.5'", "'838:59:59'"]),
    # The servers print six digits of such a one.
    "k9": ("f float", ["1.1", "-3.40282e38", "0", "16777216", "1e-30", *map(str, range(1_234_560, 1_234_569))]),
    "k10": ("d double", ["1.1", "-1e300", "0", "5e-324", "0.1", "1e300"]),
    "k11": ("b bit(10)", ["b'0'", "b'1'", "b'1111111111'", "b'10'"]),
    "k12": ("s set('x','y','z')", ["''", "'x'", "'x,z'", "'z'"]),
    "k13": ("y year", ["0", "1901", "2155", "1970"]),
    "k14": (
        "t timestamp(3)",
        ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07.999'", "'2024-02-29 12:00:00.1'", "'2024-02-29 12:00:00'"],
    ),
    "k15": ("c char(5) character set ucs2", ["'a'", "'B'", "'é'", "''"]),
    "k16": ("w varchar(9) character set sjis", ["'表'", "'あ'", "'a'", "''"]),
    "k17": ("n decimal(65,30)", ["-1e-30", "0", "1e34", "-99999999999999999999999999999999999.5"]),
}
MARIADB_KEYS = {
    "k18": (
        "u uuid",
        [
            "'00112233-4455-1677-8899-aabbccddeeff'",
            "'01a9a0c0-1111-7abc-8899-aabbccddee00'",
            "'ffffffff-ffff-4fff-8fff-ffffffffffff'",
            "'00000000-0000-1000-8000-000000000000'",
        ],
    ),
    "k19": ("i inet6", ["'::'", "'::1'", "'2001:db8::'", "'::ffff:1.2.3.4'"]),
}


@ON_OLDER_TOO
def test_chunks_cover_tables_of_every_key_once(reading: Reading) -> None:
    statements = []
    for name, (column, literals) in (KEYS | (MARIADB_KEYS if reading.database.is_mariadb else {})).items():
        key = column.split()[0]
        statements.append(f"create table {name} ({column} not null primary key, v int)")
        statements += [f"insert into {name} values ({literal}, {i})" for i, literal in enumerate(literals)]
        statements.append(f"create table c{name} ({column} not null, j int, v int, primary key ({key}, j))")
        statements += [
            f"insert into c{name} values ({literal}, {j}, {i})" for i, literal in enumerate(literals) for j in range(3)
        ]
    statements += [
        "create table keyless (a int)",
        "insert into keyless values (1), (1), (2)",
        "create table nothing (id int primary key)",
    ]
    reading.database.execute(*statements)
    for table in reading.source.tables():
        name = table.name.table
        rows = reading.rows(table)
        count = int(str(reading.database.rows(f"select count(*) from {name}")[0][0]))
        assert len(rows) == count, name
        if table.key:
            assert len({tuple(row[i] for i in table.key) for row in rows}) == count, name
        if table.key:
            assert len(reading.reader.plan(table, 3)) >= count // 3, name


def test_a_table_without_a_key_is_seen_as_the_log_has_it(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is written between the look at the log's end and the snapshot is in one of the two, not in both."""
    if reading.database.is_mariadb:
        pytest.skip("a snapshot knows its own place there")
    reading.database.execute("create table bag (v int)", "insert into bag values (1)")
    reading.begin()
    (table,) = reading.tables
    writers: list[threading.Thread] = []

    def end_of_log(connection: Connection, *, by_files: bool) -> Place:
        place = server.end_of_log(connection, by_files=by_files)
        writers.append(threading.Thread(target=reading.database.execute, args=("insert into bag values (2)",)))
        writers[-1].start()
        # Long enough, if nothing keeps it out.
        writers[-1].join(1)
        return place

    monkeypatch.setattr(f"{MysqlSnapshotReader.__module__}.end_of_log", end_of_log)
    rows = reading.rows(table)
    seen = reading.reader.snapshot()
    for writer in writers:
        writer.join()
    changes = [change for change in reading.changes() if isinstance(change, RowChanges) and not seen.sees(change.txn)]
    later = [row for change in changes for row in change.after if row is not None]
    assert sorted(rows + later) == [(1,), (2,)]


def test_a_table_without_a_key_is_read_though_its_lock_is_waited_for_in_vain(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reading.database.is_mariadb:
        pytest.skip("no lock is asked for there")
    reading.database.execute("create table bag (v int)", "insert into bag values (1)")
    monkeypatch.setattr(f"{MysqlSnapshotReader.__module__}.LOCK_TRIES", 2)
    (table,) = reading.source.tables()
    writer = reading.database.connect()
    try:
        writer.run("start transaction")
        writer.run("insert into bag values (2)")
        # Waits for the writer, and gives up.
        assert reading.rows(table) == [(1,)]
    finally:
        writer.close()


def test_a_snapshot_saw_everything_before_its_place_in_the_log(any_reading: Reading) -> None:
    reading = any_reading
    reading.database.execute("create table a (id int primary key, v int)", "insert into a values (0, 0)")
    reading.begin()
    (table,) = reading.tables
    stop = threading.Event()
    errors: list[BaseException] = []
    written: list[int] = []

    def write(offset: int) -> None:
        try:
            connection = reading.database.connect()
            n = offset
            while not stop.is_set():
                connection.run(f"insert into a values ({n}, {n})")
                written.append(n)
                n += 2
            connection.close()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            errors.append(error)

    writers = [threading.Thread(target=write, args=(i,)) for i in (1, 2)]
    for writer in writers:
        writer.start()
    seen, looks = [], []
    try:
        while len(written) < 10 and not errors:
            time.sleep(0.01)
        for _ in range(20):
            (chunk,) = reading.reader.plan(table, 1_000_000)
            ids = {row[0] for batch in reading.reader.read(table, chunk, 100) for row in batch}
            seen.append((reading.reader.snapshot(), ids))
            # One that reads nothing: what it has settled every later one sees.
            looks.append((len(seen), reading.reader.look()))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not errors
    committed = [
        (change.txn, {row[0] for row in change.after if row is not None})
        for change in reading.changes()
        if isinstance(change, RowChanges)
    ]
    assert committed
    for snapshot, ids in seen:
        before = [made for txn, made in committed if snapshot.sees(txn)]
        assert set().union(*before) <= ids
        assert snapshot.high >= reading.start.commit
    for place, look in looks:
        settled = set().union(*(made for txn, made in committed if look.settled(txn)))
        assert all(settled <= ids for _, ids in seen[place:])
    assert any(look.settled(txn) for _, look in looks for txn, _ in committed)
    assert [snapshot.high for snapshot, _ in seen] == sorted(snapshot.high for snapshot, _ in seen)


def test_a_table_that_has_changed_is_not_read_under_wrong_names(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key, v int)")
    (table,) = reading.source.tables()
    reading.database.execute("alter table a modify v varchar(5)")
    reader = MysqlSnapshotReader(reading.settings)
    (chunk,) = reader.plan(table, 10)
    for statement in ("select 1", "drop table a"):
        reading.database.execute(statement) if statement != "select 1" else None
        with pytest.raises(TailraceError) as caught:
            list(reader.read(table, chunk, 10))
        assert caught.value.kind is ErrorKind.SOURCE_SCHEMA
    reader.close()
