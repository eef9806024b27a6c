"""The applier over doubles: every path of trouble, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import pytest

from apply.error_handling.holds import HoldReason
from apply.error_handling.policies import Escalation, Policies
from apply.error_handling.survey import Progress
from apply.limits import Limits
from apply.sink import TopicPartition
from runtime.kafka.errors import FencedError, SupplantedError
from schemas.changes import UNCHANGED
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import DdlPolicy
from schemas.table import Column, ForeignKey, TableName, TableSchema
from tests.conformance.sink_suite import EVENTS, INT64, ORDERS, ORDERS_2, STRING
from tests.kit.memory_sink import MemorySink
from tests.unit.apply.rig import Member, Rig, Topics

CUSTOMERS = TableSchema(TableName("public", "customers"), (Column("id", INT64, "bigint"),), key=(0,))
LINES = TableSchema(
    TableName("public", "lines"),
    (Column("id", INT64, "bigint"), Column("customer", INT64, "bigint")),
    key=(0,),
    foreign_keys=(ForeignKey("fk", ("customer",), CUSTOMERS.name, ("id",)),),
)


class Offsetless(MemorySink):
    """The group has its offsets."""

    capabilities = replace(MemorySink.capabilities, stores_offsets=False)


def test_changes_reach_the_target_and_the_offsets_with_them() -> None:
    rig = Rig([ORDERS])
    for i in range(50):
        rig.topics.put(ORDERS, "c", None, (i, "new", None))
        rig.topics.put(ORDERS, "u", None, (i, UNCHANGED, True))
    rig.topics.put(ORDERS, "d", (7, UNCHANGED, UNCHANGED), None)
    rig.topics.mark()
    member = rig.member(take_all=True)
    rig.settle(member)
    assert set(rig.target.read(ORDERS.name)) == {(i, "new", True) for i in range(50) if i != 7}
    member.applier.drain()
    # Only a transaction marker stands behind the last record: the group's offsets pass it.
    assert rig.group == {p: Progress(end, end) for p, end in rig.topics.ends.items()}


def test_the_group_is_told_once_in_a_while_or_before_a_barrier_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig([ORDERS], partition_count=1)
    member = rig.member(take_all=True)

    def refused(*_: object) -> None:
        raise TailraceError(ErrorKind.TRANSPORT, "no answer")

    rig.topics.put(ORDERS, "c", None, (1, "new", None))
    rig.settle(member)
    assert member.applier.checkpoint()
    monkeypatch.setattr(member.consumer, "commit", refused)
    rig.topics.put(ORDERS, "c", None, (2, "new", None))
    rig.topics.put(ORDERS, "t", None, None)
    for _ in range(200):
        rig.clock.now += 0.05
        member.applier.step()
    # It stands before the truncate: the group does not know yet that the row before it is written.
    assert len(rig.target.read(ORDERS.name)) == 2
    assert not member.applier.checkpoint()
    monkeypatch.undo()
    rig.settle(member)
    assert not rig.target.read(ORDERS.name)


def test_rows_of_a_full_load_are_fresh_until_anything_else_comes() -> None:
    rig = Rig([ORDERS])
    for i in range(10):
        rig.topics.put(ORDERS, "r", None, (i, "a", None))
    member = rig.member(take_all=True)
    rig.settle(member)
    assert [batch.fresh for batch in member.sink.batches] == [True] * len(member.sink.batches)
    member.sink.batches.clear()
    for i in range(10):
        rig.topics.put(ORDERS, "c", None, (100 + i, "a", None))
        rig.topics.put(ORDERS, "r", None, (200 + i, "a", None))
    rig.settle(member)
    for i in range(10):
        rig.topics.put(ORDERS, "r", None, (300 + i, "a", None))
    rig.settle(member)
    assert not member.sink.batches[-1].fresh
    assert len(rig.target.read(ORDERS.name)) == 40


def test_where_only_reads_are_gathered_changes_wait_for_nothing_else() -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "new", None))
    member = rig.gathering(reads_only=True)
    writer = member.applier.writer
    rig.settle(member)
    assert not writer.is_open
    for op, row in (("r", (2, "read", None)), ("c", (3, "more", None))):
        rig.topics.put(ORDERS, op, None, row)
        for _ in range(50):
            rig.clock.now += 0.05
            member.applier.step()
        assert writer.is_open, "once rows are gathered, changes go along"
    assert set(rig.target.read(ORDERS.name)) == {(1, "new", None)}
    writer.patient = False
    rig.settle(member)
    assert set(rig.target.read(ORDERS.name)) == {(1, "new", None), (2, "read", None), (3, "more", None)}


def test_nothing_is_fresh_for_an_applier_that_did_not_see_the_beginning() -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "r", None, (1, "a", None))
    rig.settle(rig.member(take_all=True))
    rig.topics.put(ORDERS, "r", None, (2, "a", None))
    second = rig.member(take_all=True)
    rig.settle(second)
    assert [batch.fresh for batch in second.sink.batches] == [False]


def test_rows_are_fresh_until_the_first_checkpoint_where_the_group_has_the_offsets() -> None:
    rig = Rig([ORDERS])
    found: list[list[bool]] = []
    for i in range(2):
        sink = Offsetless(rig.target)
        member = rig.member(take_all=True, other=sink)
        for partition in range(10):
            rig.topics.put(ORDERS, "r", None, (100 * i + partition, "a", None))
        rig.settle(member)
        member.applier.checkpoint()
        found.append([batch.fresh for batch in sink.batches])
    assert found == [[True] * len(found[0]), [False] * len(found[1])]


def test_what_is_taken_in_of_a_partition_that_is_lost_is_left_to_its_next_owner() -> None:
    rig = Rig([EVENTS], partition_count=1)
    one = rig.member(take_all=True, other=Offsetless(rig.target))
    one.applier.step()
    rig.topics.put(EVENTS, "c", None, ("a", 1))
    one.applier.resting = True
    while not one.applier.builder.batch.next:
        one.applier.step()
    one.consumer.rebalance("lose", rig.topics.logs)
    one.applier.step()
    one.applier.resting = False
    rig.settle(rig.member(take_all=True, other=Offsetless(rig.target)))
    for _ in range(10):
        one.applier.step()
    assert rig.target.read(EVENTS.name) == [("a", 1)]


def test_what_was_gathered_is_undone_before_it_is_read_again() -> None:
    rig = Rig([EVENTS], partition_count=1)
    member = rig.gathering()
    rig.topics.put(EVENTS, "c", None, ("a", 1))
    while not member.applier.writer.is_open:
        member.applier.step()
    member.applier.fail(TailraceError(ErrorKind.TRANSPORT, "Kafka does not answer"))
    rig.clock.now += 60
    member.applier.writer.patient = False
    rig.settle(member)
    assert rig.target.read(EVENTS.name) == [("a", 1)]


def test_tables_are_prepared_anew_where_the_target_may_have_been_restored() -> None:
    rig = Rig([ORDERS])
    member = rig.member(take_all=True)
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    rig.settle(member)
    del rig.target.tables[ORDERS.name]
    member.applier.fail(TailraceError(ErrorKind.TARGET_CONNECTION, "cut"))
    rig.topics.put(ORDERS, "c", None, (2, "b", None))
    rig.clock.now += 60
    rig.settle(member)
    assert rig.target.read(ORDERS.name) == [(2, "b", None)]


def test_trouble_repeats_nothing_that_was_written_where_the_group_has_the_offsets() -> None:
    rig = Rig([EVENTS], partition_count=1)
    member = rig.member(take_all=True, other=Offsetless(rig.target))
    member.applier.step()
    member.applier.checkpoint()
    rig.topics.put(EVENTS, "c", None, ("a", 1))
    # The group is not told yet when the connection breaks.
    while not rig.target.read(EVENTS.name):
        member.applier.step()
    assert not any(one.durable for one in rig.group.values())
    member.applier.fail(TailraceError(ErrorKind.TARGET_CONNECTION, "cut"))
    rig.topics.put(EVENTS, "c", None, ("a", 2))
    rig.clock.now += 60
    rig.settle(member)
    assert rig.target.read(EVENTS.name) == [("a", 1), ("a", 2)]


def test_the_offsets_of_the_target_win_over_those_of_the_group() -> None:
    rig = Rig([ORDERS], partition_count=1)
    for i in range(4):
        rig.topics.put(ORDERS, "c", None, (i, "a", None))
    partition = TopicPartition("shop.public.orders", 0)
    rig.group[partition] = Progress(4, 4)
    rig.settle(rig.member(take_all=True))
    assert len(rig.target.read(ORDERS.name)) == 4


def test_a_truncate_waits_until_both_appliers_have_come_to_it() -> None:
    rig = Rig([ORDERS])
    for i in range(20):
        rig.topics.put(ORDERS, "c", None, (i, "old", None))
    rig.topics.put(ORDERS, "t", None, None)
    for i in range(10, 30):
        rig.topics.put(ORDERS, "c", None, (i, "new", None))
    one, two = rig.member(), rig.member()
    one.consumer.rebalance("assign", [TopicPartition("shop.public.orders", 0)])
    for _ in range(50):
        rig.clock.now += 0.1
        one.applier.step()
    assert {hold.reason for hold in one.applier.holds.by_partition.values()} == {HoldReason.TRUNCATE}
    assert {row[1] for row in rig.target.read(ORDERS.name)} == {"old"}
    two.consumer.rebalance("assign", [TopicPartition("shop.public.orders", 1)])
    rig.settle(one, two)
    assert set(rig.target.read(ORDERS.name)) == {(i, "new", None) for i in range(10, 30)}


def test_who_is_slow_to_empty_a_table_takes_nothing_away_that_came_since() -> None:
    """Without transactions nobody waits for another one's flush."""
    rig = Rig([ORDERS])
    members: list[Member] = []

    class Slow(MemorySink):
        capabilities = replace(MemorySink.capabilities, stores_offsets=False)

        def truncate(self, tables: Sequence[TableSchema]) -> None:
            others = [member for member in members if member.applier.writer.sink is not self]
            members.clear()
            for _ in range(100):
                rig.clock.now += 0.1
                for other in others:
                    other.applier.step()
            super().truncate(tables)

        def flush(self) -> None:
            self._passing -= self.target.passed
            super().flush()

    for i in range(20):
        rig.topics.put(ORDERS, "c", None, (i, "old", None))
    rig.topics.put(ORDERS, "t", None, None)
    for i in range(10, 30):
        rig.topics.put(ORDERS, "c", None, (i, "new", None))
    both = [rig.member(other=Slow(rig.target)) for _ in range(2)]
    members += both
    for number, member in enumerate(both):
        member.consumer.rebalance("assign", [TopicPartition("shop.public.orders", number)])
    rig.settle(*both)
    assert set(rig.target.read(ORDERS.name)) == {(i, "new", None) for i in range(10, 30)}


