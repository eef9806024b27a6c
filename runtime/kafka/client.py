"""What every Kafka client shares: how a user's properties become a client's, and where its complaints go."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError

from runtime import clock
from runtime.logging import get_logger

log = get_logger(__name__)

Properties = Mapping[str, Any]
"""librdkafka properties by name (CONFIGURATION.md of librdkafka)."""

COMPLAINT_INTERVAL_S = 5.0
"""librdkafka repeats a broken connection several times a second; one line in this time is enough."""

COMPLAINT_MEMORY_S = 60.0
"""For so long a complaint may be why something timed out."""

_CONSEQUENCES = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})

_PRODUCER_ONLY = frozenset(
    {
        "acks", "batch.num.messages", "batch.size", "compression.codec", "compression.level", "compression.type",
        "linger.ms", "max.in.flight", "message.max.bytes", "message.send.max.retries", "queue.buffering.max.kbytes",
        "queue.buffering.max.messages", "queue.buffering.max.ms", "retries", "sticky.partitioning.linger.ms",
        "transaction.timeout.ms",
    }
)  # fmt: skip
_CONSUMER_ONLY = frozenset(
    {
        "check.crcs", "fetch.error.backoff.ms", "fetch.max.bytes", "fetch.message.max.bytes", "fetch.min.bytes",
        "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.protocol", "group.remote.assignor",
        "heartbeat.interval.ms", "max.partition.fetch.bytes", "max.poll.interval.ms",
        "partition.assignment.strategy", "queued.max.messages.kbytes", "queued.min.messages", "session.timeout.ms",
    }
)  # fmt: skip


class Complaints:
    """Receives a client's errors: remembers the most telling, logs each kind at most once in a while."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._logged: dict[int, float] = {}
        self._last: KafkaError | None = None
        self._last_at = 0.0
        self.disconnections = 0
        """Connections that were lost or could not be made, so far."""
        self.fatal: KafkaError | None = None
        """Set once the client can do no more."""

    @property
    def last(self) -> KafkaError | None:
        """What a connection complained of lately, to explain a time-out with."""
        return self._last if clock.monotonic() - self._last_at < COMPLAINT_MEMORY_S else None

    def __call__(self, error: KafkaError) -> None:
        now = clock.monotonic()
        if error.fatal():
            self.fatal = error
        if error.code() in _CONSEQUENCES:
            self.disconnections += 1
        # That brokers are down follows from a refused login or a wrong name, and says less.
        if self.last is None or error.code() not in _CONSEQUENCES:
            self._last, self._last_at = error, now
        if now - self._logged.get(error.code(), -COMPLAINT_INTERVAL_S) >= COMPLAINT_INTERVAL_S:
            self._logged[error.code()] = now
            log.warning("kafka client complains", client=self._client, code=error.name(), reason=error.str())


def producer_properties(kafka: Properties, defaults: Properties, fixed: Properties) -> dict[str, Any]:
    """Return defaults, overridden by the user's properties that concern a producer, overridden by the fixed ones."""
    return {**defaults, **_without(kafka, _CONSUMER_ONLY), **fixed}


def consumer_properties(kafka: Properties, defaults: Properties, fixed: Properties) -> dict[str, Any]:
    """Return defaults, overridden by the user's properties that concern a consumer, overridden by the fixed ones."""
    return {**defaults, **_without(kafka, _PRODUCER_ONLY), **fixed}


def admin_properties(kafka: Properties) -> dict[str, Any]:
    """Return the user's properties that concern a connection."""
    return {"client.id": "tailrace", **_without(kafka, _PRODUCER_ONLY | _CONSUMER_ONLY)}


def library_logger(properties: Properties) -> logging.Logger:
    """Return the logger for librdkafka's own lines: silent unless `debug` is set; `Complaints` tells what matters."""
    logger = logging.getLogger("librdkafka")
    logger.setLevel(logging.DEBUG if properties.get("debug") else logging.CRITICAL)
    return logger


def _without(kafka: Properties, names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in kafka.items() if name not in names}
