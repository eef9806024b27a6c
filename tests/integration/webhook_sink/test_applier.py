"""An applier over a webhook that fails: within bounds, in order, and without losing a change.

Topics are in memory and the clock is the test's; the requests are real.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from apply.limits import Limits
from apply.sinks.webhook import WebhookSink
from schemas.endpoints.files import WebhookTarget
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.changes import folded
from tests.conformance.sink_suite import ORDERS
from tests.kit.documents import history
from tests.kit.receiver import WAIT_S, Receiver, Reply
from tests.unit.apply.rig import Member, Rig

pytestmark = pytest.mark.integration


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Receiver() as running:
        yield running


def member(rig: Rig, receiver: Receiver, timeout_s: float = WAIT_S, **more: Any) -> Member:
    target = WebhookTarget.model_validate(
        {"engine": "webhook", "url": receiver.url, "timeout_s": timeout_s, "request_changes": 10}
    )
    return rig.member(take_all=True, other=WebhookSink(target), limits=Limits(batch_rows=40), **more)


def test_every_change_arrives_in_order_over_failures(receiver: Receiver) -> None:
    rig = Rig([ORDERS], seed=5)
    faults = [
        Reply(500),
        Reply(500, taken=True),
        Reply(429, {"Retry-After": "3"}),
        Reply(cut="request"),
        Reply(taken=True, cut="before"),
        Reply(503, {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
        Reply(taken=True, cut="answer"),
        Reply(hangs=True, taken=False),
        Reply(429, {"Retry-After": "nonsense"}),
    ]
    for fault in faults:
        receiver.script.extend([Reply(), fault, fault])
    for turn in range(40):
        for key in range(10):
            rig.topics.put(ORDERS, "c" if turn == 0 else "u", None, (key, f"{key}.{turn}", None))
        rig.topics.mark()
    rig.topics.put(ORDERS, "d", (3, "3.39", None), None)
    # An answer that comes too late, for whatever reason, is one more failure.
    rig.settle(member(rig, receiver, timeout_s=2), steps=20_000)
    assert not receiver.script
    seen = history(receiver.documents, ORDERS)
    for key in range(10):
        # `history` has checked the order of those that came for the first time.
        told = [change.values["status"] for change in seen if change.values["id"] == key and change.op != "d"]
        assert told == [f"{key}.{turn}" for turn in range(40)]
    assert {row[0] for row in folded(ORDERS, seen)} == set(range(10)) - {3}


def test_retries_end_and_nothing_is_committed(receiver: Receiver) -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    receiver.script.extend([Reply(500)] * 1000)
    with pytest.raises(TailraceError) as caught:
        rig.settle(member(rig, receiver, retry_for_s=30), steps=20_000)
    assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    assert 3 < receiver.request_count < 100
    assert not any(one.durable for one in rig.group.values())
    # Whoever comes next begins with what was never taken.
    receiver.script.clear()
    rig.settle(member(rig, receiver))
    assert [d["data"]["status"] for d in receiver.documents] == ["a"]


def test_a_refusal_stops_the_applier(receiver: Receiver) -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    receiver.script.append(Reply(422))
    with pytest.raises(TailraceError, match=r"refuses the changes \(status 422\)") as caught:
        rig.settle(member(rig, receiver))
    assert caught.value.kind is ErrorKind.PREREQUISITE
    assert receiver.request_count == 1
    assert not any(one.durable for one in rig.group.values())
    assert not rig.dead_letters.records


def test_a_busy_service_is_left_alone_for_as_long_as_it_asks(receiver: Receiver) -> None:
    rig = Rig([ORDERS])
    rig.topics.put(ORDERS, "c", None, (1, "a", None))
    receiver.script.append(Reply(429, {"Retry-After": "100"}))
    one = member(rig, receiver)
    for _ in range(200):
        rig.clock.now += 0.05
        one.applier.step()
    began = rig.clock.now
    assert receiver.request_count == 1
    rig.settle(one, steps=20_000)
    assert receiver.request_count == 2
    assert rig.clock.now > began + 80
