"""Changes that the target's rows contradict, against a model that applies one change at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from apply.batching.net_change import merge
from apply.error_handling.conflicts import ConflictPolicies
from apply.error_handling.policies import Policies, policies_of
from apply.limits import Limits
from apply.outcome import Outcome
from capture.full_load.limits import why_not
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import ErrorPolicies
from schemas.signals import Signal
from tests.conformance.sink_suite import ORDERS
from tests.kit.memory_sink import MemoryTable
from tests.unit.apply.rig import Member, Rig

SKIP_ALL = Policies(contradictions=ConflictPolicies("skip", "skip", "skip"))
STOP_ALL = Policies(contradictions=ConflictPolicies("stop", "stop", "stop"))


def _with_rows_of_others(rig: Rig, rows: dict[int, Row]) -> None:
    records = {(key,): dict(zip(ORDERS.column_names, row, strict=True)) for key, row in rows.items()}
    rig.target.tables[ORDERS.name] = MemoryTable(ORDERS, records)


def _messages(member: Member) -> Counter[str]:
    found: Counter[str] = Counter()

    def take(outcome: Outcome) -> None:
        found.update({message: 0 for _, message, _ in outcome.exceptions})
        found["left out"] += outcome.left_out.total()

    member.applier.on_written = take
    return found


@pytest.mark.parametrize("seed", range(40))
def test_what_is_left_out_is_what_one_change_at_a_time_would_leave_out(seed: int) -> None:
    rig = Rig([ORDERS], seed)
    chance = rig.chance
    others: dict[int, Row] = {key: (key, "theirs", None) for key in range(20) if chance.random() < 0.4}
    _with_rows_of_others(rig, others)
    at_source: dict[int, Row] = {key: (key, "old", True) for key in range(20) if chance.random() < 0.5}
    at_target, left_out = dict(others), 0
    by_commit = seed % 3 == 0
    if by_commit:
        rig.topics.begin_marks()
    for _ in range(chance.choice([15, 60, 200])):
        key = chance.randrange(20)
        row: Row = (key, chance.choice(["a", "b", None]), chance.choice([True, False, None]))
        if key not in at_source:
            at_source[key] = row
            rig.topics.put(ORDERS, "c", None, row)
            left_out += key in at_target
            at_target.setdefault(key, row)
        elif chance.random() < 0.3:
            del at_source[key]
            rig.topics.put(ORDERS, "d", (key, UNCHANGED, UNCHANGED), None)
            left_out += at_target.pop(key, None) is None
        else:
            partial = (key, *(v if chance.random() < 0.6 else UNCHANGED for v in row[1:]))
            at_source[key] = merge(at_source[key], partial)
            rig.topics.put(ORDERS, "u", None, partial)
            if key in at_target:
                at_target[key] = merge(at_target[key], partial)
            else:
                left_out += 1
        if by_commit and chance.random() < 0.2:
            rig.topics.put_mark(whole=chance.random() < 0.7)
    if by_commit:
        rig.topics.put_mark(whole=True)
    limits = Limits(batch_rows=chance.choice([1, 3, 20, 1000]))
    member = rig.member(SKIP_ALL, limits, take_all=True, loads=False, by_commit=by_commit)
    found = _messages(member)
    rig.settle(member)
    assert rig.target.read(ORDERS.name) == sorted(at_target.values(), key=repr)
    assert found["left out"] == left_out


def test_rows_of_a_load_and_what_comes_with_it_are_applied_in_any_case() -> None:
    rig = Rig([ORDERS])
    _with_rows_of_others(rig, {1: (1, "theirs", None), 9: (9, "theirs", None)})
    rig.topics.put(ORDERS, "c", None, (1, "ours", None))
    rig.topics.put(ORDERS, "r", None, (1, "loaded", None))
    rig.topics.put(ORDERS, "u", None, (2, "gone", None))
    rig.topics.loaded(ORDERS)
    rig.topics.put(ORDERS, "r", None, (9, "loaded again", None))
    rig.topics.put(ORDERS, "u", None, (9, "ours", None))
    rig.settle(rig.member(STOP_ALL, take_all=True))
    assert rig.target.read(ORDERS.name) == [(1, "loaded", None), (2, "gone", None), (9, "ours", None)]
    rig.topics.put(ORDERS, "u", None, (3, "missing", None))
    with pytest.raises(TailraceError, match="row to update is missing"):
        rig.settle(rig.member(STOP_ALL, take_all=True))


def test_a_table_is_not_emptied_and_loaded_again_where_changes_meanwhile_would_be_left_out() -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "r", None, (1, "loaded", None))
    rig.topics.loaded(ORDERS)
    # What a reload with --empty publishes when the row changes before its chunk is read: no row of the chunk.
    rig.topics.put(ORDERS, "t", None, None)
    rig.topics.put(ORDERS, "u", None, (1, "changed", None))
    rig.settle(rig.member(SKIP_ALL, take_all=True))
    rig.topics.loaded(ORDERS, 2)
    assert rig.target.read(ORDERS.name) == []
    # So capture does not begin it.
    signal = Signal("id", "reload", table="public.orders", empty=True)
    for kind in ("update_conflict", "delete_conflict"):
        errors = ErrorPolicies.model_validate({kind: "skip"})
        assert "leave out rows" in (why_not(signal, ORDERS, misses_rows=errors.misses_rows) or "")
    for stated in ({}, {"insert_conflict": "skip"}):
        errors = ErrorPolicies.model_validate(stated)
        assert why_not(signal, ORDERS, misses_rows=errors.misses_rows) is None
    assert why_not(signal._replace(empty=False), ORDERS, misses_rows=True) is None
    assert why_not(signal, replace(ORDERS, key=()), misses_rows=True) is None


def test_nothing_is_said_of_topics_where_compaction_may_have_removed_the_change_before() -> None:
    rig = Rig([ORDERS])
    _with_rows_of_others(rig, {2: (2, "inserted, and the delete behind it is gone", None)})
    rig.topics.put(ORDERS, "u", None, (1, "the insert is gone", None))
    rig.topics.put(ORDERS, "c", None, (2, "inserted again", None))
    rig.topics.put(ORDERS, "d", (3, UNCHANGED, UNCHANGED), None)
    rig.settle(rig.member(STOP_ALL, take_all=True, loads=False, compacts=True))
    assert rig.target.read(ORDERS.name) == [(1, "the insert is gone", None), (2, "inserted again", None)]


def test_changes_that_are_read_again_since_another_row_waited_contradict_nothing() -> None:
    rig = Rig([ORDERS], partition_count=1)
    rig.target.refuse = lambda _table, _kind, row: ErrorKind.ROW_CONFLICT if row[0] == 5 else None
    rig.topics.put(ORDERS, "c", None, (5, "waits", None))
    for key in range(20, 40):
        rig.topics.put(ORDERS, "c", None, (key, "new", None))
        rig.topics.put(ORDERS, "d", (key - 5, UNCHANGED, UNCHANGED), None) if key >= 25 else None
    first = rig.member(STOP_ALL, take_all=True)
    for _ in range(60):
        rig.clock.now += 0.1
        first.applier.step()
    assert len(rig.target.read(ORDERS.name)) == 5
    first.applier.rewind()
    for _ in range(60):
        rig.clock.now += 0.1
        first.applier.step()
    # Whoever takes over learns from the group how far the first one was.
    first.applier.drain()
    rig.target.refuse = None
    second = rig.member(STOP_ALL, take_all=True)
    rig.settle(second)
    assert {row[0] for row in rig.target.read(ORDERS.name)} == {5, 35, 36, 37, 38, 39}


def test_an_applier_that_is_killed_while_a_row_waits_leaves_nothing_that_contradicts_its_successor() -> None:
    rig = Rig([ORDERS], partition_count=1)
    rig.target.refuse = lambda _table, _kind, row: ErrorKind.ROW_CONFLICT if row[0] == 5 else None
    first = rig.member(STOP_ALL, take_all=True, loads=False)
    for keys, pace_s in ((range(10), 0.1), (range(10, 20), 0.0)):
        for key in keys:
            rig.topics.put(ORDERS, "c", None, (key, "new", None))
        for _ in range(60):
            rig.clock.now += pace_s
            first.applier.step()
    assert len(rig.target.read(ORDERS.name)) == 19
    assert {one.written for one in rig.group.values()} == {10}, "what was written last is not noted"
    rig.target.refuse = None
    second = rig.member(STOP_ALL, take_all=True, loads=False)
    rig.settle(second)
    assert len(rig.target.read(ORDERS.name)) == 20
    rig.topics.put(ORDERS, "c", None, (7, "again", None))
    with pytest.raises(TailraceError, match="row to insert is there already"):
        rig.settle(second)


@pytest.mark.parametrize("by_number", [False, True])
def test_a_contradiction_suspends_its_table_by_policy_or_by_number(by_number: bool) -> None:
    rig = Rig([ORDERS], partition_count=1)
    _with_rows_of_others(rig, {key: (key, "theirs", None) for key in (1, 2, 3)})
    for key in (1, 2, 3, 4):
        rig.topics.put(ORDERS, "c", None, (key, "ours", None))
    errors = {"insert_conflict": "skip" if by_number else "suspend", "escalation_rows": 1}
    errors |= {"conflict_escalation_rows": 3, "conflict_escalation": "suspend"}
    policies = policies_of(ErrorPolicies.model_validate(errors))
    member = rig.member(policies, Limits(batch_rows=1, suspended_retry_s=1), take_all=True, loads=False)
    for _ in range(60):
        rig.clock.now += 0.1
        member.applier.step()
    assert member.applier.holds.suspended().keys() == {"shop.public.orders"}
    assert (4, "ours", None) not in rig.target.read(ORDERS.name)
    # The rows of others go: the table goes on by itself.
    _with_rows_of_others(rig, {})
    rig.settle(member)
    left_out = {1, 2} if by_number else set()
    assert {row[0] for row in rig.target.read(ORDERS.name)} == {1, 2, 3, 4} - left_out
