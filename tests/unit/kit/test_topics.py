"""The checks of topics find what they are for: a check that cannot fail proves nothing."""

from __future__ import annotations

from typing import Any

from tests.kit.topics import Record, key_faults, replay, sequence_faults


def _record(
    offset: int, op: str | None, sequence: int, key: bytes | None = b"k", partition: int = 0, **more: Any
) -> Record:
    envelope = None if op is None else {"op": op, "source": {"seq": sequence}, "after": {"a": sequence}, **more}
    return Record("shop.public.t", partition, offset, key, envelope)


def test_changes_in_order_have_no_faults() -> None:
    records = [_record(0, "c", 1), _record(1, "u", 2), _record(2, "d", 3), _record(3, None, 3), _record(4, "c", 4)]
    assert sequence_faults(records) == []
    assert key_faults(records) == []


def test_a_sequence_that_stands_twice_is_found() -> None:
    assert sequence_faults([_record(0, "c", 1), _record(0, "c", 1, b"other", partition=1)])


def test_a_sequence_that_goes_back_is_found() -> None:
    assert sequence_faults([_record(0, "c", 2), _record(1, "u", 1)])


def test_a_truncate_may_stand_once_in_each_partition() -> None:
    assert sequence_faults([_record(0, "t", 1, None), _record(0, "t", 1, None, partition=1)]) == []
    assert sequence_faults([_record(0, "t", 1, None), _record(1, "t", 1, None)])


def test_a_key_in_two_partitions_is_found() -> None:
    assert key_faults([_record(0, "c", 1), _record(0, "u", 2, partition=1)])


def test_a_second_creation_of_a_living_key_is_found() -> None:
    assert key_faults([_record(0, "c", 1), _record(1, "c", 2)])
    assert key_faults([_record(0, "c", 1), _record(1, "t", 2, None), _record(2, "c", 3)]) == []


def test_replay_keeps_an_unavailable_value_and_forgets_what_was_deleted() -> None:
    records = [
        _record(0, "c", 1),
        _record(1, "u", 2, unavailable=["a"]),
        _record(2, "c", 3, b"gone"),
        _record(3, "d", 4, b"gone"),
    ]
    assert replay(records) == {"shop.public.t": {b"k": {"a": 1}}}
