"""The end of a table's full load at a target: indexes and foreign keys, once all partitions have passed.

Appliers share a table's partitions, so they meet at a barrier; one of them does the work. Indexes and foreign keys that
the source gets later are made in the same way; so a table that the source dropped is dropped, and one that it altered
is altered although no row has followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from apply.barriers import barrier_of_drop, barrier_of_load, barrier_of_version
from apply.batching.versions import Versions
from apply.grouping import Load
from apply.schema_catalog import Dropped, Loaded, TopicSchemas
from apply.sink import Arrival, Arriving, TopicPartition
from apply.writer import Writer
from runtime import clock
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

log = get_logger(__name__)

RETRY_S = 60.0
"""How often indexes and foreign keys that the target refused are tried again."""
TURN_S = 1.0
"""After so long in a turn no further table is begun with: rows are waiting. (One index can take much longer.)"""
TURN_TABLES_MAX = 200
GROUP_RECORDS_MAX = 100_000
"""Tables of so many records together are completed in one transaction, or a larger one alone: it keeps rows waiting."""

Job = Callable[[], None]


class _Loaded(NamedTuple):
    """A table whose load is published, and some of whose partitions here have passed it."""

    topic: str
    loaded: Loaded
    barrier: str
    arrivals: list[Arriving]


class Completion:
    """Follows every table from its first row to its last index."""

    def __init__(
        self,
        versions: Versions,
        writer: Writer,
        in_background: Callable[[Callable[[], None]], None],
        monotonic: Callable[[], float] = clock.monotonic,
        *,
        end_parked: Callable[[TopicPartition, int], None] = lambda _partition, _offset: None,
        drops: bool = True,
    ) -> None:
        """`in_background` runs a job in the writer's thread: an index can take long, and the group must hear of us.

        `end_parked` is told of partitions of a dropped table, and where that stood. `drops`: tables that the source
        drops are dropped here, too.
        """
        self._drops = drops
        self._end_parked = end_parked
        self._versions = versions
        self._catalog = versions.catalog
        self._writer = writer
        self._in_background = in_background
        self._monotonic = monotonic
        self._retry_at: dict[str, float] = {}
        self._done: dict[str, int] = {}
        """By topic, the generation of the load that is known to be complete here."""
        self._followed: dict[str, int] = {}
        """By topic, the version up to which indexes, foreign keys and the table's end are known to be followed."""
        self._referring: dict[TableName, list[str]] = {}
        """The topics of the tables with a foreign key to a table, when jobs were last found."""
        self.failed: dict[str, TailraceError] = {}
        """By topic, why indexes or foreign keys could not be made; the rows flow nevertheless."""

    def is_done(self, topic: str) -> bool:
        """Tell whether the newest load of a table is complete at the target."""
        loaded = self._catalog.topics[topic].loaded
        return loaded is not None and self._done.get(topic) == loaded.generation

    def is_published(self, topic: str) -> bool:
        """Tell whether the topic holds all rows of a table's newest load."""
        return self._catalog.topics[topic].published is not None

    def is_over(self, topic: str) -> bool:
        """Tell whether no load of a table comes to its end any more: the source dropped it, before that was published,
        or as it is dropped here.
        """
        known = self._catalog.topics[topic]
        return known.is_gone and (self._drops or known.published is None)

    def attend(self, reached: Mapping[TopicPartition, int]) -> None:
        """Begin to complete what can be completed. `reached` are the offsets that the group has of partitions owned:
        whoever takes one over after it has arrived at a barrier must not read again what stands before that.

        Called with nothing unflushed. Raises what concerns the connection; what the target refuses is kept in
        `failed`, and tried again later.
        """
        now = self._monotonic()
        jobs: list[Job] = []
        loads: list[_Loaded] = []
        by_topic: dict[str, dict[TopicPartition, int]] = {}
        for partition, offset in reached.items():
            by_topic.setdefault(partition.topic, {})[partition] = offset
        for topic, owned in by_topic.items():
            known = self._catalog.topics.get(topic)
            if known is None or not known.versions or now < self._retry_at.get(topic, 0.0):
                continue
            found = self._attend_one(topic, known, owned)
            if isinstance(found, _Loaded):
                loads.append(found)
            elif found is not None:
                jobs.append(found)
                if len(jobs) >= TURN_TABLES_MAX:
                    break
        jobs += [partial(self._complete_group, group) for group in self._groups(self._ready(loads))]
        if jobs:
            self._referring = self._read_references()
            self._in_background(lambda: self._turn(jobs))

    def _turn(self, jobs: Sequence[Job]) -> None:
        """Do jobs one after the other, in the writer's thread; those that are left are found again."""
        began = self._monotonic()
        for job in jobs:
            job()
            if self._monotonic() - began >= TURN_S:
                break

    def _attend_one(
        self, topic: str, known: TopicSchemas, reached: Mapping[TopicPartition, int]
    ) -> Job | _Loaded | None:
        """Look at one table, whose partitions here are `reached`; return what is to be done for it."""
        newest, loaded, dropped = known.newest, known.loaded, known.dropped
        if self._drops and dropped is not None and dropped.version == newest.version:
            return self._attend_drop(topic, newest, dropped, reached)
        if loaded is None or not self.is_published(topic):
            # It is to be loaded anew, or never was.
            return self._attend_columns(topic, known) if newest.life == known.oldest.life else None
        table = self._versions.target(topic)
        if not self.is_done(topic):
            barrier = barrier_of_load(topic, loaded.generation)
            arrivals = _arriving(barrier, loaded.offsets, reached)
            return _Loaded(topic, loaded, barrier, arrivals) if arrivals else None
        if self._followed.get(topic) == table.version:
            return None
        then = known.versions.get(loaded.version, table)
        if (then.indexes, then.foreign_keys) == (table.indexes, table.foreign_keys):
            return self._attend_columns(topic, known)
        barrier = barrier_of_version(topic, table.version)
        # Whoever comes first does it: no row is waited for.
        arrival = next((self._writer.sink.arrive(barrier, p, 1) for p in reached), Arrival.WAITING)
        if arrival is Arrival.PASSED:
            self._followed[topic] = table.version
        elif arrival is Arrival.READY:
            return self._job(topic, table, lambda: self._complete([_Loaded(topic, loaded, barrier, [])]))
        return None

    def _ready(self, loads: Sequence[_Loaded]) -> list[_Loaded]:
        """Let the partitions of loaded tables arrive; return the tables that all partitions have passed."""
        ready: list[_Loaded] = []
        for start in range(0, len(loads), TURN_TABLES_MAX):
            some = loads[start : start + TURN_TABLES_MAX]
            states = iter(self._writer.grouping.arrive([arriving for load in some for arriving in load.arrivals]))
            for load in some:
                # The last to arrive has seen the others.
                state = [next(states) for _ in load.arrivals][-1]
                if state is Arrival.PASSED:
                    self._done[load.topic] = load.loaded.generation
                elif state is Arrival.READY:
                    ready.append(load)
            if len(ready) >= TURN_TABLES_MAX:
                break
        return ready

    def _groups(self, loads: Sequence[_Loaded]) -> list[list[_Loaded]]:
        """Return what is completed in one transaction each."""
        tables_max = self._writer.grouping.tables_max
        groups: list[list[_Loaded]] = []
        records = 0
        for load in loads:
            count = sum(load.loaded.offsets.values())
            if groups and len(groups[-1]) < tables_max and records + count <= GROUP_RECORDS_MAX:
                groups[-1].append(load)
                records += count
            else:
                groups.append([load])
                records = count
        return groups

    def _complete_group(self, loads: Sequence[_Loaded]) -> None:
        if len(loads) > 1:
            try:
                self._complete(loads)
            except TailraceError as error:
                if error.kind is ErrorKind.TARGET_CONNECTION:
                    raise
                # Of one of them, or of their number: it shows when each comes alone.
                log.info("tables are completed one by one", tables=len(loads), reason=error.message)
            else:
                return
        for load in loads:
            self._job(load.topic, self._versions.target(load.topic), partial(self._complete, [load]))()

    def _attend_columns(self, topic: str, known: TopicSchemas) -> Job | None:
        """Let the target's table have other columns before a row comes that is written with them: none may come."""
        table = self._versions.target(topic)
        is_altered = table.version != known.oldest.version and not known.is_gone
        if not is_altered or self._writer.sink.capabilities.history or self._writer.prepared.has(table):
            return None
        # Whoever owns partitions does it: to repeat it changes nothing, and the target lets one at a time.
        return self._job(topic, table, lambda: self._follow(topic, table))

    def _follow(self, topic: str, table: TableSchema) -> None:
        try:
            self._writer.follow(table)
        except TailraceError as error:
            if error.kind is not ErrorKind.TARGET_THROTTLED:
                raise
            # Somebody reads or locks it. No row waits for it, and the rows of other tables need not.
            self._retry_at[topic] = self._monotonic() + RETRY_S
            log.warning("table not altered yet", table=str(table.name), reason=str(error), retry_s=RETRY_S)

    def _attend_drop(
        self, topic: str, table: TableSchema, dropped: Dropped, reached: Mapping[TopicPartition, int]
    ) -> Job | None:
        if self._followed.get(topic) == -dropped.version:
            return None
        barrier = barrier_of_drop(topic, dropped.version)
        # Where its rows stay, since others are in the target's table, what was refused of them counts.
        for partition, offset in () if self._writer.stays(table, is_gone=True) else reached.items():
            if offset >= (end := dropped.offsets.get(partition.partition, 0)):
                self._end_parked(partition, end)
        arrival = self._arrive(barrier, dropped.offsets, reached)
        if arrival is Arrival.PASSED:
            self._followed[topic] = -dropped.version
        elif arrival is Arrival.READY:
            return self._job(topic, table, lambda: self._writer.drop(barrier, table))
        return None

    def _arrive(self, barrier: str, offsets: Mapping[int, int], reached: Mapping[TopicPartition, int]) -> Arrival:
        return (self._writer.grouping.arrive(_arriving(barrier, offsets, reached)) or [Arrival.WAITING])[-1]

    def _job(self, topic: str, table: TableSchema, work: Job) -> Job:
        def job() -> None:
            try:
                work()
            except TailraceError as error:
                if error.kind not in {ErrorKind.TARGET_SCHEMA, ErrorKind.ROW_CONFLICT, ErrorKind.ROW_REJECTED}:
                    raise
                self.failed[topic] = error
                self._retry_at[topic] = self._monotonic() + RETRY_S
                log.error("table not completed", table=str(table.name), reason=str(error), retry_s=RETRY_S)
            else:
                self.failed.pop(topic, None)

        return job

    def _complete(self, loads: Sequence[_Loaded]) -> None:
        self._writer.complete_loads(
            [Load(load.barrier, self._versions.target(load.topic), self._waiting_for(load.topic)) for load in loads]
        )
        for load in loads:
            self._done[load.topic] = load.loaded.generation
            self.failed.pop(load.topic, None)

    def _waiting_for(self, topic: str) -> list[TableSchema]:
        """Return the complete tables with a foreign key to this one: it could not be made before."""
        referring = self._referring.get(self._catalog.topics[topic].name, ())
        return [self._versions.target(other) for other in referring if other != topic and self.is_done(other)]

    def _read_references(self) -> dict[TableName, list[str]]:
        found: dict[TableName, list[str]] = {}
        for topic, known in self._catalog.topics.items():
            for name in {key.target for key in self._versions.target(topic).foreign_keys} if known.versions else ():
                found.setdefault(name, []).append(topic)
        return found


def _arriving(barrier: str, offsets: Mapping[int, int], reached: Mapping[TopicPartition, int]) -> list[Arriving]:
    """Return the partitions that stand at a barrier behind these offsets, or have passed it."""
    return [
        Arriving(barrier, partition, len(offsets))
        for partition, offset in reached.items()
        if offset >= offsets.get(partition.partition, 0)
    ]


def ranks(versions: Versions) -> dict[object, int]:
    """Number the tables so that each comes after those that its foreign keys refer to; circles are cut anywhere."""
    tables = {known.name: versions.target(topic) for topic, known in versions.catalog.topics.items() if known.versions}
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
