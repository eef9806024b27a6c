"""What a user may say of a Kafka client, in librdkafka's words, and what is Tailrace's own business."""

from __future__ import annotations

from typing import Any

RESERVED = frozenset(
    {
        "transactional.id",
        "group.id",
        "group.instance.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "isolation.level",
        "enable.idempotence",
        "auto.offset.reset",
        "acks",
        "request.required.acks",
        "partitioner",
        "delivery.timeout.ms",
        "message.timeout.ms",
    }
)
"""librdkafka properties that the delivery guarantees rest on: Tailrace sets them, nobody else."""


def check_properties(kafka: dict[str, Any]) -> dict[str, Any]:
    """Return properties that lead to a cluster and leave the guarantees alone; raise ValueError for others."""
    if not kafka.get("bootstrap.servers"):
        raise ValueError("bootstrap.servers is missing")
    for name in kafka:
        if name in RESERVED:
            raise ValueError(f"{name} is set by Tailrace: exactly-once delivery rests on it")
    return kafka
