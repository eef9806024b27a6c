"""The log of real servers: transactions, row images, statements, and going on from every place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from threading import Thread

import pytest

from capture.source import Severity
from capture.sources.mysql import prepared
from capture.sources.mysql.completion import Completion
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.snapshot import begin_snapshot
from capture.sources.mysql.source import MysqlServer
from deploy.local.mysql import MysqlAddress
from schemas.changes import UNCHANGED, Begin, Change, Commit, Row, RowChanges
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import (
    ON_OLDER_TOO,
    SERVER_ID,
    Flat,
    Reading,
    flatten,
    positions_in,
    read_to,
    without_gtids,
)
from tests.kit.mysql import create_mysql_database, drop_mysql_database


@contextlib.contextmanager
def _global(reading: Reading, name: str, value: str) -> Iterator[None]:
    (before,) = reading.database.rows(f"select @@global.{name}")[0]
    reading.database.execute(f"set global {name} = {value}")
    try:
        yield
    finally:
        reading.database.execute(f"set global {name} = " + (str(before) if str(before).isdigit() else f"'{before}'"))


def test_reading_goes_on_from_every_place(any_reading: Reading) -> None:
    reading = any_reading
    reading.database.execute(
        "create table a (id int primary key, v varchar(20))",
        "create table b (x int, y int)",
        "insert into a values (0, 'before')",
    )
    reading.begin()
    connection = reading.database.connect()
    for statement in (
        "begin",
        "insert into a values (1, 'one'), (2, 'two'), (3, null)",
        "insert into b values (1, 1), (1, 1)",
        "update a set v = 'zwei' where id = 2",
        "savepoint s",
        "insert into a values (9, 'never')",
        "rollback to s",
        "update a set id = 30 where id = 3",
        "commit",
        "update b set y = 2 limit 1",
        "delete from b where y = 1",
        "truncate table b",
        "delete from a where id in (1, 2)",
        "begin",
        "insert into a values (77, 'rolled back')",
        "rollback",
    ):
        connection.run(statement)
    connection.close()
    changes = reading.changes()
    flat = flatten(changes, told=True)
    assert flat == [
        ("a", "c", None, (1, "one")),
        ("a", "c", None, (2, "two")),
        ("a", "c", None, (3, None)),
        ("b", "c", None, (1, 1)),
        ("b", "c", None, (1, 1)),
        ("a", "u", None, (2, "zwei")),
        ("a", "u", (3, UNCHANGED), (30, None)),
        ("b", "u", (1, 1), (1, 2)),
        ("b", "d", (1, 1), None),
        ("b", "t", None, None),
        ("", "m", None, None),
        ("a", "d", (1, UNCHANGED), None),
        ("a", "d", (2, UNCHANGED), None),
    ]
    begins = [change.txn for change in changes if isinstance(change, Begin)]
    commits = [change for change in changes if isinstance(change, Commit)]
    assert [txn.commit for txn in begins] == [c.position.commit for c in commits] == sorted({t.commit for t in begins})
    positions = positions_in(changes, reading.start)
    assert positions == sorted(positions)
    done = 0
    for before, position in zip([None, *positions], positions, strict=False):
        done += before is not None and position.row > 0
        assert reading.flat(position, told=True) == flat[done:], f"from {reading.source.format_position(position)}"
        reading.source.check_position(reading.source.identity(), position)


def test_a_long_transaction_comes_in_pieces_and_goes_on_in_its_middle(any_reading: Reading) -> None:
    reading = any_reading
    reading.database.execute("create table a (id int primary key auto_increment, v char(200))")
    reading.begin()
    connection = reading.database.connect()
    for statement in ("begin", "insert into a (v) values ('x')", *["insert into a (v) select v from a"] * 14, "commit"):
        connection.run(statement)
    connection.close()
    count = 1 << 14
    end = reading.source.current_position()
    with reading.log() as log:
        polls: list[list[Change]] = []
        while not any(isinstance(change, Commit) for change in (polls[-1] if polls else [])):
            polls.append(list(log.poll(1.0)))
        changes = [change for poll in polls for change in poll]
    assert len([poll for poll in polls if poll]) > 2
    assert [type(change).__name__ for change in changes if not isinstance(change, RowChanges)][:2] == [
        "Begin",
        "Commit",
    ]
    rows = flatten(changes)
    assert len(rows) == count
    txn = next(change.txn for change in changes if isinstance(change, Begin))
    middle = reading.start.within(txn.id, 9000)
    with reading.log(middle) as log:
        assert flatten(read_to(log, end)) == rows[9000:]
    other = reading.start.within("0-1-1", 9000)
    with reading.log(other) as log, pytest.raises(TailraceError) as caught:
        read_to(log, end)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_partial_row_images_name_what_they_lack(reading: Reading, image: str) -> None:
    reading.database.execute(
        "create table a (id int primary key, v int not null default 7, t text, u varchar(9) default 'x')"
    )
    reading.begin()
    connection = reading.database.connect()
    connection.run(f"set session binlog_row_image = '{image}'")
    for statement in (
        "insert into a (id, t) values (1, 'text')",
        "update a set v = 8",
        "update a set t = 'more'",
        "update a set id = 2",
        "delete from a",
    ):
        connection.run(statement)
    connection.close()
    found = reading.flat()
    assert [op for _, op, _, _ in found] == ["c", "u", "u", "u", "d"]
    inserted, eight, text, moved, deleted = found
    # The row is gone by now: what the insert did not log cannot be looked up any more, and its delete follows.
    assert inserted[3] is not None
    assert [inserted[3][0], inserted[3][2]] == [1, "text"]
    assert UNCHANGED not in inserted[3]
    lacks = UNCHANGED if image == "MINIMAL" else 8
    assert eight == ("a", "u", None, (1, 8, UNCHANGED, UNCHANGED if image == "MINIMAL" else "x"))
    assert text == ("a", "u", None, (1, lacks, "more", UNCHANGED if image == "MINIMAL" else "x"))
    assert moved[2] == (1, UNCHANGED, UNCHANGED, UNCHANGED)
    assert moved[3] is not None
    assert moved[3][0] == 2
    assert deleted == ("a", "d", (2, UNCHANGED, UNCHANGED, UNCHANGED), None)


_PARTIAL_JSON = (
    "update p set j = json_set(j, '$.a', 2, '$.list[1]', 'zwei')",
    "update p set j = json_set(j, '$.\"a b\".\"ü.\"', json_array(1.50, null, true)), k = json_remove(k, '$[0]')",
    "update p set j = json_remove(j, '$.list[0]'), n = n + 1",
    "update p set k = json_replace(k, '$[0].x', json_object('long name', 1e300, 'z', -0.0))",
    "update p set j = json_set(j, '$.d', cast('2024-02-29' as date)), k = json_set(k, '$[0].y', repeat('é', 300))",
    "update p set j = json_set(j, '$.added', json_object()), n = null where n > 2",
    "update p set k = json_array(json_extract(k, '$[0]'), 7)",
    # Arrays within arrays: an element, one behind the last, one that goes, and what is no array taken for one.
    "update p set v = json_set(v, '$[0][1][1][0]', json_array(4, json_array()))",
    "update p set v = json_set(v, '$[0][2].in[0][7]', 'behind', '$[0][1][1][9]', null)",
    "update p set v = json_remove(v, '$[0][1][0]', '$[0][2].in[0][0]')",
    "update p set v = json_replace(v, '$[0][0][0]', -1, '$[1][0]', json_object('x', json_array(1, json_array(2))))",
    "update p set v = json_set(v, '$[1].x[1][0]', 2e-7, '$[1].x[1][1]', true, '$[1].x[0][1]', 'wrapped')",
)


def test_partial_updates_of_json_are_whole_when_they_are_published(reading: Reading) -> None:
    if reading.database.is_mariadb:
        pytest.skip("MariaDB has no such option")
    nested = '[[1, [2, [3.10, "drei"]], {"in": [[]]}], 5, "' + "n" * 400 + '"]'
    document = '{"list": ["one", "two", {"deep": 1.10}], "a b": {"ü.": 0}, "a": 1, "text": "' + "x" * 400 + '"}'
    array = '[17, {"x": 1, "y": "' + "y" * 400 + '"}, false]'
    reading.database.execute(
        "create table p (id int primary key, j json, n int, k json, v json)",
        f"insert into p values (1, '{document}', 1, '{array}', null), (2, '{document}', 7, '{array}', '{nested}')",
    )
    reading.begin()
    (table,) = (table for table in reading.tables if table.name.table == "p")
    connection = reading.database.connect()
    connection.run("set session binlog_row_value_options = 'PARTIAL_JSON'")
    end = reading.start
    seen: dict[object, Row] = {}
    for statement in _PARTIAL_JSON:
        connection.run(statement)
        seen |= {after[0]: after for name, op, _, after in reading.flat(end) if name == "p" and op == "u" and after}
        end = reading.source.current_position()
        assert sorted(seen.values()) == sorted(reading.rows(table)), statement
    connection.run("set session binlog_row_image = 'MINIMAL'")
    connection.run("update p set k = json_set(k, '$[0].x', 8)")
    connection.close()
    with pytest.raises(TailraceError) as refused:
        reading.flat(end)
    assert refused.value.kind is ErrorKind.PREREQUISITE


def test_values_that_a_partial_image_lacks_are_looked_up(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key, v int default 7, t text)")
    reading.begin()
    connection = reading.database.connect()
    connection.run("set session binlog_row_image = 'MINIMAL'")
    connection.run("insert into a (id, t) values (1, 'text')")
    connection.run("update a set id = 2")
    connection.close()
    changes = reading.changes()
    (update,) = [c for c in changes if isinstance(c, RowChanges) and c.ops[-1] == "u"]
    reading.source.complete(update)
    assert update.after[-1] == (2, 7, "text")


def test_many_values_are_looked_up_by_few_questions(reading: Reading) -> None:
    reading.database.execute("create table a (id varchar(20) primary key, v int, w int default 8)")
    reading.begin()
    names = [f"n{i}" for i in range(249)]
    connection = reading.database.connect()
    connection.run("set session binlog_row_image = 'MINIMAL'")
    connection.run("begin")
    connection.run("insert into a (id) values " + ", ".join(f"('{name}')" for name in ("Same", *names)))
    connection.run("delete from a where id in ('same', 'n5')")
    # By the column's collation it is the key that was there.
    connection.run("insert into a (id, v) values ('SAME', 1)")
    connection.run("commit")
    connection.close()
    asked = 0

    def connected() -> Connection:
        nonlocal asked
        asked += 1
        return session

    session = reading.database.connect()
    completion = Completion(connected, partial(begin_snapshot, by_files=False), "null")
    rows: dict[object, object] = {}
    for changes in [c for c in reading.changes() if isinstance(c, RowChanges)]:
        completion.complete(changes)
        rows |= {after[0]: after for after in changes.after if after is not None}
    session.close()
    assert asked <= 2
    assert rows.pop("n5") == ("n5", None, 8), "it is gone, and had the default"
    assert rows == {"Same": ("Same", 1, 8), "SAME": ("SAME", 1, 8), **{n: (n, None, 8) for n in names if n != "n5"}}


def test_values_are_looked_up_once_they_can_be_seen(reading: Reading) -> None:
    """A transaction is in the log before it is visible: its rows were taken for gone, and the values for null."""
    database = reading.database
    if not database.is_mariadb and database.version() < (9,):
        pytest.skip("the MySQL 8 of tests came without plug-ins")
    database.execute(
        "create table a (id int primary key, v int default 7, t text)", "insert into a values (2, 9, 'old')"
    )
    reading.begin()
    writer = database.connect()
    writer.run("set session binlog_row_image = 'MINIMAL'")
    kind = "master" if database.is_mariadb else "source"
    if not database.is_mariadb:
        database.execute("install plugin rpl_semi_sync_source soname 'semisync_source.so'")
    semisync = f"rpl_semi_sync_{kind}"
    try:
        with contextlib.ExitStack() as stack:
            # It waits for a replica that there is not, between the log and the storage engine.
            for name, value in (("timeout", "5000"), ("wait_no_" + ("slave" if kind == "master" else "replica"), "1")):
                stack.enter_context(_global(reading, f"{semisync}_{name}", value))
            stack.enter_context(_global(reading, f"{semisync}_wait_point", "'AFTER_SYNC'"))
            stack.enter_context(_global(reading, f"{semisync}_enabled", "1"))
            waiting = Thread(target=lambda: [*map(writer.run, ("begin", *HELD_UP, "commit"))])
            waiting.start()
            found: list[RowChanges] = []
            with reading.log() as log:
                while not found:
                    found = [c for c in log.poll(1.0) if isinstance(c, RowChanges)]
            for changes in found:
                reading.source.complete(changes)
            waiting.join()
    finally:
        if not database.is_mariadb:
            database.execute("uninstall plugin rpl_semi_sync_source")
    writer.close()
    rows = [after for changes in found for after in changes.after if after is not None]
    assert rows == [(1, 7, "new"), (2, 7, "newer")]


HELD_UP = (
    "insert into a (id, t) values (1, 'new')",
    "delete from a where id = 2",
    "insert into a (id, t) values (2, 'newer')",
)


@ON_OLDER_TOO
def test_statements_lead_to_what_they_mean(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key, v int)", "create table gone (id int primary key)")
    reading.begin()
    reading.database.execute(
        "insert into a values (1, 1)",
        "alter table a add column w varchar(5) default 'n' first, drop column v",
        "insert into a (id) values (2)",
        "drop table gone",
        "create table b like a",
        "insert into b values ('x', 1)",
        # As gh-ost and pt-online-schema-change swap tables.
        "rename table a to old, b to a",
        "insert into a values ('y', 5)",
        "alter table a rename column w to renamed",
        "insert into a values ('z', 6)",
    )
    found: list[Flat] = reading.flat()
    assert [flat for flat in found if flat[1] != "s"] == [
        ("a", "c", None, (1, 1)),
        ("a", "c", None, ("n", 2)),
        ("b", "c", None, ("x", 1)),
        ("a", "c", None, ("y", 5)),
        ("a", "c", None, ("z", 6)),
    ]
    at = {flat: i for i, flat in enumerate(found) if flat[1] != "s"}
    altered = found.index(("a", "s", None, ("w", "id")))
    assert at["a", "c", None, (1, 1)] < altered < at["a", "c", None, ("n", 2)]
    assert ("gone", "s", None, None) in found
    swap = [i for i, flat in enumerate(found) if flat == ("a", "s", None, None)]
    assert len(swap) == 1
    assert at["b", "c", None, ("x", 1)] < swap[0] < at["a", "c", None, ("y", 5)]
    last = [i for i, flat in enumerate(found) if flat == ("a", "s", None, ("renamed", "id"))]
    assert last
    assert last[-1] < at["a", "c", None, ("z", 6)]


@ON_OLDER_TOO
def test_tables_of_every_kind_are_the_same_by_log_and_by_full_load(reading: Reading) -> None:
    """Generated and invisible columns, partitions, a session in another zone, and keys that act by themselves."""
    reading.database.execute(
        "create table p (id int primary key, v int, g int as (v * 2) stored, h int as (v + 1) virtual, "
        "hidden int default 5 invisible, at timestamp null) partition by range (id) "
        "(partition p0 values less than (100), partition p1 values less than maxvalue)",
        "create table parent (id int primary key)",
        "create table child (id int primary key, p int, foreign key (p) references parent (id) on delete cascade)",
    )
    reading.begin()
    connection = reading.database.connect()
    parts = "partition p1 values less than (200), partition p2 values less than maxvalue"
    for statement in (
        "set time_zone = '+05:00'",
        "insert into p (id, v, at) values (1, 10, '1970-01-01 05:00:01'), (150, 20, null)",
        "update p set v = 11, hidden = 6 where id = 1",
        f"alter table p reorganize partition p1 into ({parts})",
        "insert into p (id, v) values (300, 3)",
        "insert into parent values (1)",
        "insert into child values (1, 1)",
        "delete from parent",
        "alter table p truncate partition p0",
        "insert into p (id, v) values (2, 4)",
    ):
        connection.run(statement)
    connection.close()
    columns = ("id", "v", "g", "hidden", "at")
    cascaded = [("child", "d", (1, UNCHANGED), None)] if reading.database.logs_cascades() else []
    assert reading.flat() == [
        ("p", "c", None, (1, 10, 20, 5, 1_000_000)),
        ("p", "c", None, (150, 20, 40, 5, None)),
        ("p", "u", None, (1, 11, 22, 6, 1_000_000)),
        # The other partitions hold what they held.
        ("p", "c", None, (300, 3, 6, 5, None)),
        ("parent", "c", None, (1,)),
        ("child", "c", None, (1, 1)),
        *cascaded,
        ("parent", "d", (1,), None),
        # Rows went that the log does not name: the table begins anew.
        ("p", "s", None, None),
        ("p", "s", None, columns),
        ("p", "c", None, (2, 4, 8, 5, None)),
    ]
    (table,) = [table for table in reading.source.tables() if table.name.table == "p"]
    assert sorted(reading.rows(table)) == [(2, 4, 8, 5, None), (150, 20, 40, 5, None), (300, 3, 6, 5, None)]


def test_a_log_without_names_is_read_as_the_catalogue_has_it_or_begins_anew(reading: Reading) -> None:
    """Rows whose columns nothing tells are left out, for a load behind them; where there is none, reading ends."""
    with _global(reading, "binlog_row_metadata", "'MINIMAL'"):
        reading.database.execute(
            "create table a (id int primary key, v varchar(9) character set latin1, e enum('p','q'))"
        )
        reading.begin()
        reading.database.execute(
            "insert into a values (1, 'é', 'q')",
            "alter table a add column w int",
            "insert into a values (2, 'ü', 'p', 5)",
        )
        rows = [after for _, op, _, after in reading.flat() if op == "c"]
        assert rows == [(1, "é", "q"), (2, "ü", "p", 5)]
        known = [table for table in reading.source.tables() if table.name.table == "a"]
        reading.database.execute(
            "update a set w = 6",
            "create table b (id int primary key)",
            "alter table a drop column w, drop column e",
            "insert into b values (1)",
            "insert into a values (3, 'z')",
        )
        gone, now = ("a", "s", None, None), ("a", "s", None, ("id", "v"))
        later = [("b", "s", None, ("id",)), ("b", "c", None, (1,)), ("a", "c", None, (3, "z"))]
        reading.tables = []
        found = reading.flat()
        # Rows behind a statement may be behind the load that those before it have led to.
        assert [flat for flat in found if flat[0] == "a"] == [now, gone, now, later[-1]]
        assert [flat for flat in found if flat[0] == "b"] == later[:2]
        # One that was captured before goes as it was, and comes as it is.
        reading.tables = [replace(known[0], columns=known[0].columns[:1])]
        assert [flat for flat in reading.flat() if flat[0] == "a"] == [gone, now, gone, now, later[-1]]
        source = MysqlServer(reading.settings, SERVER_ID, loads=False)
        try:
            with contextlib.closing(source.open_log(reading.start, [])) as log, pytest.raises(TailraceError) as caught:
                read_to(log, source.current_position())
        finally:
            source.close()
        assert caught.value.kind is ErrorKind.SOURCE_SCHEMA
        assert "binlog_row_metadata" in str(caught.value)


def test_compressed_events_are_unpacked(any_reading: Reading) -> None:
    reading = any_reading
    if not reading.database.rows(
        "show variables where variable_name regexp '^(log_bin_compress|binlog_transaction_c)'"
    ):
        pytest.skip("MySQL compresses from 8.0.20 on")
    reading.database.execute("create table a (id int primary key, v longtext)")
    reading.begin()
    connection = reading.database.connect()
    with contextlib.ExitStack() as stack:
        if reading.database.is_mariadb:
            stack.enter_context(_global(reading, "log_bin_compress", "1"))
        else:
            connection.run("set session binlog_transaction_compression = 1")
        connection.run("begin")
        for i in range(30):
            connection.run(f"insert into a values ({i}, repeat('{i} ', 50000))")
        connection.run("update a set v = 'short' where id = 3")
        connection.run("commit")
        connection.run("delete from a where id = 4")
    connection.close()
    found = reading.flat()
    assert found[:30] == [("a", "c", None, (i, f"{i} " * 50000)) for i in range(30)]
    assert found[30:] == [("a", "u", None, (3, "short")), ("a", "d", (4, UNCHANGED), None)]


def test_a_position_of_another_server_or_of_a_purged_log_is_refused(reading: Reading) -> None:
    source, identity = reading.source, reading.source.identity()
    mark = "0-1-99999999" if reading.database.is_mariadb else "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"
    with pytest.raises(TailraceError, match="does not have") as caught:
        source.check_position(identity, source.parse_position(mark))
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    other = "MySQL" if reading.database.is_mariadb else "MariaDB"
    with pytest.raises(TailraceError) as caught:
        source.check_position(identity | {"server": other}, reading.start)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    reading.database.execute("create table a (id int primary key)", "flush binary logs", "insert into a values (1)")
    end = source.current_position()
    (newest,) = reading.database.rows("show binary logs")[-1][:1]
    reading.database.execute("flush binary logs", f"purge binary logs to '{newest}'")
    source.check_position(identity, end)
    with pytest.raises(TailraceError) as caught:
        source.check_position(identity, reading.start)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    assert caught.value.remedy


def test_files_and_offsets_hold_on_one_server_while_it_keeps_them(mysql_server: MysqlAddress) -> None:
    database = create_mysql_database(mysql_server)
    try:
        with without_gtids(database):
            reading = Reading(database)
            source, identity = reading.source, reading.source.identity()
            (warning,) = [f for f in source.findings([]) if f.code == "gtid-mode"]
            assert warning.severity is Severity.WARNS
            assert "metadata_locks" in source.grants([])
            file, _, offset = source.format_position(reading.start).partition(":")
            for at, told in (
                (f"{file}:{int(offset) + 10**8}", "the server's log ends at"),
                ("binlog.000000:4", "purged its log up to"),
                ("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", "a set of GTIDs"),
            ):
                with pytest.raises(TailraceError, match=told) as caught:
                    source.check_position(identity, source.parse_position(at))
                assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
                assert caught.value.remedy
            with pytest.raises(TailraceError, match="means nothing on server"):
                source.check_position(identity | {"server_id": "another"}, reading.start)
            # The log goes on into another file, and the first is removed: nothing was lost.
            database.execute("create table a (id int primary key)", "flush binary logs")
            end = source.current_position()
            assert flatten(reading.changes()) == [("a", "s", None, ("id",))]
            database.execute(f"purge binary logs to '{source.format_position(end).partition(':')[0]}'")
            source.check_position(identity, reading.changes(end)[-1].position)  # type: ignore[union-attr]
            reading.close()
        kept = Reading(database)
        with pytest.raises(TailraceError, match="a file and an offset") as caught:
            kept.source.check_position(identity, reading.start)
        assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
        kept.close()
        # Who set `positions` before goes on by files all the same.
        chosen = Reading(database, positions="file")
        database.execute("insert into a values (1)")
        assert chosen.flat() == [("a", "c", None, (1,))]
        chosen.close()
    finally:
        drop_mysql_database(database)


def test_reading_can_begin_at_a_time(any_reading: Reading) -> None:
    reading = any_reading
    # A log that no longer begins with the server, and stamps of whole seconds that differ.
    reading.database.forget_log()
    reading.begin()
    reading.database.execute("create table a (id int primary key)", "do sleep(1.2)", "insert into a values (1)")
    txn = [change.txn for change in reading.changes() if isinstance(change, RowChanges)][-1]
    found = reading.source.find_position(txn.commit_ts_us)
    with reading.log(found) as log:
        changes = read_to(log, reading.source.current_position())
    assert next(c.txn.id for c in changes if isinstance(c, Begin)) == txn.id
    with pytest.raises(TailraceError) as caught:
        reading.source.find_position(1)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST


def test_what_xa_changes_goes_out_with_its_commit(any_reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions of XA, small ones and such as are read from the log again, amid others; begun before and behind."""
    reading = any_reading
    monkeypatch.setattr(prepared, "KEPT_BYTES_MAX", 3_000)
    reading.database.forget_log()
    reading.database.execute("create table a (id int primary key, v longtext)")
    sessions = [reading.database.connect() for _ in range(4)]
    undecided = set()

    def run(session: int, *statements: str) -> None:
        for statement in statements:
            sessions[session].run(statement)

    def prepare(session: int, xid: str, *statements: str) -> None:
        run(session, f"xa start {xid}", *statements, f"xa end {xid}", f"xa prepare {xid}")
        sessions[session].close()
        undecided.add(xid)

    def decide(xid: str, decision: str) -> None:
        reading.database.execute(f"xa {decision} {xid}")
        undecided.discard(xid)

    before = "'before','x',7"
    rows = " union all ".join(f"select {n} n" for n in range(100, 104))
    try:
        prepare(0, before, "insert into a values (1, 'prepared before the reading began')")
        reading.begin()
        large = f"insert into a select s.n, repeat('x', 1000) from ({rows}) s"
        prepare(1, "'large'", large, "update a set v = 'after all' where id = 103")
        prepare(2, "'small'", "insert into a values (2, 'small'), (3, 'small')", "delete from a where id = 3")
        prepare(3, "'undone'", "insert into a values (9, 'never')")
        reading.database.execute("insert into a values (4, 'plain')")
        decide("'undone'", "rollback")
        decide("'small'", "commit")
        reading.database.execute("insert into a values (5, 'plain')")
        decide(before, "commit")
        session = reading.database.connect()
        for statement in (
            "xa start 'x'",
            "insert into a values (6, 'at once')",
            "xa end 'x'",
            "xa commit 'x' one phase",
        ):
            session.run(statement)
        session.close()
        reading.database.execute("insert into a values (7, 'plain')")
        decide("'large'", "commit")
        reading.database.execute("update a set v = 'end' where id = 2")
    finally:
        # What stays prepared keeps its locks, and the database from being dropped.
        for xid in tuple(undecided):
            decide(xid, "rollback")
    changes = reading.changes()
    found = [(op, (after or before or ())[0]) for _, op, before, after in flatten(changes)]
    assert found == [
        *(("c", 4), ("c", 2), ("c", 3), ("d", 3), ("c", 5), ("c", 1), ("c", 6), ("c", 7)),
        *(("c", n) for n in range(100, 104)),
        *(("u", 103), ("u", 2)),
    ]
    begins = [change.txn for change in changes if isinstance(change, Begin)]
    assert len({txn.id for txn in begins}) == len(begins) == 8
    positions = positions_in(changes, reading.start)
    assert positions == sorted(positions)
    done = 0
    for i, position in enumerate(positions):
        done += i > 0 and position.row > 0
        if i % 3:
            continue
        rest = [(op, (after or before or ())[0]) for _, op, before, after in reading.flat(position)]
        assert rest == found[done:], f"from {reading.source.format_position(position)}"
        reading.source.check_position(reading.source.identity(), position)


