"""What a history comes to, whatever comes twice, late or in part."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from apply.sink_kinds.folding import MISFIT, Told, fitting, folded
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column
from schemas.types import Family, LogicalType
from tests.conformance.sink_suite import EVENTS, ORDERS


def whole(number: int, status: str | None, paid: bool | None = None) -> dict[str, object]:
    return {"id": number, "status": status, "paid": paid}


def test_the_last_change_of_a_key_counts() -> None:
    changes = [
        Told("r", whole(1, "a"), 0),
        Told("r", whole(2, "b"), 1),
        Told("u", {"id": 1, "paid": True}, 0),
        Told("d", {"id": 2}, 1),
        Told("u", {"id": 2, "paid": True}, 1),
        Told("c", whole(3, None), 1),
        Told("u", whole(4, "whole"), 0),
    ]
    assert set(folded(ORDERS, changes)) == {(1, "a", True), (3, None, None), (4, "whole", None)}


def test_what_comes_again_changes_nothing() -> None:
    story = [
        Told("c", whole(1, "a"), 0, 10),
        Told("u", {"id": 1, "status": "b"}, 0, 11),
        Told("d", {"id": 1}, 0, 12),
        Told("c", whole(2, "c"), 0, 13),
        Told("u", {"id": 2, "paid": True}, 0, 14),
    ]
    for begin in range(len(story)):
        assert set(folded(ORDERS, [*story, *story[begin:]])) == {(2, "c", True)}


def test_a_row_that_another_key_took_to_another_partition_is_not_lost() -> None:
    """Partitions are read one after the other: the old row, and the truncate behind it, are met after the new one."""
    changes = [
        Told("t", {}, 0),
        Told("r", whole(1, "new"), 0),
        Told("r", whole(1, "old"), 1),
        Told("t", {}, 1),
    ]
    assert list(folded(ORDERS, changes)) == [(1, "new", None)]


def test_equal_keys_are_one_row() -> None:
    key = Column("id", LogicalType(Family.NUMERIC), "numeric")
    table = replace(ORDERS, columns=(key, *ORDERS.columns[1:]))
    changes = [Told("c", {**whole(1, "a"), "id": Decimal("1.00")}, 0, 1), Told("d", {"id": Decimal("1.0")}, 0, 3)]
    assert list(folded(table, [changes[0], Told("u", {"id": Decimal(1), "status": "b"}, 0, 2)])) == [(1, "b", None)]
    assert list(folded(table, changes)) == []


def test_a_truncate_stands_in_every_partition() -> None:
    by_place = [
        Told("c", whole(1, "old"), 0),
        Told("c", whole(2, "old"), 1),
        Told("t", {}, 0),
        Told("c", whole(3, "new"), 0),
        Told("t", {}, 1),
    ]
    assert set(folded(ORDERS, by_place)) == {(3, "new", None)}
    # By sequence it counts for rows that are read after it, too.
    by_sequence = [
        Told("t", {}, 0, 20),
        Told("c", whole(1, "old"), 1, 10),
        Told("c", whole(2, "new"), 1, 30),
        Told("t", {}, 1, 20),
    ]
    assert set(folded(ORDERS, by_sequence)) == {(2, "new", None)}


def test_a_table_without_a_key_cannot_be_told() -> None:
    with pytest.raises(TailraceError) as caught:
        list(folded(EVENTS, []))
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA


def test_a_value_of_a_former_type_counts_only_where_none_of_the_present_one_has_come() -> None:
    number = fitting(int)
    assert [number(value) for value in ("7", "x", None)] == [7, MISFIT, MISFIT]
    story = [Told("c", {**whole(1, None), "paid": MISFIT}, 0, 1), Told("u", {"id": 1, "status": "a"}, 0, 2)]
    with pytest.raises(TailraceError, match="paid has a value of another type") as caught:
        list(folded(ORDERS, story))
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert list(folded(ORDERS, [*story, Told("u", {"id": 1, "paid": True}, 0, 3)])) == [(1, "a", True)]
    assert list(folded(ORDERS, [*story, Told("d", {"id": 1}, 0, 3)])) == []
