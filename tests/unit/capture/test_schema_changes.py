"""What a change of a table means for the rows that targets have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from capture import checkpoints
from capture.schema_changes import SchemaChanges
from capture.source import LockedError
from capture.table_versions import came_with_rows, changes_key, fills_rows, rewrites_rows
from schemas.changes import SchemaChange
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.table_settings_rule import ParallelLoad
from schemas.policies import DdlPolicies, DdlPolicy
from schemas.position import Position
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType


def _table(labels: str, *, key: int = 0) -> TableSchema:
    columns = (
        Column("id", LogicalType(Family.INT32), "integer", nullable=False, number=1),
        Column("mood", LogicalType(Family.ENUM), "public.mood", nullable=False, number=2),
    )
    types = (UserType("public", "mood", "enum", tuple(labels)),)
    return TableSchema(TableName("public", "t"), columns, (key,), user_types=types, number=7, storage=5)


@pytest.mark.parametrize(
    ("labels", "renames"),
    [("ab", False), ("abc", False), ("cadb", False), ("ac", True), ("ba", True), ("cb", True), ("", True)],
)
def test_renamed_labels_are_a_rewriting_and_added_ones_are_none(labels: str, renames: bool) -> None:
    before, after = _table("ab"), _table(labels)
    assert rewrites_rows(before, after, before) is renames
    # Where a key is of the type, the rows have other keys.
    assert not changes_key(before, after)
    assert changes_key(_table("ab", key=1), _table(labels, key=1)) is renames


def test_another_composite_is_a_rewriting_and_another_domain_is_none() -> None:
    def made_of(kind: str, definition: str, key: int = 0) -> TableSchema:
        return replace(_table("", key=key), user_types=(UserType("public", "mood", kind, definition=definition),))

    before, after = (("composite", text) for text in ("a text", "a text, b text"))
    assert rewrites_rows(made_of(*before), made_of(*after), made_of(*before))
    assert not rewrites_rows(made_of(*before), made_of(*before), made_of(*before))
    assert changes_key(made_of(*before, key=1), made_of(*after, key=1))
    domain = made_of("domain", "text")
    assert not rewrites_rows(domain, made_of("domain", "text not null"), domain)


def _parted(**leaves: tuple[int, int]) -> TableSchema:
    """Return a partitioned table, whose leaves have a number for their place and one for their storage each. Those of
    two letters were attached.
    """
    numbers = {name: sum(map(ord, name)) for name in leaves}
    return replace(
        _table("ab"),
        storage=0,
        partitions=tuple(numbers.values()),
        attached=tuple(number for name, number in numbers.items() if len(name) == 2),
        placed=tuple(place for place, _ in leaves.values()),
        leaf_storage=tuple(storage for _, storage in leaves.values()),
    )


@pytest.mark.parametrize(
    ("after", "is_rewritten", "came"),
    [
        ({"a": (1, 11), "bb": (2, 12), "c": (3, 13)}, False, ""),
        ({"a": (1, 11), "bb": (2, 12), "cc": (3, 13)}, False, "cc"),
        ({"bb": (2, 12)}, False, ""),
        # The server vacuums, clusters and empties one by itself, but alters none by itself.
        ({"a": (1, 21), "bb": (2, 12)}, False, ""),
        ({"a": (1, 21), "bb": (2, 22)}, True, ""),
        ({"a": (1, 21), "bb": (2, 22), "c": (3, 13)}, True, ""),
        # Detached, written to, and attached again.
        ({"a": (1, 11), "bb": (9, 12)}, False, "bb"),
        ({"a": (1, 11), "bb": (9, 22)}, False, "bb"),
        # It was not there when the others were written anew.
        ({"a": (1, 21), "bb": (9, 12)}, True, "bb"),
        ({"bb": (9, 22)}, None, "bb"),
        # A foreign table has no storage of ours.
        ({"a": (1, 11), "bb": (2, 12), "f": (4, 0)}, False, ""),
        ({"a": (1, 21), "bb": (2, 22), "f": (4, 0)}, True, ""),
        # No partition that stayed tells.
        ({"c": (3, 13)}, None, ""),
        ({}, None, ""),
    ],
)
def test_only_partitions_that_brought_rows_are_loaded_and_all_only_where_all_were_rewritten(
    after: dict[str, tuple[int, int]], is_rewritten: bool | None, came: str
) -> None:
    """Each new one was taken for a rewriting of all rows."""
    before, table = _parted(a=(1, 11), bb=(2, 12)), _parted(**after)
    assert table.is_rewritten(before) is is_rewritten
    assert rewrites_rows(before, table, before) is bool(is_rewritten)
    assert came_with_rows(before, table) == ((sum(map(ord, came)),) if came else ())
    assert table.differs_in_partitions_alone(before)
    other = replace(table, columns=(replace(table.columns[0], native="bigint"), *table.columns[1:]))
    assert not other.differs_in_partitions_alone(before)
    if is_rewritten is None:
        assert rewrites_rows(before, other, before), "a type tells"
    again = TableSchema.from_document(table.to_document())
    assert (again, again.fingerprint) == (table, table.fingerprint)


def test_what_an_earlier_release_wrote_of_partitions_is_no_rewriting_and_no_coming_of_rows() -> None:
    now = _parted(a=(1, 11), bb=(2, 12))
    former = replace(now, placed=(), leaf_storage=(), storage=23)
    assert (now.is_rewritten(former), came_with_rows(former, now)) == (None, ())
    assert not rewrites_rows(former, now, former)
    assert came_with_rows(former, _parted(a=(1, 11), bb=(2, 12), cc=(3, 13))) == (198,)
    document = former.to_document()
    assert not {"placed", "leaf_storage"} & document.keys()


def test_a_new_partition_is_no_change_to_stop_before() -> None:
    before, after = _parted(a=(1, 11)), _parted(a=(1, 11), bb=(2, 12))
    changes: Any = _watched([], before)
    changes._settings.ddl = DdlPolicies(altered=DdlPolicy.STOP)
    loaded: list[tuple[int, ...]] = []
    changes._catalogue = SimpleNamespace(
        versions={before.name: [SimpleNamespace(table=before)]}, numbered=lambda table, **_: replace(table, version=2)
    )
    changes._tables = SimpleNamespace(add=lambda _: None)
    changes._loading = SimpleNamespace(
        loads={}, table_changed=lambda *_, **__: None, load_parts=lambda _feed, _reached, parts: loaded.append(parts)
    )
    changes.follow(SchemaChange(before.name, before, after), Position(7))
    assert loaded == [(196,)]
    wider = replace(after, columns=(*after.columns, Column("n", LogicalType(Family.INT32), "integer", number=3)))
    with pytest.raises(TailraceError, match="changed at the source"):
        changes.follow(SchemaChange(before.name, before, wider), Position(7))


@pytest.mark.parametrize(
    ("default", "comes_again"),
    [
        (None, False),
        ("'2024-01-01'", False),
        ("'it''s'", False),
        ("now()", True),
        ("'a\\'", True),
        # What they become says `source.zero_dates`; targets know nothing of it.
        ("'0000-00-00 00:00:00'", True),
        ("'2024-00-01'", True),
        ("'2024-01-00'", True),
    ],
)
def test_rows_come_again_with_a_new_column_of_which_targets_cannot_tell_the_value(
    default: str | None, *, comes_again: bool
) -> None:
    before = replace(_table("ab"), storage=0)
    added = Column("added", LogicalType(Family.TIMESTAMP), "datetime", default=default, number=3)
    assert rewrites_rows(before, replace(before, columns=(*before.columns, added)), None) is comes_again


@pytest.mark.parametrize(
    ("earlier", "later", "comes_again"),
    [("(`a` * 2)", "(`a` * 3)", True), (None, "(5)", True), ("(`a`)", None, False), ("5", "6", False)],
)
def test_rows_come_again_where_a_column_is_computed_in_another_way(
    earlier: str | None, later: str | None, *, comes_again: bool
) -> None:
    """In MySQL's log no row tells of it."""
    before, after = (
        replace(_table("ab"), storage=0, columns=(Column("c", LogicalType(Family.INT32), "int", default=default),))
        for default in (earlier, later)
    )
    assert rewrites_rows(before, after, None) is comes_again


