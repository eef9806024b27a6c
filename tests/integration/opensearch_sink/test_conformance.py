"""The OpenSearch sink passes the conformance suite of sinks, on a real OpenSearch."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from apply.sink import Sink, TableBatch
from apply.sinks.opensearch import streams
from apply.sinks.opensearch.client import Client
from apply.sinks.opensearch.control import NEW
from apply.sinks.opensearch.reader import OpensearchReader
from apply.sinks.opensearch.sink import OpensearchSink
from apply.sinks.opensearch.streams import DataStreamSink
from deploy.local.opensearch import OpensearchServer
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types import Family, LogicalType
from schemas.types.plain import canonical
from tests.conformance.changes import Seen
from tests.conformance.sink_suite import EVENTS, ORDERS, ORDERS_2, SEATS, SinkSuite
from tests.conformance.tables import BOOLEAN, INT64, STRING

pytestmark = pytest.mark.integration

BYTES = LogicalType(Family.BYTES)


def sectioned(url: str, prefix: str, **more: Any) -> OpensearchTarget:
    names = {"index_name": f"{prefix}-{{schema}}.{{table}}", "control_index": f"{prefix}-control"}
    settings = {"index_settings": {"index.number_of_replicas": 0}}
    return OpensearchTarget.model_validate({"engine": "opensearch", "url": url, **names, **settings, **more})


@contextlib.contextmanager
def faulty(client: Client, number: int) -> Iterator[None]:
    """Let a bulk request be lost, its answer be lost, or half of it be refused by a full queue."""
    send, calls = client.bulk, iter(range(1000))

    def bulk(operations: Sequence[bytes]) -> list[dict[str, Any]] | None:
        if next(calls) != number // 3:
            return send(operations)
        if number % 3 == 0:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")
        if number % 3 == 1:
            send(operations)
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")
        some = operations[:-1]
        done = (send(some) if some else None) or [{"status": 201}] * len(some)
        return [*done, {"status": 429, "error": {"type": "rejected_execution_exception"}}]

    client.bulk = bulk  # type: ignore[method-assign]
    try:
        yield
    finally:
        client.bulk = send  # type: ignore[method-assign]


@contextlib.contextmanager
def cut_before(sink: Sink, word: str) -> Iterator[None]:
    """Let requests whose path has a word be lost."""
    client = cast("DataStreamSink", sink)._client
    request = client.request

    def cut(method: str, path: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        if word in path:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")
        return request(method, path, *arguments, **named)

    client.request = cut  # type: ignore[method-assign]
    try:
        yield
    finally:
        client.request = request  # type: ignore[method-assign]


def wait_behind(sink: DataStreamSink, word: str, both: threading.Barrier) -> None:
    """Let the first answer to a request whose path has a word be held until the other one has its own."""
    request, first = sink._client.request, [both]

    def held(method: str, path: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        answer = request(method, path, *arguments, **named)
        if word in path and first:
            first.pop().wait()
        return answer

    sink._client.request = held  # type: ignore[method-assign]


def retyped(version: int, *, status: LogicalType, paid: LogicalType) -> TableSchema:
    """Return a version of the orders whose columns have other types."""
    identity, *others = ORDERS.columns
    columns = [replace(c, type=t, native=t.family) for c, t in zip(others, (status, paid), strict=True)]
    return replace(ORDERS, version=version, columns=(identity, *columns))


class TestOpensearch(SinkSuite):
    @pytest.fixture
    def sink(self, opensearch_server: OpensearchServer) -> Iterator[Sink]:
        self.prefix = f"t{secrets.token_hex(5)}"
        self.url = opensearch_server.url
        self.section = sectioned(self.url, self.prefix)
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

    def fault(self, sink: Sink, number: int) -> contextlib.AbstractContextManager[None]:
        return faulty(cast("OpensearchSink", sink)._client, number)

    def test_what_no_document_can_be_is_refused(self, sink: Sink) -> None:
        with pytest.raises(TailraceError) as caught:
            sink.prepare(EVENTS)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        sink.prepare(SEATS)
        batch = TableBatch(SEATS, upserts=[("é" * 300, None, 1), ("b", None, 2)])
        (rejection,) = sink.apply(self.giver.given(batch, sink.capabilities))
        assert (rejection.index, rejection.error.kind) == (0, ErrorKind.ROW_REJECTED)
        assert self.rows(sink, SEATS) == {("b", None, 2)}

    def test_an_index_that_is_not_made_is_one_tables_trouble(self, sink: Sink) -> None:
        section = sectioned(self.url, self.prefix, index_settings={"index.number_of_shards": 0})
        self.opened.append(OpensearchSink("shop", "search", section))
        with pytest.raises(TailraceError, match="does not make") as caught:
            self.opened[-1].prepare(ORDERS)
        assert (caught.value.kind, caught.value.table) == (ErrorKind.TARGET_SCHEMA, str(ORDERS.name))

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


ASKED = {
    "test_unchanged_value_is_kept",
    "test_a_table_without_a_key_is_a_multiset",
    "test_a_newer_version_adds_and_drops_columns",
    "test_a_truncate_is_a_change_of_a_history",
    "test_every_type_holds_its_extremes",
    "test_two_instances_share_the_partitions",
    "test_a_new_instance_goes_on",
}
"""What of the suite tells a stream from what shares its client and its bulk requests. It passes all of it."""


class TestDataStreams(SinkSuite):
    vars().update({name: None for name in dir(SinkSuite) if name.startswith("test_") and name not in ASKED})

    @pytest.fixture
    def sink(self, opensearch_server: OpensearchServer) -> Iterator[Sink]:
        self.prefix = f"t{secrets.token_hex(5)}"
        self.section = sectioned(opensearch_server.url, self.prefix, index_kind="data-stream")
        self.opened: list[DataStreamSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()
        for path in ("_data_stream/{}-*", "_index_template/tailrace-{}-*", "{}-control"):
            answer = httpx.delete(f"{self.section.url}/{path.format(self.prefix)}", timeout=60)
            # Some tests make none.
            assert answer.status_code in (200, 404)

    def open(self) -> Sink:
        self.opened.append(DataStreamSink(self.section))
        return self.opened[-1]

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def documents(self, table: TableSchema) -> list[dict[str, Any]]:
        stream = f"{self.section.url}/{self.prefix}-{table.name}".lower()
        httpx.post(f"{stream}/_refresh", timeout=60).raise_for_status()
        body = {"size": 10_000, "sort": ["tailrace_seq"]}
        answer = httpx.post(f"{stream}/_search", json=body, timeout=60).raise_for_status().json()
        return [hit["_source"] for hit in answer["hits"]["hits"]]

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        forms = {column.name: canonical(column.type) for column in table.columns}
        return [
            Seen(
                found["tailrace_seq"],
                found["tailrace_op"],
                {name: None if value is None else forms[name](value) for name, value in found.items() if name in forms},
            )
            for found in self.documents(table)
        ]

    def fault(self, sink: Sink, number: int) -> contextlib.AbstractContextManager[None]:
        return faulty(cast("DataStreamSink", sink)._client, number)

    def types(self) -> list[tuple[str, str]]:
        """Return the types of two fields in each index of the stream of orders, the oldest first."""
        answer = httpx.get(f"{self.section.url}/{self.prefix}-{ORDERS.name}/_mapping", timeout=60).raise_for_status()
        found = [one["mappings"]["properties"] for _, one in sorted(answer.json().items())]
        return [(fields["status"]["type"], fields["paid"]["type"]) for fields in found]

    def found(self, query: dict[str, Any]) -> list[Any]:
        stream = f"{self.section.url}/{self.prefix}-{ORDERS.name}"
        httpx.post(f"{stream}/_refresh", timeout=60).raise_for_status()
        answer = httpx.post(f"{stream}/_search", json={"query": query}, timeout=60).raise_for_status().json()
        return [hit["_source"]["status"] for hit in answer["hits"]["hits"]]

    def test_a_stream_grows_and_rolls_over_and_is_read_back(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        first = TableBatch(ORDERS, upserts=[(1, "a", True), (2, "b", None)])
        self.write(sink, first)
        self.write(sink, first)
        assert [found["tailrace_op"] for found in self.documents(ORDERS)] == ["c", "c"]
        stream = f"{self.prefix}-{ORDERS.name}"
        httpx.post(f"{self.section.url}/{stream}/_rollover", timeout=60).raise_for_status()
        # Behind a new index an old change is not met; readers have its sequence.
        self.write(sink, first)
        sink.prepare(ORDERS_2)
        self.write(sink, TableBatch(ORDERS_2, updates=[(1, UNCHANGED, "n")], deletes=[(2,)]))
        assert len(self.documents(ORDERS)) == 6
        assert list(OpensearchReader(self.section).rows(ORDERS_2)) == [(1, True, "n")]
        template = f"{self.section.url}/_index_template/tailrace-{stream}"
        (kept,) = httpx.get(template, timeout=60).raise_for_status().json()["index_templates"]
        fields = kept["index_template"]["template"]["mappings"]["properties"]
        assert {"@timestamp", "status", "note"} <= fields.keys()

    def test_what_is_in_the_way_is_told(self, sink: Sink) -> None:
        column = replace(ORDERS.columns[1], name="tailrace_op")
        with pytest.raises(TailraceError, match="tailrace_op") as caught:
            sink.prepare(replace(ORDERS, columns=(*ORDERS.columns, column)))
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA

    def test_a_column_of_another_type_goes_on_in_an_index_of_its_own(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "3", True), (2, "x", None)]))
        numbers, words, booleans = (
            retyped(version, status=status, paid=paid)
            for version, status, paid in ((2, INT64, STRING), (3, STRING, BOOLEAN), (4, BOOLEAN, BYTES))
        )
        sink.prepare(numbers)
        self.write(sink, TableBatch(numbers, upserts=[(1, 3_000_000_000, "yes")]))
        assert self.types() == [("text", "boolean"), ("long", "text")]
        assert self.found({"term": {"status": 3_000_000_000}}) == [3_000_000_000]
        # Another partition has changes of the version before; who comes late makes no index of the former types.
        late = self.open()
        late.prepare(ORDERS)
        self.write(late, TableBatch(ORDERS, upserts=[(7, "late", False)]))
        assert len(self.types()) == 2
        for table, row in ((words, (1, "4", True)), (booleans, (1, False, b"\x00\xff"))):
            # Somebody died before the stream went on, and comes again.
            with cut_before(sink, "_rollover"), pytest.raises(TailraceError):
                sink.prepare(table)
            sink.prepare(table)
            late.prepare(table)
            self.write(sink, TableBatch(table, upserts=[row]))
            self.write(sink, TableBatch(ORDERS, upserts=[(8, "late", True)]))
        # What OpenSearch takes nothing else for than values of its own is a keyword, which takes all.
        assert self.types() == [("text", "boolean"), ("long", "text"), ("text", "keyword"), ("keyword", "keyword")]
        assert [d["status"] for d in self.documents(ORDERS)] == [
            "3", "x", 3_000_000_000, "late", "4", "late", False, "late",
        ]  # fmt: skip
        self.write(sink, TableBatch(booleans, upserts=[(2, True, None), (7, None, None), (8, None, None)]))
        rows = set(OpensearchReader(self.section).rows(booleans))
        assert rows == {(1, False, b"\x00\xff"), (2, True, None), (7, None, None), (8, None, None)}

    def test_two_appliers_let_a_stream_go_on_once(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "3", True)]))
        appliers = [cast("DataStreamSink", self.open()) for _ in range(2)]
        both = threading.Barrier(2, timeout=60)
        for each in appliers:
            # The index itself is there: else who comes second may find it without its shards, and comes again.
            each._control.read("any")
            wait_behind(each, "_mapping", both)
        numbers = retyped(2, status=INT64, paid=STRING)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda each: each.prepare(numbers), appliers))
        assert both.n_waiting == 0
        assert self.types() == [("text", "boolean"), ("long", "text")]
        for number, each in enumerate(appliers):
            self.write(each, TableBatch(numbers, upserts=[(number, 3_000_000_000, "yes")]))
        assert self.found({"term": {"status": 3_000_000_000}}) == [3_000_000_000] * 2
        # Nothing is left of it.
        assert appliers[0]._control.read(f"claim/{self.prefix}-{ORDERS.name}") == (None, NEW)

    def test_the_claim_of_a_dead_applier_is_taken_over(self, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
        sink.prepare(ORDERS)
        control = cast("DataStreamSink", sink)._control
        claim = f"claim/{self.prefix}-{ORDERS.name}"
        control.read(claim)
        assert control.write(claim, {"claim": claim}, NEW) is not None
        monkeypatch.setattr(streams, "CLAIM_ANSWERS", 1 / 60)
        sink.prepare(retyped(2, status=INT64, paid=STRING))
        assert self.types() == [("text", "boolean"), ("long", "text")]
        assert control.read(claim) == (None, NEW)

    def test_a_stream_by_anothers_template_keeps_its_types(self, sink: Sink) -> None:
        stream = f"{self.prefix}-{ORDERS.name}"
        fields = {"status": {"type": "keyword"}, "paid": {"type": "boolean"}}
        template = {"index_patterns": [stream], "data_stream": {}, "priority": 900}
        template["template"] = {"mappings": {"properties": fields}}
        place = f"{self.section.url}/_index_template/tailrace-{self.prefix}-theirs"
        httpx.put(place, json=template, timeout=60).raise_for_status()
        httpx.put(f"{self.section.url}/_data_stream/{stream}", timeout=60).raise_for_status()
        sink.prepare(ORDERS)
        number = retyped(2, status=INT64, paid=BOOLEAN)
        sink.prepare(number)
        self.write(sink, TableBatch(number, upserts=[(1, 3, True)]))
        assert self.types() == [("keyword", "boolean")]
        with pytest.raises(TailraceError, match="another's template") as caught:
            sink.prepare(retyped(3, status=INT64, paid=STRING))
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
