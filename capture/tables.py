"""Tables on their way into a session: a topic, a published version and an encoder for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from capture.publishing.feed import KEYLESS_PARTITION, Feed
from capture.publishing.large_records import TopicEnds
from capture.publishing.outbox import OutboxMessages
from capture.publishing.publisher import Publisher
from capture.publishing.registration import Registration
from capture.publishing.schemas_topic import Addition, Catalogue, keeps_avro
from capture.publishing.shapes import SHAPES, Origin, Reshaper
from capture.source import RELOAD
from runtime import clock
from runtime.kafka.admin import TopicSpec
from runtime.lifecycle import StoppedError, pause
from runtime.registry import Registry
from schemas.codecs import Encoder, SchemaIds, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.routing import Route, route
from schemas.settings import Settings
from schemas.table import TableName, TableSchema
from schemas.topic_settings import Cleanup

TOPIC_SEEN_WITHIN_S = 5.0


class TopicAdmin(TopicEnds, Protocol):
    """What is needed of `runtime.kafka.admin.Topics`."""

    def list(self, prefix: str = "") -> dict[str, int]: ...


class Tables:
    """Makes feeds and gives them new versions."""

    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        catalogue: Catalogue,
        topics: TopicAdmin,
        connector: str,
        registry: Registry | None = None,
        seal: Callable[[], None] = lambda: None,
    ) -> None:
        """`seal` is called once records of the registry's topic are committed; see `seal_registry_topic`."""
        self._settings = settings
        self._seal = seal
        # A predecessor may have died in between.
        self._is_unsealed = keeps_avro(settings)
        self._publisher = publisher
        self._catalogue = catalogue
        self._registration = Registration(catalogue, registry)
        self._topics = topics
        self._connector = connector

    def add(self, pairs: Sequence[tuple[TableSchema, TableSchema]]) -> None:
        """Make or renew the feeds of (published, source's) table versions.

        Topics are made at once; the versions' records go into the open Kafka transaction. Raises CONFIGURATION when a
        topic exists with other settings, SOURCE_LOG_LOST when one is gone that was published to.
        """
        existing = self._topics.list()
        specs = {table.name: table_spec(self._settings, table, self._catalogue, existing) for table, _ in pairs}
        wanted = {spec.name: spec for table, spec in specs.items() if self._way(table).outbox is None}
        self._refuse_gone([table for table, spec in specs.items() if spec.name in wanted], existing)
        self._topics.ensure(list(wanted.values()))
        additions: list[Addition] = []
        for table, source_table in pairs:
            way = self._way(table.name)
            encoder, shape = self._codec(table, way)
            wire = encoder if shape is None else shape.wire
            additions += self._catalogue.add(
                wire, way.topic, by_registry=self._registration.is_by_registry, is_shared=way.shared
            )
            feed = self._publisher.feeds.get(table.name)
            if feed is None:
                feed = Feed(table, source_table, encoder, way.topic, specs[table.name].partitions, shape)
                feed.tombstones = way.tombstones and shape is None
                feed.compacted = specs[table.name].cleanup == str(Cleanup.COMPACT)
                self._publisher.feeds[table.name] = feed
            else:
                # The rows of one transaction share a block of the old encoder: it is made anew.
                feed.table, feed.source_table, feed.txn = table, source_table, None
                feed.encoder, feed.shape = encoder, shape
        for addition in additions:
            self._publisher.record(*addition)
            self._is_unsealed |= addition.topic == self._settings.topics.registry_topic

    def look_for_topics(self) -> None:
        """Raise SOURCE_LOG_LOST if the topic of a table is gone. Asked while a commit waits: for that it may."""
        names = [name for name in self._publisher.feeds if self._way(name).outbox is None]
        try:
            self._refuse_gone(names, self._topics.list())
        except TailraceError as error:
            # Else the brokers do not answer: that is what the commit waits for.
            if error.kind is ErrorKind.SOURCE_LOG_LOST or isinstance(error, StoppedError):
                raise

    def committed(self) -> None:
        """Note that the Kafka transaction with the versions' records is committed."""
        if self._is_unsealed:
            self._is_unsealed = False
            self._seal()

    def as_published(self, table: TableSchema) -> TableSchema:
        """Return a version in force as it goes on: under a new number if its schemas, or their ids, are others now."""
        entry = self._catalogue.entry(table)
        wire = self._unregistered(table, self._way(table.name))[1]
        if entry is None or self._registration.suits(entry, wire):
            return table
        return self._catalogue.numbered(table, anew=True)

    def ids(self, name: TableName) -> SchemaIds | None:
        """Return the ids that a table's encoder writes; None where they are hashes, or there are none."""
        feed = self._publisher.feeds[name]
        return None if feed.shape is not None else self._registration.ids(feed.encoder, feed.topic)

    def _refuse_gone(self, names: Sequence[TableName], existing: Mapping[str, int]) -> None:
        # A broker that has just started may not know of all topics yet.
        deadline = clock.monotonic() + TOPIC_SEEN_WITHIN_S
        while (error := next(topics_gone(self._settings, names, self._catalogue, existing), None)) is not None:
            if clock.monotonic() >= deadline:
                raise error
            pause(0.2, "a table's topic is looked for")
            existing = self._topics.list()

    def _way(self, name: TableName) -> Route:
        return route(self._settings, name)

    def _codec(self, table: TableSchema, way: Route) -> tuple[Encoder, Reshaper | None]:
        """Return a version's encoder and, for records of another shape, what makes them of what it writes."""
        shape, wire = self._unregistered(table, way)
        ids = self._registration.ids(wire, way.topic)
        if shape is None:
            moved = self._settings.asks_for_old_rows(table.name, of_keys=True)
            return compile_encoder(table, way.format, **self._origin(table)._asdict(), ids=ids, tells_moved=moved), None
        if ids is not None:
            shape.identify(ids)
        return shape.inner, shape

    def _unregistered(self, table: TableSchema, way: Route) -> tuple[Reshaper | None, Encoder]:
        """Return the shape, and what stands on the topic, with ids of our own making."""
        if way.is_plain:
            return None, compile_encoder(table, way.format, **self._origin(table)._asdict())
        origin = self._origin(table)
        if way.outbox is not None:
            shape: Reshaper = OutboxMessages(table, way, origin, self._make_outbox_topic(way))
        else:
            shape = SHAPES[way.shape](table, way, origin)
        return shape, shape.wire

    def _origin(self, table: TableSchema) -> Origin:
        database = self._settings.source.database or table.name.schema
        return Origin(self._settings.name, self._connector, database)

    def _make_outbox_topic(self, way: Route) -> Callable[[str], None]:
        replication_factor = self._settings.topics.replication_factor

        def make(topic: str) -> None:
            cleanup = str(way.cleanup)
            spec = TopicSpec(topic, way.partitions, cleanup, way.config, replication_factor=replication_factor)
            if topic not in self._topics.list(topic):
                self._topics.ensure([spec])

        return make