def test_what_an_applier_does_to_a_table_says_nothing_of_its_version() -> None:
    """The catalogue may have told of a later one, which no row in the log has followed: it must not be taken back."""
    told, known = _table("ab"), replace(_table("abc"), version=2)
    feed = SimpleNamespace(table=known, source_table=known)
    publisher: Any = SimpleNamespace(flush=lambda: None, feeds={told.name: feed})
    nobody: Any = SimpleNamespace()
    changes = SchemaChanges(nobody, nobody, publisher, nobody, nobody, nobody)
    changes.follow(SchemaChange(told.name, told, told, is_applied=True), Position(7))
    assert feed.table is known
    # A restart that finds what was altered must know by whom.
    assert changes.is_dirty
    key, value = checkpoints.tables_record({}, {}, changes.applied)
    assert value is not None
    assert checkpoints.decode({key: value}).applied == {told.name}
    assert not checkpoints.decode({key: checkpoints.tables_record({}, {})[1] or b""}).applied


def _watched(tables: list[TableSchema], *known: TableSchema, applied: Iterable[TableName] = ()) -> SchemaChanges:
    """Return what follows tables that the catalogue has as `tables` says; the log is always read to its end."""
    feeds = {
        table.name: SimpleNamespace(table=table, source_table=table, let_go_held_back=lambda: None) for table in known
    }
    source: Any = SimpleNamespace(
        tables=lambda: list(tables),
        visible_position=lambda: Position(9),
        format_position=str,
        has_table=lambda _name: True,
        prepare=lambda _tables: None,
    )
    publisher: Any = SimpleNamespace(flush=lambda: None, feeds=feeds, record=lambda *_: None, sequence=0, now_us=0)
    loading: Any = SimpleNamespace(forget=lambda _name: None)
    settings: Any = SimpleNamespace(name="shop", source=SimpleNamespace(database="d"), ddl=DdlPolicies(), topics=None)
    nobody: Any = SimpleNamespace()
    return SchemaChanges(settings, source, publisher, nobody, nobody, loading, applied)


