"""What the schemas topic holds, as commands read it."""

from __future__ import annotations

from runtime.kafka.admin import Topics
from runtime.kafka.compacted import read_all
from schemas.settings import Settings
from schemas.topics import schemas_topic


def records(settings: Settings) -> dict[bytes, bytes]:
    """Return the latest value of each key; none before capture, or an applier of Debezium's topics, was started."""
    topic = schemas_topic(settings.name)
    return read_all(settings.kafka, topic) if Topics(settings.kafka).exists(topic) else {}
