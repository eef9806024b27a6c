"""Tables of DynamoDB: made when they are first needed, compared when they are there, emptied, dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apply import aws
from apply.sinks.dynamodb.client import MISSING, Client
from apply.sinks.dynamodb.items import Item, Items, KeyPart
from runtime.logging import get_logger
from schemas.dynamodb_target import DynamodbTarget
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

WAIT_DELAY_S = 1
WAIT_ATTEMPTS_MAX = 300
"""How long a table may take to be made or dropped."""


class Tables:
    """The tables of one target."""

    def __init__(self, client: Client, target: DynamodbTarget) -> None:
        self._client = client
        self._target = target

    def make(self, name: str, key: list[KeyPart], *, expires: str | None = None) -> None:
        """Make a table unless it is there, whatever its key, and wait until it can be used.

        Items of `expires` in the past vanish.
        """
        kinds = ("HASH", "RANGE")
        found = self.describe(name)
        if not found:
            # Another appliers' process may make it at the same moment.
            self._client.call(
                "create_table",
                absent="ResourceInUseException",
                TableName=name,
                KeySchema=[{"AttributeName": p.name, "KeyType": kind} for p, kind in zip(key, kinds, strict=False)],
                AttributeDefinitions=[{"AttributeName": p.name, "AttributeType": p.type} for p in key],
                **self._billing(),
            )
        if found.get("TableStatus") not in ("ACTIVE", "UPDATING"):
            self._wait("table_exists", name)
        if expires is not None and not found:
            self._let_expire(name, expires)

    def describe(self, name: str) -> dict[str, Any]:
        """Return what DynamoDB says of a table; nothing if it is not there."""
        found: dict[str, Any] = self._client.call("describe_table", absent=MISSING, TableName=name).get("Table", {})
        return found

    def keys(self, items: Items) -> Iterator[list[Item]]:
        """Yield the keys of a table's items, page by page."""
        names = {f"#{n}": part.name for n, part in enumerate(items.key)}
        return self._client.scan(items.name, ProjectionExpression=", ".join(names), ExpressionAttributeNames=names)

    def drop(self, name: str) -> None:
        """Delete a table, and wait until it is gone."""
        self._client.call("delete_table", absent=MISSING, TableName=name)
        self._wait("table_not_exists", name)

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

    def _wait(self, state: str, name: str) -> None:
        waiter = self._client.api.get_waiter(state)
        try:
            waiter.wait(TableName=name, WaiterConfig={"Delay": WAIT_DELAY_S, "MaxAttempts": WAIT_ATTEMPTS_MAX})
        except aws.AwsError as error:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, f"waiting for the table {name}: it takes long") from error


def key_difference(found: dict[str, Any], key: list[KeyPart]) -> str:
    """Say how the key of a table that is there differs; empty: not at all."""
    types = {each["AttributeName"]: each["AttributeType"] for each in found["AttributeDefinitions"]}
    order = sorted(found["KeySchema"], key=lambda each: each["KeyType"] != "HASH")
    there = [f"{each['AttributeName']} ({types[each['AttributeName']]})" for each in order]
    wanted = [f"{part.name} ({part.type})" for part in key]
    return "" if there == wanted else f"its key is {', '.join(there)} and not {', '.join(wanted)}"
