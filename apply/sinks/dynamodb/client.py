"""Requests to DynamoDB: batches, transactions and scans within its limits, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from apply import aws
from apply.frames.guarded import requests
from apply.sinks.dynamodb.items import Item
from apply.sinks.dynamodb.values import item_size
from runtime import clock
from runtime.retry import Backoff
from schemas.dynamodb_target import DynamodbTarget
from schemas.errors import ErrorKind, TailraceError

BATCH_ITEMS_MAX = 25
BATCH_BYTES_MAX = 16 << 20
"""Of `BatchWriteItem`. API reference."""

TRANSACTION_ACTIONS_MAX = 100
TRANSACTION_BYTES_MAX = 4 << 20
"""Of `TransactWriteItems`. API reference."""

BUSY_FOR_S = 30
"""How long what DynamoDB does not take for now is sent again here; then the service starts over."""

BUSY = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded", "DuplicateItem"}
)
"""Reasons of a cancelled transaction that pass. API reference, `TransactWriteItems`, "Cancellation reason codes"."""

STALE = "ConditionalCheckFailed"
MISSING = "ResourceNotFoundException"


@dataclass(slots=True)
class Write:
    """What is written for one row: actions that hold together or not at all."""

    kind: str
    index: int
    actions: list[dict[str, Any]]
    size: int


class Client:
    """One connection. Connects when it is first used; several threads may use it."""

    def __init__(self, target: DynamodbTarget) -> None:
        self._target = target
        self._made: Any = None

    @property
    def api(self) -> Any:
        """The client of the service, made when it is first used."""
        if self._made is None:
            self._made = aws.client("dynamodb", self._target, connections=self._target.parallel_apply_threads)
        return self._made

    def close(self) -> None:
        """Close the connection. May be called twice."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def call(self, operation: str, *, absent: str | None = None, **request: Any) -> dict[str, Any]:
        """Send a request; return the answer, empty where it has the error code `absent`. Raises what it means."""
        try:
            answer: dict[str, Any] = getattr(self.api, operation)(**request)
        except aws.AwsError as error:
            if absent is not None and aws.code_of(error) == absent:
                return {}
            raise classify(error, operation) from error
        return answer

    def put(self, table: str, items: list[Item], until: float) -> list[int] | None:
        """Write items whatever is there; return which of them DynamoDB does not take. Their keys differ.

        Nothing is sent from `until` on, by the monotonic clock. None: some were left by then.
        """
        return self._batch(table, [{"PutRequest": {"Item": item}} for item in items], until)

    def delete(self, table: str, keys: list[Item]) -> None:
        """Delete items whatever they are."""
        for some in requests(keys, item_size, BATCH_ITEMS_MAX, BATCH_BYTES_MAX):
            self._batch(table, [{"DeleteRequest": {"Key": key}} for key in some])

    def scan(self, table: str, **request: Any) -> Iterator[list[Item]]:
        """Yield the pages of a table."""
        start: dict[str, Any] = {}
        while True:
            page = self.call("scan", TableName=table, ConsistentRead=True, **start, **request)
            yield page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def transact(self, writes: list[Write]) -> list[Write]:
        """Write rows on their conditions. Those whose condition fails are left as they are; return the refused ones."""
        refused: list[Write] = []
        backoff = Backoff(BUSY_FOR_S)
        while writes:
            try:
                self.api.transact_write_items(TransactItems=[action for write in writes for action in write.actions])
            except aws.AwsError as error:
                code = aws.code_of(error)
                if code == "TransactionCanceledException":
                    writes, busy = _judged(writes, _reasons(error), refused)
                    if busy:
                        _wait(backoff)
                    continue
                if code == "TransactionInProgressException":
                    _wait(backoff)
                    continue
                if code != "ValidationException":
                    raise classify(error, "writing items") from error
                if len(writes) == 1:
                    return [*refused, *writes]
                # One of them is no item: which one, they tell alone.
                return [*refused, *(bad for write in writes for bad in self.transact([write]))]
            else:
                break
        return refused

    def _batch(self, table: str, wishes: list[dict[str, Any]], until: float = inf) -> list[int] | None:
        backoff = Backoff(BUSY_FOR_S)
        left = wishes
        while left:
            if clock.monotonic() >= until:
                return None
            try:
                answer = self.api.batch_write_item(RequestItems={table: left})
            except aws.AwsError as error:
                code = aws.code_of(error)
                if code == "ValidationException":
                    return [0] if len(wishes) == 1 else self._one_by_one(table, wishes, until)
                if code != "ProvisionedThroughputExceededException":
                    raise classify(error, "writing items") from error
                # None of them was taken.
            else:
                left = answer.get("UnprocessedItems", {}).get(table, [])
            if left:
                _wait(backoff)
        return []

    def _one_by_one(self, table: str, wishes: list[dict[str, Any]], until: float) -> list[int] | None:
        refused: list[int] = []
        for place, wish in enumerate(wishes):
            alone = self._batch(table, [wish], until)
            if alone is None:
                return None
            if alone:
                refused.append(place)
        return refused


def _wait(backoff: Backoff) -> None:
    pause_s = backoff.next_s()
    if pause_s is None:
        raise TailraceError(ErrorKind.TARGET_THROTTLED, "DynamoDB takes fewer items than come")
    clock.sleep(pause_s)


def _reasons(error: Exception) -> list[dict[str, Any]]:
    response: dict[str, Any] = getattr(error, "response", {})
    reasons: list[dict[str, Any]] = response["CancellationReasons"]
    return reasons


def _judged(writes: list[Write], reasons: list[dict[str, Any]], refused: list[Write]) -> tuple[list[Write], bool]:
    """Return the rows that are to be sent again, and whether to wait before."""
    again: list[Write] = []
    busy = False
    place = 0
    for write in writes:
        codes = {reason.get("Code", "None") for reason in reasons[place : place + len(write.actions)]} - {"None"}
        place += len(write.actions)
        if STALE in codes:
            # It is there already, or something newer is.
            continue
        if codes - BUSY:
            refused.append(write)
            continue
        busy = busy or bool(codes)
        again.append(write)
    return again, busy


def classify(error: Exception, doing: str) -> TailraceError:
    """Return what an error means."""
    if aws.code_of(error) == MISSING:
        return TailraceError(ErrorKind.TARGET_SCHEMA, f"{doing}: the table is not there")
    return aws.classify(error, doing)
