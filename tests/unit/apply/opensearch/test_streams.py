"""Documents of a data stream: which changes are one, and what else may have the stream's name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from apply.sink import TableBatch
from apply.sinks.opensearch.streams import DataStreamSink
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.position import first_sequence
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import ORDERS

TARGET = OpensearchTarget.model_validate({"engine": "opensearch", "url": "http://127.0.0.1:1"})


def changes(epoch: int) -> TableBatch:
    """Return a batch from the beginning of a topic, in an epoch of the replication."""
    sink = DataStreamSink(TARGET)
    given = Giver().given(TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)]), sink.capabilities)
    origins = [o._replace(seq=first_sequence(epoch) + n) for n, o in enumerate(given.origins["sequence"])]
    return replace(given, origins={"sequence": origins})


def ids(batch: TableBatch) -> list[str]:
    return [
        orjson.loads(write.lines.splitlines()[0])["create"]["_id"] for write in DataStreamSink(TARGET)._writes(batch)
    ]


def test_a_change_is_itself_when_it_comes_again_and_no_other_after_a_reset() -> None:
    """A reset removes topics, and what comes then has the old places: OpenSearch would take it for what is there."""
    assert ids(changes(1)) == ids(changes(1))
    assert set(ids(changes(1))).isdisjoint(ids(changes(2)))


def test_an_index_of_the_name_takes_no_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = DataStreamSink(TARGET)
    asked: list[str] = []

    def request(method: str, path: str, body: Any = None, *, absent: int | None = None) -> dict[str, Any]:
        asked.append(f"{method} {path}")
        # There is no such stream, and none can be made: an index has the name.
        return {} if absent is not None else {"acknowledged": True}

    monkeypatch.setattr(sink._client, "request", request)
    with pytest.raises(TailraceError, match="something else") as caught:
        sink.prepare(ORDERS)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert not any(each.endswith("/_mapping") for each in asked)


def test_a_stream_that_is_made_anew_has_the_types_of_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy for a column of another type is to make the stream anew: its template is still there then."""
    sink = DataStreamSink(TARGET)
    kept = {"id": {"type": "keyword"}, "gone": {"type": "long"}}
    template = {"index_template": {"template": {"mappings": {"properties": kept}}}}
    sent: dict[str, Any] = {}

    def request(method: str, path: str, body: Any = None, *, absent: int | None = None) -> dict[str, Any]:
        if method == "PUT":
            sent[path.split("/")[1]] = body
            return {"acknowledged": True}
        return {"index_templates": [template]} if path.startswith("/_index_template/") else {}

    monkeypatch.setattr(sink._client, "request", request)
    sink.prepare(ORDERS)
    fields = sent["_index_template"]["template"]["mappings"]["properties"]
    assert (fields["id"], fields["gone"]) == ({"type": "long"}, {"type": "long"})
    assert "_data_stream" in sent
