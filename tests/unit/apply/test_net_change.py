"""Net changes equal the changes they stand for, however these are cut into batches."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apply.batching.net_change import NetChanges, merge
from apply.batching.staged_rows import StagedRows, Staging
from apply.sinks.postgresql.rows import LineForm
from schemas.changes import UNCHANGED, Row
from tests.conformance.sink_suite import EVENTS, ORDERS
from tests.kit.memory_sink import MemorySink, MemoryTarget

Change = tuple[str, Row | None, Row | None]


def key(row: Row) -> bytes:
    return str(row[0]).encode()


def net(*changes: Change, table: Any = ORDERS) -> NetChanges:
    found = NetChanges(table)
    keys = [key(after or before or ()) if table.key else None for _, before, after in changes]
    found.add(keys, changes, {op for op, _, _ in changes})
    return found


def replay(changes: list[Change]) -> dict[Any, Row]:
    """Apply changes one by one, as the contract words them: the reference."""
    rows: dict[Any, Row] = {}
    for op, before, after in changes:
        if op == "d":
            assert before is not None
            rows.pop(before[0], None)
        else:
            assert after is not None
            if UNCHANGED not in after:
                rows[after[0]] = after
            elif after[0] in rows:
                rows[after[0]] = merge(rows[after[0]], after)
    return rows


ids = st.integers(0, 4)
texts = st.sampled_from(["a", "b", None])
flags = st.sampled_from([True, False, None])
whole = st.builds(lambda op, i, s, p: (op, None, (i, s, p)), st.sampled_from("rcu"), ids, texts, flags)
partial = st.builds(lambda i, p: ("u", None, (i, UNCHANGED, p)), ids, flags)
other_partial = st.builds(lambda i, s: ("u", None, (i, s, UNCHANGED)), ids, texts)
deletes = st.builds(lambda i: ("d", (i, UNCHANGED, UNCHANGED), None), ids)
histories = st.lists(st.one_of(whole, partial, other_partial, deletes), max_size=40)


@given(history=histories, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_any_cut_into_batches_leads_to_the_rows_of_the_replay(history: list[Change], cuts: list[int]) -> None:
    target = MemoryTarget()
    sink = MemorySink(target)
    sink.prepare(ORDERS)
    edges = sorted({0, len(history), *(min(cut, len(history)) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        assert sink.apply(net(*history[begin:end]).batch()) == []
        sink.flush()
    assert {row[0]: row for row in target.read(ORDERS.name)} == replay(history)


@given(history=histories, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_adding_in_pieces_is_adding_at_once(history: list[Change], cuts: list[int]) -> None:
    pieces = NetChanges(ORDERS)
    edges = sorted({0, len(history), *(min(cut, len(history)) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        part = history[begin:end]
        pieces.add([key(after or before or ()) for _, before, after in part], part, {op for op, _, _ in part})
    together = net(*history)
    assert (pieces.upserts, pieces.updates, pieces.deletes) == (together.upserts, together.updates, together.deletes)


@given(history=histories, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_rows_that_are_staged_have_the_same_net_changes(history: list[Change], cuts: list[int]) -> None:
    form = LineForm(())
    pieces = NetChanges(ORDERS, staging=Staging(form, pickle.loads))
    edges = sorted({0, len(history), *(min(cut, len(history)) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        part = history[begin:end]
        records = [pickle.dumps(after) for _, _, after in part]
        made = [
            (op, before, record if after is not None and UNCHANGED not in after and op != "r" else after)
            for (op, before, after), record in zip(part, records, strict=True)
        ]
        pieces.add([key(after or before or ()) for _, before, after in part], made, {op for op, *_ in part}, records)
    found, plain = pieces.batch(), net(*history).batch()
    assert list(found.upserts) == list(plain.upserts)
    assert (found.updates, found.deletes) == (plain.updates, plain.deletes)
    assert isinstance(found.upserts, StagedRows)
    lines = found.upserts.staged(lambda rows: [pickle.dumps(row) for row in rows])
    assert [pickle.loads(line) for line in lines] == list(plain.upserts)


@given(history=histories)
def test_a_key_stands_in_one_list_only(history: list[Change]) -> None:
    batch = net(*history).batch()
    keys = [row[0] for row in [*batch.upserts, *batch.updates, *batch.deletes]]
    assert len(keys) == len(set(keys))
    assert all(UNCHANGED not in row for row in batch.upserts)


def test_a_partial_row_is_completed_from_an_earlier_whole_one() -> None:
    batch = net(("c", None, (1, "long", False)), ("u", None, (1, UNCHANGED, True))).batch()
    assert batch.upserts == [(1, "long", True)]
    assert batch.updates == []


def test_partial_rows_alone_stay_partial() -> None:
    batch = net(("u", None, (1, UNCHANGED, True)), ("u", None, (1, "x", UNCHANGED))).batch()
    assert batch.updates == [(1, "x", True)]
    assert batch.upserts == []


def test_delete_then_insert_writes_the_new_row_whole() -> None:
    batch = net(("d", (1, UNCHANGED, UNCHANGED), None), ("c", None, (1, "b", None))).batch()
    assert (batch.upserts, batch.deletes) == ([(1, "b", None)], [])


def test_a_partial_row_does_not_bring_a_deleted_row_back() -> None:
    batch = net(("d", (1, UNCHANGED, UNCHANGED), None), ("u", None, (1, UNCHANGED, True))).batch()
    assert (batch.upserts, batch.updates, batch.deletes) == ([], [], [(1,)])


def test_a_table_without_a_key_keeps_every_change_in_order() -> None:
    changes: list[Change] = [("c", None, ("a", 1)), ("c", None, ("a", 1)), ("d", ("a", 1), None)]
    assert net(*changes, table=EVENTS).batch().sequence == changes


def test_rows_of_the_full_load_count_as_reads() -> None:
    assert net(("c", None, (2, "a", None)), ("r", None, (1, "a", None))).has_reads
    assert not net(("c", None, (2, "a", None)), ("u", None, (2, "b", None))).has_reads


def test_a_rejected_row_leads_back_to_its_key() -> None:
    found = net(("c", None, (7, "a", None)), ("c", None, (8, "a", None)), ("d", (9, UNCHANGED, UNCHANGED), None))
    assert found.keys_of("upserts") == [b"7", b"8"]
    assert found.keys_of("deletes") == [b"9"]
