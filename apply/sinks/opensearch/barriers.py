"""Barriers of one replication and target, as documents of a control index: changed only as they were read."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from apply.sink import Arrival, TopicPartition
from apply.sinks.opensearch.client import Client
from schemas.errors import ErrorKind, TailraceError

ATTEMPTS_MAX = 20
"""How often a document that others change at the same moment is read and written again."""


class Barriers:
    """See `Sink.arrive` and `Sink.pass_barrier`."""

    def __init__(self, client: Client, index: str, replication: str, target: str) -> None:
        self._client = client
        self._index = index
        self._owner = f"{replication}/{target}"
        self._made = False

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival, durably and at once; tell how far the barrier has come."""
        place = f"{partition.topic}/{partition.partition}"

        def change(document: dict[str, Any]) -> bool:
            if place in document["arrived"] or document["passed"]:
                return False
            document["arrived"] = sorted([*document["arrived"], place])
            return True

        document = self._changed(barrier, change)
        if document["passed"]:
            return Arrival.PASSED
        return Arrival.READY if len(document["arrived"]) >= partition_count else Arrival.WAITING

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
        self._client.request("POST", f"/{self._index}/_refresh", absent=404)
        query = {"query": {"term": {"owner": self._owner}}}
        answer = self._client.request("POST", f"/{self._index}/_delete_by_query", query, absent=404, refresh="true")
        return [f"removed {answer.get('deleted', 0)} barriers from the index {self._index}"]

    def _read(self, barrier: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Return a barrier's document, and what writes it only if nobody else has in between."""
        self._make()
        found = self._client.request("GET", f"/{self._index}/_doc/{_id(self._owner, barrier)}", absent=404)
        if not found:
            return {"owner": self._owner, "barrier": barrier, "arrived": [], "passed": False}, {"op_type": "create"}
        condition = {"if_seq_no": str(found["_seq_no"]), "if_primary_term": str(found["_primary_term"])}
        return found["_source"], condition

    def _changed(self, barrier: str, change: Any) -> dict[str, Any]:
        for _ in range(ATTEMPTS_MAX):
            document, condition = self._read(barrier)
            if not change(document):
                return document
            path = f"/{self._index}/_doc/{_id(self._owner, barrier)}"
            if self._client.request("PUT", path, document, absent=409, **condition):
                return document
        raise TailraceError(ErrorKind.TARGET_THROTTLED, "a barrier is changed by many at once")

    def _make(self) -> None:
        if self._made:
            return
        fields = {name: {"type": "keyword"} for name in ("owner", "barrier", "arrived")}
        mappings = {"dynamic": False, "properties": {**fields, "passed": {"type": "boolean"}}}
        self._client.request("PUT", f"/{self._index}", {"mappings": mappings}, absent=400)
        self._made = True


def _id(owner: str, barrier: str) -> str:
    """Return a document's id as a part of a path."""
    return quote(f"{owner}/{barrier}", safe="")
