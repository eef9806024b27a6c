"""Rows of a load are inserts at DynamoDB: of a batch, one by one where there are no statements, and sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from apply.sink import TableBatch
from apply.sinks.dynamodb.client import BATCH_ITEMS_MAX
from apply.sinks.dynamodb.sink import DynamodbSink
from runtime import clock
from schemas.dynamodb_target import DynamodbTarget
from schemas.errors import TailraceError
from schemas.mappings.object_rule import ObjectMappingRule
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import ORDERS

Items = list[dict[str, Any]]


class Service:
    """An empty table, and what became of the requests."""

    def __init__(self) -> None:
        self.load: Callable[[list[str]], list[str]] = lambda ids: [""] * len(ids)
        """Answers inserts, by their ids, with their codes."""
        self.loaded: list[str] = []
        self.changed: list[str] = []
        self.is_deleted = False
        """Whether a later deletion is known of every row."""
        self.taken_back: list[str] = []
        self.under_way = 0
        self._lock = threading.Lock()

    def scan(self, **_request: Any) -> dict[str, Any]:
        return {"Items": []}

    def batch_execute_statement(self, Statements: Items) -> dict[str, Any]:  # noqa: N803 - the service's name
        assert all(each["Statement"].startswith('insert into "public.orders" value {') for each in Statements)
        ids = [next(value["N"] for value in each["Parameters"] if "N" in value) for each in Statements]
        return {"Responses": [{"Error": {"Code": code}} if code else {} for code in self._loaded(ids)]}

    def put_item(self, TableName: str, Item: dict[str, Any], **condition: Any) -> None:  # noqa: N803 - the service's names
        assert (TableName, condition["ConditionExpression"]) == ("public.orders", "attribute_not_exists(#key)")
        (code,) = self._loaded([Item["id"]["N"]])
        if code:
            raise ClientError({"Error": {"Code": code}}, "PutItem")

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - the service's name
        ((table, asked),) = RequestItems.items()
        ids = [key["id"]["S"] for key in asked["Keys"]]
        assert len(set(ids)) == len(ids), "Provided list of item keys contains duplicates"
        found = [{"id": {"S": id_}, "seq": {"N": str(1 << 60)}} for id_ in ids]
        return {"Responses": {table: found if self.is_deleted else []}}

    def delete_item(self, Key: dict[str, Any], **condition: Any) -> dict[str, Any]:  # noqa: N803 - the service's name
        assert condition["ConditionExpression"] == "#seq = :seq"
        with self._lock:
            self.taken_back.append(Key["id"]["N"])
        return {}

    def _loaded(self, ids: list[str]) -> list[str]:
        with self._lock:
            self.under_way += 1
            self.loaded += ids
        try:
            return self.load(ids)
        finally:
            with self._lock:
                self.under_way -= 1

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
    """What follows would be applied beside it."""
    slow = threading.Event()

    def load(ids: list[str]) -> list[str]:
        if "0" in ids:
            assert slow.wait(60)
            raise ClientError({"Error": {"Code": "InternalServerError"}}, "BatchExecuteStatement")
        slow.set()
        clock.sleep(0.2)
        return [""] * len(ids)

    service.load = load
    with pytest.raises(TailraceError):
        sink.apply(fresh(sink, 40))
    assert service.under_way == 0
    told = len(service.loaded)
    assert told < 40 * BATCH_ITEMS_MAX
    sink.close()
    assert len(service.loaded) == told


def test_what_a_load_that_fails_has_inserted_is_looked_at_too(service: Service, sink: DynamodbSink) -> None:
    """Its rows go as changes next, which leave alone what is there: nobody would look for their deletions."""

    def load(ids: list[str]) -> list[str]:
        if "30" in ids:
            raise ClientError({"Error": {"Code": "InternalServerError"}}, "BatchExecuteStatement")
        return [""] * len(ids)

    service.load, service.is_deleted = load, True
    with pytest.raises(TailraceError, match="InternalServerError"):
        sink.apply(fresh(sink, 3))
    assert {str(i) for i in range(BATCH_ITEMS_MAX)} <= set(service.loaded)
    assert set(service.loaded) <= set(service.taken_back)


def test_a_deletion_is_asked_for_once_where_rows_are_one_item(service: Service, sink: DynamodbSink) -> None:
    """A rule of object mapping may make one key of several."""
    service.is_deleted = True
    rows = [(1, "a", None), (1, "b", None), (2, "c", None)]
    batch = Giver().given(TableBatch(ORDERS, upserts=rows, fresh=True), sink.capabilities)
    assert sink.apply(batch) == []
    assert sorted(service.taken_back) == ["1", "1", "2"]


def test_what_passes_is_sent_again_and_what_is_there_is_a_change(
    service: Service, sink: DynamodbSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _seconds: None)
    codes = {"3": "ThrottlingError", "4": "DuplicateItem", "5": "ValidationError", "6": "TransactionConflict"}
    service.load = lambda ids: [codes.get(i, "") if service.loaded.count(i) == 1 else "" for i in ids]
    (rejection,) = sink.apply(fresh(sink, 1))
    assert rejection.index == 5
    assert service.changed == ["4"]
    assert sorted(map(int, service.loaded)) == sorted([*range(BATCH_ITEMS_MAX), 3, 6])


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnknownOperationException"])
def test_rows_are_put_one_by_one_where_statements_are_not_taken(
    service: Service, sink: DynamodbSink, code: str
) -> None:
    """A role of before may put items, and other services of this protocol have no statements."""

    def load(ids: list[str]) -> list[str]:
        if len(ids) > 1:
            raise ClientError({"Error": {"Code": code}}, "BatchExecuteStatement")
        return ["ConditionalCheckFailedException" if ids == ["7"] else ""]

    service.load = load
    assert sink.apply(fresh(sink, 1)) == []
    assert service.changed == ["7"]
    service.loaded.clear()
    assert sink.apply(fresh(sink, 1)) == []
    assert sorted(map(int, service.loaded)) == [*range(BATCH_ITEMS_MAX)]


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
    rows = [(1, '{"a": "\\ud800"}', None), (2, '{"a": "b"}', None)]
    rejected = sink.apply(Giver().given(TableBatch(ORDERS, upserts=[*rows], fresh=True), sink.capabilities))
    assert [(rejection.kind, rejection.index) for rejection in rejected] == [("upserts", 0)]
    assert service.loaded == ["2"]
    sink.close()
