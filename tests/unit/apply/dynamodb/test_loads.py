"""Rows go to DynamoDB in transactions that ask for the claims of their partitions, within its limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from apply.sink import TableBatch, TopicPartition
from apply.sinks.dynamodb.client import TRANSACTION_ACTIONS_MAX, TRANSACTION_BYTES_MAX
from apply.sinks.dynamodb.sink import DynamodbSink
from runtime import clock
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.object_rule import ObjectMappingRule
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import ORDERS

Actions = list[dict[str, Any]]


class Service:
    """An empty table, and what became of the requests."""

    def __init__(self) -> None:
        self.judge: Callable[[list[str], Actions], list[str]] = lambda ids, actions: [""] * len(actions)
        """Answers the actions of a transaction with their codes."""
        self.written: list[str] = []
        self.requests: list[Actions] = []
        self.under_way = 0
        self.lanes: set[str] = set()
        self._lock = threading.Lock()

    def scan(self, **_request: Any) -> dict[str, Any]:
        return {"Items": []}

    def describe_table(self, **_request: Any) -> dict[str, Any]:
        return {"Table": {"TableStatus": "ACTIVE"}}

    def transact_write_items(self, TransactItems: Actions) -> None:  # noqa: N803 - the service's name
        puts = [action["Put"] for action in TransactItems if "Put" in action]
        if puts and "claim" in puts[0]["Item"]:
            return
        assert all(put["ConditionExpression"] for put in puts)
        ids = [put["Item"]["id"]["N"] for put in puts]
        checks = [action["ConditionCheck"]["Key"]["id"]["S"] for action in TransactItems if "ConditionCheck" in action]
        claims = {check for check in checks if check.startswith("claim/")}
        with self._lock:
            self.under_way += 1
            self.requests.append(TransactItems)
            assert not claims & self.lanes, "transactions that ask for one item are in conflict"
            self.lanes |= claims
        try:
            codes = self.judge(ids, TransactItems)
        finally:
            with self._lock:
                self.under_way -= 1
                self.lanes -= claims
        if any(codes):
            reasons = [{"Code": code or "None"} for code in codes]
            error: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(error, "TransactWriteItems")
        with self._lock:
            self.written += ids

    def close(self) -> None:
        return


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def sink(service: Service) -> Iterator[DynamodbSink]:
    made = DynamodbSink("shop", "items", DynamodbTarget.model_validate({"engine": "dynamodb"}))
    made._client._made = service
    made.load_offsets([TopicPartition(f"shop.{ORDERS.name}", number) for number in range(200)])
    yield made
    made.close()


def fresh(sink: DynamodbSink, count: int, partitions: int = 1, status: str = "loaded") -> TableBatch:
    """Return rows of a load, from so many partitions."""
    giver, batches = Giver(), list[TableBatch]()
    for number in range(partitions):
        rows = [(i, status, None) for i in range(count) if i % partitions == number]
        batches.append(giver.given(TableBatch(ORDERS, upserts=rows, fresh=True), sink.capabilities, number))
    upserts = [row for batch in batches for row in batch.upserts]
    origins = {"upserts": [origin for batch in batches for origin in batch.origins["upserts"]]}
    return TableBatch(ORDERS, upserts=upserts, fresh=True, origins=origins)


@pytest.mark.parametrize(("count", "partitions", "size"), [(500, 1, 5), (500, 200, 5), (40, 3, 300_000)])
def test_transactions_keep_to_the_limits_with_their_claims(
    service: Service, sink: DynamodbSink, count: int, partitions: int, size: int
) -> None:
    assert sink.apply(fresh(sink, count, partitions, "x" * size)) == []
    assert sorted(map(int, service.written)) == [*range(count)]
    rows = {str(i): i % partitions for i in range(count)}
    for actions in service.requests:
        assert len(actions) <= TRANSACTION_ACTIONS_MAX
        assert sum("Put" in action for action in actions) * size <= TRANSACTION_BYTES_MAX
        asked = [action["ConditionCheck"]["Key"]["id"]["S"] for action in actions if "ConditionCheck" in action]
        owners = {rows[action["Put"]["Item"]["id"]["N"]] for action in actions if "Put" in action}
        assert {int(key.split("/")[-2]) for key in asked} == owners
        assert len(asked) == len(owners)
    if partitions == 1 and size == 5:
        assert len(service.requests) == 6, "of a load nothing else is asked for"


def test_no_request_is_under_way_when_a_load_has_failed(service: Service, sink: DynamodbSink) -> None:
    """What follows would be applied beside it."""
    slow = threading.Event()

    def judge(ids: list[str], actions: Actions) -> list[str]:
        if "0" in ids:
            assert slow.wait(60)
            raise ClientError({"Error": {"Code": "InternalServerError"}}, "TransactWriteItems")
        slow.set()
        clock.sleep(0.2)
        return [""] * len(actions)

    service.judge = judge
    with pytest.raises(TailraceError):
        sink.apply(fresh(sink, 4000))
    assert service.under_way == 0
    told = len(service.written)
    assert told < 4000
    sink.close()
    assert len(service.written) == told


def test_what_passes_is_sent_again_and_what_is_there_is_left(
    service: Service, sink: DynamodbSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _seconds: None)
    codes = {"3": "ThrottlingError", "4": "ConditionalCheckFailed", "5": "ValidationError"}
    first = iter([True])

    def judge(ids: list[str], actions: Actions) -> list[str]:
        # The claim meets another owner's question at first.
        claim = "TransactionConflict" if (is_first := next(first, False)) else ""
        return [*(codes.get(i, "") if is_first else "" for i in ids), claim]

    service.judge = judge
    (rejection,) = sink.apply(fresh(sink, 9))
    assert rejection.index == 5
    assert sorted(service.written) == ["0", "1", "2", "3", "6", "7", "8"]


def test_a_claim_that_is_lost_ends_the_batch(service: Service, sink: DynamodbSink) -> None:
    service.judge = lambda _, actions: ["ConditionalCheckFailed" if "ConditionCheck" in a else "" for a in actions]
    with pytest.raises(TailraceError, match="fenced") as caught:
        sink.apply(fresh(sink, 9))
    assert caught.value.kind is ErrorKind.INVARIANT
    assert service.written == []


def test_a_document_that_no_attribute_can_be_is_the_rows_own_matter(service: Service) -> None:
    """Half of a surrogate pair: JSON may be written with one, and PostgreSQL's `json` keeps it."""
    mapping = {
        "target-attribute-name": "doc",
        "attribute-type": "document",
        "attribute-sub-type": "json",
        "value": "${status}",
    }
    rule = {
        "rule-type": "object-mapping",
        "rule-id": "1",
        "rule-name": "doc",
        "rule-action": "map-record-to-record",
        "object-locator": {"schema-name": "public", "table-name": "orders"},
        "target-table-name": "public.orders",
        "mapping-parameters": {"attribute-mappings": [mapping], "partition-key-name": "id"},
    }
    target = DynamodbTarget.model_validate({"engine": "dynamodb"})
    sink = DynamodbSink("shop", "items", target, [ObjectMappingRule.model_validate(rule)])
    sink._client._made = service
    sink.load_offsets([TopicPartition(f"shop.{ORDERS.name}", 0)])
    rows = [(1, '{"a": "\\ud800"}', None), (2, '{"a": "b"}', None)]
    rejected = sink.apply(Giver().given(TableBatch(ORDERS, upserts=[*rows], fresh=True), sink.capabilities))
    assert [(rejection.kind, rejection.index) for rejection in rejected] == [("upserts", 0)]
    assert service.written == ["2"]
    sink.close()