def test_the_log_may_go_while_xa_stays_prepared_unless_it_commits(any_reading: Reading) -> None:
    """Nobody may ever decide it: a capture must be able to go on. `plan` names it."""
    reading = any_reading
    reading.database.forget_log()
    reading.database.execute("create table a (id int primary key)")
    reading.begin()
    names = ["'undone','x',7", "'lost'"]
    for n, name in enumerate(names):
        session = reading.database.connect()
        for statement in (f"xa start {name}", f"insert into a values ({n})", f"xa end {name}", f"xa prepare {name}"):
            session.run(statement)
        session.close()
    try:
        reading.database.execute("flush binary logs", "insert into a values (10)")
        position = positions_in(reading.changes(), reading.start)[-1]
        assert " since " in reading.source.format_position(position)
        (finding,) = [f for f in reading.source.findings(reading.tables) if f.code == "xa-prepared"]
        printed = (
            ["'undone','x',7", "'lost'"]
            if reading.database.is_mariadb
            else ["X'756e646f6e65',X'78',7", "X'6c6f7374',X'',1"]
        )
        assert all(name in finding.message for name in printed), finding.message
        reading.database.keep_newest_log()
        reading.source.check_position(reading.source.identity(), position)
        reading.database.execute(
            "insert into a values (11)", f"xa rollback {names.pop(0)}", "insert into a values (12)"
        )
        changes = reading.changes(position)
        assert flatten(changes) == [("a", "c", None, (11,)), ("a", "c", None, (12,))]
        assert " since " not in reading.source.format_position(changes[-1].position)  # type: ignore[union-attr]
        reading.database.execute(f"xa commit {names.pop(0)}")
        with pytest.raises(TailraceError, match="prepared before the log begins") as caught:
            reading.changes(position)
        assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    finally:
        reading.database.execute(*(f"xa rollback {name}" for name in names))


