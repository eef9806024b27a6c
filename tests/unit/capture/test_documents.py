"""What capture writes to its topics, read back."""

from __future__ import annotations

import orjson
import pytest

from capture import checkpoints
from capture.full_load.held_back import HeldBack
from capture.full_load.state import LoadState, TableLoad
from capture.source import Chunk
from schemas.changes import UNCHANGED, RowChanges, Transaction, Truncate
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position, first_sequence
from tests.kit.simulation import SimSnapshot, table_schema

TABLE = table_schema("orders", keyed=True)


def test_the_position_is_read_as_it_was_written() -> None:
    key, value = checkpoints.position_record(
        {"system": "x"}, Position(77, 3), first_sequence(2) + 9, [Transaction("5", 5, 70, 1)], ["public.*"]
    )
    assert value is not None
    found = checkpoints.decode({key: value})
    assert (found.identity, found.position, found.sequence) == ({"system": "x"}, Position(77, 3), first_sequence(2) + 9)
    assert [(txn.xid, txn.commit) for txn in found.earlier] == [(5, 70)]
    assert found.selection == ["public.*"]


@pytest.mark.parametrize(
    "position", [Position(7), Position(7, 2, "", "t"), Position(7, 0, "gtids"), Position(7, 1, "g", "t")]
)
def test_a_position_of_any_engine_comes_back(position: Position) -> None:
    key, value = checkpoints.position_record({"system": "x"}, position, first_sequence(1), [], ["public.*"])
    assert value is not None
    assert checkpoints.decode({key: value}).position == position


def test_a_new_life_begins_with_the_epoch_that_a_reset_left() -> None:
    assert checkpoints.decode({}).sequence == first_sequence(1)
    assert checkpoints.decode({b'"epoch"': b'{"version":1,"epoch":4}'}).sequence == first_sequence(4)


def test_a_checkpoint_of_a_later_form_is_refused() -> None:
    with pytest.raises(TailraceError) as caught:
        checkpoints.decode({b'"tables"': b'{"version":2,"tables":[]}'})
    assert caught.value.kind is ErrorKind.CONFIGURATION


def test_a_load_is_read_as_it_was_written() -> None:
    load = TableLoad(TABLE, generation=3, state=LoadState.LOADING)
    load.chunks = [Chunk(0, None, ("5",)), Chunk(1, ("5",), ("9",)), Chunk(2, ("9",), None)]
    load.done, load.row_count = {0, 1}, 17
    records = [checkpoints.plan_record(load), checkpoints.progress_record(load)]
    found = checkpoints.decode({key: value for key, value in records if value is not None})
    again = TableLoad.from_documents(TABLE, found.plans[TABLE.name], found.progress[TABLE.name])
    assert (again.generation, again.state, again.chunks, again.done, again.row_count) == (
        3,
        LoadState.LOADING,
        load.chunks,
        {0, 1},
        17,
    )
    assert orjson.loads(records[1][1] or b"")["done"] == [[0, 1]]


def test_progress_of_an_earlier_generation_says_nothing() -> None:
    load = TableLoad(TABLE, state=LoadState.LOADING)
    load.chunks, load.done = [Chunk(0, None, None)], {0}
    progress = load.progress_document()
    load.begin_again(TABLE, 0)
    load.state, load.chunks = LoadState.LOADING, [Chunk(0, None, None)]
    assert TableLoad.from_documents(TABLE, load.plan_document(), progress).done == set()


def test_changes_that_are_held_back_come_in_order_without_those_that_the_snapshot_saw() -> None:
    table = table_schema("notes", keyed=False)
    held = HeldBack(table)
    seen, unseen = Transaction("1", 1, 10, 100), Transaction("2", 2, 20, 200)
    held.add(RowChanges(table, seen, ["c"], [None], [(1, "a", "b")]))
    held.add(RowChanges(table, unseen, ["c", "u"], [None, (1, "a", "b")], [(2, "c", None), (1, "a", UNCHANGED)]))
    held.add(Truncate([table], unseen))
    snapshot = SimSnapshot(10, frozenset({1}), 2)
    assert held.take(snapshot, 100, 1) == [], "what is passed counts, too"
    taken = held.take(snapshot, 100, 1 << 20)
    assert held.waiting_bytes == 0
    first, second = taken
    assert isinstance(first, RowChanges)
    assert isinstance(second, Truncate)
    assert first.after[1] is not None
    assert first.after[1][2] is UNCHANGED
    assert first.txn is second.txn
    assert (first.txn.xid, first.txn.commit, first.txn.commit_ts_us) == (2, 20, 200)
    held.close()
