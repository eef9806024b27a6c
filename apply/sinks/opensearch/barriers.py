"""Barriers of one replication and target, as documents of a control index: changed only as they were read."""

from __future__ import annotations

from typing import Any

from apply.sink import Arrival, TopicPartition
from apply.sinks.opensearch.client import Client
from apply.sinks.opensearch.control import Condition, ControlIndex
from schemas.errors import ErrorKind, TailraceError

ATTEMPTS_MAX = 20
"""How often a document that others change at the same moment is read and written again."""


class Barriers:
    """See `Sink.arrive` and `Sink.pass_barrier`."""

    def __init__(self, client: Client, index: str, replication: str, target: str) -> None:
        self._client = client
        self._control = ControlIndex(client, index)
        self._owner = f"{replication}/{target}"

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival, durably and at once; tell how far the barrier has come."""
        place = f"{partition.topic}/{partition.partition}"

        def change(document: dict[str, Any]) -> bool:
            if place in document["arrived"] or document["passed"]:
                return False
            document["arrived"] = sorted([*document["arrived"], place])
            return True

        document = self._changed(barrier, change)
        return Arrival.of(len(document["arrived"]), partition_count, is_passed=document["passed"])

    def is_passed(self, barrier: str) -> bool:
        """Tell whether somebody has passed a barrier."""
        return bool(self._read(barrier)[0]["passed"])

    def set_passed(self, barrier: str) -> None:
        """Mark a barrier as passed."""

        def change(document: dict[str, Any]) -> bool:
            done, document["passed"] = document["passed"], True
            return not done

        self._changed(barrier, change)

    def forget(self) -> list[str]:
        """Remove all barriers of this replication and target."""
        index = self._control.name
        self._client.request("POST", f"/{index}/_refresh", absent=404)
        query = {"query": {"term": {"owner": self._owner}}}
        answer = self._client.request("POST", f"/{index}/_delete_by_query", query, absent=404, refresh="true")
        return [f"removed {answer.get('deleted', 0)} barriers from the index {index}"]

    def _read(self, barrier: str) -> tuple[dict[str, Any], Condition]:
        """Return a barrier's document, and what writes it only if nobody else has in between."""
        found, condition = self._control.read(self._id(barrier))
        return found or {"owner": self._owner, "barrier": barrier, "arrived": [], "passed": False}, condition

    def _changed(self, barrier: str, change: Any) -> dict[str, Any]:
        for _ in range(ATTEMPTS_MAX):
            document, condition = self._read(barrier)
            if not change(document) or self._control.write(self._id(barrier), document, condition) is not None:
                return document
        raise TailraceError(ErrorKind.TARGET_THROTTLED, "a barrier is changed by many at once")

    def _id(self, barrier: str) -> str:
        return f"{self._owner}/{barrier}"
