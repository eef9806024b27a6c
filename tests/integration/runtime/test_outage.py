"""What producers, consumers and followers do while the only broker is dead, and after it came back."""

from __future__ import annotations

import time

import pytest

from deploy.local.kafka import KafkaServer
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import Follower
from runtime.kafka.consumer import GroupConsumer
from runtime.kafka.producer import TransactionalProducer
from schemas.errors import ErrorKind, TailraceError
from tests.kit.topics import read_raw

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.slow]

DEADLINE_S = 480.0


def test_an_outage_is_a_transport_error_and_a_new_producer_goes_on_exactly_where_it_was(own_kafka: KafkaServer) -> None:
    # Clients look for the broker often: by default it may be back for ten seconds before they do.
    kafka = {**own_kafka.address.settings, "reconnect.backoff.max.ms": 500}
    Topics(kafka).ensure([TopicSpec("data")])
    producer = TransactionalProducer(kafka, "capture")
    producer.init()
    producer.begin()
    producer.produce("data", b"k", b"1")
    producer.commit()
    consumer = GroupConsumer(kafka, "group")
    consumer.subscribe(["data"])
    follower = Follower(kafka, "data")
    values = consumed(consumer, 1)
    # What one reader has seen another sees too: the transaction's markers are written.
    assert [r.value for r in follower.catch_up(DEADLINE_S)] == [b"1"]
    consumer.commit({("data", 0): 1})

    own_kafka.kill()
    # (What a broker does about a transaction that is open when it dies: tests/integration/capture/test_hanging.py.)
    producer.begin()
    producer.produce("data", b"k", b"never")
    with pytest.raises(TailraceError) as caught:
        producer.commit(timeout_s=2)
    assert caught.value.kind is ErrorKind.TRANSPORT
    producer.close()
    with pytest.raises(TailraceError) as caught:
        follower.catch_up(timeout_s=1)
    assert caught.value.kind is ErrorKind.TRANSPORT
    assert consumer.consume(10, 0.5) == []

    own_kafka.start()
    producer = TransactionalProducer(kafka, "capture")
    producer.init(timeout_s=DEADLINE_S)
    producer.begin()
    producer.produce("data", b"k", b"2")
    producer.commit(timeout_s=DEADLINE_S)
    producer.close()
    values += consumed(consumer, 1)
    assert values == [b"1", b"2"]
    assert [r.value for r in follower.catch_up(DEADLINE_S)] == [b"2"]
    follower.close()
    consumer.close()
    assert [value for *_, value in read_raw(own_kafka.address.bootstrap, ["data"])] == [b"1", b"2"]


def consumed(consumer: GroupConsumer, count: int) -> list[bytes | None]:
    values: list[bytes | None] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(values) < count:
        assert time.monotonic() < deadline
        values += [m.value() for m in consumer.consume(10, 0.5)]
    return values
