"""Requests to DynamoDB: inserts, transactions and scans within its limits, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from apply import aws
from apply.frames.guarded import requests
from apply.sinks.dynamodb.items import Item
from apply.sinks.dynamodb.values import item_size
from runtime import clock
from runtime.logging import get_logger
from runtime.retry import Backoff
from schemas.dynamodb_target import DynamodbTarget
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

BATCH_ITEMS_MAX = 25
BATCH_BYTES_MAX = 16 << 20
"""Of `BatchWriteItem`, and of `BatchExecuteStatement`, whose size the API reference leaves open. API reference."""

STATEMENT_LENGTH_MAX = 8192
"""Of a statement of PartiQL. API reference, `BatchStatementRequest`."""

READ_ITEMS_MAX = 100
"""Of `BatchGetItem`. API reference."""

TRANSACTION_ACTIONS_MAX = 100
TRANSACTION_BYTES_MAX = 4 << 20
"""Of `TransactWriteItems`. API reference."""

BUSY_FOR_S = 30
"""How long what DynamoDB does not take for now is sent again here; then the service starts over."""

BUSY = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded", "DuplicateItem"}
)
"""Reasons of a cancelled transaction, and codes of a statement, that pass. API reference, `TransactWriteItems`,
"Cancellation reason codes"."""

_NOTHING: list[dict[str, Any]] = [{}]
_STATEMENT = [{"Statement": "-"}]
BULK = {
    "TransactWriteItems": aws.Stand("TransactItems", lambda _: _NOTHING),
    "BatchExecuteStatement": aws.Stand("Statements", lambda _: _STATEMENT),
    "BatchWriteItem": aws.Stand("RequestItems", lambda tables: dict.fromkeys(tables, _NOTHING)),
}

STALE = "ConditionalCheckFailed"
THERE = "DuplicateItem"
MISSING = "ResourceNotFoundException"

REFUSED = frozenset({"ValidationError", "ItemCollectionSizeLimitExceeded"})
"""Codes of statements for an item that none can be. API reference, `BatchStatementError`."""

NO_STATEMENTS = frozenset({"UnknownOperationException", "AccessDeniedException", "AccessDenied"})
"""Codes of a service without PartiQL, or of a role that may not insert by it."""

_LIKE_STATEMENTS = {
    "ConditionalCheckFailedException": THERE,
    "ValidationException": "ValidationError",
    "ItemCollectionSizeLimitExceededException": "ItemCollectionSizeLimitExceeded",
    "ProvisionedThroughputExceededException": "ProvisionedThroughputExceeded",
    "TransactionConflictException": "TransactionConflict",
}
"""Codes of `PutItem`, as statements have them."""


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
        self._has_statements = True
        """Whether the service takes PartiQL from us, as far as is known."""

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
            raise classify(error, operation) from error
        return answer

    def insert(self, table: str, key: str, items: list[Item]) -> tuple[list[int], list[int]]:
        """Write items but for those of whose key one is there: never over one, however late. `key` is an attribute
        that every item has. Return which of them DynamoDB does not take, and of which one is there.
        """
        refused, there = list[int](), list[int]()
        left, backoff = [*range(len(items))], Backoff(BUSY_FOR_S)
        while True:
            again: list[int] = []
            for place, code in zip(left, self._inserted(table, key, [items[i] for i in left]), strict=True):
                if code in REFUSED:
                    refused.append(place)
                elif code == THERE:
                    there.append(place)
                elif code in BUSY:
                    again.append(place)
                elif code == "ResourceNotFound":
                    raise _no_table("writing items")
                elif code:
                    raise TailraceError(ErrorKind.TARGET_CONNECTION, f"writing items failed ({code})")
            if not again:
                return refused, there
            left = again
            _wait(backoff)

    def delete(self, table: str, keys: list[Item]) -> None:
        """Delete items whatever they are."""
        for some in requests(keys, item_size, BATCH_ITEMS_MAX, BATCH_BYTES_MAX):
            self._delete_batch(table, some)

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

    def find(self, table: str, keys: list[Item]) -> list[Item]:
        """Return those items that are there, whose keys differ."""
        found: list[Item] = []
        for some in requests(keys, item_size, READ_ITEMS_MAX, BATCH_BYTES_MAX):
            left: dict[str, Any] = {table: {"Keys": some, "ConsistentRead": True}}
            backoff = Backoff(BUSY_FOR_S)
            while left:
                answer = self.call("batch_get_item", RequestItems=left)
                found += answer["Responses"].get(table, ())
                left = answer.get("UnprocessedKeys") or {}
                if left:
                    _wait(backoff)
        return found

    def _inserted(self, table: str, key: str, items: list[Item]) -> list[str]:
        """Send inserts; return of each its code, empty where the item was written."""
        statements = [_insertion(table, item) for item in items]
        if self._has_statements and all(len(each["Statement"]) <= STATEMENT_LENGTH_MAX for each in statements):
            try:
                answer = self.api.batch_execute_statement(Statements=statements)
            except aws.AwsError as error:
                code = aws.code_of(error)
                if code == "ProvisionedThroughputExceededException":
                    return ["ProvisionedThroughputExceeded"] * len(items)
                if code not in {*NO_STATEMENTS, "ValidationException"}:
                    raise classify(error, "writing items") from error
                codes = [code]
            else:
                codes = [each.get("Error", {}).get("Code", "") for each in answer["Responses"]]
            if not NO_STATEMENTS.isdisjoint(codes):
                self._has_statements = False
                log.warning("rows of a load are put one by one", reason="no right or no way to insert by statements")
            elif len(codes) == len(items) and "ValidationException" not in codes:
                return codes
        # Those that are written already are there now: whoever looks finds them as new.
        return [self._put(table, key, item) for item in items]

    def _put(self, table: str, key: str, item: Item) -> str:
        new = {"ConditionExpression": "attribute_not_exists(#key)", "ExpressionAttributeNames": {"#key": key}}
        try:
            self.api.put_item(TableName=table, Item=item, **new)
        except aws.AwsError as error:
            code = _LIKE_STATEMENTS.get(aws.code_of(error))
            if code is None:
                raise classify(error, "writing items") from error
            return code
        return ""

    def _delete_batch(self, table: str, keys: list[Item]) -> None:
        left = [{"DeleteRequest": {"Key": key}} for key in keys]
        backoff = Backoff(BUSY_FOR_S)
        while left:
            try:
                answer = self.api.batch_write_item(RequestItems={table: left})
            except aws.AwsError as error:
                if aws.code_of(error) != "ProvisionedThroughputExceededException":
                    raise classify(error, "removing items") from error
                # None of them was taken.
            else:
                left = answer.get("UnprocessedItems", {}).get(table, [])
            if left:
                _wait(backoff)


def _insertion(table: str, item: Item) -> dict[str, Any]:
    """Return the statement of PartiQL that writes an item unless one of its key is there."""
    names = ", ".join("'" + name.replace("'", "''") + "': ?" for name in item)
    return {"Statement": f'insert into "{table}" value {{{names}}}', "Parameters": [*item.values()]}


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
    return _no_table(doing) if aws.code_of(error) == MISSING else aws.classify(error, doing)


def _no_table(doing: str) -> TailraceError:
    return TailraceError(ErrorKind.TARGET_SCHEMA, f"{doing}: the table is not there")
