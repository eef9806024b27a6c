"""The table versions of a replication: what the schemas topic holds, and the records that add to it.

A version is published once, in the Kafka transaction of the first change that is written with it, or before. A table
that comes back to an earlier form gets a new version all the same: versions order a table's history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import orjson

from runtime.kafka.admin import TopicSpec
from schemas.codecs import Encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.registry import (
    TableVersion,
    check_ids,
    parse_table_record,
    registry_record,
    schema_id_of,
    subject_of,
    table_record,
)
from schemas.settings import Settings
from schemas.table import TableName, TableSchema
from schemas.topic_settings import SubjectNaming
from schemas.topics import schemas_topic


class Addition(NamedTuple):
    """A record to publish."""

    topic: str
    key: bytes
    value: bytes


def keeps_avro(settings: Settings) -> bool:
    """Tell whether capture keeps Avro schemas itself, of all tables or of some."""
    topics = settings.topics
    formats = {topics.format, *(override.format for override in topics.overrides)}
    return settings.registry is None and Format.AVRO in formats


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return what the schemas topic and, with Avro, the registry's topic must be."""
    replication_factor = settings.topics.replication_factor
    specs = [TopicSpec(schemas_topic(settings.name), 1, "compact", replication_factor=replication_factor)]
    if keeps_avro(settings):
        specs.append(TopicSpec(settings.topics.registry_topic, 1, "compact", replication_factor=replication_factor))
    return specs


class Dropped(NamedTuple):
    """A table that the source has no more."""

    version: int
    """Its last version."""
    is_announced: bool
    """Whether it was said where its last record stands."""


