"""Bulk requests: what they hold, how they go, and what an answer says that tells only what is asked."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import orjson
import pytest

from apply.sink import TableBatch
from apply.sinks.opensearch.sink import OpensearchSink
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import ORDERS

TARGET = OpensearchTarget.model_validate({"engine": "opensearch", "url": "http://127.0.0.1:1"})
DONE: dict[str, Any] = {"index": {"status": 201}}


class Transport:
    """Answers requests, and keeps them."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.lines: list[Any] = []

    def perform_request(self, method: str, path: str, *, headers: Any, params: Any, body: bytes) -> dict[str, Any]:
        assert (method, path, headers["content-encoding"]) == ("POST", "/_bulk", "gzip")
        assert "error" in params["filter_path"]
        self.lines += map(orjson.loads, gzip.decompress(body).splitlines())
        return self.answer

    transport = property(lambda self: self)


def opened(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> tuple[OpensearchSink, Transport, TableBatch]:
    sink, transport = OpensearchSink("shop", "search", TARGET), Transport(answer)
    monkeypatch.setattr(sink._client, "_connection", lambda: transport)
    sink._know(ORDERS)
    rows = [(1, "a", None), (2, 'b"ü', None)]
    return sink, transport, Giver().given(TableBatch(ORDERS, upserts=[*rows], deletes=[(3,)]), sink.capabilities)


def test_a_half_of_a_batch_has_the_origins_of_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions go before everything else: what follows them is the batch without them."""
    sink, transport, batch = opened(monkeypatch, {"errors": False, "items": [DONE] * 2})
    assert sink.apply(replace(batch, deletes=[])) == []
    heads = [line["index"] for line in transport.lines[::2]]
    assert [head["_id"] for head in heads] == ["1", "2"]
    assert [head["version"] for head in heads] == [origin.seq for origin in batch.origins["upserts"]]
    assert {head["version_type"] for head in heads} == {"external"}
    assert transport.lines[3]["id"] == 2
    sink, transport, batch = opened(monkeypatch, {"errors": False, "items": [DONE]})
    assert sink.apply(replace(batch, upserts=[])) == []
    assert [line["delete"]["_id"] for line in transport.lines] == ["3"]


def test_what_is_refused_is_told_of_its_row_and_a_conflict_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    conflict = {"delete": {"status": 409, "error": {"type": "version_conflict_engine_exception"}}}
    refused = {"index": {"status": 400, "error": {"type": "mapper_parsing_exception"}}}
    sink, _, batch = opened(monkeypatch, {"errors": True, "items": [conflict, DONE, refused]})
    (rejected,) = sink.apply(batch)
    assert (rejected.kind, rejected.index) == ("upserts", 1)


@pytest.mark.parametrize(
    ("type_", "kind"),
    [("security_exception", ErrorKind.PREREQUISITE), ("cluster_block_exception", ErrorKind.TARGET_THROTTLED)],
)
def test_a_refusal_of_the_index_parks_no_row(monkeypatch: pytest.MonkeyPatch, type_: str, kind: ErrorKind) -> None:
    refused = {"index": {"status": 403, "error": {"type": type_}}}
    sink, _, batch = opened(monkeypatch, {"errors": True, "items": [DONE, DONE, refused]})
    with pytest.raises(TailraceError) as caught:
        sink.apply(batch)
    assert caught.value.kind is kind


@pytest.mark.parametrize("items", [[], [DONE] * 2])
def test_an_answer_that_does_not_tell_of_all_is_no_success(
    monkeypatch: pytest.MonkeyPatch, items: list[dict[str, Any]]
) -> None:
    sink, _, batch = opened(monkeypatch, {"errors": False, "items": items})
    with pytest.raises(TailraceError) as caught:
        sink.apply(batch)
    assert caught.value.kind is ErrorKind.TARGET_CONNECTION
