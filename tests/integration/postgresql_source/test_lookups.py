"""Values that the log left out of rows whose key was changed, looked up by keys of every type, and after the key's type
was changed.
"""

from __future__ import annotations

import pytest

from schemas.changes import UNCHANGED, RowChanges
from tests.integration.postgresql_source.reading import Capture, Captured
from tests.kit.random_tables import KEYS, Kind

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
    """The server refused the question, time and again."""
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
    assert update.after[0][2] in ("", LARGE, UNCHANGED)
