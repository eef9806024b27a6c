"""Values that the log left out of rows whose key was changed, looked up by keys of every type, and after the key's type
was changed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploy.local.postgresql import MAJORS
from schemas.changes import UNCHANGED, RowChanges
from tests.integration.postgresql_source import reading
from tests.integration.postgresql_source.reading import Capture, Captured
from tests.kit.random_tables import KEYS, Kind
from tests.kit.servers import Database

LARGE = "x" * 10_000

OTHERS = (
    Kind("real", ("'NaN'", "'-0'", "0.1", "'-Infinity'")),
    Kind("timestamp", ("'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31 23:59:59.999999'")),
    Kind("timestamptz", ("'infinity'", "'-infinity'", "'2024-02-29 00:00+14'")),
    Kind("timetz", ("'24:00:00-15:59'", "'00:00+01'")),
    Kind("numeric(8,2)", ("'NaN'", "0.10")),
    Kind("numeric(3,-2)", ("12300",)),
    Kind("bpchar", ("'a '", "'b'")),
    Kind('"char"', ("'a'", "''")),
    Kind("bit(3)", ("'101'",)),
    Kind("varbit(9)", ("'1'", "''")),
    Kind("uuid", ("'00000000-0000-0000-0000-000000000001'",)),
    Kind("macaddr8", ("'08:00:2b:01:02:03:04:05'",)),
    Kind("pg_lsn", ("'16/B374D848'",)),
    Kind("xid8", ("'12345678901'",)),
    Kind("numrange", ("'[1.0,2.00)'", "'(,)'")),
    Kind("datemultirange", ("'{[2024-01-01,2024-02-01)}'",)),
    Kind("float8[]", ("'{NaN,-0}'",)),
    Kind("tsvector", ("'a:1 b'",)),
    Kind("name", ("'n'",)),
    Kind("mood", ("'so so'", "'o''k'")),
    Kind("positive", ("7",)),
    Kind("pair", ("'(1,\"a b\")'",)),
)


def _completed(captured: Captured) -> list[RowChanges]:
    """Return the updates in the log, whole."""
    updates = [r for r in captured.changes() if isinstance(r, RowChanges) and "u" in r.ops]
    for update in updates:
        captured.source.complete(update)
    return updates


@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
def test_rows_are_found_by_keys_of_every_type(capture: Capture) -> None:
    kinds = [kind for kind in (*KEYS, *OTHERS) if kind.values]
    setup = [
        "create type mood as enum ('so so', 'o''k')",
        "create domain positive as integer check (value > 0)",
        "create type pair as (a integer, b text)",
    ]
    moves = []
    for n, kind in enumerate(kinds):
        table = f"t{n}"
        setup += [
            f"create table {table} (i integer, k {kind.native}, big text not null, n integer, primary key (k, i))",
            f"alter table {table} alter big set storage external",
        ]
        for i, value in enumerate(kind.values):
            if i:
                setup.append(f"insert into {table} values ({i}, {kind.values[0]}, repeat('x', 10000))")
            other = kind.values[0] if i else kind.values[-1]
            setup += [] if i else [f"insert into {table} values (0, {other}, repeat('x', 10000))"]
            moves.append(f"update {table} set k = {value}, i = {1000 + i} where i = {i}")
    c = capture(*setup)
    c.database.execute(*moves)
    updates = _completed(c)
    assert sum(update.count for update in updates) == len(moves)
    lacking = [
        (kinds[int(update.table.name.table[1:])].native, row[1])
        for update in updates
        for row in update.after
        if row and row[2] != LARGE
    ]
    assert not lacking


@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
@pytest.mark.parametrize(
    ("native", "value", "later"),
    [
        ("numeric(8,2)", "1.5", "numeric"),
        ("numeric(8,2)", "1.5", "numeric(12,4)"),
        ("numeric(8,2)", "'NaN'", "numeric"),
        ("integer", "7", "bigint"),
        ("bigint", "7", "smallint"),
        ("integer", "7", "numeric"),
        ("numeric(8,0)", "7", "integer"),
        ("varchar(9)", "'a'", "text"),
        ("char(4)", "'a'", "text"),
        ("real", "0.1", "double precision"),
    ],
)
def test_rows_are_found_by_a_key_whose_type_has_become_another_like_it(
    capture: Capture, native: str, value: str, later: str
) -> None:
    """They counted as gone."""
    c = capture(
        f"create table a (k {native}, i integer, big text not null, primary key (k, i))",
        "alter table a alter big set storage external",
        f"insert into a values ({value}, 1, repeat('x', 10000)), ({value}, 2, repeat('x', 10000))",
    )
    c.database.execute("update a set i = i + 10", f"alter table a alter k type {later}", "delete from a where i = 12")
    (update,) = _completed(c)
    assert [row[2] for row in update.after if row] == [LARGE, UNCHANGED]


@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
@pytest.mark.parametrize(
    ("native", "value", "later"),
    [
        ("mood", "'fine'", ["alter type mood rename value 'fine' to 'good'"]),
        ("positive", "7", ["alter domain positive add check (value > 8) not valid"]),
        ("text", "'a'", ["alter table a alter k type integer using 7"]),
        ("integer", "70000", ["alter table a alter k type smallint using 7"]),
        ("integer", "7", ["alter table a alter k type text"]),
        ("positive", "7", ["alter table a alter k type integer", "drop domain positive"]),
    ],
)
def test_a_key_that_its_type_no_longer_takes_stops_nothing(
    capture: Capture, native: str, value: str, later: list[str]
) -> None:
    """The server refused the question, time and again. Nothing tells whether the row is there: its table is loaded."""
    c = capture(
        "create type mood as enum ('fine')",
        "create domain positive as integer check (value > 0)",
        f"create table a (k {native}, i integer, big text not null, primary key (k, i))",
        "alter table a alter big set storage external",
        f"insert into a values ({value}, 1, repeat('x', 10000))",
    )
    c.database.execute("update a set i = i + 10", *later)
    (update,) = _completed(c)
    assert update.after[0]
    assert update.after[0][2] in (LARGE, UNCHANGED)
    assert list(c.source.untold()) == ([update.table.name] if update.after[0][2] is UNCHANGED else [])


WIDE = "(id int primary key, w text, v text)"
MOVE = "update a set id = id + 10"


def _filled(definition: str = WIDE, ids: str = "1, 2") -> tuple[str, ...]:
    """Return a set-up whose rows have two large values."""
    return (
        f"create table a {definition}",
        "alter table a alter w set storage external, alter v set storage external",
        *(f"insert into a values ({i}, repeat('w', 3000), repeat('v', 3000))" for i in ids.split(", ")),
    )


W, V = "w" * 3000, "v" * 3000


@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
@pytest.mark.parametrize(
    ("later", "row"),
    [
        ("alter table a drop v", (11, W, UNCHANGED)),
        ("alter table a drop v; alter table a add v text default 'made up'", (11, W, UNCHANGED)),
        ("alter table a alter v type bytea using 'ab'", (11, W, UNCHANGED)),
        ("alter table a drop w, drop v", (11, UNCHANGED, UNCHANGED)),
        ("alter table a drop id", (11, UNCHANGED, UNCHANGED)),
        ("alter table a alter id type text", (11, UNCHANGED, UNCHANGED)),
    ],
)
def test_a_row_that_is_there_and_has_lost_a_column_is_told_as_far_as_it_can_be(
    capture: Capture, later: str, row: tuple[object, ...]
) -> None:
    """Null stood for what was lost, as if the row had held it; or, without a key, the row counted as gone."""
    c = capture(*_filled(ids="1"))
    c.database.execute(MOVE, later)
    (update,) = _completed(c)
    assert update.after == [row]
    assert list(c.source.untold()) == [update.table.name]


@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
@pytest.mark.parametrize(
    ("later", "row"),
    [
        (["alter table a rename to b"], (11, W, V)),
        (["create schema s", "alter table a set schema s"], (11, W, V)),
        (["drop table a"], (11, UNCHANGED, UNCHANGED)),
        (["alter table a rename to b", *_filled(ids="11"), "update a set v = 'another'"], (11, W, V)),
        (["drop table a", *_filled(ids="11")], (11, UNCHANGED, UNCHANGED)),
    ],
)
def test_a_row_is_looked_up_in_its_own_table_whatever_that_is_called(
    capture: Capture, later: list[str], row: tuple[object, ...]
) -> None:
    """A table that had got its name was looked at: it has columns of the same numbers."""
    c = capture(*_filled(ids="1"))
    c.database.execute(MOVE, *later)
    update = _completed(c)[0]
    assert update.after == [row]
    assert not c.source.untold(), "its end follows in the log, or it is told"


@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
def test_a_table_that_has_gone_where_the_role_may_not_look_counts_as_gone(capture: Capture, replication: str) -> None:
    """The server refused the question, time and again."""
    c = capture(*_filled(ids="1"))
    role = f"reader_{replication}"
    c.database.execute(
        f"create role \"{role}\" login password 'secret'",
        f'grant select on a to "{role}"',
        "create schema s",
        MOVE,
        "alter table a set schema s",
    )
    (update,) = [r for r in c.changes() if isinstance(r, RowChanges) and "u" in r.ops]
    source = reading.database_of(reading.settings_for(c.database, replication, user=role, password="secret"))
    try:
        source.complete(update)
        assert update.after == [(11, UNCHANGED, UNCHANGED)]
        assert not source.untold(), "its end follows in the log"
        c.database.execute(f'grant usage on schema s to "{role}"')
        source.complete(update)
        assert update.after == [(11, W, V)]
    finally:
        source.close()
        c.database.execute(f'drop owned by "{role}"', f'drop role "{role}"')


@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
def test_a_row_of_a_table_that_inherits_is_not_taken_for_one_of_its_parent(capture: Capture) -> None:
    c = capture(*_filled(ids="1"), "create table heir (primary key (id)) inherits (a)")
    c.database.execute(
        "update only a set id = 11",
        "delete from only a",
        "insert into heir values (11, 'another', 'one')",
    )
    update = _completed(c)[0]
    assert update.after == [(11, UNCHANGED, UNCHANGED)]
    assert not c.source.untold()


@pytest.fixture
def source_database(new_database: Callable[..., Database], request: pytest.FixtureRequest) -> Database:
    """An empty database, of the major version that the test asks for."""
    return new_database(getattr(request, "param", 18), "source")


PARTED = (
    f"create table a {WIDE} partition by range (id)",
    # Another order, and a column that is gone: numbers of its own.
    "create table low (v text, gone int, w text, id int not null)",
    "alter table low drop gone",
    "alter table a attach partition low for values from (0) to (100)",
    "create table mid partition of a for values from (100) to (200)",
    "create table high partition of a for values from (200) to (300)",
    *(f"alter table {t} alter w set storage external, alter v set storage external" for t in ("low", "mid", "high")),
    "insert into a select id, repeat('w', 3000), repeat('v', 3000) from unnest(array[1, 2, 101, 201]) id",
)


@pytest.mark.parametrize("source_database", MAJORS, indirect=True)
@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
@pytest.mark.parametrize(
    ("later", "low"),
    [
        (["alter table a detach partition low"], (W, V)),
        (["alter table a detach partition low concurrently"], (W, V)),
        (
            [
                "alter table a detach partition low",
                "create table other (like low) partition by range (id)",
                "alter table other attach partition low default",
            ],
            (W, V),
        ),
        (
            ["alter table a detach partition low", "alter table low rename to once", "alter table once set schema s"],
            (W, V),
        ),
        (["alter table a detach partition low", "alter table low drop v"], (UNCHANGED, UNCHANGED)),
        (["alter table a detach partition low", "alter table low rename v to x"], (UNCHANGED, UNCHANGED)),
        (["alter table a rename v to x", "alter table a detach partition low"], (UNCHANGED, UNCHANGED)),
        (["alter table a detach partition low", "alter table a rename v to x"], (UNCHANGED, UNCHANGED)),
        (["alter table a detach partition low", "delete from low"], (UNCHANGED, UNCHANGED)),
        (["drop table low"], (UNCHANGED, UNCHANGED)),
    ],
)
def test_a_row_is_looked_for_in_what_was_its_partition(
    capture: Capture, later: list[str], low: tuple[object, ...]
) -> None:
    """It counted as gone. What nothing tells no load would bring either: it is none of the table's any more."""
    c = capture("create schema s", *PARTED)
    with c.database.connect() as connection:
        if connection.info.server_version < 140000:
            later = [statement.removesuffix(" concurrently") for statement in later]
    c.database.execute(
        "update a set id = id + 10 where id in (1, 101, 201)",
        "delete from a where id = 211",
        *later,
    )
    rows = {row[0]: row[1:] for update in _completed(c) for row in update.after if row}
    assert rows == {11: low, 111: (W, V), 211: (UNCHANGED, UNCHANGED)}
    assert not c.source.untold()