def topics_gone(
    settings: Settings, names: Iterable[TableName], catalogue: Catalogue, existing: Mapping[str, int]
) -> Iterator[TailraceError]:
    """Say of each topic that was published to and is not among `existing` that it is gone.

    Made anew it would begin at offset 0, and appliers go on at the offset that they have of the one before.
    """
    for name in names:
        topic = route(settings, name).topic
        if topic not in existing and catalogue.has_published_to(name, topic):
            yield TailraceError(
                ErrorKind.SOURCE_LOG_LOST,
                f"the topic {topic} is gone, and with it what was published",
                remedy=RELOAD,
                table=str(name),
            )


def table_spec(settings: Settings, table: TableSchema, catalogue: Catalogue, existing: Mapping[str, int]) -> TopicSpec:
    """Return what the topic of a table must be. `existing` are the partitions of the topics that there are."""
    way = route(settings, table.name)
    history = [entry.table for entry in catalogue.versions.get(table.name, ())]
    keyed = {bool(version.key or way.key) for version in (*history, table)}
    spreads = table.spreads or bool(way.key) or way.shared
    partitions = way.partitions if spreads else KEYLESS_PARTITION + 1
    # Unique values that change places do so in order.
    together = table.is_entangled and way.is_plain and not way.is_spread
    if together:
        partitions = 1
    if together or not spreads or len({(version.spreads, version.is_entangled) for version in (*history, table)}) > 1:
        # A table that has got or lost its key, or such an index, keeps the topic that it has; so does one that lost it
        # in a life of which only the topic is left. One partition is enough, and of several the first is used.
        partitions = existing.get(way.topic, partitions)
    # Compaction needs keys.
    cleanup = str(way.cleanup) if keyed == {True} else "delete"
    replication_factor = settings.topics.replication_factor
    return TopicSpec(way.topic, partitions, cleanup, way.config, replication_factor=replication_factor)
