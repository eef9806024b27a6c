"""Which columns an announcement means: never a wrong one with certainty, whatever the catalogue has done since."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from capture.sources.postgresql.versions import identify
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

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
def test_what_is_certain_is_right_whatever_was_not_before(
    before: list[tuple[str, ...]],
    seen: list[tuple[str, ...]],
    seen_later: list[tuple[str, ...]],
    ahead: list[tuple[str, ...]],
) -> None:
    """Two announcements, both read when the catalogue is at the end: the second goes by what was made of the first.

    That may have taken a column for the one that has its name at the end: the rows are loaded again, as they are then.
    """
    states = [State(())]
    for statements in ([("add", "a", "", "integer"), ("add", "b", "", "text"), *before], seen, seen_later, ahead):
        state = states[-1]
        for statement in statements:
            state = _next(state, *statement)
        states.append(state)
    _, previous, first, second, now = states
    numbers, _ = identify(first.announced, previous.table, now.table, now.dropped)
    columns = tuple(replace(column, number=n) for column, n in zip(first.columns, numbers, strict=True))
    numbers, is_certain = identify(second.announced, replace(first, columns=columns).table, now.table, now.dropped)
    at_the_end = {(column.name, column.native): column.number for column in now.columns}
    if is_certain:
        for number, column in zip(numbers, second.columns, strict=True):
            assert number in (column.number, at_the_end.get((column.name, column.native)))


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
