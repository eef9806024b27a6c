"""Tables of DynamoDB: made when they are first needed, compared when they are there, emptied, dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from apply.sinks.dynamodb.client import BUSY_FOR_S, CHANGING, MISSING, Client
from apply.sinks.dynamodb.items import Item, Items, KeyPart
from runtime import clock
from runtime.logging import get_logger
from runtime.retry import Backoff
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

CHANGES_FOR_S = 300
"""How long a table may take to be made or dropped."""
LOOK_S_MAX = 1
"""The longest pause between looks at it."""

Described = dict[str, Any]
"""What DynamoDB says of a table."""


class Tables:
    """The tables of one target.

    `DeleteTable` takes no condition, and a table that is made anew has its predecessor's name and ARN. So where tables
    are to be dropped, each is protected from deletion from before its first row, and who drops one lifts that first: a
    late `DeleteTable` finds it in place again.
    """

    def __init__(self, client: Client, target: DynamodbTarget, *, drops: bool = False) -> None:
        self._client = client
        self._target = target
        self._drops = drops

    def make(self, name: str, key: list[KeyPart], *, expires: str | None = None, is_ours: bool = False) -> Described:
        """Make a table unless it is there, whatever its key; return what is said of it once it can be used.

        Items of `expires` in the past vanish. `is_ours`: no table of rows, which is never dropped.
        """
        made = False
        for found in self._looks(name):
            if found.get("TableStatus") in ("ACTIVE", "UPDATING"):
                break
            # One that another applier is deleting, or deletes while it is being made, is made once it is gone.
            if not found:
                self._create(name, key, protected=self._drops and not is_ours)
                made = True
        if expires is not None and made:
            self._let_expire(name, expires)
        return found

    def describe(self, name: str) -> Described:
        """Return what DynamoDB says of a table; nothing if it is not there."""
        found: Described = self._client.call("describe_table", absent=MISSING, TableName=name).get("Table", {})
        return found

    def keys(self, items: Items) -> Iterator[list[Item]]:
        """Yield the keys of a table's items, page by page."""
        names = {f"#{n}": part.name for n, part in enumerate(items.key)}
        return self._client.scan(items.name, ProjectionExpression=", ".join(names), ExpressionAttributeNames=names)

    def protect(self, name: str, found: Described) -> None:
        """Protect a table from deletion, unless it is, or tables are not dropped. `found`: what is said of it."""
        if self._drops and found and not found.get("DeletionProtectionEnabled"):
            self._change("update_table", name, DeletionProtectionEnabled=True)

    def drop(self, name: str, ask: Callable[[], None]) -> None:
        """Delete a table; wait until it is gone, or another has its name. `ask` raises where it is not ours to delete.

        What it has answered holds: who goes on after us claims our partition, and then has the table protected, before
        a row of another table of this name is written.
        """
        found = self.describe(name)
        if not found:
            return
        made_at = found.get("CreationDateTime")
        if found.get("DeletionProtectionEnabled"):
            self._change("update_table", name, DeletionProtectionEnabled=False)
        try:
            ask()
        except BaseException:
            self.protect(name, self.describe(name))
            raise
        try:
            self._change("delete_table", name)
        except TailraceError as error:
            if error.kind is not ErrorKind.INVARIANT:
                raise
            # Somebody has prepared it meanwhile: whose it is shows when this is done again.
            message = f"the table {name} is protected from deletion again"
            raise TailraceError(ErrorKind.TARGET_THROTTLED, message) from error
        for left in self._looks(name):
            # What is being deleted may not tell any more when it was made.
            is_left = left.get("TableStatus") == "DELETING" or left.get("CreationDateTime") == made_at
            if not left or not is_left:
                return

    def _create(self, name: str, key: list[KeyPart], *, protected: bool) -> None:
        kinds = ("HASH", "RANGE")
        # Another appliers' process may make it at the same moment.
        self._client.call(
            "create_table",
            absent=CHANGING,
            TableName=name,
            KeySchema=[{"AttributeName": p.name, "KeyType": kind} for p, kind in zip(key, kinds, strict=False)],
            AttributeDefinitions=[{"AttributeName": p.name, "AttributeType": p.type} for p in key],
            DeletionProtectionEnabled=protected,
            **self._billing(),
        )

    def _change(self, operation: str, name: str, **request: Any) -> None:
        """Change a table, unless it is gone, once the change before is through: each takes DynamoDB a moment."""
        backoff = Backoff(BUSY_FOR_S)
        while True:
            try:
                self._client.call(operation, absent=MISSING, TableName=name, **request)
            except TailraceError as error:
                pause_s = backoff.next_s() if error.kind is ErrorKind.TARGET_THROTTLED else None
                if pause_s is None:
                    raise
                clock.sleep(pause_s)
            else:
                return

    def _billing(self) -> dict[str, Any]:
        target = self._target
        if target.billing_mode == "on-demand":
            return {"BillingMode": "PAY_PER_REQUEST"}
        capacity = {
            "ReadCapacityUnits": target.read_capacity_units,
            "WriteCapacityUnits": target.write_capacity_units,
        }
        return {"BillingMode": "PROVISIONED", "ProvisionedThroughput": capacity}

    def _let_expire(self, name: str, attribute: str) -> None:
        specification = {"Enabled": True, "AttributeName": attribute}
        try:
            # It answers with a ValidationException where somebody else has done so.
            self._client.call(
                "update_time_to_live",
                absent="ValidationException",
                TableName=name,
                TimeToLiveSpecification=specification,
            )
        except TailraceError as error:
            if error.kind is not ErrorKind.INVARIANT:
                raise
            log.warning("items of this table will not expire", table=name, reason=error.message)

    def _looks(self, name: str) -> Iterator[Described]:
        """Yield what is said of a table, again and again. Raises if whoever looks has not seen enough for long."""
        backoff = Backoff(CHANGES_FOR_S, pause_s_max=LOOK_S_MAX)
        while True:
            yield self.describe(name)
            pause_s = backoff.next_s()
            if pause_s is None:
                raise TailraceError(ErrorKind.TARGET_CONNECTION, f"waiting for the table {name}: it takes long")
            clock.sleep(pause_s)


def key_difference(found: Described, key: list[KeyPart]) -> str:
    """Say how the key of a table that is there differs; empty: not at all."""
    types = {each["AttributeName"]: each["AttributeType"] for each in found["AttributeDefinitions"]}
    order = sorted(found["KeySchema"], key=lambda each: each["KeyType"] != "HASH")
    there = [f"{each['AttributeName']} ({types[each['AttributeName']]})" for each in order]
    wanted = [f"{part.name} ({part.type})" for part in key]
    return "" if there == wanted else f"its key is {', '.join(there)} and not {', '.join(wanted)}"
