"""The control database: barriers of replications, and the commit sequences of deleted documents."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from bson import Int64
from pymongo import ReturnDocument, UpdateOne

from apply.sink import Arrival, TopicPartition
from apply.sink_kinds.guarded import brief
from apply.sinks.mongodb.client import Client, told
from runtime import clock

BARRIERS = "barriers"
DELETED = "deleted"


class ControlDatabase:
    """See `Sink.arrive`, `Sink.pass_barrier`."""

    def __init__(self, client: Client, database: str, owner: str, kept_s: int) -> None:
        self._client = client
        self._database = database
        self._owner = owner
        self._kept_s = kept_s
        self._made = False

    def make(self) -> None:
        """Let what is remembered of deleted documents expire."""
        if not self._made:
            with told("making the control database"):
                self._deleted.create_index("at", expireAfterSeconds=self._kept_s)
            self._made = True

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival, durably and at once; tell how far the barrier has come."""
        place = f"{partition.topic}/{partition.partition}"
        found = self._update(barrier, {"$addToSet": {"arrived": place}, "$setOnInsert": {"owner": self._owner}})
        return Arrival.of(len(found["arrived"]), partition_count, is_passed=bool(found.get("passed")))

    def is_passed(self, barrier: str) -> bool:
        """Tell whether somebody has passed a barrier."""
        with told("reading a barrier"):
            found = self._barriers.find_one({"_id": self._id(barrier)})
        return bool(found and found.get("passed"))

    def set_passed(self, barrier: str) -> None:
        """Mark a barrier as passed."""
        self._update(barrier, {"$set": {"passed": True, "owner": self._owner}})

    def forget(self) -> list[str]:
        """Remove all barriers of this replication and target. What is known of deleted documents expires by itself."""
        with told("removing barriers"):
            count = self._barriers.delete_many({"owner": self._owner}).deleted_count
        return [f"removed {count} barriers from the collection {self._database}.{BARRIERS}"]

    def remember(self, place: str, deletions: Iterable[tuple[str, int]]) -> None:
        """Keep the commit sequences of documents that are about to be deleted, by their keys; the highest of each."""
        at = datetime.fromtimestamp(clock.now_us() / 1_000_000, UTC)
        writes = [
            UpdateOne({"_id": _id(place, key)}, {"$max": {"seq": Int64(seq)}, "$set": {"at": at}}, upsert=True)
            for key, seq in deletions
        ]
        if writes:
            with told("remembering deletions"):
                self._deleted.bulk_write(writes, ordered=False)

    def sequences(self, place: str, keys: Iterable[str]) -> dict[str, int]:
        """Return the commit sequences of deletions that are known of these keys."""
        ids = {_id(place, key): key for key in keys}
        if not ids:
            return {}
        with told("looking for deletions"):
            return {ids[found["_id"]]: int(found["seq"]) for found in self._deleted.find({"_id": {"$in": [*ids]}})}

    @property
    def _deleted(self) -> Any:
        return self._client.collection(self._database, DELETED)

    @property
    def _barriers(self) -> Any:
        return self._client.collection(self._database, BARRIERS)

    def _id(self, barrier: str) -> str:
        return f"{self._owner}/{barrier}"

    def _update(self, barrier: str, change: dict[str, Any]) -> dict[str, Any]:
        with told("changing a barrier"):
            found: dict[str, Any] = self._barriers.find_one_and_update(
                {"_id": self._id(barrier)}, change, upsert=True, return_document=ReturnDocument.AFTER
            )
        return found


def _id(place: str, key: str) -> str:
    # A text, not a document of two: every server finds it by its index at once.
    return f"{place}/{brief(key)}"
