"""The end of a table's full load at a target: indexes and foreign keys, once all partitions have passed.

Appliers share a table's partitions, so they meet at a barrier; one of them does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from apply.holds import barrier_of_load
from apply.schema_catalog import Loaded, SchemaCatalog
from apply.sink import Arrival, TopicPartition
from apply.writer import Writer
from runtime import clock
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema

log = get_logger(__name__)

RETRY_S = 60.0
"""How often indexes and foreign keys that the target refused are tried again."""


class Completion:
    """Follows every table from its first row to its last index."""

    def __init__(
        self,
        catalog: SchemaCatalog,
        writer: Writer,
        target: Callable[[str], TableSchema],
        in_background: Callable[[Callable[[], None]], None],
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        """`in_background` runs a job in the writer's thread: an index can take long, and the group must hear of us."""
        self._catalog = catalog
        self._writer = writer
        self._target = target
        self._in_background = in_background
        self._monotonic = monotonic
        self._retry_at: dict[str, float] = {}
        self._done: dict[str, int] = {}
        """By topic, the generation of the load that is known to be complete here."""
        self.failed: dict[str, TailraceError] = {}
        """By topic, why indexes or foreign keys could not be made; the rows flow nevertheless."""

    def is_done(self, topic: str) -> bool:
        """Tell whether the newest load of a table is complete at the target."""
        loaded = self._catalog.topics[topic].loaded
        return loaded is not None and self._done.get(topic) == loaded.generation

    def attend(self, reached: Mapping[TopicPartition, int]) -> None:
        """Begin to complete what can be completed. `reached` are the durable offsets of the partitions owned.

        Called with nothing unflushed. Raises what concerns the connection; what the target refuses is kept in
        `failed`, and tried again later.
        """
        now = self._monotonic()
        for topic, known in self._catalog.topics.items():
            loaded = known.loaded
            if loaded is None or self.is_done(topic) or now < self._retry_at.get(topic, 0.0):
                continue
            arrival = self._arrive(topic, loaded, reached)
            if arrival is Arrival.PASSED:
                self._done[topic] = loaded.generation
            elif arrival is Arrival.READY:
                # One at a time: the writer has one thread.
                self._in_background(
                    partial(self._complete, topic, loaded, self._target(topic), self._waiting_for(topic))
                )
                return

    def _arrive(self, topic: str, loaded: Loaded, reached: Mapping[TopicPartition, int]) -> Arrival:
        barrier = barrier_of_load(topic, loaded.generation)
        arrival = Arrival.WAITING
        for partition, offset in reached.items():
            if partition.topic == topic and offset >= loaded.offsets.get(partition.partition, 0):
                arrival = self._writer.sink.arrive(barrier, partition, len(loaded.offsets))
        return arrival

    def _complete(self, topic: str, loaded: Loaded, table: TableSchema, waiting: list[TableSchema]) -> None:
        try:
            self._writer.complete_load(barrier_of_load(topic, loaded.generation), table, waiting)
        except TailraceError as error:
            if error.kind not in {ErrorKind.TARGET_SCHEMA, ErrorKind.ROW_CONFLICT, ErrorKind.ROW_REJECTED}:
                raise
            self.failed[topic] = error
            self._retry_at[topic] = self._monotonic() + RETRY_S
            log.error("indexes or foreign keys not made", table=str(table.name), reason=str(error), retry_s=RETRY_S)
        else:
            self._done[topic] = loaded.generation
            self.failed.pop(topic, None)

    def _waiting_for(self, topic: str) -> list[TableSchema]:
        """Return the complete tables with a foreign key to this one: it could not be made before."""
        name = self._catalog.topics[topic].name
        return [
            self._target(other)
            for other in self._catalog.topics
            if other != topic and self.is_done(other) and name in {k.target for k in self._target(other).foreign_keys}
        ]


def ranks(catalog: SchemaCatalog, target: Callable[[str], TableSchema]) -> dict[object, int]:
    """Number the tables so that each comes after those that its foreign keys refer to; circles are cut anywhere."""
    tables = {known.name: target(topic) for topic, known in catalog.topics.items() if known.versions}
    found: dict[object, int] = {}
    for start in sorted(tables):
        stack = [(start, False)]
        open_tables = set()
        while stack:
            name, seen = stack.pop()
            if seen:
                found.setdefault(name, len(found))
                continue
            if name in found or name in open_tables:
                continue
            open_tables.add(name)
            stack.append((name, True))
            stack += [(key.target, False) for key in tables[name].foreign_keys if key.target in tables]
    return found