@pytest.mark.parametrize("mysql_database", ["mysql"], indirect=True)
def test_gtids_with_tags(reading: Reading) -> None:
    """From every place, tagged and plain ones in turn; positions print as the server takes them."""
    if reading.database.version() < (8, 3):
        pytest.skip("the server has none yet")
    reading.database.execute("create table a (id int primary key)")
    reading.begin()
    session = reading.database.connect()
    for n, gtid in enumerate(("automatic:shop", "automatic", "automatic:shop", "automatic:other_tag", "automatic")):
        for statement in (f"set gtid_next = '{gtid}'", f"insert into a values ({n}), ({n + 100})"):
            session.run(statement)
    session.close()
    changes = reading.changes()
    flat = flatten(changes)
    assert [after for *_, after in flat] == [(n + more,) for n in range(5) for more in (0, 100)]
    assert [":shop:" in change.txn.id for change in changes if isinstance(change, Begin)] == [
        True,
        False,
        True,
        False,
        False,
    ]
    (executed,) = reading.database.rows("select @@global.gtid_executed")[0]
    last = reading.source.format_position(positions_in(changes, reading.start)[-1])
    assert reading.database.rows(
        f"select gtid_subset('{executed}', '{last}'), gtid_subset('{last}', '{executed}')"
    ) == [["1", "1"]]
    identity, done = reading.source.identity(), 0
    for i, position in enumerate(positions_in(changes, reading.start)):
        done += i > 0 and position.row > 0
        reading.source.check_position(identity, position)
        assert reading.flat(position) == flat[done:], reading.source.format_position(position)
