"""The dead-letters topic, folded: who waits, in which order, and what an operator's word does."""

from __future__ import annotations

import pytest

from apply.error_handling import parking
from apply.error_handling.parking import (
    EARLY,
    PARK,
    QUEUED,
    REFUSED,
    RELEASED,
    RETRY,
    SKIP,
    ParkedRecord,
    ParkingLot,
    headers_of,
)

TOPIC = "shop.public.orders"


def put(lot: ParkingLot, action: str, offset: int, key: bytes | None = b"k", at: int = 0, **more: str) -> None:
    headers = {name: str(text) for name, text in headers_of(action, TOPIC, 0, offset, **more)}
    lot.fold(key, headers, at, 0)


def offsets(lot: ParkingLot) -> list[int]:
    return [record.offset for parked in lot.keys.values() for record in parked.records]


def test_records_of_a_key_wait_in_the_order_of_their_topic() -> None:
    lot = ParkingLot()
    put(lot, PARK, 7, error=QUEUED)
    put(lot, PARK, 3, error="row-rejected", message="too long")
    assert offsets(lot) == [3, 7]
    assert lot.is_parked(TOPIC, b"k")
    assert not lot.is_parked(TOPIC, b"other")
    assert lot.holds(TOPIC)
    assert lot.record_count == 2
    [parked] = lot.keys.values()
    assert (parked.records[0].kind, parked.records[0].message) == ("row-rejected", "too long")


def test_parking_twice_is_parking_once() -> None:
    lot = ParkingLot()
    for _ in range(3):
        put(lot, PARK, 3)
    assert offsets(lot) == [3]
    assert lot.has(TOPIC, 0, 3)


def test_what_was_left_before_the_changes_is_tried_by_itself_until_it_is_refused_for_itself() -> None:
    """Each try that the target refuses says so on the topic: there must be an end to it."""
    lot = ParkingLot()
    put(lot, PARK, 3, error=EARLY)
    for kind in (EARLY, QUEUED, "row-conflict"):
        put(lot, PARK, 3, error=kind)
        assert [*lot.early([(TOPIC, 0)])] == [(TOPIC, b"k")]
    assert not lot.early([(TOPIC, 1)])
    # Not under an operator's hands.
    put(lot, SKIP, 3)
    assert not lot.early([(TOPIC, 0)])
    put(lot, REFUSED, 3)
    put(lot, PARK, 3, error="row-rejected", message="too long")
    assert not lot.early([(TOPIC, 0)])
    [parked] = lot.keys.values()
    assert (parked.records[0].kind, parked.records[0].message) == ("row-rejected", "too long")


def test_a_released_key_flows_again_and_does_not_come_back() -> None:
    lot = ParkingLot()
    put(lot, PARK, 3)
    put(lot, PARK, 7)
    put(lot, RETRY, 3)
    assert [parked.command for _, parked in lot.commands([(TOPIC, 0)])] == [RETRY]
    assert lot.commands([(TOPIC, 1)]) == []
    put(lot, RELEASED, 7)
    assert not lot.keys
    assert not lot.holds(TOPIC)
    # A fenced applier parked it late.
    put(lot, PARK, 3)
    assert not lot.keys


def test_a_release_through_the_first_record_leaves_the_others() -> None:
    lot = ParkingLot()
    for offset in (3, 7, 9):
        put(lot, PARK, offset)
    put(lot, SKIP, 3)
    put(lot, RELEASED, 3)
    assert offsets(lot) == [7, 9]
    assert lot.commands([(TOPIC, 0)]) == []


def test_a_command_for_a_record_that_waits_no_more_is_void() -> None:
    """Its key was over meanwhile, and what has ended it is refused in its turn: nobody has answered that."""
    lot = ParkingLot()
    put(lot, PARK, 3)
    put(lot, RELEASED, 3)
    put(lot, PARK, 7)
    put(lot, SKIP, 3)
    assert offsets(lot) == [7]
    assert lot.commands([(TOPIC, 0)]) == []


def test_of_released_records_the_last_ones_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "RELEASED_MAX", 3)
    lot = ParkingLot()
    for offset in range(10):
        put(lot, PARK, offset)
        put(lot, RELEASED, offset)
    for offset in (9, 8, 7, 6):
        put(lot, PARK, offset)
    assert offsets(lot) == [6]


def test_a_command_in_vain_is_not_repeated() -> None:
    lot = ParkingLot()
    put(lot, PARK, 3)
    put(lot, RETRY, 3)
    put(lot, REFUSED, 3)
    assert lot.commands([(TOPIC, 0)]) == []
    assert offsets(lot) == [3]


def test_records_without_a_key_wait_each_for_itself() -> None:
    lot = ParkingLot()
    put(lot, PARK, 3, key=None)
    put(lot, PARK, 4, key=None)
    assert len(lot) == 2
    assert not lot.is_parked(TOPIC, None)
    put(lot, RELEASED, 3, key=None)
    assert offsets(lot) == [4]


def test_a_reference_finds_the_key() -> None:
    lot = ParkingLot()
    put(lot, PARK, 3)
    put(lot, PARK, 7)
    found = lot.find(f"{TOPIC}:0:3")
    assert found is not None
    assert found[1].records[0].reference == f"{TOPIC}:0:3"
    assert lot.find(f"{TOPIC}:0:4") is None


def test_a_command_for_a_key_that_does_not_wait_is_void() -> None:
    lot = ParkingLot()
    put(lot, RETRY, 3)
    lot.release((TOPIC, b"k"), 9)
    lot.refuse((TOPIC, b"k"))
    assert not lot.keys


def test_foreign_headers_are_no_record_of_ours() -> None:
    lot = ParkingLot()
    with pytest.raises(KeyError):
        lot.fold(b"k", {}, 0, 0)
    with pytest.raises(ValueError, match="no such action"):
        put(lot, "dance", 3)


def test_parking_directly_equals_parking_by_the_topic() -> None:
    one, two = ParkingLot(), ParkingLot()
    put(one, PARK, 3, error="row-rejected", at=5)
    two.park(b"k", ParkedRecord(TOPIC, 0, 3, "row-rejected", "", 5))
    assert one.keys == two.keys
