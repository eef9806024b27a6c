"""Composites that get attributes and lose them: nothing in the log tells of it but the values themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from capture.sources.postgresql import source
from schemas.changes import Change, RowChanges, SchemaChange
from schemas.position import Position
from tests.integration.postgresql_source import reading
from tests.integration.postgresql_source.reading import Capture, Captured

SETUP = (
    "create type place as (street text, zip int, city text)",
    "create domain home as place",
    "create type trip as (start place, name text)",
    "create table t (id int primary key, at place, several place[], home home, trip trip)",
    "create table other (id int primary key, at place)",
    "create table plain (id int primary key)",
)


def _row(number: int, place: str) -> str:
    value = f"row({place})::place"
    return f"insert into t values ({number}, {value}, array[{value}, null], {value}, row({value}, 'n')::trip)"


def _printed(number: int, text: str) -> tuple[object, ...]:
    return (number, text, f'{{"{text}",NULL}}', text, f'("{text}",n)')


def _shapes(changes: list[Change], table: str = "t") -> list[tuple[object, str]]:
    """Return each row of a table with the attributes that its version says of `place`; versions are announced first."""
    found: list[tuple[object, str]] = []
    announced: dict[str, object] = {}
    for change in changes:
        if isinstance(change, SchemaChange) and change.after is not None:
            announced[change.name.table] = change.after
        if isinstance(change, RowChanges) and change.table.name.table == table:
            assert announced.get(table) in (None, change.table)
            (definition,) = (u.definition for u in change.table.user_types if u.name == "place")
            found += [(row, definition) for row in change.after]
    return found


THREE, FOUR, LATER = (
    "street text, zip integer, city text",
    "street text, zip integer, city text, floor integer",
    "street text, town text, floor integer, door public.place_door",
)


def _altered(c: Captured) -> None:
    c.database.execute(
        f"begin; {_row(1, repr('s') + ', 1, null')}; alter type place add attribute floor int; "
        f"{_row(2, repr('s') + ', 2, null, 22')}; {_row(3, repr('s') + ', 3, null, 33')}; commit",
        "insert into other values (1, row('o', 1, 'c', 11)::place)",
    )


def test_a_new_attribute_makes_a_version_before_its_first_row(capture: Capture) -> None:
    c = capture(*SETUP)
    # Begun before anything changes, as a service that runs.
    log = c.open()
    c.database.execute("insert into t (id, at) values (0, row('s', 0, null)::place)")
    changes = reading.read_to_end(c.source, log)
    _altered(c)
    changes += reading.read_to_end(c.source, log)
    assert _shapes(changes) == [
        ((0, "(s,0,)", None, None, None), THREE),
        (_printed(1, "(s,1,)"), THREE),
        (_printed(2, "(s,2,,22)"), FOUR),
        (_printed(3, "(s,3,,33)"), FOUR),
    ]
    assert _shapes(changes, "other") == [((1, "(o,1,c,11)"), FOUR)]
    # Attributes go, get other names, and one comes whose type is new as well.
    c.database.execute(
        "begin; alter type place drop attribute zip; alter type place rename attribute city to town; "
        "create type place_door as enum ('left'); alter type place add attribute door place_door; "
        f"{_row(4, repr('s') + ', null, 44, ' + repr('left'))}; "
        "update t set id = 5 where id = 4; delete from t where id = 5; commit"
    )
    changes = reading.read_to_end(c.source, log)
    log.close()
    assert _shapes(changes) == [
        (_printed(4, "(s,,44,left)"), LATER),
        (_printed(5, "(s,,44,left)"), LATER),
        (None, LATER),
    ]


def test_rows_from_before_an_alteration_are_read_after_it(capture: Capture) -> None:
    """Capture was away: the catalogue is ahead of all rows, which come with the attributes that there are now."""
    c = capture(*SETUP)
    _altered(c)
    c.database.execute(
        "alter type place drop attribute zip",
        "create type place_door as enum ('left')",
        "alter type place rename attribute city to town",
        "alter type place add attribute door place_door",
        _row(4, "'s', null, 44, 'left'"),
    )
    expected = [
        (_printed(1, "(s,,,)"), LATER),
        (_printed(2, "(s,,22,)"), LATER),
        (_printed(3, "(s,,33,)"), LATER),
        (_printed(4, "(s,,44,left)"), LATER),
    ]
    # The first row is what the types were known to be; no later one is.
    assert _shapes(c.changes()) == [(_printed(1, "(s,1,)"), THREE), *expected[1:]]
    # A service that starts now knows the types as they are; its tables are those of its checkpoint, or later ones.
    c.source.close()
    for tables in (c.tables, c.source.tables()):
        changes = replace(c, tables=tables).changes()
        assert _shapes(changes) == expected
        assert len([x for x in changes if isinstance(x, SchemaChange)]) == (2 if tables is c.tables else 0)


def test_reading_goes_on_within_a_transaction_that_alters(capture: Capture) -> None:
    c = capture(*SETUP)
    _altered(c)
    for behind in range(4):
        log = c.open(Position(c.start.commit, behind))
        rows = [row for row, _ in _shapes(reading.read_to_end(c.source, log))]
        log.close()
        assert rows == [_printed(1, "(s,1,)"), _printed(2, "(s,2,,22)"), _printed(3, "(s,3,,33)")][behind:]


def test_a_type_that_is_gone_is_read_as_text(capture: Capture) -> None:
    c = capture(*SETUP)
    log = c.open()
    c.database.execute("insert into t (id, at) values (0, row('s', 0, null)::place)")
    changes = reading.read_to_end(c.source, log)
    _altered(c)
    c.database.execute(
        "alter table t drop column at, drop column several, drop column home, drop column trip",
        "drop table other",
        "drop type trip, place cascade",
        "insert into t values (9)",
    )
    changes += reading.read_to_end(c.source, log)
    log.close()
    rows = [after for _, _, after in reading.rows_of(changes, "t")]
    assert rows[1:] == [_printed(1, "(s,1,)"), _printed(2, "(s,2,,22)"), _printed(3, "(s,3,,33)"), (9,)]


def test_a_row_in_a_file_has_its_version_before_it(capture: Capture) -> None:
    c = capture(*SETUP, "create table big (id int primary key, at place, body text)")
    log = c.open()
    c.database.execute("insert into big values (0, row('s', 0, null), 'b')")
    changes = reading.read_to_end(c.source, log)
    c.database.execute(
        "alter type place add attribute floor int",
        f"insert into big values (1, row('s', 1, null, 11), repeat('é', {8 << 20}))",
        "insert into big values (2, row('s', 2, null, 22), 'b')",
    )
    changes += reading.read_to_end(c.source, log)
    log.close()
    found = [(row[:2], definition) for row, definition in _shapes(changes, "big") if isinstance(row, tuple)]
    assert found == [((0, "(s,0,)"), THREE), ((1, "(s,1,,11)"), FOUR), ((2, "(s,2,,22)"), FOUR)]


def test_a_row_in_a_file_waits_for_the_catalogue_only_where_its_type_has_changed(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a long transaction runs a standby shows none that is later; a large row is no reason to look."""
    c = capture(*SETUP, "create table big (id int primary key, at place, body text)")
    log = c.open()
    c.database.execute("insert into big values (0, row('s', 0, null), 'b')")
    changes = reading.read_to_end(c.source, log)
    with monkeypatch.context() as patched:
        patched.setattr(source, "wait_until_visible", None)
        c.database.execute(
            f"begin; insert into big values (1, row('s', 1, null), repeat('é', {8 << 20})); "
            "update big set id = 2, body = body || body where id = 1; "
            "insert into big values (3, row('s', 3, null), 'b'); commit"
        )
        changes += reading.read_to_end(c.source, log)
    # The type has changed, and is gone before the row is read.
    c.database.execute(
        "alter type place add attribute floor int",
        f"insert into big values (4, row('s', 4, null, 44), repeat('é', {8 << 20}))",
        "drop type place cascade",
    )
    changes += reading.read_to_end(c.source, log)
    log.close()
    rows = [after for _, _, after in reading.rows_of(changes, "big") if after is not None]
    assert [row[:2] for row in rows] == [
        (0, "(s,0,)"),
        (1, "(s,1,)"),
        (2, "(s,1,)"),
        (3, "(s,3,)"),
        (4, "(s,4,,44)"),
    ]
    assert [len(str(row[2])) for row in rows] == [1, 8 << 20, 16 << 20, 1, 8 << 20]