def test_a_truncate_survives_the_crash_of_its_applier() -> None:
    rig = Rig([ORDERS])
    for i in range(20):
        rig.topics.put(ORDERS, "c", None, (i, "old", None))
    rig.topics.put(ORDERS, "t", None, None)
    rig.topics.put(ORDERS, "c", None, (1, "new", None))
    calls = 0

    def fail_after_truncate(operation: str) -> None:
        nonlocal calls
        if operation == "flushed" and rig.target.passed:
            calls += 1
            if calls == 1:
                raise TailraceError(ErrorKind.TARGET_CONNECTION, "gone after the commit")

    rig.target.fail = fail_after_truncate
    one = rig.member(take_all=True)
    for _ in range(200):
        rig.clock.now += 0.01
        one.applier.step()
        if calls:
            break
    rig.settle(rig.member(take_all=True))
    assert rig.target.read(ORDERS.name) == [(1, "new", None)]


def test_a_rejected_row_parks_its_key_and_everything_else_flows() -> None:
    rig = Rig([ORDERS])
    rig.target.refuse = lambda _table, _kind, row: ErrorKind.ROW_REJECTED if row[1:2] == ("bad",) else None
    for i in range(10):
        rig.topics.put(ORDERS, "c", None, (i, "ok", None))
    rig.topics.put(ORDERS, "u", None, (3, "bad", None))
    member = rig.member(take_all=True)
    rig.settle(member)
    rig.topics.put(ORDERS, "u", None, (3, "good again", None))
    rig.topics.put(ORDERS, "u", None, (4, "later", None))
    rig.settle(member)
    rows = {row[0]: row[1] for row in rig.target.read(ORDERS.name)}
    assert rows[4] == "later"
    assert rows.get(3) != "good again"
    assert len(member.applier.lot) == 1
    kinds = [record.kind for _, record in rig.dead_letters.records]
    assert kinds[0] == "row-rejected"
    assert set(kinds[1:]) == {"queued"}
    # A successor knows what is parked.
    rig.topics.put(ORDERS, "u", None, (3, "much later", None))
    rig.settle(rig.member(take_all=True))
    assert {row[0]: row[1] for row in rig.target.read(ORDERS.name)}.get(3) != "much later"


