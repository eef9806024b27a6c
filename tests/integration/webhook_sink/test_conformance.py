"""The webhook sink passes the conformance suite on a real HTTP service that fails in all the ways it can."""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import structlog
from pydantic import ValidationError

from apply.sink import Sink, TableBatch
from apply.sinks.webhook import WebhookSink
from runtime.logging import configure, get_logger
from schemas.endpoints.files import WebhookTarget
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.table import TableSchema
from tests.conformance.changes import Giver, Seen
from tests.conformance.sink_suite import ORDERS, SinkSuite
from tests.kit.documents import history
from tests.kit.receiver import WAIT_S, Receiver, Reply

pytestmark = pytest.mark.integration

TOKEN = "Bearer s3cr3t-t0ken"
PATH = "/services/s3cr3t-path?key=s3cr3t-key"
HIDDEN = ("s3cr3t", "cell-value")

UNDONE = [
    Reply(500),
    Reply(429, {"Retry-After": "0"}),
    Reply(cut="request"),
    Reply(503),
    Reply(hangs=True, taken=False),
]
DONE = [
    Reply(500, taken=True),
    Reply(taken=True, cut="before"),
    Reply(taken=True, cut="answer"),
    Reply(hangs=True),
    Reply(502, taken=True),
]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Receiver() as running:
        yield running


@pytest.fixture
def _logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure(json=True)
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def section(receiver: Receiver, **more: Any) -> WebhookTarget:
    document = {
        "engine": "webhook",
        "url": receiver.url + PATH,
        "headers": {"Authorization": TOKEN},
        "timeout_s": WAIT_S,
    }
    return WebhookTarget.model_validate(document | more)


def changes(giver: Giver, *values: str) -> TableBatch:
    batch = TableBatch(ORDERS, sequence=[("c", None, (n, value, None)) for n, value in enumerate(values)])
    return giver.given(batch, WebhookSink.capabilities)


class TestWebhook(SinkSuite):
    keeps_in_process: ClassVar = True

    @pytest.fixture
    def sink(self, receiver: Receiver) -> Sink:
        self.receiver = receiver
        return self.open()

    def open(self) -> WebhookSink:
        return WebhookSink(section(self.receiver, request_changes=7))

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        assert all(len(post.documents) <= 7 for post in self.receiver.posts)
        return history(self.receiver.documents, table)

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        place, is_done = divmod(number, 2)
        faults = DONE if is_done else UNDONE
        fault = faults[place % len(faults)]
        self.receiver.script.extend([Reply()] * place + [fault])
        assert isinstance(sink, WebhookSink)
        if fault.hangs:
            sink._target = section(self.receiver, request_changes=7, timeout_s=1)
        yield
        self.receiver.script.clear()
        if fault.hangs:
            sink._target = section(self.receiver, request_changes=7)


def test_requests_are_bounded_in_order_and_known_again(receiver: Receiver) -> None:
    giver = Giver()
    batch = changes(giver, *"abcdefgh")
    sink = WebhookSink(section(receiver, request_changes=3))
    assert sink.apply(batch) == []
    assert receiver.request_count == 0
    receiver.script.extend([Reply(204, body=b""), Reply(500)])
    with pytest.raises(TailraceError) as caught:
        sink.flush()
    assert caught.value.action is Action.RETRY
    # Nothing overtakes what has failed.
    assert receiver.request_count == 2
    sink.rollback()
    sink.flush()
    assert receiver.request_count == 2
    sink.apply(batch)
    sink.flush()
    assert ["".join(d["data"]["status"] for d in post.documents) for post in receiver.posts] == [
        "abc",
        "abc",
        "def",
        "gh",
    ]
    keys = [post.headers["Idempotency-Key"] for post in receiver.posts]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert {post.headers["Authorization"] for post in receiver.posts} == {TOKEN}
    # A topic that was made anew has the same offsets again, for other changes.
    sink.apply(
        TableBatch(
            ORDERS, sequence=[("c", None, (9, "x", None))] * 3, origins={"sequence": batch.origins["sequence"][:3]}
        )
    )
    sink.flush()
    assert receiver.posts[-1].headers["Idempotency-Key"] not in keys
    # What was not flushed is not sent when the service ends.
    sink.apply(batch)
    sink.close()
    sink.close()
    assert len(receiver.posts) == 5


