"""The control table: barriers and claims of replications, and the commit sequences of deleted items."""

from __future__ import annotations

from typing import Any

import orjson

from apply.sink import Arrival, TopicPartition
from apply.sink_kinds.guarded import brief, requests
from apply.sinks.dynamodb.client import TRANSACTION_ACTIONS_MAX, TRANSACTION_BYTES_MAX, Client, deletions
from apply.sinks.dynamodb.items import Item, KeyPart
from apply.sinks.dynamodb.tables import Tables
from runtime import clock

ID = "id"
SEQUENCE = "seq"
EXPIRES = "expires"
"""Seconds since 1970, after which DynamoDB removes an item by itself."""

KEY_PART = KeyPart(ID, "S", lambda _row: None)


class ControlTable:
    """See `Sink.arrive`, `Sink.pass_barrier`. Made when it is first used."""

    def __init__(self, client: Client, tables: Tables, name: str, owner: str, kept_s: int) -> None:
        self._client = client
        self._tables = tables
        self.name = name
        self._owner = owner
        self._kept_s = kept_s
        self._made = False

    def make(self) -> None:
        """Make the table unless it is there."""
        if not self._made:
            self._tables.make(self.name, [KEY_PART], expires=EXPIRES, is_ours=True)
            self._made = True

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival, durably and at once; tell how far the barrier has come."""
        place = f"{partition.topic}/{partition.partition}"
        found = self._update(barrier, "add arrived :place", {":place": {"SS": [place]}})
        return Arrival.of(len(found["arrived"]["SS"]), partition_count, is_passed="passed" in found)

    def is_passed(self, barrier: str) -> bool:
        """Tell whether somebody has passed a barrier."""
        self.make()
        found = self._client.call("get_item", TableName=self.name, Key=self._key(barrier), ConsistentRead=True)
        return "passed" in found.get("Item", {})

    def set_passed(self, barrier: str) -> None:
        """Mark a barrier as passed."""
        self._update(barrier, "set passed = :yes", {":yes": {"BOOL": True}})

    def forget(self) -> list[str]:
        """Remove all barriers and claims of this replication and target. What is known of deleted items expires."""
        if not self._tables.describe(self.name):
            return []
        condition: dict[str, Any] = {
            "FilterExpression": "begins_with(#id, :barriers) or begins_with(#id, :claims)",
            "ProjectionExpression": "#id",
            "ExpressionAttributeNames": {"#id": ID},
            "ExpressionAttributeValues": {":barriers": self._key("")[ID], ":claims": self.claim_key("")[ID]},
        }
        removed = 0
        for page in self._client.scan(self.name, **condition):
            writes = deletions(self.name, page)
            for some in requests(writes, lambda w: w.size, TRANSACTION_ACTIONS_MAX, TRANSACTION_BYTES_MAX):
                self._client.transact(some)
            removed += len(page)
        return [f"removed {removed} barriers and claims from the table {self.name}"]

    def claim_key(self, place: str) -> Item:
        """Return the key of a claim."""
        return {ID: {"S": f"claim/{self._owner}/{place}"}}

    def deleted_key(self, table: str, key: Item) -> Item:
        """Return the key of what is remembered of a deleted item."""
        values = [value if kind != "B" else value.hex() for part in key.values() for kind, value in part.items()]
        return {ID: {"S": f"deleted/{table}/{brief(orjson.dumps(values).decode())}"}}

    def deleted(self, key: Item, seq: int) -> Item:
        """Return what is remembered of a deleted item."""
        expires = clock.now_us() // 1_000_000 + self._kept_s
        return {**key, SEQUENCE: {"N": str(seq)}, EXPIRES: {"N": str(expires)}}

    def _key(self, barrier: str) -> Item:
        return {ID: {"S": f"barrier/{self._owner}/{barrier}"}}

    def _update(self, barrier: str, expression: str, values: dict[str, Any]) -> Item:
        self.make()
        answer = self._client.call(
            "update_item",
            TableName=self.name,
            Key=self._key(barrier),
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        found: Item = answer["Attributes"]
        return found