def test_later_changes_in_the_batch_that_is_being_made_queue_too() -> None:
    for seed in range(20):
        rig = Rig([ORDERS], seed, partition_count=1)
        rig.target.refuse = lambda _table, _kind, row: ErrorKind.ROW_REJECTED if row[1:2] == ("bad",) else None
        for _ in range(4):
            rig.topics.put(ORDERS, "c", None, (1, "bad", None))
        for i in range(30):
            rig.topics.put(ORDERS, "u", None, (1, f"v{i}", None))
        member = rig.member(take_all=True, limits=Limits(batch_rows=4))
        rig.settle(member)
        parked = next(iter(member.applier.lot.keys.values()))
        assert [record.offset for record in parked.records] == list(range(34))
        assert rig.target.read(ORDERS.name) == []


@pytest.mark.parametrize("by_commit", [False, True], ids=["per-key", "transactional"])
@pytest.mark.parametrize("end", ["r", "d", "t"], ids=["loaded again", "deleted", "emptied"])
def test_a_parked_key_is_over_once_nothing_of_it_counts(end: str, *, by_commit: bool) -> None:
    """However its changes are grouped, and whoever has the partition when it ends; what is refused then is parked."""
    for seed in range(6):
        rig = Rig([ORDERS], seed)
        rig.topics.begin_marks()
        rig.target.refuse = lambda _table, _kind, row: ErrorKind.ROW_REJECTED if row[1:2] == ("bad",) else None

        def put(key: int, *changes: str, topics: Topics = rig.topics) -> None:
            for change in changes:
                op, _, status = change.partition(" ")
                before = (key, UNCHANGED, UNCHANGED) if op == "d" else None
                topics.put(ORDERS, op, before, (key, status, True) if status else None)

        def settle(rig: Rig = rig, rows: int = 1 + seed % 5) -> Member:
            rig.topics.put_mark(whole=True)
            member = rig.member(limits=Limits(batch_rows=rows), take_all=True, by_commit=by_commit)
            rig.settle(member)
            return member

        for key in (1, 2, 3):
            put(key, "c bad", "u bad")
        first = settle() if seed % 3 else None
        put(2, "u bad")
        ending = {"r": "r loaded", "d": "d"}.get(end)
        if ending is None:
            rig.topics.put(ORDERS, "t", None, None)
        else:
            put(1, ending)
            put(3, ending)
        put(1, "u behind the end")
        put(3, "u bad")
        if first is not None and seed % 2:
            rig.topics.put_mark(whole=True)
            rig.settle(first)
            lot = first.applier.lot
        else:
            lot = settle().applier.lot
        rows = {row[0]: row[1] for row in rig.target.read(ORDERS.name)}
        assert rows[1] == "behind the end"
        for found in (lot, rig.dead_letters.lot()):
            assert {key for _, key in found.keys} == ({b"(2,)", b"(3,)"} if ending else {b"(3,)"}), (seed, found.keys)
            assert found.keys["shop.public.orders", b"(3,)"].records[0].kind == "row-rejected"
        assert 2 not in rows


