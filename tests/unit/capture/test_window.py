"""Which rows of a chunk may still be published."""

from __future__ import annotations

from dataclasses import dataclass

from capture.full_load.window import UNSETTLED_MAX, Horizon, LoadWindow
from schemas.bundles import Bundle
from schemas.changes import UNCHANGED, Row, Transaction
from schemas.table import TableName

ORDERS, ITEMS = TableName("public", "orders"), TableName("public", "items")


@dataclass(slots=True)
class SeenUpTo:
    """A snapshot that sees the transactions up to one."""

    last: int
    high: int = 0

    def sees(self, txn: Transaction) -> bool:
        return txn.xid <= self.last

    def settled(self, txn: Transaction) -> bool:
        return txn.xid <= self.last


def txn(number: int) -> Transaction:
    return Transaction(str(number), number, number * 10, 0)


def merge(body: bytes, partial: Row) -> bytes:
    return body + b"+" + b",".join(b"_" if v is UNCHANGED else str(v).encode() for v in partial)


def _pairs(rows: Bundle | list[tuple[bytes | None, bytes]]) -> list[tuple[bytes | None, bytes]]:
    return rows.pairs() if isinstance(rows, Bundle) else rows


def admitted(window: LoadWindow, snapshot: SeenUpTo) -> list[bytes]:
    return [body for _, body in _pairs(window.admit(Bundle.of([b"1", b"2"], [b"one", b"two"]), snapshot, merge))]


def test_a_row_that_nobody_changed_goes_out() -> None:
    assert admitted(LoadWindow(), SeenUpTo(0)) == [b"one", b"two"]


def test_a_row_that_was_changed_after_the_snapshot_is_dropped() -> None:
    window = LoadWindow()
    window.changed([b"1"], txn(5))
    assert admitted(window, SeenUpTo(4)) == [b"two"]
    assert admitted(window, SeenUpTo(5)) == [b"one", b"two"]


def test_the_last_change_decides() -> None:
    window = LoadWindow()
    window.changed([b"1"], txn(5))
    window.changed([b"1"], txn(6))
    assert admitted(window, SeenUpTo(5)) == [b"two"]


def test_a_row_of_which_only_a_part_was_published_goes_out_with_the_newer_values() -> None:
    window = LoadWindow()
    window.changed_in_part(b"1", (1, "a", UNCHANGED), txn(5))
    window.changed_in_part(b"1", (1, UNCHANGED, "b"), txn(6))
    assert admitted(window, SeenUpTo(4)) == [b"one+1,a,b", b"two"]
    assert admitted(window, SeenUpTo(5)) == [b"one+1,a,b", b"two"]
    assert admitted(window, SeenUpTo(6)) == [b"one", b"two"]


def test_a_partial_row_that_follows_a_whole_one_needs_no_chunk() -> None:
    window = LoadWindow()
    window.changed([b"1"], txn(5))
    window.changed_in_part(b"1", (1, "a", UNCHANGED), txn(6))
    assert admitted(window, SeenUpTo(4)) == [b"two"]


def test_a_whole_row_ends_what_was_known_in_part() -> None:
    window = LoadWindow()
    window.changed_in_part(b"1", (1, "a", UNCHANGED), txn(5))
    window.changed([b"1"], txn(6))
    assert admitted(window, SeenUpTo(4)) == [b"two"]


def test_a_truncate_drops_all_rows_of_older_snapshots() -> None:
    window = LoadWindow()
    window.truncated(txn(5))
    assert admitted(window, SeenUpTo(4)) == []
    assert admitted(window, SeenUpTo(5)) == [b"one", b"two"]


def test_keys_are_forgotten_when_every_snapshot_sees_their_change() -> None:
    window, horizon = LoadWindow(), Horizon()
    window.changed([b"1"], txn(3))
    window.changed([b"2"], txn(7))
    horizon.dispatched("chunk", ORDERS)
    horizon.forget({ORDERS: window})
    assert len(window) == 2, "a snapshot that is not known yet may see nothing"
    horizon.opened("chunk", SeenUpTo(5))
    horizon.forget({ORDERS: window})
    assert len(window) == 1


def test_an_older_snapshot_of_the_same_table_keeps_keys_alive() -> None:
    window, other, horizon = LoadWindow(), LoadWindow(), Horizon()
    window.changed([b"1"], txn(3))
    other.changed([b"1"], txn(3))
    horizon.dispatched("old", ORDERS)
    horizon.opened("old", SeenUpTo(2))
    horizon.dispatched("new", ITEMS)
    horizon.opened("new", SeenUpTo(5))
    horizon.forget({ORDERS: window, ITEMS: other})
    assert len(window) == 1
    assert len(other) == 0
    horizon.closed("old")
    horizon.forget({ORDERS: window, ITEMS: other})
    assert len(window) == 0


def test_after_a_restart_a_chunk_must_see_what_was_published_before() -> None:
    horizon = Horizon([txn(3), txn(4)])
    horizon.raise_barrier(ORDERS)
    assert not horizon.accepts(ORDERS, SeenUpTo(3))
    assert horizon.accepts(ORDERS, SeenUpTo(4))
    assert horizon.accepts(ITEMS, SeenUpTo(0))


def test_after_a_restart_a_chunk_that_was_opened_before_is_held_to_it_whatever_others_see() -> None:
    horizon = Horizon([txn(3), txn(4)])
    horizon.raise_barrier(ORDERS)
    horizon.dispatched("old", ORDERS)
    horizon.opened("old", SeenUpTo(3))
    horizon.dispatched("new", ITEMS)
    horizon.opened("new", SeenUpTo(5))
    horizon.forget({})
    assert not horizon.accepts(ORDERS, SeenUpTo(3))
    horizon.closed("old")
    horizon.forget({})
    assert horizon.accepts(ORDERS, SeenUpTo(3)), "a snapshot that is still to come sees all of it"


def test_a_snapshot_that_lacks_what_an_earlier_one_saw_is_of_no_use() -> None:
    """It is of a server that is behind: rows went out that were older than what the log had published of them."""
    window, horizon = LoadWindow(), Horizon()
    horizon.dispatched("early", ORDERS)
    for number in (3, 7):
        horizon.published(txn(number))
        window.changed([b"%d" % number], txn(number))
    horizon.dispatched("first", ORDERS)
    assert horizon.opened("early", SeenUpTo(2))
    assert horizon.opened("first", SeenUpTo(5))
    horizon.forget({ORDERS: window})
    assert len(window) == 2, "the early one does not see what others do"
    horizon.closed("early")
    horizon.forget({ORDERS: window})
    assert len(window) == 1
    horizon.dispatched("behind", ORDERS)
    assert not horizon.opened("behind", SeenUpTo(2))
    horizon.closed("behind")
    horizon.dispatched("again", ORDERS)
    assert horizon.opened("again", SeenUpTo(3))


def test_what_a_later_snapshot_might_not_see_is_kept_and_bounded() -> None:
    horizon = Horizon()
    for number in range(1, 2 * UNSETTLED_MAX + 10):
        horizon.published(txn(number))
    assert len(horizon.unsettled) == UNSETTLED_MAX
    horizon.dispatched("chunk", ORDERS)
    horizon.opened("chunk", SeenUpTo(2 * UNSETTLED_MAX + 8))
    horizon.forget({})
    assert [t.xid for t in horizon.unsettled] == [2 * UNSETTLED_MAX + 9]
