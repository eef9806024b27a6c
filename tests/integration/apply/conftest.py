"""Settings of a replication with one target, and a publisher that plays capture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from schemas.settings import Settings, parse
from tests.integration.apply.publishing import Publisher
from tests.integration.services import SESSION_TIMEOUT_S
from tests.kit.servers import Database


@pytest.fixture
def document(kafka_server: KafkaAddress, replication: str, target_database: Database) -> dict[str, Any]:
    """The configuration as a document; the source is never connected to."""
    return {
        "name": replication,
        "kafka": {"bootstrap.servers": kafka_server.bootstrap},
        "source": {"database": "unused", "user": "unused", "tables": ["public.*"]},
        "targets": {"replica": target_database.settings},
        "topics": {"partitions": 3},
        "apply": {"session_timeout_s": SESSION_TIMEOUT_S},
    }


@pytest.fixture
def settings(document: dict[str, Any]) -> Settings:
    """The configuration."""
    return parse(document)


@pytest.fixture
def publisher(settings: Settings) -> Iterator[Publisher]:
    """What plays capture."""
    with Publisher(settings) as opened:
        yield opened