def test_the_policy_can_be_to_stop_at_a_rejected_row() -> None:
    rig = Rig([ORDERS])
    rig.target.refuse = lambda _table, _kind, _row: ErrorKind.ROW_REJECTED
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    with pytest.raises(TailraceError) as caught:
        rig.settle(rig.member(policies=Policies(row_rejected="stop"), take_all=True))
    assert caught.value.position == "shop.public.orders/0@0" or caught.value.position == "shop.public.orders/1@0"
    assert rig.target.offsets == {}


@pytest.mark.parametrize("by_policy", [True, False], ids=["policy", "escalation"])
def test_a_rejected_row_can_suspend_its_table_while_others_go_on(*, by_policy: bool) -> None:
    rig = Rig([ORDERS, CUSTOMERS], partition_count=1)
    rig.target.refuse = lambda _table, _kind, row: ErrorKind.ROW_REJECTED if row[0] > 900 else None
    for i in (1, 2, 901, 902, 903, 3):
        rig.topics.put(ORDERS, "c", None, (i, "a", None))
    rig.topics.put(CUSTOMERS, "c", None, (1,))
    policies = (
        Policies(row_rejected="suspend") if by_policy else Policies(row_rejected="skip", rejections=Escalation(3))
    )
    member = rig.member(policies=policies, limits=Limits(batch_rows=2), take_all=True)
    for _ in range(60):
        rig.clock.now += 0.1
        member.applier.step()
    # What was written together with the row is undone with it.
    assert {row[0] for row in rig.target.read(ORDERS.name)} <= {1, 2}
    assert rig.target.read(CUSTOMERS.name) == [(1,)]
    assert member.applier.holds.suspended().keys() == {"shop.public.orders"}
    # The reason is gone: it goes on by itself, and nothing was lost behind the row.
    rig.target.refuse = lambda _table, _kind, _row: None
    rig.settle(member)
    left_out = {1, 2, 3, 901, 902, 903} - {row[0] for row in rig.target.read(ORDERS.name)}
    assert left_out <= (set() if by_policy else {901, 902})
    assert rig.dead_letters.records == []


