"""Rows of a load go to DynamoDB without conditions: none of their requests may outlast the batch, or its time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from apply.sink import TableBatch
from apply.sinks.dynamodb import sink as sink_module
from apply.sinks.dynamodb.client import BATCH_ITEMS_MAX
from apply.sinks.dynamodb.sink import DynamodbSink
from runtime import clock
from schemas.dynamodb_target import DynamodbTarget
from schemas.errors import TailraceError
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import ORDERS

Items = list[dict[str, Any]]


class Service:
    """An empty table, and what became of the requests."""

    def __init__(self) -> None:
        self.load: Callable[[Items], Items] = lambda _items: []
        """Answers a batch with what is not processed of it."""
        self.loaded: list[str] = []
        self.changed: list[str] = []
        self.under_way = 0
        self._lock = threading.Lock()

    def scan(self, **_request: Any) -> dict[str, Any]:
        return {"Items": []}

    def batch_write_item(self, RequestItems: dict[str, Items]) -> dict[str, Any]:  # noqa: N803 - the service's name
        ((table, wishes),) = RequestItems.items()
        with self._lock:
            self.under_way += 1
            self.loaded += [wish["PutRequest"]["Item"]["id"]["N"] for wish in wishes]
        try:
            left = self.load(wishes)
        finally:
            with self._lock:
                self.under_way -= 1
        return {"UnprocessedItems": {table: left} if left else {}}

    def transact_write_items(self, TransactItems: Items) -> None:  # noqa: N803 - the service's name
        puts = [action["Put"] for action in TransactItems if "Put" in action]
        assert all(put["ConditionExpression"] for put in puts)
        with self._lock:
            self.changed += [put["Item"]["id"]["N"] for put in puts]

    def close(self) -> None:
        return


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def sink(service: Service) -> Iterator[DynamodbSink]:
    made = DynamodbSink("shop", "items", DynamodbTarget.model_validate({"engine": "dynamodb"}))
    made._client._made = service
    yield made
    made.close()


def fresh(sink: DynamodbSink, group_count: int) -> TableBatch:
    rows = [(i, "loaded", None) for i in range(group_count * BATCH_ITEMS_MAX)]
    return Giver().given(TableBatch(ORDERS, upserts=list(rows), fresh=True), sink.capabilities)


def test_no_request_is_under_way_when_a_load_has_failed(service: Service, sink: DynamodbSink) -> None:
    """It could overwrite what is applied after the load was taken up again, by conditions."""
    slow = threading.Event()

    def load(items: Items) -> Items:
        if any(item["PutRequest"]["Item"]["id"]["N"] == "0" for item in items):
            assert slow.wait(60)
            raise ClientError({"Error": {"Code": "InternalServerError"}}, "BatchWriteItem")
        slow.set()
        clock.sleep(0.2)
        return []

    service.load = load
    with pytest.raises(TailraceError):
        sink.apply(fresh(sink, 40))
    assert service.under_way == 0
    told = len(service.loaded)
    assert told < 40 * BATCH_ITEMS_MAX
    sink.close()
    assert len(service.loaded) == told


def test_what_is_not_taken_in_time_goes_as_changes(
    service: Service, sink: DynamodbSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent again goes without conditions, too: not for as long as the table is busy."""
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(clock, "sleep", wait)
    service.load = lambda items: items[:1]
    assert sink.apply(fresh(sink, 1)) == []
    assert now < 1000 + sink_module.FRESH_FOR_S + 15
    assert len(service.loaded) > BATCH_ITEMS_MAX
    assert sorted(map(int, service.changed)) == [*range(BATCH_ITEMS_MAX)]
