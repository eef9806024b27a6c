"""Reading the parts of large records from a real broker."""

from __future__ import annotations

import time
from contextlib import closing
from hashlib import sha256

import psutil
import pytest

from deploy.local.kafka import KafkaAddress
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.producer import TransactionalProducer
from runtime.kafka.reassembly import _Parts
from schemas.parts import PART_BYTES_MAX, Joining, Reference

pytestmark = pytest.mark.integration

PART_COUNT = 150
PART = b"tailrace" * (PART_BYTES_MAX // 8)


def test_parts_that_kafka_has_compressed_are_not_unpacked_all_at_once(
    kafka_server: KafkaAddress, replication: str
) -> None:
    topic = f"{replication}.parts"
    Topics(kafka_server.settings).ensure([TopicSpec(topic)])
    with closing(TransactionalProducer(kafka_server.settings, replication)) as producer:
        producer.init()
        producer.begin()
        for _ in range(PART_COUNT):
            producer.produce(topic, None, PART, 0)
        producer.commit()
    digest = sha256(PART * PART_COUNT).hexdigest()
    found: list[int] = []
    joining = Joining(Reference(0, PART_COUNT, PART_COUNT * len(PART), digest), lambda part: found.append(len(part)))
    process = psutil.Process()
    before = process.memory_info().rss
    with closing(_Parts(kafka_server.settings, topic)) as parts:
        while not found:
            parts.read(joining, 0.5)
        # Whatever is fetched ahead has time to come.
        time.sleep(2)
        held = process.memory_info().rss - before
        while not joining.is_whole:
            parts.read(joining, 0.5)
    joining.check()
    assert sum(found) == PART_COUNT * len(PART)
    assert held < PART_COUNT * len(PART) // 3