@pytest.mark.parametrize("limits", [Limits(table_errors_stop=True), Limits(table_attempts_max=2, suspended_retry_s=1)])
def test_a_table_that_cannot_go_on_stops_the_service_where_the_policy_says_so(limits: Limits) -> None:
    rig = Rig([ORDERS], partition_count=1)
    rig.target.refuse = lambda _table, _kind, _row: ErrorKind.ROW_REJECTED
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    member = rig.member(policies=Policies(row_rejected="suspend"), limits=limits, take_all=True)
    suspended: list[TailraceError] = []
    member.applier.on_trouble = suspended.append
    with pytest.raises(TailraceError) as caught:
        rig.settle(member)
    assert caught.value.kind is ErrorKind.ROW_REJECTED
    assert len(suspended) == (0 if limits.table_errors_stop else 2)
    assert rig.target.read(ORDERS.name) == []


def test_too_many_parked_keys_stop_the_applier() -> None:
    rig = Rig([ORDERS])
    rig.target.refuse = lambda _table, _kind, _row: ErrorKind.ROW_REJECTED
    for i in range(20):
        rig.topics.put(ORDERS, "c", None, (i, "a", None))
    with pytest.raises(TailraceError, match="parked_keys_max"):
        rig.settle(rig.member(limits=Limits(parked_keys_max=5), take_all=True))


