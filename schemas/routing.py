"""Where the changes of a table go, and in what form: the settings of topics, and what overrides them for a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.selection import Selection
from schemas.settings import Settings
from schemas.table import TableName
from schemas.topic_settings import Cleanup, Deletes, Outbox, RowField, Shape, TopicOverride
from schemas.topics import NAME_LENGTH_MAX, data_topic, legal

OWN = ".tailrace."
"""What the names of a replication's own topics have in them, behind its name."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one table's changes."""

    topic: str
    """Of an outbox, no topic: its messages say where they go."""
    format: Format
    shape: Shape
    shared: bool
    fields: tuple[RowField, ...]
    deletes: Deletes
    key: tuple[str, ...]
    """Columns of the records' key; empty: the table's own."""
    partitions: int
    is_spread: bool
    """Whether an override says how many partitions the table's topic has."""
    cleanup: Cleanup
    tombstones: bool
    config: Mapping[str, Any]
    outbox: Outbox | None

    @property
    def is_compacted(self) -> bool:
        """Whether Kafka may remove a record when there is a later one of its key."""
        return "compact" in str(self.config.get("cleanup.policy", self.cleanup))

    @property
    def is_plain(self) -> bool:
        """Whether records are envelopes under the table's own key."""
        return self.shape is Shape.ENVELOPE and not self.key and self.outbox is None

    @property
    def is_applicable(self) -> bool:
        """Whether appliers read the topic."""
        return self.is_plain and not self.shared

    @property
    def why_not(self) -> str:
        """Say why appliers do not."""
        if self.outbox is not None:
            return "it is an outbox"
        if self.shape is not Shape.ENVELOPE:
            return f"its records have the shape {self.shape}"
        return "its records have a key of other columns" if self.key else "it shares its topic with other tables"


def route(settings: Settings, name: TableName) -> Route:
    """Return the way of a table's changes."""
    topics = settings.topics
    found: dict[str, Any] = {"config": dict(topics.config)}
    for override in topics.overrides:
        if Selection(override.tables).takes(name):
            config = found["config"] | override.config
            found |= {key: value for key, value in _given(override).items() if value is not None}
            found["config"] = config
    shape = found.get("shape", Shape.ENVELOPE)
    cleanup = found.get("cleanup", topics.cleanup)
    tombstones = found.get("tombstones", topics.tombstones)
    template = found.get("topic")
    is_json = shape is Shape.CLOUDEVENT or "outbox" in found
    return Route(
        topic=data_topic(settings.name, name) if template is None else _named(template, settings.name, name),
        format=Format.JSON if is_json else found.get("format", topics.format),
        shape=shape,
        shared=found.get("shared", False),
        fields=tuple(found.get("fields", ())),
        deletes=found.get("deletes", Deletes.TOMBSTONE),
        key=tuple(found.get("key", ())),
        partitions=found.get("partitions", topics.partitions),
        is_spread="partitions" in found,
        cleanup=cleanup,
        tombstones=cleanup is Cleanup.COMPACT if tombstones is None else tombstones,
        config=found["config"],
        outbox=found.get("outbox"),
    )


def inner_format(way: Route) -> Format:
    """Return the format of the encoder that makes the records, or what another shape is made of."""
    if way.is_plain:
        return way.format
    return Format.AVRO if way.format is Format.AVRO else Format.JSON


def _given(override: TopicOverride) -> dict[str, Any]:
    return {name: getattr(override, name) for name in TopicOverride.model_fields if name not in ("tables", "config")}


def _named(template: str, replication: str, name: TableName) -> str:
    words = {"name": replication, "schema": name.schema, "table": name.table}
    return re.sub(r"\{(\w+)\}", lambda found: legal(words[found[1]]), template)


def check_routes(settings: Settings, names: Iterable[TableName]) -> None:
    """Raise CONFIGURATION if tables would share a topic that is not said to be shared, or that would lose rows of one
    for those of another, or if a topic's name cannot be.
    """
    taken: dict[str, tuple[TableName, bool]] = {}
    for name in names:
        way = route(settings, name)
        if way.outbox is not None:
            continue
        if len(way.topic) > NAME_LENGTH_MAX:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"the topic name of {name} has {len(way.topic)} characters; Kafka allows {NAME_LENGTH_MAX}",
                remedy="choose a shorter `name` for the replication, or leave the table out",
            )
        if way.topic.startswith(settings.name + OWN):
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"{way.topic}, the topic of {name}, has a name of Tailrace's own topics",
                remedy="give it another one in `topics.overrides`",
            )
        if way.topic in taken and not (way.shared and taken[way.topic][1]):
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"{taken[way.topic][0]} and {name} would both be published to {way.topic}",
                remedy="leave one of them out of `source.tables`, give them topics of their own, or say `shared: true`"
                " for both in `topics.overrides`",
            )
        if way.topic in taken and way.cleanup is Cleanup.COMPACT and way.format is Format.JSON:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"{way.topic} would lose rows to compaction: keys in plain JSON do not say whether they are those of "
                f"{taken[way.topic][0]} or of {name}",
                remedy="set `cleanup: delete` for it in `topics.overrides`, or a `format` whose keys have a schema",
            )
        taken[way.topic] = (name, way.shared)


def outbox_topics(settings: Settings, existing: Iterable[str]) -> list[str]:
    """Return those of the existing topics that messages of outboxes may stand in, by their names."""
    templates = [override.outbox.topic for override in settings.topics.overrides if override.outbox is not None]
    patterns = [re.compile(re.escape(t).replace(r"\{aggregate_type\}", ".+")) for t in templates]
    return [topic for topic in existing if any(pattern.fullmatch(topic) for pattern in patterns)]


def key_indexes(columns: Sequence[str], key: Sequence[str], table: TableName) -> tuple[int, ...]:
    """Return where the columns of a key of one's own stand. Raises CONFIGURATION for one that the table lacks."""
    missing = [name for name in key if name not in columns]
    if missing:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"`topics.overrides` names columns that the table does not have: {', '.join(missing)}",
            remedy=f"its columns are {', '.join(columns)}",
            table=str(table),
        )
    return tuple(columns.index(name) for name in key)
