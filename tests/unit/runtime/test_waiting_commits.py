"""A commit that brokers do not take: whoever asked for it may look meanwhile whether it is in vain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from runtime.kafka.producer import TransactionalProducer
from schemas.errors import ErrorKind, TailraceError


def test_what_is_found_while_a_commit_waits_ends_it() -> None:
    producer = TransactionalProducer({"bootstrap.servers": "127.0.0.1:9"}, "waiting")
    attempts: list[float] = []

    def commit_transaction(timeout_s: float) -> None:
        attempts.append(timeout_s)
        if len(attempts) < 5:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "not yet", False, True))

    real = producer._producer
    producer._producer = cast("Any", SimpleNamespace(commit_transaction=commit_transaction, poll=lambda _: 0))

    def look() -> None:
        if len(attempts) == 3:
            raise TailraceError(ErrorKind.SOURCE_LOG_LOST, "the topic is gone")

    producer.on_wait = look
    with pytest.raises(TailraceError, match="the topic is gone"):
        producer.commit()
    assert len(attempts) == 3
    producer.commit()
    assert len(attempts) == 5
    producer._producer = real
    producer.close()