def test_a_table_is_known_as_altered_by_an_applier_until_what_it_altered_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first look may come before the catalogue shows it, and a restart before the first look."""
    before, after = _table("ab"), _table("abc")
    tables = [before]
    changes = _watched(tables, before, applied=[before.name])
    followed: list[bool] = []

    def alter(feed: Any, *_: object) -> None:
        followed.append(before.name in changes.applied)
        feed.table = after

    monkeypatch.setattr(changes, "_alter", alter)
    for look in range(4):
        if look == 1:
            tables[:] = [after]
        changes.poll_catalogue(look * 100.0)
        changes.follow_catalogue(Position(9))
    assert followed == [True]
    assert not changes.applied


def test_a_table_that_an_applier_is_about_to_drop_is_not_taken_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In MySQL's log it goes with the statement before, and the drop itself may fail, or wait."""
    table = _table("ab")
    tables = [table]
    changes = _watched(tables, table)
    made: list[TableSchema] = []
    monkeypatch.setattr(changes, "_create", lambda found, *_, **__: made.append(found))
    monkeypatch.setattr("capture.schema_changes.check_routes", lambda *_: None)
    changes.follow(SchemaChange(table.name, table, None, is_applied=True), Position(7))
    for look in range(3):
        changes.poll_catalogue(look * 100.0)
        changes.follow_catalogue(Position(9))
    assert made == []
    another = replace(table, number=8)
    tables[:] = [another]
    changes.poll_catalogue(900.0)
    changes.follow_catalogue(Position(9))
    assert made == [another]


def test_a_new_table_that_is_locked_is_waited_for_and_the_others_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table("ab")
    altered, new = replace(_table("abc"), number=7), replace(table, name=TableName("public", "new"), number=8)
    changes = _watched([altered, new], table)
    followed: list[TableName] = []
    monkeypatch.setattr(changes, "follow", lambda change, _: followed.append(change.name))
    monkeypatch.setattr("capture.schema_changes.check_routes", lambda *_: None)

    def locked(_: object) -> None:
        raise LockedError(ErrorKind.SOURCE_CONNECTION, "process 7 holds it")

    with monkeypatch.context() as patched:
        patched.setattr(changes._source, "prepare", locked)
        changes.poll_catalogue(0.0)
        changes.follow_catalogue(Position(9))
    assert followed == [table.name]
    changes.poll_catalogue(100.0)
    changes.follow_catalogue(Position(9))
    assert followed[1:] == [new.name, table.name]


