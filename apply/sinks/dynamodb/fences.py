"""Claims of partitions, kept in the control table. Each transaction that writes rows asks for those of its partitions.

So whoever has lost a partition writes nothing more of it, however late its requests come; nor does who never had it.
Transactions that ask for the same item at the same time are in conflict: a claim is an item for each of the requests
that may be under way.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from apply.sink import TopicPartition
from apply.sinks.dynamodb.client import Client, Write, fenced
from apply.sinks.dynamodb.items import Item
from schemas.errors import ErrorKind, TailraceError

LANES = 32
"""Items of a claim: as many as `parallel_apply_threads` can be, whatever it is at the next owner."""

FENCE_SIZE = 200
"""Bytes of one, about."""

CLAIM = "claim"


class Fences:
    """The claims of one applier. `key_of` makes keys of the control table."""

    def __init__(self, client: Client, table: str, key_of: Callable[[str], Item]) -> None:
        self._client = client
        self._table = table
        self._key_of = key_of
        self._claims: dict[TopicPartition, str] = {}
        """Also of partitions that were taken away: what is still written of them is to be refused."""
        self._free: SimpleQueue[int] = SimpleQueue()
        for lane in range(LANES):
            self._free.put(lane)

    def claim(self, partition: TopicPartition) -> None:
        """Take a partition from whoever has it: a transaction of its is carried out before this, or never."""
        claim = {CLAIM: {"S": uuid.uuid4().hex}}
        puts = [{"Put": {"TableName": self._table, "Item": self._key(partition, i) | claim}} for i in range(LANES)]
        if self._client.transact([Write("claims", 0, puts, LANES * FENCE_SIZE)]):
            raise TailraceError(ErrorKind.TARGET_SCHEMA, f"the table {self._table} takes no claims of partitions")
        self._claims[partition] = claim[CLAIM]["S"]

    def ask(self, partition: TopicPartition) -> None:
        """Raise INVARIANT if a partition is another applier's by now."""
        key = self._key(partition, 0)
        found = self._client.call("get_item", TableName=self._table, Key=key, ConsistentRead=True).get("Item", {})
        if found.get(CLAIM) != {"S": self._claim_of(partition)}:
            raise fenced()

    @contextmanager
    def asked(self, writes: Sequence[Write]) -> Iterator[list[dict[str, Any]]]:
        """Give the actions that ask for the claims of rows, for one transaction."""
        lane = self._free.get()
        try:
            yield [self._check(partition, lane) for partition in sorted({write.partition for write in writes})]
        finally:
            self._free.put(lane)

    def _check(self, partition: TopicPartition, lane: int) -> dict[str, Any]:
        condition = {
            "ConditionExpression": "#claim = :claim",
            "ExpressionAttributeNames": {"#claim": CLAIM},
            "ExpressionAttributeValues": {":claim": {"S": self._claim_of(partition)}},
        }
        return {"ConditionCheck": {"TableName": self._table, "Key": self._key(partition, lane), **condition}}

    def _claim_of(self, partition: TopicPartition) -> str:
        if partition not in self._claims:
            message = f"partition {partition.partition} of {partition.topic} is written by who has not claimed it"
            raise TailraceError(ErrorKind.INVARIANT, message)
        return self._claims[partition]

    def _key(self, partition: TopicPartition, lane: int) -> Item:
        return self._key_of(f"{partition.topic}/{partition.partition}/{lane}")
