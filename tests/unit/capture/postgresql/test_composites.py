"""Values of composites from before their types' last changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from capture.sources.postgresql.container_text import fitted, holds_composites
from capture.sources.postgresql.types import TypeInfo


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=25))
def test_an_older_value_has_its_attributes_where_they_are_now(changes: list[tuple[bool, int]]) -> None:
    """Each attribute has a type of its own here: there is one reading only."""
    kept: list[int] = []
    count = 0
    shapes: list[list[int]] = []
    for adds, which in changes:
        if adds or not kept:
            count += 1
            kept.append(count)
        else:
            kept.pop(which % len(kept))
        shapes.append(list(kept))
    attributes = [number if number in kept else 0 for number in range(1, count + 1)]
    for shape in shapes:
        places = fitted(shape, attributes)
        assert places is not None
        for number, place in zip(kept, places, strict=True):
            # What it had not yet is not found in it.
            assert (place is None) == (number not in shape)
            assert place is None or shape[place] == number


def test_of_several_readings_the_latest_is_taken_and_another_type_is_none() -> None:
    # int a, int b (dropped), int c, text d.
    attributes = [23, 0, 23, 25]
    assert fitted([23, 23], attributes) == [0, 1, None]
    assert fitted([23, 20], attributes) == [0, None, None]
    assert fitted([23, 20, 23], attributes) == [0, 2, None]
    assert fitted([25], attributes) is None
    assert fitted([23, 23, 25, 23], attributes) is None
    assert fitted([23, 23, 25, 20], [*attributes, 0]) == [0, 1, 2]
    assert fitted([23] * 40, [23, *[0] * 80]) == [0]
    assert fitted([], []) == []


def test_composites_are_found_within_other_types_and_where_they_are_an_extensions() -> None:
    types = {
        1: TypeInfo(1, "pg_catalog", "int4", "b", "int4send"),
        2: TypeInfo(2, "geo", "dump", "c", "record_send", fields=(("path", 1, -1),), extension="geo"),
        3: TypeInfo(3, "geo", "_dump", "b", "array_send", element=2),
        4: TypeInfo(4, "public", "dumps", "d", "array_send", base=3),
        5: TypeInfo(5, "pg_catalog", "_int4", "b", "array_send", element=1),
    }
    assert [oid for oid in (*types, 6) if holds_composites(types, oid)] == [2, 3, 4]
