"""Which records queue behind a parked key, and which ones end what is parked of it."""

from __future__ import annotations

import pickle

import pytest

from apply.batching.batch import Batch
from apply.batching.parked_keys import ParkedKeys
from apply.error_handling.parking import ParkedRecord, ParkingLot
from apply.sink import TopicPartition
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.sink_suite import ORDERS
from tests.unit.apply.rig import Entry, PlainCatalog, Topics

TOPIC = "shop.public.orders"
KEY = b"(1,)"


class LostEntry(Entry):
    """A record whose value is not there."""

    lost = TailraceError(ErrorKind.DECODE, "its parts are gone")


def entry(offset: int, op: str = "u", key: bytes = KEY, kind: type[Entry] = Entry) -> Entry:
    return kind(TopicPartition(TOPIC, 0), offset, key, bytes([1]) + pickle.dumps((offset, op, None, (1, "a", None))))


def keys_of(*offsets: int, keeps_history: bool = False) -> ParkedKeys:
    """Return what is said where records of the key are parked at these offsets."""
    topics, lot = Topics(), ParkingLot()
    topics.add(ORDERS)
    for offset in offsets:
        lot.park(KEY, ParkedRecord(TOPIC, 0, offset, "row-rejected", "bad", offset))
    return ParkedKeys(lot, PlainCatalog(topics), keeps_history=keeps_history)  # type: ignore[arg-type]


def test_records_queue_behind_what_is_parked_or_refused_in_their_batch_until_nothing_of_it_counts() -> None:
    parked, batch = keys_of(3, 5), Batch()
    assert parked.concern(batch, TOPIC)
    assert parked.queues(batch, entry(7))
    assert not parked.queues(batch, entry(7, key=b"(2,)"))
    # A record at 4, read again, ends what stands before it: what is parked behind it counts still.
    parked.end(batch, entry(4, "d"))
    assert parked.queues(batch, entry(7))
    parked.end(batch, entry(6, "d"))
    assert {identity: through.offset for identity, through in batch.over.items()} == {(TOPIC, KEY): 5}
    assert not parked.queues(batch, entry(7))
    batch.blocked.add((TOPIC, KEY))
    assert parked.queues(batch, entry(8))
    assert keys_of().concern(batch, TOPIC)
    assert not keys_of().concern(Batch(), TOPIC)


def test_what_was_refused_of_a_key_in_the_same_batch_is_void_once_its_row_begins_anew() -> None:
    parked, batch = keys_of(), Batch()
    error = TailraceError(ErrorKind.DECODE, "broken")
    for key in (KEY, b"(2,)"):
        batch.refused.append((entry(1, key=key), error))
        batch.blocked.add((TOPIC, key))
        batch.queued.append(entry(2, key=key))
    parked.end(batch, entry(3, "r"))
    assert [record.key() for record, _ in batch.refused] == [record.key() for record in batch.queued] == [b"(2,)"]
    assert batch.blocked == {(TOPIC, b"(2,)")}
    assert batch.over == {}, "nothing of it was parked before"


@pytest.mark.parametrize(("op", "found"), [("r", True), ("d", True), ("c", False), ("u", False)])
def test_a_row_begins_anew_where_it_is_loaded_or_gone_but_in_no_history(op: str, found: bool) -> None:
    assert keys_of(1).begins_anew(entry(2, op)) is found
    assert not keys_of(1, keeps_history=True).begins_anew(entry(2, op))
    assert not keys_of(1).begins_anew(entry(2, op, kind=LostEntry)), "nobody knows what it says"