def test_a_foreign_key_that_is_only_early_is_waited_out() -> None:
    rig = Rig([CUSTOMERS, LINES])
    rig.target.foreign_keys = True
    for i in range(30):
        rig.topics.put(LINES, "c", None, (i, i % 5))
    member = rig.member(take_all=True)
    for _ in range(50):
        rig.clock.now += 0.1
        member.applier.step()
    assert rig.target.read(LINES.name) == []
    for i in range(5):
        rig.topics.put(CUSTOMERS, "c", None, (i,))
    rig.settle(member)
    assert len(rig.target.read(LINES.name)) == 30
    assert rig.dead_letters.records == []
    assert len(member.applier.holds.violations) == 0


def test_a_foreign_key_that_stays_violated_counts_as_rejected_in_the_end() -> None:
    rig = Rig([CUSTOMERS, LINES])
    rig.target.foreign_keys = True
    rig.topics.put(CUSTOMERS, "c", None, (1,))
    rig.topics.put(LINES, "c", None, (1, 99))
    rig.topics.put(LINES, "c", None, (2, 1))
    member = rig.member(take_all=True, limits=Limits(conflict_wait_s=10))
    rig.settle(member)
    assert rig.target.read(LINES.name) == [(2, 1)]
    assert [record.kind for _, record in rig.dead_letters.records] == ["row-conflict"]


def test_a_table_that_the_target_cannot_take_is_suspended_alone() -> None:
    rig = Rig([ORDERS, CUSTOMERS])
    refusing = True

    def refuse_orders(operation: str) -> None:
        if operation == "apply" and refusing and rig.target.tables.get(ORDERS.name):
            raise TailraceError(ErrorKind.TARGET_SCHEMA, "no such column", table="public.orders")

    rig.topics.put(CUSTOMERS, "c", None, (1,))
    member = rig.member(take_all=True)
    rig.settle(member)
    rig.target.fail = refuse_orders
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    for _ in range(100):
        rig.clock.now += 0.1
        member.applier.step()
    assert list(member.applier.holds.suspended()) == ["shop.public.orders"]
    refusing = False
    rig.topics.put(CUSTOMERS, "c", None, (2,))
    for _ in range(20):
        rig.clock.now += 0.1
        member.applier.step()
    assert rig.target.read(CUSTOMERS.name) == [(1,), (2,)]
    rig.clock.now += 60
    rig.settle(member)
    assert rig.target.read(ORDERS.name) == [(1, "a", None)]


def test_a_commit_with_an_unknown_outcome_is_not_applied_twice() -> None:
    rig = Rig([EVENTS])
    fails = iter([True, False, True, True])

    def answer_is_lost(operation: str) -> None:
        if operation == "flushed" and next(fails, False):
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "the answer is lost")

    rig.target.fail = answer_is_lost
    member = rig.member(take_all=True)
    for i in range(40):
        rig.topics.put(EVENTS, "c", None, ("a", i))
        if i % 7 == 0:
            rig.clock.now += 1
            member.applier.step()
    rig.settle(member)
    assert sorted(rig.target.read(EVENTS.name)) == [("a", i) for i in range(40)]


def test_an_owner_that_was_fenced_finds_out_and_lets_go() -> None:
    rig = Rig([ORDERS])
    one, two = rig.member(take_all=True), rig.member()
    rig.settle(one)
    two.consumer.rebalance("assign", rig.topics.logs)
    two.applier.step()
    for i in range(10):
        rig.topics.put(ORDERS, "c", None, (i, "a", None))
    one.applier.step()
    one.consumer.rebalance("lose", rig.topics.logs)
    for _ in range(20):
        rig.clock.now += 1
        one.applier.step()
    rig.settle(two)
    assert len(rig.target.read(ORDERS.name)) == 10


