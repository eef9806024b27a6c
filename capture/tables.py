"""Tables on their way into a session: a topic, a published version and an encoder for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from capture.publisher import KEYLESS_PARTITION, Feed, Publisher
from capture.registration import Registration
from capture.schemas_topic import Addition, Catalogue
from runtime.kafka.admin import TopicSpec
from runtime.registry import Registry
from schemas.codecs import Encoder, SchemaIds, compile_encoder
from schemas.settings import Settings
from schemas.table import TableName, TableSchema
from schemas.topics import data_topic


class TopicAdmin(Protocol):
    """What is needed of `runtime.kafka.admin.Topics`."""

    def ensure(self, specs: Sequence[TopicSpec]) -> list[str]: ...
    def list(self, prefix: str = "") -> dict[str, int]: ...
    def end_offsets(self, topics: Iterable[str], *, read_committed: bool) -> Mapping[tuple[str, int], int]: ...


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
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._catalogue = catalogue
        self._registration = Registration(catalogue, registry)
        self._topics = topics
        self._connector = connector

    def add(self, pairs: Sequence[tuple[TableSchema, TableSchema]]) -> None:
        """Make or renew the feeds of (published, source's) table versions.

        Topics are made at once; the versions' records go into the open Kafka transaction. Raises CONFIGURATION when a
        topic exists with other settings.
        """
        settings = self._settings
        existing = self._topics.list(f"{settings.name}.")
        specs = {data_topic(settings.name, table.name): self._spec(table, existing) for table, _ in pairs}
        self._topics.ensure(list(specs.values()))
        additions: list[Addition] = []
        for table, source_table in pairs:
            topic = data_topic(settings.name, table.name)
            encoder = self._encoder(table, topic)
            additions += self._catalogue.add(encoder, topic, registered=self._registration.is_by_registry)
            feed = self._publisher.feeds.get(table.name)
            if feed is None:
                feed = Feed(table, source_table, encoder, topic, specs[topic].partitions)
                self._publisher.feeds[table.name] = feed
            else:
                # The rows of one transaction share a block of the old encoder: it is made anew.
                feed.table, feed.source_table, feed.encoder, feed.txn = table, source_table, encoder, None
        for addition in additions:
            self._publisher.record(*addition)

    def as_published(self, table: TableSchema) -> TableSchema:
        """Return a version in force as it goes on: under a new number if its schemas' ids are of another kind now."""
        entry = self._catalogue.entry(table)
        if entry is None or self._registration.suits(entry):
            return table
        return self._catalogue.numbered(table, anew=True)

    def ids(self, name: TableName) -> SchemaIds | None:
        """Return the ids that the keys and values of a table carry; None where they are hashes, or there are none."""
        feed = self._publisher.feeds[name]
        return self._registration.ids(feed.encoder, feed.topic)

    def _encoder(self, table: TableSchema, topic: str) -> Encoder:
        compile_ = partial(
            compile_encoder,
            table,
            self._settings.topics.format,
            replication=self._settings.name,
            connector=self._connector,
            database=self._settings.source.database or table.name.schema,
        )
        encoder = compile_()
        ids = self._registration.ids(encoder, topic)
        return encoder if ids is None else compile_(ids=ids)

    def _spec(self, table: TableSchema, existing: Mapping[str, int]) -> TopicSpec:
        topics = self._settings.topics
        name = data_topic(self._settings.name, table.name)
        history = [entry.table for entry in self._catalogue.versions.get(table.name, ())]
        keyed = {bool(version.key) for version in (*history, table)}
        partitions = topics.partitions if table.spreads else KEYLESS_PARTITION + 1
        if len({version.spreads for version in (*history, table)}) > 1:
            # A table that has got or lost its key keeps the topic that it has.
            partitions = existing.get(name, partitions)
        # Compaction needs keys.
        cleanup = str(topics.cleanup) if keyed == {True} else "delete"
        return TopicSpec(name, partitions, cleanup, topics.config, replication_factor=topics.replication_factor)
