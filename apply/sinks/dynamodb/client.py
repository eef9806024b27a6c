"""Requests to DynamoDB: transactions and scans within its limits, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apply import aws
from apply.sink import TopicPartition
from apply.sinks.dynamodb.items import Item
from runtime import clock
from runtime.retry import Backoff
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.errors import ErrorKind, TailraceError

TRANSACTION_ACTIONS_MAX = 100
TRANSACTION_BYTES_MAX = 4 << 20
"""Of `TransactWriteItems`. API reference."""

KEY_SIZE_MAX = 4 << 10
"""Bytes of a key with its names, about. Developer guide, "Quotas"."""

BUSY_FOR_S = 30
"""How long what DynamoDB does not take for now is sent again here; then the service starts over."""

BUSY = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded", "DuplicateItem"}
)
"""Reasons of a cancelled transaction that pass. API reference, `TransactWriteItems`, "Cancellation reason codes"."""

_NOTHING: list[dict[str, Any]] = [{}]
BULK = {"TransactWriteItems": aws.Stand("TransactItems", lambda _: _NOTHING)}

STALE = "ConditionalCheckFailed"
MISSING = "ResourceNotFoundException"
CHANGING = "ResourceInUseException"
"""Of a table that is being made, changed or deleted, by somebody else: it passes."""


NOWHERE = TopicPartition("", 0)


@dataclass(slots=True)
class Write:
    """What is written for one row: actions that hold together or not at all."""

    kind: str
    index: int
    actions: list[dict[str, Any]]
    size: int
    partition: TopicPartition = NOWHERE
    """Where it comes from; what is done about claims and barriers themselves comes from nowhere."""


class Client:
    """One connection. Connects when it is first used; several threads may use it."""

    def __init__(self, target: DynamodbTarget) -> None:
        self._target = target
        self._made: Any = None

    @property
    def api(self) -> Any:
        """The client of the service, made when it is first used."""
        if self._made is None:
            connections = self._target.parallel_apply_threads
            self._made = aws.client("dynamodb", self._target, connections=connections, bulk=BULK)
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
            raise classify(error, f"{operation} {request['TableName']}") from error
        return answer

    def scan(self, table: str, **request: Any) -> Iterator[list[Item]]:
        """Yield the pages of a table."""
        start: dict[str, Any] = {}
        while True:
            page = self.call("scan", TableName=table, ConsistentRead=True, **start, **request)
            yield page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def transact(self, writes: list[Write], checks: Sequence[dict[str, Any]] = ()) -> list[Write]:
        """Write rows on their conditions. Those whose condition fails are left as they are; return the refused ones.

        Raises INVARIANT, and writes nothing, where one of `checks` fails.
        """
        refused: list[Write] = []
        backoff = Backoff(BUSY_FOR_S)
        while writes:
            try:
                actions = [action for write in writes for action in write.actions]
                self.api.transact_write_items(TransactItems=[*actions, *checks])
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
                return [*refused, *(bad for write in writes for bad in self.transact([write], checks))]
            else:
                break
        return refused


def deletions(table: str, keys: list[Item], partition: TopicPartition = NOWHERE) -> list[Write]:
    """Return what deletes items whatever they are, for the owner of a partition."""
    actions = [{"Delete": {"TableName": table, "Key": key}} for key in keys]
    return [Write("deletes", i, [action], KEY_SIZE_MAX, partition) for i, action in enumerate(actions)]


def fenced() -> TailraceError:
    """Return what ends an applier that has lost a partition."""
    return TailraceError(
        ErrorKind.INVARIANT,
        "fenced: another applier has claimed a partition of these rows",
        remedy="none needed if another applier runs: this one must stop and give way",
    )


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
    """Return the rows that are to be sent again, and whether to wait before. Raises INVARIANT for refused claims."""
    again: list[Write] = []
    told = [reason.get("Code", "None") for reason in reasons]
    place = sum(len(write.actions) for write in writes)
    if STALE in told[place:]:
        raise fenced()
    busy = any(code != "None" for code in told[place:])
    place = 0
    for write in writes:
        codes = {*told[place : place + len(write.actions)]} - {"None"}
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
    if aws.code_of(error) == CHANGING:
        return TailraceError(ErrorKind.TARGET_THROTTLED, f"{doing}: the table is being changed")
    return aws.classify(error, doing)
