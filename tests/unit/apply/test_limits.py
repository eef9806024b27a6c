"""What settings say of batches, and of rows that are left out, is what an applier does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from apply.error_handling.policies import policies_of
from apply.limits import Limits, limits_of
from apply.outcome import Outcome
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import parse
from tests.conformance.sink_suite import ORDERS
from tests.unit.apply.rig import LateFuture, Rig

CONFIGURATION: dict[str, Any] = {
    "name": "shop",
    "kafka": {"bootstrap.servers": "b"},
    "source": {"database": "d", "user": "u", "tables": ["public.*"]},
}


def _limits(**apply: Any) -> Limits:
    return limits_of(parse(CONFIGURATION | {"apply": apply}))


@pytest.mark.parametrize("apply", [{"batch_rows": 7}, {"batch_bytes": 65_536}])
def test_a_batch_holds_as_much_as_settings_let_it(apply: dict[str, int]) -> None:
    rig = Rig([ORDERS], partition_count=1)
    member = rig.member(take_all=True, limits=_limits(linger_ms=0, **apply))
    batches: list[tuple[int, int]] = []

    def written(outcome: Outcome) -> None:
        batches.append((outcome.batch.row_count, outcome.batch.byte_count))

    member.applier.on_written = written
    for number in range(200):
        rig.topics.put(ORDERS, "c", None, (number, "x" * 3000, None))
    rig.settle(member)
    counts, sizes = zip(*batches, strict=True)
    assert sum(counts) == 200
    assert max(counts) <= apply.get("batch_rows", 200)
    # The record that fills it is in it.
    assert max(sizes) <= apply.get("batch_bytes", 1 << 20) + 4000
    assert len(batches) >= (29 if "batch_rows" in apply else 9)


def test_a_record_that_fills_a_batch_is_alone_in_it() -> None:
    rig = Rig([ORDERS], partition_count=1)
    member = rig.member(take_all=True, limits=_limits(linger_ms=0, batch_bytes=65_536))
    counts: list[int] = []
    member.applier.on_written = lambda outcome: counts.append(outcome.batch.row_count)
    for number in range(10):
        rig.topics.put(ORDERS, "c", None, (number, "x" * 100_000, None))
    rig.settle(member)
    assert counts == [1] * 10


def test_what_a_mark_waits_for_is_asked_for_at_full_size_however_full_the_batch_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig([ORDERS], partition_count=1)
    rig.topics.begin_marks()
    member = rig.member(take_all=True, by_commit=True, limits=_limits(linger_ms=0, batch_bytes=65_536))
    asked: list[int] = []
    fullest = [0]
    consume = member.consumer.consume

    def listen(max_records: int, timeout_s: float, *, bytes_max: int) -> Any:
        if not member.applier.order.ready:
            asked.append(bytes_max)
            fullest.append(member.applier.builder.batch.byte_count)
        return consume(max_records, timeout_s, bytes_max=bytes_max)

    monkeypatch.setattr(member.consumer, "consume", listen)
    for number in range(200):
        rig.topics.put(ORDERS, "c", None, (number, "x" * 3000, None))
    rig.topics.put_mark(whole=True)
    rig.settle(member)
    assert max(fullest) > 65_536
    assert set(asked) == {65_536}


def test_a_batch_waits_for_more_as_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig([ORDERS], partition_count=1)
    member = rig.member(take_all=True, limits=_limits(linger_ms=3000, linger_rows=50))
    asked: list[tuple[int, float]] = []
    consume = member.consumer.consume

    def listen(max_records: int, timeout_s: float, *, bytes_max: int) -> Any:
        found = consume(max_records, timeout_s, bytes_max=bytes_max)
        if found:
            asked.append((max_records, timeout_s))
        return found

    monkeypatch.setattr(member.consumer, "consume", listen)
    member.applier.step()
    for number in range(60):
        rig.topics.put(ORDERS, "c", None, (number, "a", None))
    member.applier.step()
    # For the first one as long as it takes, then for so many, so long.
    assert [count for count, _ in asked[:2]] == [1, 49]
    assert asked[1][1] == 3.0


@pytest.mark.parametrize("kind", [ErrorKind.ROW_REJECTED, ErrorKind.ROW_CONFLICT])
def test_too_many_rows_that_were_left_out_end_the_service_where_the_policy_says_so(kind: ErrorKind) -> None:
    document: dict[str, Any] = {
        "row_rejected": "skip",
        "row_conflict": "skip",
        "escalation_rows": 3,
        "escalation": "stop",
        "conflict_escalation_rows": 3,
        "conflict_escalation": "stop",
    }
    policies = policies_of(parse(CONFIGURATION | {"apply": {"errors": document}}).apply.errors)
    rig = Rig([ORDERS], partition_count=1)
    rig.target.refuse = lambda _table, _kind, row: kind if row[0] > 900 else None
    for number in (1, 901, 902, 2, 903, 3):
        rig.topics.put(ORDERS, "c", None, (number, "a", None))
    member = rig.member(policies, replace(Limits(), batch_rows=1, conflict_wait_s=1), take_all=True)
    with pytest.raises(TailraceError) as caught:
        rig.settle(member)
    assert caught.value.kind is kind
    assert {row[0] for row in rig.target.read(ORDERS.name)} >= {1, 2}
    assert not {row[0] for row in rig.target.read(ORDERS.name)} & {901, 902, 903}


def test_what_came_while_the_writer_worked_follows_its_answer_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig([ORDERS], partition_count=1)
    member = rig.member(take_all=True, limits=_limits(linger_ms=0))
    applier, waits = member.applier, list[float]()
    consume = member.consumer.consume

    def listen(max_records: int, timeout_s: float, *, bytes_max: int) -> Any:
        waits.append(timeout_s)
        return consume(max_records, timeout_s, bytes_max=bytes_max)

    monkeypatch.setattr(member.consumer, "consume", listen)
    thread = applier.thread
    monkeypatch.setattr(thread.executor, "submit", lambda job, *given: LateFuture(partial(job, *given), looks=40))
    applier.step()
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    while thread._job is None:
        applier.step()
    first = thread._job
    rig.topics.put(ORDERS, "c", None, (2, "a", None))
    while not applier.builder.batch.next:
        applier.step()
    waits.clear()
    while thread._job is first:
        applier.step()
    # Settled and handed over in one step.
    assert thread._job is not None
    assert not any(waits)