@pytest.mark.parametrize("error", [FencedError("claimed by another"), SupplantedError("another has the name")])
def test_who_is_fenced_looks_again_and_who_is_supplanted_ends(error: FencedError) -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    member, errors = rig.member(take_all=True), [error]

    def refuse_once(operation: str) -> None:
        if operation == "flush" and errors:
            raise errors.pop()

    rig.target.fail = refuse_once
    with pytest.raises(SupplantedError) if isinstance(error, SupplantedError) else nullcontext():
        rig.settle(member)
        assert rig.target.read(ORDERS.name) == [(1, "a", None)]
    assert not errors


def test_rows_of_both_versions_arrive_whatever_the_order() -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", True))
    rig.topics.put(ORDERS, "c", None, (2, "b", True))
    rig.topics.add(ORDERS_2)
    rig.topics.put(ORDERS_2, "u", None, (1, False, "n"))
    rig.topics.put(ORDERS, "c", None, (3, "c", True))
    rig.settle(rig.member(take_all=True))
    assert set(rig.target.read(ORDERS.name)) == {(1, False, "n"), (2, True, None), (3, True, None)}


@pytest.mark.parametrize("seed", range(4))
def test_a_rows_newer_version_wins_where_another_partition_has_begun_with_it(seed: int) -> None:
    rig = Rig([ORDERS], seed)
    rig.topics.add(ORDERS_2)
    for table, row in ((ORDERS_2, (1, False, "n")), (ORDERS, (2, "b", True)), (ORDERS_2, (2, False, "m"))):
        rig.topics.put(table, "u", None, row)
    rig.settle(rig.member(take_all=True))
    assert set(rig.target.read(ORDERS.name)) == {(1, False, "n"), (2, False, "m")}


def test_ddl_ignore_keeps_the_table_as_it_was() -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", True))
    rig.topics.add(ORDERS_2)
    rig.topics.put(ORDERS_2, "c", None, (2, False, "n"))
    rig.settle(rig.member(ddl=DdlPolicy.IGNORE, take_all=True))
    assert set(rig.target.read(ORDERS.name)) == {(1, "a", True), (2, None, False)}


def test_ddl_suspend_holds_the_table_at_the_change() -> None:
    rig = Rig([ORDERS, CUSTOMERS], partition_count=1)
    rig.topics.put(ORDERS, "c", None, (1, "a", True))
    rig.topics.add(ORDERS_2)
    rig.topics.put(ORDERS_2, "c", None, (2, False, "n"))
    rig.topics.put(CUSTOMERS, "c", None, (1,))
    member = rig.member(ddl=DdlPolicy.SUSPEND, take_all=True)
    for _ in range(50):
        rig.clock.now += 0.1
        member.applier.step()
    assert rig.target.read(ORDERS.name) == [(1, "a", True)]
    assert rig.target.read(CUSTOMERS.name) == [(1,)]
    assert list(member.applier.holds.suspended()) == ["shop.public.orders"]
    assert "ddl" in str(member.applier.holds.suspended()["shop.public.orders"])


def test_a_record_that_cannot_be_read_stops_or_is_parked_as_the_policy_says() -> None:
    rig = Rig([ORDERS], partition_count=1)
    rig.topics.put(ORDERS, "c", None, (1, "a", True))
    rig.topics.put(ORDERS, "u", None, (1, "b", True), raw=b"\x01broken")
    rig.topics.put(ORDERS, "u", None, (1, "c", True))
    rig.topics.put(ORDERS, "c", None, (2, "a", True))
    with pytest.raises(TailraceError) as caught:
        rig.settle(rig.member(policies=Policies(decode="stop"), take_all=True))
    assert caught.value.kind is ErrorKind.DECODE
    assert caught.value.position == "shop.public.orders/0@1"
    rig.settle(rig.member(take_all=True))
    assert set(rig.target.read(ORDERS.name)) == {(1, "a", True), (2, "a", True)}
    assert [record.offset for _, record in rig.dead_letters.records] == [1, 2]


