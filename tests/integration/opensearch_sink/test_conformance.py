"""The OpenSearch sink passes the conformance suite of sinks, on a real OpenSearch."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from apply.sink import Sink, TableBatch
from apply.sinks.opensearch.sink import OpensearchSink
from deploy.local.opensearch import OpensearchServer
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.opensearch_target import OpensearchTarget
from schemas.table import TableSchema
from schemas.types.plain import canonical
from tests.conformance.sink_suite import EVENTS, ORDERS, SEATS, SinkSuite

pytestmark = pytest.mark.integration


class TestOpensearch(SinkSuite):
    @pytest.fixture
    def sink(self, opensearch_server: OpensearchServer) -> Iterator[Sink]:
        self.prefix = f"t{secrets.token_hex(5)}"
        self.url = opensearch_server.url
        self.section = OpensearchTarget.model_validate(
            {
                "engine": "opensearch",
                "url": self.url,
                "index_name": f"{self.prefix}-{{schema}}.{{table}}",
                "control_index": f"{self.prefix}-control",
                "index_settings": {"index.number_of_replicas": 0},
            }
        )
        self.opened: list[OpensearchSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()
        httpx.delete(f"{self.url}/{self.prefix}-*", timeout=60).raise_for_status()

    def open(self) -> Sink:
        self.opened.append(OpensearchSink("shop", "search", self.section))
        return self.opened[-1]

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        index = f"{self.url}/{self.prefix}-{table.name}".lower()
        httpx.post(f"{index}/_refresh", timeout=60).raise_for_status()
        answer = httpx.post(f"{index}/_search", json={"size": 10_000}, timeout=60).raise_for_status().json()
        forms = [(column.name, canonical(column.type)) for column in table.columns]
        return [
            tuple(None if hit["_source"].get(name) is None else form(hit["_source"][name]) for name, form in forms)
            for hit in answer["hits"]["hits"]
        ]

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        """Let a bulk request be lost, its answer be lost, or half of it be refused by a full queue."""
        client = cast("OpensearchSink", sink)._client
        send, calls = client.bulk, iter(range(1000))

        def bulk(lines: list[bytes]) -> list[dict[str, Any]]:
            if next(calls) != number // 3:
                return send(lines)
            if number % 3 == 0:
                raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")
            if number % 3 == 1:
                send(lines)
                raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")
            done = send(lines[:-1] if lines[-1].startswith(b'{"delete"') else lines[:-2]) if len(lines) > 2 else []
            return [*done, {"status": 429, "error": {"type": "rejected_execution_exception"}}]

        client.bulk = bulk  # type: ignore[method-assign]
        try:
            yield
        finally:
            client.bulk = send  # type: ignore[method-assign]

    def test_what_no_document_can_be_is_refused(self, sink: Sink) -> None:
        with pytest.raises(TailraceError) as caught:
            sink.prepare(EVENTS)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        sink.prepare(SEATS)
        batch = TableBatch(SEATS, upserts=[("é" * 300, None, 1), ("b", None, 2)])
        (rejection,) = sink.apply(self.giver.given(batch, sink.capabilities))
        assert (rejection.index, rejection.error.kind) == (0, ErrorKind.ROW_REJECTED)
        assert self.rows(sink, SEATS) == {("b", None, 2)}

    def test_a_busy_cluster_is_waited_for(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        context = self.fault(sink, 2)
        batch = TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)])
        with context, pytest.raises(TailraceError) as caught:
            sink.apply(self.giver.given(batch, sink.capabilities))
        assert caught.value.kind is ErrorKind.TARGET_THROTTLED
        sink.rollback()
        self.write(sink, batch)
        assert self.rows(sink, ORDERS) == {(1, "a", None), (2, "b", None)}