def test_a_flush_waits_for_the_answer_to_each_request(receiver: Receiver) -> None:
    sink = WebhookSink(section(receiver, request_changes=1))
    sink.apply(changes(Giver(), "a", "b"))
    receiver.script.append(Reply(hangs=True))
    flush = threading.Thread(target=sink.flush)
    flush.start()
    assert receiver.arrived.wait(WAIT_S)
    assert flush.is_alive()
    assert receiver.request_count == 1
    receiver.go_on.set()
    flush.join(WAIT_S)
    assert [len(post.documents) for post in receiver.posts] == [1, 1]


def test_an_answer_without_an_end_is_not_listened_to(receiver: Receiver) -> None:
    sink = WebhookSink(section(receiver))
    sink.apply(changes(Giver(), "a"))
    receiver.script.append(Reply(endless=True))
    sink.flush()
    assert len(receiver.documents) == 1


@pytest.mark.usefixtures("_logs")
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        *[(Reply(status), ErrorKind.PREREQUISITE) for status in (400, 401, 403, 404, 413, 422)],
        *[(Reply(status), ErrorKind.TARGET_CONNECTION) for status in (408, 409, 425, 500, 502, 504)],
        *[(Reply(status), ErrorKind.TARGET_THROTTLED) for status in (429, 503)],
        *[(Reply(status), ErrorKind.PREREQUISITE) for status in (301, 302, 303, 304, 307, 308)],
        *[(Reply(cut=when), ErrorKind.TARGET_CONNECTION) for when in ("request", "before", "answer")],
    ],
)
def test_failures_are_told_apart_and_show_no_secret(
    receiver: Receiver, capsys: pytest.CaptureFixture[str], reply: Reply, kind: ErrorKind
) -> None:
    with Receiver() as elsewhere:
        receiver.script.append(
            Reply(reply.status, {"Location": elsewhere.url, "X-Quoted": TOKEN}, cut=reply.cut, taken=False)
        )
        sink = WebhookSink(section(receiver))
        sink.apply(changes(Giver(), "cell-value"))
        configure(json=True)
        try:
            sink.flush()
        except TailraceError as error:
            caught = error
            get_logger("apply").exception("failed", reason=str(error))
        assert elsewhere.request_count == 0
    assert caught.kind is kind
    assert receiver.url in caught.message
    assert reply.cut or str(reply.status) in caught.message
    shown = [str(caught), repr(sink._target), *traceback.format_exception(caught), *capsys.readouterr()]
    assert "failed" in shown[-1]
    assert not [text for text in shown for hidden in HIDDEN if hidden in text]


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": {"Authorization": "Bearer s3cr3t\r\nX: y"}},
        {"headers": {"Authorization": "Bearer s3cr3t\u2028"}},
        {"headers": {"Authorization ": "s3cr3t"}},
        {"headers": {"Idempotency-key": "s3cr3t"}},
        {"url": "https://user:s3cr3t@127.0.0.1/"},
        {"url": "https://user:s3/cr3t@127.0.0.1/"},
        {"url": "https://127.0.0.1:s3cr3t/"},
        {"url": "https://127.0.0.1/s3cr3t path"},
        {"url": "https:///s3cr3t"},
    ],
)
def test_what_cannot_be_sent_is_refused_at_the_start(receiver: Receiver, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        section(receiver, **wrong)
    assert next(iter(wrong)) in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_a_service_that_is_not_there_is_tried_again() -> None:
    with Receiver() as gone:
        target = section(gone)
    sink = WebhookSink(target)
    sink.apply(changes(Giver(), "a"))
    with pytest.raises(TailraceError, match="ConnectionRefusedError") as caught:
        sink.flush()
    assert caught.value.action is Action.RETRY
    assert "s3cr3t" not in caught.value.message
