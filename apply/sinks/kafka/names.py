"""What the topics and transactional ids of a target are called."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.endpoints.kafka import KafkaTarget
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.objects import rule_for
from schemas.table import TableSchema
from schemas.topics import legal


def topic_of(target: KafkaTarget, replication: str, table: TableSchema, rules: Sequence[ObjectMappingRule] = ()) -> str:
    """Return the topic of a table's changes: that which a rule says, or that of the target's pattern."""
    rule = rule_for(rules, table.name)
    if rule is not None and rule.kafka_target_topic is not None:
        return legal(rule.kafka_target_topic)
    parts = {"name": replication, "schema": table.name.schema, "table": table.name.table}
    return legal(target.topic.format(**parts))


def positions_topic(target: KafkaTarget, replication: str, target_name: str) -> str:
    """Return the topic of positions."""
    return target.positions_topic or f"{replication}.tailrace.positions.{target_name}"


def transactional_prefix(replication: str, target_name: str) -> str:
    """Return what the transactional ids of all appliers of a target begin with."""
    return f"{replication}.tailrace.apply.{target_name}."
