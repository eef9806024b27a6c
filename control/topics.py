"""The topics of a replication as they are, and the stock commands that read them."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from control import debezium, published
from control.program import program
from control.status import known_tables
from control.stream_ddl import Engine, statements
from runtime.kafka.admin import Topics
from schemas import topics as names
from schemas.endpoints.debezium import DebeziumSource
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.registry import parse_table_record
from schemas.routing import route
from schemas.settings import Settings
from schemas.table import TableName, TableSchema
from schemas.topic_settings import Shape

SCRIPTS = "bin"
"""A folder beside the configuration where there may be scripts of Kafka's tools, as `tailrace dev up` leaves them."""

_SHAPES = {Shape.ENVELOPE: "changes", Shape.ROW: "rows", Shape.CLOUDEVENT: "changes, as CloudEvents,"}


@dataclass(slots=True)
class TopicFacts:
    """One topic."""

    name: str
    content: str
    partitions: int = 0
    cleanup: str = ""
    offsets: int = 0
    """Offsets from begin to end: records, and a few transaction markers."""
    exists: bool = True


@dataclass(slots=True)
class Report:
    """All topics of a replication, and how to read them."""

    replication: str
    topics: list[TopicFacts] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    """(what it shows, the command)."""

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def survey(settings: Settings, configuration: Path) -> Report:
    """Look at every topic of the replication whose configuration is in the file `configuration`.

    Raises TRANSPORT when Kafka does not answer.
    """
    cluster = Topics(settings.kafka)
    existing = cluster.list()
    contents = contents_by_topic(settings)
    present = [name for name in contents if name in existing]
    begins, ends = cluster.begin_offsets(present), cluster.end_offsets(present)
    spans: dict[str, int] = {}
    for partition, end in ends.items():
        spans[partition[0]] = spans.get(partition[0], 0) + end - begins.get(partition, 0)
    report = Report(settings.name)
    for name, content in contents.items():
        if name in existing:
            cleanup = cluster.config(name).get("cleanup.policy", "")
            report.topics.append(TopicFacts(name, content, existing[name], cleanup, spans.get(name, 0)))
        else:
            report.topics.append(TopicFacts(name, content, exists=False))
    report.commands = commands(
        settings,
        sample(settings),
        read=f"{program()} debug read {shlex.quote(str(configuration))}",
        scripts=configuration.absolute().parent / SCRIPTS,
    )
    return report


def sample(settings: Settings) -> tuple[str, Format] | None:
    """Return the topic of a table, if there is one, and how it is written."""
    if isinstance(settings.source, DebeziumSource):
        return next(((topic, settings.source.format) for topic in debezium.known_topics(settings)), None)
    ways = (route(settings, name) for name in known_tables(settings))
    return next(((way.topic, way.format) for way in ways if way.outbox is None), None)


def ddl(settings: Settings, engine: str) -> str:
    """Return statements that make tables of the topics of tables, in their newest version, in an engine's language.

    Raises CONFIGURATION for an engine that is not known, PREREQUISITE before capture was ever started.
    """
    if engine not in list(Engine):
        raise TailraceError(ErrorKind.CONFIGURATION, f"--ddl {engine}: one of {', '.join(Engine)}")
    if settings.by_debezium:
        raise TailraceError(ErrorKind.CONFIGURATION, "--ddl is for topics that Tailrace writes, not Debezium")
    newest: dict[TableName, TableSchema] = {}
    for key, value in published.records(settings).items():
        if key.startswith(b"{"):
            table = parse_table_record(value).table
            if table.name not in newest or newest[table.name].version < table.version:
                newest[table.name] = table
    if not newest:
        raise TailraceError(ErrorKind.PREREQUISITE, "no table is known yet", remedy="start capture first")
    return statements(Engine(engine), settings, [newest[name] for name in sorted(newest)])


def contents_by_topic(settings: Settings) -> dict[str, str]:
    """Return what each topic of the replication holds: the tables' topics first, then Tailrace's own."""
    replication = settings.name
    is_foreign = settings.by_debezium
    contents: dict[str, str] = {}
    if is_foreign:
        contents |= dict.fromkeys(debezium.known_topics(settings), "changes of a table, as Debezium writes them")
    else:
        contents |= _published(settings)
        contents |= {
            names.checkpoints_topic(replication): "capture's position and load progress",
            names.ddl_topic(replication): "schema changes, in order",
            names.transactions_topic(replication): "marks, and where transactions begin and end",
            names.parts_topic(replication): "parts of large records, if there are any",
        }
    contents |= {
        names.schemas_topic(replication): "table schema versions",
        names.signals_topic(replication): "commands to services",
        names.status_topic(replication): "what every component says of itself",
    }
    for target in settings.targets:
        contents[names.dead_letters_topic(replication, target)] = f"parked records of target {target}"
    if settings.registry is None and not is_foreign:
        contents[settings.topics.registry_topic] = "Avro schemas, as a Confluent registry keeps them (shared)"
    return contents


def _published(settings: Settings) -> dict[str, str]:
    """Return what the topics hold that a capture writes tables to."""
    contents: dict[str, str] = {}
    for table in known_tables(settings):
        way = route(settings, table)
        if way.outbox is None:
            before = contents.get(way.topic)
            contents[way.topic] = f"{before}, {table}" if before else f"{_SHAPES[way.shape]} of {table}"
    return contents


def commands(
    settings: Settings, table: tuple[str, Format] | None, *, read: str, scripts: Path
) -> list[tuple[str, str]]:
    """Return stock commands, ready to paste, that show what is in the topics; those of tables for one, a `sample`.

    `read` is the command that decodes a topic, which the topic's name completes. `scripts` has Kafka's tools, if it is
    there; else they are called by their names.
    """
    server = str(settings.kafka["bootstrap.servers"])
    if table is None:
        way = route(settings, TableName("SCHEMA", "TABLE"))
        table = way.topic, way.format
    topic, format_ = table
    tools = f"{shlex.quote(str(scripts))}/" if scripts.is_dir() else ""
    console = f"{tools}kafka-console-consumer.sh --bootstrap-server {server} --isolation-level read_committed"
    lines = []
    if format_ is Format.AVRO:
        lines.append(("changes of one table as JSON", f"{read} {topic}"))
        if settings.registry is None:
            command = f"{console} --topic {settings.topics.registry_topic} --from-beginning"
        else:
            command = f"curl {settings.registry.url}/subjects/{topic}-value/versions/latest"
        lines.append(("the Avro schemas", command))
    else:
        command = f"{console} --topic {topic} --from-beginning --property print.key=true"
        lines.append(("changes of one table", command))
    for target in settings.targets:
        group = names.apply_group(settings.name, target)
        lines.append(
            (
                f"lag of target {target}",
                f"{tools}kafka-consumer-groups.sh --bootstrap-server {server} --describe --group {group}",
            )
        )
    lines.append(("state of all components", f"{console} --topic {names.status_topic(settings.name)} --from-beginning"))
    kcat = f"kcat -b {server} -C -t {topic} -X isolation.level=read_committed -e"
    if format_ is not Format.AVRO:
        lines.append(("with kcat", f"{kcat} -f '%k %s\\n'"))
    elif settings.registry is not None:
        lines.append(("with kcat", f"{kcat} -s avro -r {settings.registry.url}"))
    else:
        lines.append(("with kcat, which reads no Avro without a registry", f"{kcat} -f '%p %o: %S bytes\\n'"))
    return lines