@pytest.mark.parametrize("source_database", MAJORS, indirect=True)
@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
def test_of_several_rows_in_what_were_partitions_none_is_taken(capture: Capture) -> None:
    c = capture(*PARTED)
    c.database.execute(
        "update a set id = id + 10 where id in (1, 101)",
        "alter table a detach partition low",
        "alter table a detach partition mid",
        "insert into mid values (11, 'another', 'one')",
    )
    assert [row for update in _completed(c) for row in update.after] == [(11, UNCHANGED, UNCHANGED), (111, W, V)]


@pytest.mark.parametrize("source_database", MAJORS, indirect=True)
@pytest.mark.parametrize("arrival", ["at once"], indirect=True)
def test_what_was_a_partition_when_capture_began_is_looked_into_after_others_were_announced(capture: Capture) -> None:
    """The version in force for its rows is read from the catalogue by then, which has the partition no more."""
    c = capture(*PARTED)
    c.database.execute(
        "update a set id = id + 10 where id = 101",
        "update a set id = id + 10 where id = 1",
        "alter table a detach partition low",
    )
    source = reading.database_of(c.settings)
    try:
        # Begun anew, it knows what the version says that it goes on with.
        log = source.open_log(c.start, c.tables)
        updates = [r for r in reading.read_to_end(source, log) if isinstance(r, RowChanges)]
        log.close()
        for update in updates:
            source.complete(update)
    finally:
        source.close()
    assert [row for update in updates for row in update.after] == [(111, W, V), (11, W, V)]
