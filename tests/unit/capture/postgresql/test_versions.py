"""Which columns an announcement means: never a wrong one with certainty, whatever the catalogue has done since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TypeVar, cast

from hypothesis import example, given
from hypothesis import strategies as st

from capture.sources.postgresql.catalog import Catalog
from capture.sources.postgresql.pgoutput import Relation, RelationColumn
from capture.sources.postgresql.versions import Versions, identify, keeps_types, undoubted_key
from schemas.changes import Transaction
from schemas.position import Position
from schemas.selection import Selection
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType
from tests.unit.capture.postgresql import wire

T = TypeVar("T")

NAMES = ("a", "b", "c", "d")
NATIVES = {"text": Family.STRING, "integer": Family.INT32}


@dataclass(frozen=True)
class State:
    """A table at one moment: columns by ascending number, and what was dropped."""

    columns: tuple[Column, ...]
    dropped: frozenset[int] = frozenset()
    last: int = 0

    @property
    def table(self) -> TableSchema:
        return TableSchema(TableName("public", "t"), self.columns, key=())

    @property
    def announced(self) -> list[tuple[str, str]]:
        return [(column.name, column.native) for column in self.columns]


def _column(number: int, name: str, native: str) -> Column:
    return Column(name, LogicalType(NATIVES[native]), native, number=number)


def _next(state: State, verb: str, name: str, other: str, native: str) -> State:
    """Return what a statement makes of a table; the same where it is none that the table takes."""
    names = {column.name for column in state.columns}
    if verb == "add" and name not in names:
        number = state.last + 1
        return State((*state.columns, _column(number, name, native)), state.dropped, number)
    if verb == "drop" and name in names:
        gone = next(column.number for column in state.columns if column.name == name)
        return replace(
            state,
            columns=tuple(column for column in state.columns if column.number != gone),
            dropped=state.dropped | {gone},
        )
    if verb == "rename" and name in names and other not in names:
        changed = tuple(replace(c, name=other) if c.name == name else c for c in state.columns)
        return replace(state, columns=changed)
    if verb == "retype" and name in names:
        changed = tuple(_column(c.number, name, native) if c.name == name else c for c in state.columns)
        return replace(state, columns=changed)
    return state


_STATEMENTS = st.tuples(
    st.sampled_from(("add", "add", "drop", "rename", "retype")),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from(sorted(NATIVES)),
)


@given(st.lists(_STATEMENTS, max_size=4), st.lists(_STATEMENTS, max_size=4), st.lists(_STATEMENTS, max_size=4))
def test_what_is_certain_is_right(
    before: list[tuple[str, ...]], seen: list[tuple[str, ...]], ahead: list[tuple[str, ...]]
) -> None:
    state = State(())
    for column in (("add", "a", "", "integer"), ("add", "b", "", "text"), *before):
        state = _next(state, *column)
    previous = state
    for statement in seen:
        state = _next(state, *statement)
    announced = state
    for statement in ahead:
        state = _next(state, *statement)
    numbers, is_certain = identify(announced.announced, previous.table, state.table, state.dropped)
    assert len(numbers) == len(announced.columns)
    if is_certain:
        assert numbers == [column.number for column in announced.columns]


@given(*[st.lists(_STATEMENTS, max_size=3)] * 4)
@example(
    before=[],
    seen=[("add", "c", "", "integer")],
    seen_later=[("rename", "c", "d", "")],
    ahead=[("add", "c", "", "integer")],
)
@example(
    before=[],
    seen=[("add", "c", "", "integer")],
    seen_later=[("rename", "c", "d", "")],
    ahead=[("drop", "d", "", ""), ("add", "c", "", "integer")],
)
def test_what_is_certain_is_right_whatever_was_not_before(
    before: list[tuple[str, ...]],
    seen: list[tuple[str, ...]],
    seen_later: list[tuple[str, ...]],
    ahead: list[tuple[str, ...]],
) -> None:
    """Two announcements, both read when the catalogue is at the end: the second goes by what was made of the first."""
    states = [State(())]
    for statements in ([("add", "a", "", "integer"), ("add", "b", "", "text"), *before], seen, seen_later, ahead):
        state = states[-1]
        for statement in statements:
            state = _next(state, *statement)
        states.append(state)
    _, previous, first, second, now = states
    # The last: a table that is not known before the first announcement.
    for base in (previous.table, None):
        table = base
        for announced in (first, second):
            numbers, is_certain = identify(announced.announced, table, now.table, now.dropped)
            for number, column in zip(numbers, announced.columns, strict=True):
                assert number in (column.number, 0)
            assert not (is_certain and 0 in numbers)
            columns = tuple(replace(c, number=n) for c, n in zip(announced.columns, numbers, strict=True))
            table = replace(announced, columns=columns).table


class StateCatalog:
    """The catalogue of one table, at the state that a test sets."""

    types = wire.TYPES

    def __init__(self, state: State) -> None:
        self.state = state

    def consistently(self, read: Callable[[], T]) -> T:
        return read()

    def read_relation(self, oid: int) -> int:
        return oid

    def read_tables(self, facts: Sequence[int]) -> list[TableSchema]:
        return [replace(self.state.table, number=oid) for oid in facts]

    def dropped_columns(self, oid: int) -> frozenset[int]:
        return self.state.dropped

    def load_types(self, oids: Iterable[int]) -> None:
        pass

    def natives(self, pairs: Sequence[tuple[int, int]]) -> list[str]:
        return ["text"] * len(pairs)

    def user_types(self, oids: Iterable[int]) -> tuple[()]:
        return ()


def test_a_guess_counts_once_the_log_is_where_the_catalogue_was() -> None:
    """`c` is announced, and renamed to `d` later, dropped then; another `c` is in the catalogue, which ends at 100."""
    start = State(())
    for name in ("a", "b"):
        start = _next(start, "add", name, "", "text")
    first = _next(start, "add", "c", "", "text")
    second = _next(first, "rename", "c", "d", "")
    end = _next(_next(second, "drop", "d", "", ""), "add", "c", "", "text")
    catalog = StateCatalog(end)
    versions = Versions(
        cast("Catalog", catalog),
        Selection(["public.*"]),
        [replace(start.table, number=7)],
        lambda _txn: None,
        lambda: Position(100),
    )

    def change(state: State, commit: int) -> tuple[list[int], bool]:
        columns = tuple(RelationColumn(name, wire.TEXT, -1, False) for name, _ in state.announced)
        txn = Transaction("1", 1, commit, 0)
        _, [found] = versions.resolve(Relation(7, "public", "t", "d", columns), txn, binary=False)
        assert found.after is not None
        return [column.number for column in found.after.columns], found.is_certain

    # As far as anybody can tell it is the `c` that is there now.
    assert change(first, 10) == ([1, 2, 4], False)
    assert change(second, 20) == ([1, 2, 0], False)
    assert change(end, 30) == ([1, 2, 4], False)
    catalog.state = _next(end, "rename", "c", "d", "")
    assert change(catalog.state, 100) == ([1, 2, 4], True)


def test_everyday_changes_are_certain() -> None:
    """With a catalogue that is not ahead: one statement of each kind, and the contraction that follows an expansion."""
    start = State(())
    for name in ("a", "b", "c"):
        start = _next(start, "add", name, "", "text")
    for statements in (
        [("add", "d", "", "text")],
        [("drop", "b", "", "")],
        [("rename", "b", "d", "")],
        [("retype", "b", "", "integer")],
        [("drop", "a", "", ""), ("rename", "c", "a", "")],
        [("rename", "a", "d", ""), ("rename", "b", "a", ""), ("rename", "d", "b", "")],
    ):
        end = start
        for statement in statements:
            end = _next(end, *statement)
        numbers, is_certain = identify(end.announced, start.table, end.table, end.dropped)
        assert (numbers, is_certain) == ([column.number for column in end.columns], True), statements


def test_a_key_that_the_log_does_not_tell_is_one_that_has_not_changed_or_none() -> None:
    a, b = _column(1, "a", "integer"), _column(2, "b", "text")
    keyed = TableSchema(TableName("public", "t"), (a, b), key=(0,))
    renamed = (replace(a, name="z"), b)
    assert undoubted_key(renamed, keyed, replace(keyed, columns=renamed)) == (0,)
    assert undoubted_key((a, b), None, keyed) == undoubted_key((a, b), keyed, None) == (0,)
    assert undoubted_key((replace(a, number=0), b), keyed, keyed) == (0,)
    # Where the log is, the key may be the one or the other; or gone, and its column of a type without equality.
    assert undoubted_key((a, b), keyed, replace(keyed, key=(1,))) == ()
    assert undoubted_key((a, b), keyed, replace(keyed, key=())) == ()
    assert undoubted_key((b,), keyed, keyed) == ()


def test_another_type_is_a_rewriting_that_nobody_numbers_whether_or_not_columns_have_numbers() -> None:
    a, b = _column(1, "a", "integer"), _column(2, "b", "text")
    before = TableSchema(TableName("public", "t"), (a, b), key=(0,), number=7, storage=5)
    for change, keeps in (
        ((replace(a, name="z"), b), True),
        ((_column(1, "z", "text"), b), False),
        # The table is gone: nothing in the catalogue says which column is which.
        ((replace(a, number=0), replace(b, number=0), _column(0, "c", "text")), True),
        ((replace(a, number=0), _column(0, "b", "integer")), False),
    ):
        assert keeps_types(before, replace(before, columns=change)) is keeps, change


def test_labels_of_rows_before_a_rename_bring_no_table_back() -> None:
    """Both stood in one part of the log: the table was in force under no oid, and capture ended."""
    mood = UserType("public", "mood", "enum", labels=("a",))
    table = replace(_next(State(()), "add", "c", "", "text").table, number=7, user_types=(mood,))
    known = SimpleNamespace(kind="e", schema="public", name="mood", labels=("a", "b"))
    catalog = SimpleNamespace(types={1: known}, reload_user_types=lambda: None, load_types=lambda oids: None)
    nowhere = Selection(["public.*"])
    versions = Versions(cast("Catalog", catalog), nowhere, [table], lambda _txn: None, lambda: Position(100))
    renewed = versions.renewed(table, 0)
    assert (renewed.user_types[0].labels, renewed.version) == (("a", "b"), 2)
    assert versions.oids() == {table.name: 7}
    moved = Relation(7, "other", "t", "d", (RelationColumn("c", wire.TEXT, -1, False),))
    _, [gone] = versions.resolve(moved, Transaction("1", 1, 10, 0), binary=False)
    assert (gone.name, gone.before, gone.after) == (table.name, renewed, None)
    known.labels = ("a", "b", "c")
    assert versions.renewed(renewed, 0).user_types[0].labels == ("a", "b", "c")
    assert versions.oids() == {}