@dataclass(slots=True)
class Catalogue:
    """All versions of all tables, and which loads were announced as complete."""

    topic: str
    registry_topic: str
    versions: dict[TableName, list[TableVersion]] = field(default_factory=dict)
    """Oldest first."""
    loaded: dict[TableName, int] = field(default_factory=dict)
    """The generation of the load that was last announced as complete."""
    dropped: dict[TableName, Dropped] = field(default_factory=dict)
    """Tables that are gone since a version, unless a newer one has come."""
    _texts: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, records: Mapping[bytes, bytes]) -> Catalogue:
        """Return what the schemas topic's latest records hold. Raises DECODE for what is no such record."""
        catalogue = cls(schemas_topic(settings.name), settings.topics.registry_topic)
        for key, value in records.items():
            document = _json(key)
            if isinstance(document, list):
                catalogue._take(document, _json(value))
                continue
            version = parse_table_record(value)
            catalogue.versions.setdefault(version.table.name, []).append(version)
        for history in catalogue.versions.values():
            history.sort(key=lambda version: version.table.version)
        return catalogue

    def _take(self, key: list[Any], said: Any) -> None:
        try:
            if key[:1] == ["loaded"]:
                self.loaded[TableName(*key[1:])] = int(said["generation"])
            elif key[:1] == ["dropped"]:
                self.dropped[TableName(*key[1:])] = Dropped(int(said["version"]), "offsets" in said)
        except (ValueError, KeyError, TypeError, OverflowError):
            raise TailraceError(
                ErrorKind.DECODE, f"a record of {self.topic} about a load or a dropped table cannot be read"
            ) from None

    def find(self, name: TableName, version: int) -> TableSchema:
        """Return a version. Raises SOURCE_LOG_LOST when the topic has lost it."""
        for entry in self.versions.get(name, ()):
            if entry.table.version == version:
                return entry.table
        raise TailraceError(
            ErrorKind.SOURCE_LOG_LOST,
            f"{self.topic} does not hold version {version}, which the checkpoint names as in force",
            remedy="`tailrace reset` begins anew; never delete records of this topic by hand",
            table=str(name),
        )

    def numbered(
        self, table: TableSchema, *, anew: bool = False, void: bool = False, is_applied: bool = False
    ) -> TableSchema:
        """Return the table under the next free version number; the newest version itself if it is the same table.

        `anew`: it gets a number of its own even if it is the same. `void`: what earlier versions wrote does not count.
        `is_applied`: the targets' side has it so, or had it.
        """
        history = self.versions.get(table.name)
        if not history:
            return replace(table, version=1, life=1, follows=int(is_applied))
        newest = history[-1].table
        if newest.fingerprint == table.fingerprint and not anew:
            return newest
        follows = (newest.follows or newest.version) if is_applied else 0
        return replace(table, version=newest.version + 1, life=newest.life + void, follows=follows)

    def has_published_to(self, name: TableName, topic: str) -> bool:
        """Tell whether a version of the table was published for records on this topic."""
        return any(version.topic == topic for version in self.versions.get(name, ()))

    def entry(self, table: TableSchema) -> TableVersion | None:
        """Return what is known of a version; None for a new one."""
        return next((e for e in self.versions.get(table.name, ()) if e.table.version == table.version), None)

    def add(
        self, encoder: Encoder, topic: str, *, by_registry: bool = False, is_shared: bool = False
    ) -> list[Addition]:
        """Note a version that `numbered` gave; return the records that publish it, none if it is known.

        `topic` is the table's; `by_registry`: a registry has its schemas; `is_shared`: the topic is that of other
        tables, too. Raises INVARIANT when the ids of two Avro schemas collide.
        """
        table = encoder.table
        history = self.versions.setdefault(table.name, [])
        if self.entry(table) is not None:
            return []
        additions: list[Addition] = []
        texts = (encoder.key_schema_text, encoder.value_schema_text)
        registered = None
        if by_registry and texts != (None, None):
            key, value = texts
            registered = (schema_id_of(key) if key else None, schema_id_of(value) if value else None)
        elif not by_registry:
            naming = SubjectNaming.TOPIC_RECORD if is_shared else SubjectNaming.TOPIC
            additions += self._registry(naming, topic, "key", encoder.key_schema_id, texts[0], history)
            additions += self._registry(naming, topic, "value", encoder.value_schema_id, texts[1], history)
        entry = TableVersion(table, encoder.key_schema_id, encoder.value_schema_id, registered, topic)
        history.append(entry)
        return [*additions, Addition(self.topic, *table_record(entry))]

    def announce_loaded(self, table: TableSchema, generation: int, offsets: Mapping[int, int]) -> Addition:
        """Return the record that says that a table is loaded: all its rows stand before `offsets`, by partition."""
        self.loaded[table.name] = generation
        document = {
            "generation": generation,
            "version": table.version,
            "offsets": {str(partition): offset for partition, offset in sorted(offsets.items())},
        }
        return Addition(self.topic, orjson.dumps(["loaded", *table.name]), orjson.dumps(document))

    def note_dropped(self, table: TableSchema) -> Addition:
        """Return the record that says that a table is gone, for the Kafka transaction of its last change."""
        self.dropped[table.name] = Dropped(table.version, is_announced=False)
        return self._dropped(table, {})

    def announce_dropped(self, table: TableSchema, offsets: Mapping[int, int]) -> Addition:
        """Return the record that says, besides, that all its records stand before `offsets`, by partition."""
        self.dropped[table.name] = Dropped(table.version, is_announced=True)
        return self._dropped(table, {"offsets": {str(p): offset for p, offset in sorted(offsets.items())}})

    def to_announce(self) -> list[TableSchema]:
        """Return the tables that are gone of which it was not said yet where their last record stands."""
        newest = {name: history[-1].table for name, history in self.versions.items()}
        return [
            newest[name]
            for name, dropped in self.dropped.items()
            if not dropped.is_announced and name in newest and newest[name].version == dropped.version
        ]

    def _dropped(self, table: TableSchema, where: dict[str, Any]) -> Addition:
        document = {"version": table.version, **where}
        return Addition(self.topic, orjson.dumps(["dropped", *table.name]), orjson.dumps(document))

    def _registry(
        self,
        naming: SubjectNaming,
        topic: str,
        part: str,
        schema_id: int | None,
        text: str | None,
        history: Sequence[TableVersion],
    ) -> list[Addition]:
        if schema_id is None or text is None:
            return []
        check_ids(self._texts, schema_id, text)
        ids = [entry.key_schema_id if part == "key" else entry.value_schema_id for entry in history]
        distinct = list(dict.fromkeys(identity for identity in ids if identity is not None))
        if schema_id in distinct:
            return []
        record = registry_record(subject_of(naming, topic, part, text), len(distinct) + 1, schema_id, text)
        return [Addition(self.registry_topic, *record)]


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise TailraceError(ErrorKind.DECODE, "a record of the schemas topic is no JSON") from None
