"""Barriers and loads of one replication and target, as vertices: an arrival, or a claim, is a property."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apply.sink import Arrival, TopicPartition
from apply.sinks.neptune import gremlin
from apply.sinks.neptune.client import Client
from apply.sinks.neptune.gremlin import text
from runtime import clock
from schemas.table import TableName, TableSchema

LABEL = "tailrace_barrier"
ARRIVED = "at "
"""How a property begins that a partition's arrival makes."""

LOAD = "tailrace_load"
"""Label of the vertices that say of a table whether its rows may be loaded, and of a topic whose its partitions are."""

CLAIMED_AT_ONCE = 200
"""Topics of one request."""

SWEEP_VERTICES = 1_000
SWEEPS_MAX = 10
"""So many memories of deletions at most are removed at a time: of each request, and of requests."""
SWEEP_EVERY_S = 600


def by(partition: TopicPartition) -> str:
    """Return the property of a topic's vertex that names a partition's owner."""
    return f"by {partition.partition}"


def kept_by(partition: TopicPartition) -> str:
    """Return the property that names who has last finished what was left of a partition: its files alone count."""
    return f"kept by {partition.topic}/{partition.partition}"


class ControlVertices:
    """See `Sink.arrive` and `Sink.pass_barrier`. What deletions leave is removed here when its time is over."""

    def __init__(self, client: Client, owner: str, kept_s: int) -> None:
        self._client = client
        self._owner = owner
        self._kept_s = kept_s
        self._swept_at: float | None = None

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record an arrival, durably and at once; tell how far the barrier has come."""
        found = self._changed(barrier, f"{ARRIVED}{partition.topic}/{partition.partition}")
        arrived = sum(name.startswith(ARRIVED) for name in found)
        return Arrival.of(arrived, partition_count, is_passed="passed" in found)

    def is_passed(self, barrier: str) -> bool:
        """Tell whether somebody has passed a barrier."""
        statement = f"g.V({self._id(barrier)}).has('passed').count()"
        return bool(self._client.send([statement], "reading a barrier")[0])

    def set_passed(self, barrier: str) -> None:
        """Mark a barrier as passed."""
        self._changed(barrier, "passed")

    def forget(self) -> list[str]:
        """Remove all barriers. What is known of deleted rows goes by itself."""
        found = f"g.V().hasLabel('{LABEL}').has('owner',{text(self._owner)})"
        (count,) = self._client.send([f"{found}.count()"], "counting barriers")
        self._client.send([f"{found}.drop().iterate()"], "removing barriers")
        loads = f"g.V().hasLabel('{LOAD}').has('owner',{text(self._owner)})"
        self._client.send([f"{loads}.drop().iterate()"], "removing notes of loads")
        return [f"removed {count} barriers"]

    def loading(self, table: TableName) -> dict[str, Any] | None:
        """Return what is known of a table's load; None if nothing is. Names: see `note`."""
        found = self._client.send([f"g.V({self._load_id(table)}).valueMap()"], "looking at a load")
        return {name: value[0] for name, value in found[0].items()} if found else None

    def claim(self, partitions: Iterable[TopicPartition], owner: str) -> None:
        """Note whose partitions are from now on, durably and at once."""
        made = f"option(Merge.onCreate,[(T.label):'{LOAD}','owner':{text(self._owner)}])"
        statements = [
            f"g.mergeV([(T.id):{self._claims_id(topic)}]).{made}"
            + "".join(f".property(single,{text(by(p))},{text(owner)})" for p in some)
            + ".iterate()"
            for topic, some in _by_topic(partitions).items()
        ]
        for begin in range(0, len(statements), CLAIMED_AT_ONCE):
            self._client.send(statements[begin : begin + CLAIMED_AT_ONCE], "claiming partitions")

    def lost(self, partitions: Iterable[TopicPartition], owner: str) -> list[TopicPartition]:
        """Return those of the partitions that are not an owner's any more."""
        topics = _by_topic(partitions)
        names, lost = [*topics], list[TopicPartition]()
        for begin in range(0, len(names), CLAIMED_AT_ONCE):
            wanted = {self._claims_id(topic): topic for topic in names[begin : begin + CLAIMED_AT_ONCE]}
            found = self._client.send([f"g.V({','.join(wanted)}).valueMap(true)"], "looking at claims")
            claims = {wanted[text(each["id"])]: each for each in found}
            for topic in wanted.values():
                lost += [p for p in topics[topic] if claims.get(topic, {}).get(by(p)) != [owner]]
        return sorted(lost)

    def note(self, table: TableSchema, is_empty: bool) -> dict[str, Any]:
        """Note that a table is met, durably and at once; return what is known of its load by then.

        When it is first met, `empty` says whether it was, and `version` which one it had; `ended` comes later.
        """
        found = self._client.send([f"{self._noted(table, is_empty)}.valueMap()"], "noting a load")[0]
        return {name: value[0] for name, value in found.items()}

    def keep(self, table: TableName, partitions: Iterable[TopicPartition], owner: str) -> None:
        """Note that nothing of earlier owners is left of partitions, as far as they are the owner's."""
        kept = [
            f"g.V({self._claims_id(p.topic)}).has({text(by(p))},{text(owner)})"
            f".V({self._load_id(table)}).property(single,{text(kept_by(p))},{text(owner)}).iterate()"
            for p in partitions
        ]
        self._client.send(kept, "keeping partitions")

    def end_load(self, table: TableSchema) -> None:
        """Note that rows of a table's load are not alone any more."""
        self._client.send(
            [f"{self._noted(table, False)}.property(single,'ended',1).iterate()"], "noting the end of a load"
        )

    def begin_load(self, table: TableSchema) -> None:
        """Note that a table is empty: its rows may be loaded."""
        vertex = f"g.V({self._load_id(table.name)})"
        known = f"{vertex}.property(single,'empty',1).property(single,'version',{table.version}).iterate()"
        self._client.send([f"{vertex}.properties('ended').drop().iterate()", known], "noting that a table is empty")

    def sweep(self) -> None:
        """Remove, now and then, what is known of deletions that were long ago; more often while there are many."""
        now = clock.monotonic()
        if self._swept_at is not None and now - self._swept_at < SWEEP_EVERY_S:
            return
        self._swept_at = now
        before_s = clock.now_us() // 1_000_000 - self._kept_s
        old = f"g.V().hasLabel('{gremlin.DELETED}').has('at',lt({before_s}L)).limit({SWEEP_VERTICES})"
        for _ in range(SWEEPS_MAX):
            if not self._client.send([f"{old}.count()"], "looking for old deletions")[0]:
                return
            self._client.send([f"{old}.drop().iterate()"], "forgetting old deletions")
        # There may be more: else they would become more and more where much is deleted.
        self._swept_at = None

    def _changed(self, barrier: str, name: str) -> dict[str, Any]:
        made = f"[(T.label):'{LABEL}','owner':{text(self._owner)}]"
        statement = f"g.mergeV([(T.id):{self._id(barrier)}]).option(Merge.onCreate,{made})"
        statement += f".property(single,{text(name)},1).valueMap()"
        found: dict[str, Any] = self._client.send([statement], "changing a barrier")[0]
        return found

    def _noted(self, table: TableSchema, is_empty: bool) -> str:
        made = f"[(T.label):'{LOAD}','owner':{text(self._owner)},'empty':{int(is_empty)},'version':{table.version}]"
        return f"g.mergeV([(T.id):{self._load_id(table.name)}]).option(Merge.onCreate,{made})"

    def _claims_id(self, topic: str) -> str:
        return text(f"tailrace/claims/{self._owner}/{topic}")

    def _load_id(self, table: TableName) -> str:
        return text(f"tailrace/load/{self._owner}/{table}")

    def _id(self, barrier: str) -> str:
        return text(f"tailrace/barrier/{self._owner}/{barrier}")


def _by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[TopicPartition]]:
    found: dict[str, list[TopicPartition]] = {}
    for partition in partitions:
        found.setdefault(partition.topic, []).append(partition)
    return found