def test_tombstones_are_passed_over() -> None:
    rig = Rig([ORDERS], partition_count=1)
    rig.topics.put(ORDERS, "c", None, (1, "a", True))
    rig.topics.put(ORDERS, "d", (1, UNCHANGED, UNCHANGED), None)
    rig.topics._append(TopicPartition("shop.public.orders", 0), b"(1,)", None)
    rig.settle(rig.member(take_all=True))
    assert rig.target.read(ORDERS.name) == []
    assert rig.target.offsets == {TopicPartition("shop.public.orders", 0): 3}


def test_a_deleted_parent_goes_after_its_children() -> None:
    rig = Rig([CUSTOMERS, LINES], partition_count=1)
    rig.topics.put(CUSTOMERS, "c", None, (1,))
    rig.topics.put(LINES, "c", None, (1, 1))
    rig.topics.put(CUSTOMERS, "d", (2,), None)
    rig.topics.put(LINES, "d", (2, UNCHANGED), None)
    member = rig.member(take_all=True)
    rig.settle(member)
    written = [(batch.table.name.table, bool(batch.deletes)) for batch in member.sink.batches]
    if len(written) == 4:
        assert written == [("lines", True), ("customers", True), ("customers", False), ("lines", False)]


def test_the_version_of_a_key_column_that_is_gone_suspends_the_table() -> None:
    rig = Rig([ORDERS], partition_count=1)
    rig.topics.put(ORDERS, "c", None, (1, "a", True))
    rekeyed = replace(ORDERS, version=2, columns=(Column("code", STRING, "text"),), key=(0,))
    rig.topics.add(rekeyed)
    member = rig.member(take_all=True)
    for _ in range(20):
        rig.clock.now += 0.1
        member.applier.step()
    assert list(member.applier.holds.suspended()) == ["shop.public.orders"]


@pytest.mark.parametrize("seed", range(10))
def test_unique_values_that_change_places_between_partitions_arrive(seed: int) -> None:
    rig = Rig([ORDERS], seed, partition_count=3)
    rig.target.unique[ORDERS.name] = "status"
    rows = {i: f"sku{i}" for i in range(12)}
    for i, text in rows.items():
        rig.topics.put(ORDERS, "c", None, (i, text, None))
    member = rig.member(take_all=True, limits=Limits(batch_rows=rig.chance.choice([200, 1000]), conflict_wait_s=600))
    for _ in range(60):
        one, two = rig.chance.sample(sorted(rows), 2)
        rows[one], rows[two] = rows[two], rows[one]
        # As a source has to do it: one gives way first.
        rig.topics.put(ORDERS, "u", None, (one, None, None))
        rig.topics.put(ORDERS, "u", None, (two, rows[two], None))
        rig.topics.put(ORDERS, "u", None, (one, rows[one], None))
        if rig.chance.random() < 0.3:
            rig.clock.now += 0.05
            member.applier.step()
    rig.settle(member, steps=5000)
    assert set(rig.target.read(ORDERS.name)) == {(i, text, None) for i, text in rows.items()}
    assert rig.dead_letters.records == []


def test_a_refused_login_comes_to_light_while_nothing_is_assigned() -> None:
    class Refusing(MemorySink):
        refusal = TailraceError(ErrorKind.TARGET_CONNECTION, "no answer")

        def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
            raise self.refusal

    rig = Rig([ORDERS])
    sink = Refusing(rig.target)
    member = rig.member(other=sink)
    member.applier.step()
    # One that does not answer is waited for, and is trouble until it does.
    assert member.applier.recovery.error is sink.refusal
    assert not member.applier.healthy
    sink.refusal = TailraceError(ErrorKind.CONFIGURATION, "the login is refused")
    rig.clock.now += 60
    with pytest.raises(TailraceError, match="the login is refused"):
        member.applier.step()


def test_trouble_with_the_connection_is_over_when_the_target_answers() -> None:
    rig = Rig([ORDERS])
    member = rig.member(take_all=True)
    member.applier.fail(TailraceError(ErrorKind.TARGET_CONNECTION, "cut"))
    assert member.applier.recovery.error is not None
    rig.clock.now += 60
    member.applier.step()
    assert member.applier.recovery.error is None
