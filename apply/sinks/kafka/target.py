"""A Kafka cluster as a target: what `apply.sinks` asks for."""

from __future__ import annotations

from collections.abc import Sequence

from apply.sinks.kafka.login import properties
from apply.sinks.kafka.names import positions_topic, topic_of, transactional_prefix
from apply.sinks.kafka.reader import KafkaReader
from apply.sinks.kafka.sink import KafkaSink
from runtime.kafka.admin import Topics
from runtime.kafka.compacted import read_all
from runtime.registry import open_registry
from schemas.endpoints.kafka import KafkaTarget
from schemas.findings import Finding, blocks, warns
from schemas.mappings.mapped_table import map_table
from schemas.mappings.objects import object_table
from schemas.registry import parse_table_record
from schemas.settings import Settings
from schemas.table import TableName, TableSchema
from schemas.topics import NAME_LENGTH_MAX, data_topic, schemas_topic


def open_sink(settings: Settings, target: str) -> KafkaSink:
    """Return the sink of a target. Connects when it is first used."""
    section = settings.section(target, KafkaTarget)
    return KafkaSink(
        settings.name,
        target,
        section,
        properties(section),
        database=settings.source.database,
        registry=open_registry(section.registry),
        image=settings.apply.before_image,
        rules=settings.object_mappings(target),
    )


def open_reader(settings: Settings, target: str) -> KafkaReader:
    """Return what reads the rows back. Envelopes are read with the versions that the replication's topics tell."""
    section = settings.section(target, KafkaTarget)
    rules = settings.transformations(target)

    def versions(table: TableSchema) -> dict[int, TableSchema]:
        records = read_all(settings.kafka, schemas_topic(settings.name)).values()
        tables = [parse_table_record(value).table for value in records if b'"columns"' in value]
        mapped = [map_table(rules, one, keeps_history=True).table for one in tables]
        return {one.version: one for one in mapped if one.name == table.name}

    return KafkaReader(
        settings.name,
        section,
        properties(section),
        versions,
        database=settings.source.database,
        registry=open_registry(section.registry),
        objects=settings.object_mappings(target),
    )


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the cluster answers and that topics can be what they should. Never changes anything."""
    section, objects = settings.section(target, KafkaTarget), settings.object_mappings(target)
    topics = Topics(properties(section))
    existing = topics.list()
    is_own = topics.cluster_id() == Topics(settings.kafka).cluster_id()
    found: list[Finding] = []
    seen: dict[str, TableName] = {}
    for table in tables:
        object_table(objects, table)
        topic = topic_of(section, settings.name, table, objects)
        if is_own and topic == data_topic(settings.name, table.name):
            message = f"its topic {topic} is the one that capture writes, in the same cluster"
            found.append(blocks("own-topic", message, "set `topic` of the target", table.name))
        if len(topic) > NAME_LENGTH_MAX:
            message = f"its topic would have a name of {len(topic)} characters; Kafka allows {NAME_LENGTH_MAX}"
            found.append(blocks("topic-name", message, "set `topic` of the target", table.name))
        elif topic in existing and topic not in seen:
            found += _of_topic(section, topics, topic, table.name)
        policy = str(section.topic_config.get("cleanup.policy", ""))
        if not table.key and "compact" in policy:
            message = "compacted topics take no records without a key"
            found.append(blocks("no-key", message, "leave it out, or `cleanup.policy`", table.name))
        first = seen.setdefault(topic, table.name)
        if first != table.name and not section.is_dms:
            message = f"{topic} would hold envelopes of {first} too: their readers expect one table a topic"
            found.append(warns("shared-topic", message, "put {schema} and {table} into `topic`", table.name))
    return found


def _of_topic(section: KafkaTarget, topics: Topics, topic: str, table: TableName) -> list[Finding]:
    found: list[Finding] = []
    config = topics.config(topic)
    largest = int(config.get("max.message.bytes", section.message_max_bytes))
    if largest < section.message_max_bytes:
        message = f"{topic} takes records of {largest} bytes, `message_max_bytes` is {section.message_max_bytes}"
        alter = f"kafka-configs --alter --entity-type topics --entity-name {topic} --add-config max.message.bytes"
        remedy = f"lower it, or: {alter}={section.message_max_bytes}"
        found.append(blocks("topic-message-size", message, remedy, table))
    if "compact" in config.get("cleanup.policy", "") and not section.is_dms and not section.tombstones:
        message = f"{topic} is compacted: without tombstones deleted rows stay"
        found.append(warns("no-tombstones", message, "set `tombstones: true`", table))
    return found


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the access control entries that the user needs, and nothing more."""
    section = settings.section(target, KafkaTarget)
    user = "User:" + str(section.kafka.get("sasl.username", "tailrace"))
    add = f"kafka-acls --add --allow-principal {user}"
    names = {topic_of(section, settings.name, table, settings.object_mappings(target)) for table in tables}
    names.add(positions_topic(section, settings.name, target))
    write = "--operation Write --operation Describe --operation DescribeConfigs --operation Create"
    prefix = transactional_prefix(settings.name, target)
    return [
        *(f"{add} {write} --topic {name}" for name in sorted(names)),
        f"{add} --operation Read --topic {positions_topic(section, settings.name, target)}",
        f"{add} --operation Write --operation Describe --transactional-id {prefix} --resource-pattern-type prefixed",
    ]
