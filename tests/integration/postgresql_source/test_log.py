"""The log as it really is: resuming anywhere, TOAST, identities, truncates, schema changes, lost slots."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from capture.source import LogReader
from schemas.changes import UNCHANGED, Begin, Change, Commit, LogMessage, RowChanges, SchemaChange, Truncate
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position
from schemas.table import TableName
from tests.integration.postgresql_source import reading
from tests.integration.postgresql_source.reading import Capture, Captured


def test_reading_resumes_after_every_single_change(capture: Capture) -> None:
    c = capture("create table a (id int primary key, v text)", "create table b (id int primary key)")
    c.database.execute(
        "insert into a select i, 'x' from generate_series(1, 3) i",
        "begin; insert into b values (1); update a set v = 'y'; truncate b; delete from a where id = 2; "
        "insert into b values (9); commit",
        "begin; rollback",
        "begin; insert into a values (7, 'z'); savepoint s; insert into a values (8, 'z'); rollback to s; commit",
    )
    whole = c.changes()
    flat = _flatten(whole)
    assert [line[0] for line in flat] == ["c"] * 3 + ["c", "u", "u", "u", "t", "d", "c", "c"]
    for cut in range(len(flat) + 1):
        first, rest = _positions(whole, c.start)[cut], flat[cut:]
        again = c.changes(first)
        assert _flatten(again) == rest, f"resumed behind {cut} changes, at {c.source.format_position(first)}"
        assert [type(x) for x in again if isinstance(x, Begin | Commit)] == [Begin, Commit] * (
            sum(isinstance(x, Begin) for x in again)
        )


def _flatten(changes: list[Change]) -> list[tuple[object, ...]]:
    """Return rows and truncates, one by one."""
    lines: list[tuple[object, ...]] = []
    for change in changes:
        if isinstance(change, RowChanges):
            lines += [(op, change.table.name, b, a) for op, b, a in reading.rows_of([change])]
        elif isinstance(change, Truncate):
            lines.append(("t", *(t.name for t in change.tables)))
    return lines


def _positions(changes: list[Change], start: Position) -> list[Position]:
    """Return the position behind each number of changes; behind a whole transaction, the one that its commit gives."""
    positions = [start]
    base = start.commit
    for change in changes:
        if isinstance(change, RowChanges):
            for _ in change.ops:
                positions.append(Position(base, positions[-1].row + 1))
        elif isinstance(change, Truncate):
            positions.append(Position(base, positions[-1].row + 1))
        elif isinstance(change, Commit):
            base = change.position.commit
            positions[-1] = change.position
    return positions


def test_a_position_at_the_end_of_a_transaction_by_rows_yields_only_its_commit(capture: Capture) -> None:
    c = capture("create table a (id int primary key)")
    c.database.execute("insert into a values (1), (2)", "insert into a values (3)")
    read = c.changes(Position(c.start.commit, 2))
    changes = [x for x in read if isinstance(x, Begin | Commit | RowChanges)]
    assert [type(x) for x in changes] == [Begin, Commit, Begin, RowChanges, Commit]


def test_a_large_transaction_is_returned_piece_by_piece(capture: Capture) -> None:
    c = capture("create table a (id int primary key)")
    c.database.execute("insert into a select generate_series(1, 30000)")
    log = c.open()
    polls: list[Sequence[Change]] = [()]
    deadline = time.monotonic() + reading.DEADLINE_S
    try:
        while not any(isinstance(x, Commit) for x in polls[-1]):
            assert time.monotonic() < deadline
            polls.append(log.poll(1.0))
    finally:
        log.close()
    assert max(len(reading.rows_of(poll)) for poll in polls) <= 5000
    assert [a for poll in polls for _, _, a in reading.rows_of(poll)] == [(i,) for i in range(1, 30001)]


def test_unchanged_toast_is_marked_and_filled_where_the_old_row_has_it(capture: Capture) -> None:
    c = capture(
        "create table a (id int primary key, big text, n int)",
        "alter table a alter big set storage external",
        "create table f (id int primary key, big text, n int)",
        "alter table f alter big set storage external, replica identity full",
        "create table k (key text primary key, n int)",
        "alter table k alter key set storage external",
        "insert into a values (1, repeat('x', 10000), 0)",
        "insert into f values (1, repeat('x', 10000), 0)",
        "insert into k values (repeat('k', 2500), 0)",
        # One partition keeps whole rows, as its table says; the other its key.
        "create table m (id int, part int, big text, primary key (id, part)) partition by list (part)",
        "create table m1 partition of m for values in (1)",
        "create table m2 partition of m for values in (2)",
        "alter table m alter big set storage external",
        "alter table m replica identity full",
        "alter table m1 replica identity full",
        "insert into m values (1, 1, repeat('x', 10000)), (2, 2, repeat('x', 10000)), (3, 1, null)",
    )
    big = "x" * 10000
    c.database.execute("update a set n = 1", "update a set id = 2", "update f set n = 1", "update k set n = 1")
    c.database.execute(*(f"update m set id = {i} + 10 where id = {i}" for i in (1, 2, 3)))
    changes = c.changes()
    moves = [r for r in changes if isinstance(r, RowChanges) and r.table.name.table == "m"]
    assert reading.rows_of(moves) == [
        ("u", (1, 1, big), (11, 1, big)),
        ("u", (2, 2, UNCHANGED), (12, 2, UNCHANGED)),
        ("u", (3, 1, UNCHANGED), (13, 1, None)),
    ]
    for move in moves:
        c.source.complete(move)
    assert [after for _, _, after in reading.rows_of(moves)] == [(11, 1, big), (12, 2, big), (13, 1, None)]
    assert reading.rows_of(changes, "a") == [
        ("u", None, (1, UNCHANGED, 1)),
        ("u", (1, UNCHANGED, UNCHANGED), (2, UNCHANGED, 1)),
    ]
    assert reading.rows_of(changes, "f") == [("u", (1, big, 0), (1, big, 1))]
    assert reading.rows_of(changes, "k") == [("u", None, ("k" * 2500, 1))]
    (key_change,) = [r for r in changes if isinstance(r, RowChanges) and r.before[0] and r.table.name.table == "a"]
    c.source.complete(key_change)
    assert key_change.after == [(2, big, 1)]


def test_values_of_a_row_that_is_gone_stay_unknown(capture: Capture) -> None:
    c = capture(
        "create table a (id numeric(8,2), at timestamptz, big text, primary key (at, id),"
        " t text not null, b bytea not null, j jsonb not null, l text[] not null)",
        *(f"alter table a alter {column} set storage external" for column in ("big", "t", "b", "j", "l")),
        "insert into a select i, '2024-01-01', x, x, x::bytea, to_jsonb(x), array[x]"
        " from generate_series(1, 2) i, repeat('x', 10000) x",
    )
    c.database.execute("update a set at = '0044-03-15 12:00:00.5+00 BC'", "delete from a where id = 1")
    (updates,) = [r for r in c.changes() if isinstance(r, RowChanges) and "u" in r.ops]
    c.source.complete(updates)
    gone, there = (row for row in updates.after if row)
    assert gone[2:] == (UNCHANGED,) * 5
    assert there[2:4] == ("x" * 10000, "x" * 10000)


def test_values_are_looked_up_in_columns_that_are_called_otherwise(capture: Capture) -> None:
    """They were taken for gone, and what stood for them stayed: neither a name nor a length brings rows again.

    What a column held that is gone is not made up: the table is loaded again.
    """
    c = capture(
        "create table a (id varchar(4) primary key, t varchar(20000) not null, b bytea not null, d text not null)",
        *(f"alter table a alter {column} set storage external" for column in "tbd"),
        "insert into a select 'k', x, x::bytea, x from repeat('x', 10000) x",
    )
    c.database.execute(
        "update a set id = 'l'",
        "alter table a rename id to name",
        "alter table a rename b to bytes",
        "alter table a alter name type text, alter t type text, drop d",
    )
    update = next(r for r in c.changes() if isinstance(r, RowChanges) and "u" in r.ops)
    c.source.complete(update)
    assert update.after == [("l", "x" * 10000, b"x" * 10000, UNCHANGED)]
    assert list(c.source.untold()) == [update.table.name]
    assert not c.source.untold(), "it is said once"


def test_identities_give_the_old_rows_that_they_promise(capture: Capture) -> None:
    c = capture(
        "create table u (a int, b text not null unique, c int)",
        "alter table u replica identity using index u_b_key",
        "create table f (a int, b text)",
        "alter table f replica identity full",
        "insert into u values (1, 'x', 2)",
        "insert into f values (1, null), (1, null)",
    )
    c.database.execute("update u set b = 'y'", "delete from u", "delete from f where ctid = '(0,1)'")
    tables = {table.name.table: table for table in c.tables}
    assert (tables["u"].key_names, tables["u"].primary_key) == (("b",), False)
    assert (tables["f"].key, tables["f"].full_before) == ((), True)
    changes = c.changes()
    assert reading.rows_of(changes, "u") == [
        ("u", (UNCHANGED, "x", UNCHANGED), (1, "y", 2)),
        ("d", (UNCHANGED, "y", UNCHANGED), None),
    ]
    assert reading.rows_of(changes, "f") == [("d", (1, None), None)]


def test_old_rows_of_a_partition_say_nothing_of_what_its_own_identity_leaves_out(capture: Capture) -> None:
    """Null stood for it, as if the row had held that."""
    c = capture(
        "create table r (id int primary key, x int not null, v text) partition by range (id)",
        "create table p partition of r for values from (0) to (100)",
        "create table q partition of r for values from (100) to (200)",
        "create unique index p_x on p (id, x)",
        "alter table r replica identity full",
        "alter table p replica identity using index p_x",
        "alter table q replica identity full",
        "insert into r values (1, 1, 'p'), (101, 1, null), (102, 1, 'q')",
    )
    c.database.execute("update r set id = id + 50, x = 2", "delete from r")
    rows = reading.rows_of(c.changes(), "r")
    # Of a row with a null there nobody can tell which partition's it was.
    assert sorted(rows, key=repr) == [
        ("d", (151, UNCHANGED, UNCHANGED), None),
        ("d", (152, 2, "q"), None),
        ("d", (51, UNCHANGED, UNCHANGED), None),
        ("u", (1, UNCHANGED, UNCHANGED), (51, 2, "p")),
        ("u", (101, UNCHANGED, UNCHANGED), (151, 2, None)),
        ("u", (102, 1, "q"), (152, 2, "q")),
    ]


@pytest.mark.parametrize("binary", [True, False])
def test_schema_changes_stand_where_they_happened(capture: Capture, binary: bool) -> None:
    c = capture("create table a (id int primary key, v text)", "insert into a values (0, 'x')")
    c.database.execute(
        "insert into a values (1, 'x')",
        "begin; insert into a values (2, 'x'); alter table a add n int default 5; insert into a values (3, 'x'); "
        "commit",
        "alter table a rename v to w",
        "insert into a values (4, 'x')",
        "alter table a alter w type numeric(6,2) using 1.5, drop n",
        "insert into a values (5, 2.25)",
        "create table late (id int primary key)",
    )
    seen: list[object] = []
    for change in c.changes(binary=binary):
        if isinstance(change, SchemaChange):
            assert change.after is not None
            seen.append((change.after.version, [(x.name, x.native) for x in change.after.columns]))
        elif isinstance(change, RowChanges):
            seen += [(change.table.version, after) for after in change.after]
    identifier = ("id", "integer")
    assert seen == [
        (1, (1, "x")),
        (1, (2, "x")),
        (2, [identifier, ("v", "text"), ("n", "integer")]),
        (2, (3, "x", 5)),
        (3, [identifier, ("w", "text"), ("n", "integer")]),
        (3, (4, "x", 5)),
        (4, [identifier, ("w", "numeric(6,2)")]),
        (4, (5, 225)),
    ]


@pytest.mark.parametrize("binary", [True, False])
def test_a_label_that_came_before_another_change_is_known_behind_it(capture: Capture, binary: bool) -> None:
    """However much of the log is read at once: what was read of the type before had the label gone again."""
    c = capture("create type mood as enum ('a')", "create table a (id int primary key, m mood)")
    c.database.execute(
        "alter type mood add value 'b'",
        "insert into a values (1, 'b')",
        "alter table a add n int",
        "insert into a values (2, 'b', 3)",
    )
    seen: list[object] = []
    for change in c.changes(binary=binary):
        if isinstance(change, SchemaChange):
            assert change.after is not None
            seen.append((change.after.version, change.after.column_names, change.after.user_types[0].labels))
        elif isinstance(change, RowChanges):
            seen += [(change.table.version, after) for after in change.after]
    assert seen == [
        (2, ("id", "m"), ("a", "b")),
        (2, (1, "b")),
        (3, ("id", "m", "n"), ("a", "b")),
        (3, (2, "b", 3)),
    ]


def test_a_partitioned_table_comes_by_its_root(capture: Capture) -> None:
    c = capture(
        "create table p (id int, k int, primary key (id, k)) partition by list (k)",
        "create table p1 partition of p for values in (1)",
        "create table p2 partition of p for values in (2)",
        "create table q (id int primary key, extra int, k int)",
        "create table q1 () inherits (q)",
        "alter table q1 add primary key (id)",
    )
    assert [table.name.table for table in c.tables] == ["p", "q", "q1"]
    c.database.execute(
        "insert into p values (1, 1), (2, 2)",
        "update p set k = 2 where id = 1",
        "create table p3 partition of p for values in (3)",
        "insert into p3 values (3, 3)",
        "truncate p1",
        "insert into q1 values (1)",
    )
    changes = c.changes()
    assert [(op, a or b) for op, b, a in reading.rows_of(changes, "p")] == [
        ("c", (1, 1)),
        ("c", (2, 2)),
        ("d", (1, 1)),
        ("c", (1, 2)),
        ("c", (3, 3)),
    ]
    assert reading.rows_of(changes, "q1") == [("c", None, (1, None, None))]
    assert not reading.rows_of(changes, "q")
    assert sorted(reading.load(c.settings, c.tables[0])) == [(1, 2), (2, 2), (3, 3)]
    assert reading.load(c.settings, c.tables[1]) == []


def test_tables_that_are_not_selected_never_appear(capture: Capture) -> None:
    c = capture(
        "create table a (id int primary key)",
        "create table hidden (id int primary key)",
        tables=("public.*", "!public.hidden"),
    )
    c.database.execute(f'alter publication "{c.settings.publication}" add table hidden')
    c.database.execute(
        "insert into hidden select generate_series(1, 10)",
        "begin; insert into hidden values (99); insert into a values (1); truncate hidden, a; commit",
    )
    changes = c.changes()
    assert _flatten(changes) == [("c", TableName("public", "a"), None, (1,)), ("t", TableName("public", "a"))]
    assert sum(isinstance(x, Begin) for x in changes) == 1


def test_messages_and_prepared_transactions_come_in_order(capture: Capture) -> None:
    c = capture("create table a (id int primary key)")
    c.database.execute(
        "begin; select pg_logical_emit_message(true, 'note', 'hello'); insert into a values (1); commit",
        "begin; select pg_logical_emit_message(true, 'never', 'x'); rollback",
        "select pg_logical_emit_message(false, 'loose', 'y')",
        "insert into a values (2)",
    )
    changes = c.changes()
    messages = [(m.prefix, m.content, m.txn is not None) for m in changes if isinstance(m, LogMessage)]
    assert messages == [("note", b"hello", True), ("loose", b"y", False)]


def test_an_idle_log_yields_heartbeats_and_lets_the_server_forget(capture: Capture) -> None:
    c = capture("create table a (id int primary key)")
    c.database.execute("create table other (id int)", "insert into other select generate_series(1, 1000)")
    end = c.source.current_position()
    log = c.open()
    try:
        position = c.start
        for change in reading.read_to_end(c.source, log):
            position = getattr(change, "position", position)
        assert position.commit >= end.commit
        log.acknowledge(position)
        _wait_until_confirmed(c, log, position)
    finally:
        log.close()


def _wait_until_confirmed(c: Captured, log: LogReader, position: Position) -> None:
    query = f"select confirmed_flush_lsn::text from pg_replication_slots where slot_name = '{c.settings.slot}'"
    for _ in range(600):
        confirmed = c.source.parse_position(str(c.database.rows(query)[0][0]))
        if confirmed >= position:
            return
        log.poll(0.1)
    raise AssertionError("the slot did not move on")


def test_a_hanging_predecessor_is_ended(capture: Capture) -> None:
    c = capture("create table a (id int primary key)")
    first = c.open()
    c.database.execute("insert into a values (1)")
    second = c.source.open_log(c.start, c.tables)
    try:
        assert len(reading.rows_of(reading.read_to_end(c.source, second))) == 1
        with pytest.raises(TailraceError) as caught:
            _poll_for_ever(first)
        assert caught.value.kind is ErrorKind.SOURCE_CONNECTION
    finally:
        first.close()
        second.close()


def _poll_for_ever(log: LogReader) -> None:
    for _ in range(600):
        log.poll(0.1)


def test_a_lost_slot_and_a_dropped_publication_stop_with_the_reason(capture: Capture) -> None:
    c = capture("create table a (id int primary key)")
    identity = c.source.identity()
    c.source.check_position(identity, c.start)
    with pytest.raises(TailraceError, match="another server") as caught:
        c.source.check_position(identity | {"system_identifier": "1"}, c.start)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    with pytest.raises(TailraceError, match="ends at"):
        c.source.check_position(identity, Position(1 << 62))
    with pytest.raises(TailraceError, match="starts at"):
        c.source.check_position(identity, Position(1))
    c.database.execute(f'drop publication "{c.settings.publication}"', "insert into a values (1)")
    with pytest.raises(TailraceError) as caught:
        c.changes()
    assert caught.value.kind is ErrorKind.PREREQUISITE
    c.source.destroy()
    with pytest.raises(TailraceError, match="is gone") as caught:
        c.source.check_position(identity, c.start)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    with pytest.raises(TailraceError, match="is gone") as caught:
        c.open()
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST


def test_a_time_is_found_in_the_log_or_refused(capture: Capture) -> None:
    # An array of a type without a binary form: the server gives up at the first row, unless it is asked for text.
    c = capture("create table a (id int primary key, rights aclitem[] default '{}')")
    before_us = _now_us(c)
    with pytest.raises(TailraceError, match="holds no transaction") as caught:
        c.source.find_position(before_us)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    times = []
    for number in range(3):
        times.append(_now_us(c))
        # Only the middle one has more than a poll's worth of messages.
        c.database.execute(
            f"insert into a select generate_series({number * 100000}, {number * 100000 + number % 2 * 9000})"
        )
    slot = f"select confirmed_flush_lsn::text from pg_replication_slots where slot_name = '{c.settings.slot}'"
    stands = c.database.rows(slot)
    positions = [c.source.find_position(time_us) for time_us in (*times[1:], _now_us(c))]
    for time_us in (before_us, times[0]):
        with pytest.raises(TailraceError, match="first transaction of the captured tables is from") as caught:
            c.source.find_position(time_us)
        assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    assert c.database.rows(slot) == stands
    firsts = []
    for position in positions:
        log = c.source.open_log(position, c.tables)
        firsts.append([after for _, _, after in reading.rows_of(reading.read_to_end(c.source, log))][:1])
        log.close()
    assert firsts == [[(100000, "{}")], [(200000, "{}")], []]
    with pytest.raises(TailraceError, match="in the future"):
        c.source.find_position(_now_us(c) + 3_600_000_000)
    c.source.destroy()
    with pytest.raises(TailraceError, match="no replication slot") as caught:
        c.source.find_position(times[1])
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST


def _now_us(c: Captured) -> int:
    return int(str(c.database.rows("select (extract(epoch from clock_timestamp()) * 1000000)::int8")[0][0]))


def test_preparing_again_adds_tables_and_keeps_the_slot(capture: Capture) -> None:
    c = capture("create table a (id int primary key)")
    c.database.execute("create table b (id int primary key)")
    tables = c.source.tables()
    again = c.source.prepare(tables)
    assert again <= c.start
    c.database.execute("insert into b values (1)")
    changes = c.changes()
    (change,) = [x for x in changes if isinstance(x, SchemaChange)]
    assert (change.name, change.before, change.after) == (TableName("public", "b"), None, tables[1])
    assert reading.rows_of(changes, "b") == [("c", None, (1,))]


def test_tables_are_added_only_when_their_writers_have_ended(capture: Capture) -> None:
    c = capture("create table a (id int primary key)")
    c.database.execute("create table b (id int primary key)")
    with c.database.connect() as writer, ThreadPoolExecutor(1) as pool:
        writer.autocommit = False
        writer.execute("insert into b values (1)")
        added = pool.submit(c.source.prepare, c.source.tables())
        with pytest.raises(TimeoutError):
            added.result(timeout=1.0)
        writer.commit()
        added.result(timeout=reading.DEADLINE_S)
    c.database.execute("insert into b values (2)")
    assert reading.rows_of(c.changes(), "b")[-1:] == [("c", None, (2,))]
