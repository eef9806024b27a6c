"""Tables of DynamoDB are dropped and protected where the service, or another applier, is in the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from apply.sink import Arrival, TopicPartition
from apply.sinks.dynamodb.sink import DynamodbSink
from deploy.local.moto import MotoServer
from runtime import clock
from schemas.errors import Action, TailraceError
from tests.conformance.sink_suite import ORDERS
from tests.integration.dynamodb_sink import test_conformance as conformance

pytestmark = pytest.mark.integration

HERE = TopicPartition(f"shop.{ORDERS.name}", 0)


class Place:
    """Where tables are made."""

    def __init__(self, suite: conformance.TestDynamodb) -> None:
        self._suite = suite
        self.client = suite.client
        self.table = f"{suite.prefix}-{ORDERS.name}"

    def open(self) -> DynamodbSink:
        return cast("DynamodbSink", self._suite.open())

    def standing(self) -> DynamodbSink:
        """Return a sink whose partition stands where its table is dropped."""
        sink = self.open()
        sink.load_offsets([HERE])
        sink.prepare(ORDERS)
        sink.arrive("drop-1", HERE, 1)
        assert sink.pass_barrier("drop-1")
        return sink

    def is_there(self) -> bool:
        return self.table in self.client.list_tables()["TableNames"]


@pytest.fixture
def place(moto_server: MotoServer) -> Iterator[Place]:
    suite = conformance.TestDynamodb()
    sinks = suite.sink_at(moto_server)
    next(sinks)
    yield Place(suite)
    assert next(sinks, None) is None


def fail_once(sink: DynamodbSink, operation: str, code: str) -> None:
    """Let the next request of a kind be refused."""
    api = sink._client.api
    do = getattr(api, operation)
    refusal = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    answers = iter([api.exceptions.ClientError(refusal, operation)])

    def once(**request: Any) -> Any:
        if error := next(answers, None):
            raise error
        return do(**request)

    setattr(api, operation, once)


def let_sleep(monkeypatch: pytest.MonkeyPatch, seconds_max: float) -> None:
    """Let no more be slept than this."""
    sleeps, sleep = list[float](), clock.sleep

    def sleep_less(seconds: float) -> None:
        sleeps.append(seconds)
        assert sum(sleeps) < seconds_max, "it waits for what does not come"
        sleep(seconds)

    monkeypatch.setattr(clock, "sleep", sleep_less)


@pytest.mark.parametrize("code", ["ResourceInUseException", "LimitExceededException"])
def test_a_table_is_dropped_once_the_change_before_is_through(place: Place, code: str) -> None:
    """A table is being updated for a moment once its protection is lifted."""
    sink = place.standing()
    for operation in ("update_table", "delete_table"):
        fail_once(sink, operation, code)
    sink.drop(ORDERS)
    assert not place.is_there()


def test_a_table_that_comes_back_at_once_is_not_waited_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was thought dead goes on in a drop: the next life of the table is there when it looks whether it is gone."""
    let_sleep(monkeypatch, 5)
    sink, other = place.standing(), place.open()
    api = sink._client.api
    delete = api.delete_table

    def delete_table(**request: Any) -> Any:
        answer = delete(**request)
        other.prepare(ORDERS)
        return answer

    api.delete_table = delete_table
    sink.drop(ORDERS)
    assert place.is_there()


def test_a_table_that_is_being_deleted_is_made_once_it_is_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an applier that died in its drop: the service says so for a while, and takes no other table of the name."""
    sink = place.open()
    sink.load_offsets([HERE])
    let_sleep(monkeypatch, 5)
    api = sink._client.api
    describe, left = api.describe_table, iter(range(3))

    def describe_table(**request: Any) -> Any:
        if request["TableName"] == place.table and next(left, None) is not None:
            return {"Table": {"TableStatus": "DELETING"}}
        return describe(**request)

    api.describe_table = describe_table
    fail_once(sink, "create_table", "ResourceInUseException")
    sink.prepare(ORDERS)
    assert place.is_there()


def test_a_drop_waits_for_a_table_that_is_being_deleted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was begun by an applier that died in it. What the service says then may leave out nearly all."""
    sink = place.standing()
    let_sleep(monkeypatch, 5)
    api = sink._client.api
    place.client.update_table(TableName=place.table, DeletionProtectionEnabled=False)
    describe, delete, answers, deletions = api.describe_table, api.delete_table, iter(range(4)), list[str]()

    def describe_table(**request: Any) -> Any:
        if next(answers, None) is not None:
            return {"Table": {"TableName": place.table, "TableStatus": "DELETING"}}
        if not deletions:
            deletions.append("once")
            delete(TableName=place.table)
        return describe(**request)

    api.describe_table = describe_table
    fail_once(sink, "delete_table", "ResourceNotFoundException")
    sink.drop(ORDERS)
    assert deletions
    assert not place.is_there()


def test_who_may_not_protect_a_table_is_told_so(place: Place) -> None:
    place.open().prepare(ORDERS)
    place.client.update_table(TableName=place.table, DeletionProtectionEnabled=False)
    sink = place.open()
    fail_once(sink, "update_table", "AccessDeniedException")
    with pytest.raises(TailraceError) as caught:
        sink.prepare(ORDERS)
    assert caught.value.action is Action.STOP
    assert f"update_table {place.table}" in caught.value.message
    assert "policy" in str(caught.value.remedy)


def test_who_is_fenced_learns_it_though_the_table_goes_meanwhile(place: Place) -> None:
    sink = place.standing()
    place.open().load_offsets([HERE])
    api = sink._client.api
    update = api.update_table

    def update_table(**request: Any) -> Any:
        if request["DeletionProtectionEnabled"]:
            place.client.delete_table(TableName=place.table)
        return update(**request)

    api.update_table = update_table
    with pytest.raises(TailraceError, match="fenced"):
        sink.drop(ORDERS)


def test_barriers_that_others_have_passed_are_forgotten(place: Place) -> None:
    sink, other = place.open(), place.open()
    for one in (sink, other):
        one.load_offsets([HERE])
        one.arrive("load-1", HERE, 1)
    assert other.pass_barrier("load-1")
    other.flush()
    assert sink.arrive("load-1", HERE, 1) is Arrival.PASSED
    assert not sink._stand_at
