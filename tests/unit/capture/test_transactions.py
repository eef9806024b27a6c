"""What consumers count by: marks between source transactions, and each event's place in its transaction."""

from __future__ import annotations

from typing import Any

import orjson

from capture.publishing.transactions import MARK_RECORDS, Transactions
from schemas.changes import Transaction
from schemas.transactions import Mark, Record, mark_of

FIRST, SECOND = Transaction("a", 1, 10, 1_000), Transaction("b", 2, 20, 2_000)


def counting(*, metadata: bool = False, cut: dict[str, Any] | None = None) -> Transactions:
    return Transactions(100, metadata=metadata, is_cut=cut is not None, cut=cut)


def marks(transactions: Transactions, sequence: int) -> list[Mark | None]:
    return [mark_of(*record) for record in transactions.marks(sequence, 0)]


def is_due(transactions: Transactions) -> bool:
    return transactions.is_mark_due


def owes(transactions: Transactions) -> bool:
    return transactions.owes_mark


def documents(records: list[Record]) -> list[dict[str, Any]]:
    return [orjson.loads(value) for _, value in records]


def test_events_are_numbered_over_the_transaction_and_within_each_table() -> None:
    counts = counting(metadata=True)
    counts.began(FIRST)
    places = [counts.place(FIRST, table, count) for table, count in (("orders", 2), ("items", 3), ("orders", 1))]
    assert places == [("a:10", 0, 0), ("a:10", 2, 0), ("a:10", 5, 2)]
    counts.ended(FIRST, 106)
    counts.began(SECOND)
    assert counts.place(SECOND, "items", 1) == ("b:20", 0, 0)
    begin, end, begin_of_second = documents(counts.pending)
    assert (begin["id"], end["id"], end["event_count"], begin_of_second["id"]) == ("a:10", "a:10", 6, "b:20")
    assert [c["event_count"] for c in end["data_collections"]] == [3, 3]


def test_what_was_held_back_until_its_transaction_was_over_has_no_place_in_another() -> None:
    counts = counting(metadata=True)
    counts.began(SECOND)
    assert counts.place(FIRST, "notes", 4) is None
    assert counts.place(SECOND, "orders", 1) == ("b:20", 0, 0)


def test_a_transaction_that_was_cut_is_numbered_on_after_a_restart() -> None:
    counts = counting(metadata=True)
    counts.began(FIRST)
    counts.place(FIRST, "orders", 2)
    counts.place(FIRST, "items", 1)
    again = counting(metadata=True, cut=counts.open_document())
    again.began(FIRST)
    assert again.place(FIRST, "orders", 1) == ("a:10", 3, 2)
    again.ended(FIRST, 104)
    (end,) = documents(again.pending)
    assert end["event_count"] == 4
    # Where what was left of it is not captured any more, the next one is not taken for its rest.
    other = counting(metadata=True, cut=counts.open_document())
    other.began(SECOND)
    assert other.place(SECOND, "orders", 1) == ("b:20", 0, 0)


def test_a_mark_is_due_after_so_many_records_in_one_transaction_or_in_many() -> None:
    large = counting()
    large.began(FIRST)
    large.counted("orders", MARK_RECORDS - 1)
    assert not is_due(large)
    large.counted("items", 1)
    assert is_due(large)
    large.marks(100 + MARK_RECORDS, 0)
    assert not is_due(large)
    small = counting()
    for number in range(MARK_RECORDS):
        assert not is_due(small)
        small.began(FIRST)
        small.counted("orders", 1)
        small.ended(FIRST, 101 + number)
    assert is_due(small)


def test_a_mark_in_the_midst_of_a_transaction_says_so_and_its_end_is_owed() -> None:
    counts = counting()
    counts.began(FIRST)
    counts.counted("orders", 2)
    counts.ended(FIRST, 102)
    counts.began(SECOND)
    counts.counted("items", 3)
    assert marks(counts, 105) == [Mark(100, 102, True, {"orders": 2}), Mark(102, 105, False, {"items": 3})]
    assert not owes(counts)
    # Nothing more of it is captured: still somebody waits to hear that it is whole.
    counts.ended(SECOND, 105)
    assert owes(counts)
    assert marks(counts, 105) == [Mark(105, 105, True, {})]
    assert (owes(counts), marks(counts, 105)) == (False, [])