def test_a_statement_that_is_told_lets_the_catalogue_be_read_soon() -> None:
    """Not at once, and not more often for many statements."""
    looks: list[float] = []
    now = 0.0

    def tables() -> list[TableSchema]:
        looks.append(now)
        return []

    source: Any = SimpleNamespace(tables=tables, format_position=str)
    publisher: Any = SimpleNamespace(feeds={}, record=lambda *_: None, sequence=0, now_us=0)
    settings: Any = SimpleNamespace(name="shop", source=SimpleNamespace(database="d"))
    nobody: Any = SimpleNamespace()
    changes = SchemaChanges(settings, source, publisher, nobody, nobody, nobody)
    for tenth in range(500):
        now = tenth / 10
        if 100 <= tenth < 130:
            statement = b'{"tag": "ALTER TABLE", "statement": "alter table t ...", "objects": []}'
            changes.note_statement(statement, Position(7))
        changes.poll_catalogue(now)
    assert looks == [0.0, 12.0, 14.1, 34.1]


def test_a_column_that_came_with_values_is_told_from_one_that_is_empty() -> None:
    def with_column(**more: Any) -> TableSchema:
        table = _table("ab")
        return replace(
            table, columns=(*table.columns, Column("n", LogicalType(Family.INT32), "integer", number=3, **more))
        )

    before = _table("ab")
    former = {"id", "mood", "gone"}
    assert fills_rows(before, with_column(filling="5", default="5"), former)
    assert fills_rows(before, with_column(filling="5"), former)
    assert not fills_rows(before, with_column(), former)
    # Values of a column that was dropped may still be there.
    assert fills_rows(before, with_column(), {*former, "n"})
    # PostgreSQL says what rows were filled with: a default that came later is none of theirs.
    assert not fills_rows(before, with_column(default="5"), former)
    assert fills_rows(replace(before, storage=0), replace(with_column(default="5"), storage=0), former)
    # It was there.
    assert not fills_rows(with_column(), with_column(filling="5"), {*former, "n"})
    renamed = replace(before, columns=(before.columns[0], replace(before.columns[1], name="temper")))
    assert fills_rows(before, renamed, former)


@pytest.mark.parametrize("is_partial", [False, True])
def test_a_table_is_loaded_again_of_which_values_could_not_be_told(
    monkeypatch: pytest.MonkeyPatch, *, is_partial: bool
) -> None:
    """A load of some partitions does not bring such a row of another one: how it comes is said."""
    table = _table("ab")
    load = ParallelLoad.model_validate({"type": "partitions-list", "partitions": ["p1"]})
    rule = SimpleNamespace(object_locator=SimpleNamespace(sole=table.name), parallel_load=load)
    settings: Any = SimpleNamespace(load_rules=[rule] if is_partial else [])
    warned: list[dict[str, str]] = []
    log = SimpleNamespace(warning=lambda _event, **fields: warned.append(fields))
    monkeypatch.setattr(f"{SchemaChanges.__module__}.log", log)
    feeds = {table.name: SimpleNamespace(table=table)}
    source: Any = SimpleNamespace(untold=lambda: {table.name, TableName("public", "gone")})
    publisher: Any = SimpleNamespace(feeds=feeds)
    asked: list[tuple[Any, ...]] = []

    def load_again(*given: Any) -> bool:
        asked.append(given)
        return True

    loading: Any = SimpleNamespace(load_again=load_again)
    nobody: Any = SimpleNamespace()
    SchemaChanges(settings, source, publisher, nobody, nobody, loading).reload_incomplete(Position(7))
    assert asked == [(feeds[table.name], 7)]
    (said,) = warned
    assert said["table"] == "public.t"
    assert ("signal reload CONFIG --table public.t --above KEY" in said.get("remedy", "")) is is_partial
