"""With `apply.ordering: transactional` each of the source's transactions is in one transaction of the target's cluster.

Topics of the source are in memory; the target is a real broker.
"""

from __future__ import annotations

import json
import random

import pytest

from apply.limits import Limits
from apply.sinks.kafka.sink import KafkaSink
from deploy.local.kafka import KafkaAddress
from schemas.endpoints.kafka import KafkaTarget
from tests.conformance.sink_suite import ORDERS, SEATS
from tests.kit.topics import read_raw
from tests.unit.apply.rig import Rig

pytestmark = pytest.mark.integration


def test_readers_see_source_transactions_whole(
    kafka_server: KafkaAddress, replication: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {
        "engine": "kafka",
        "kafka": {"bootstrap.servers": kafka_server.bootstrap},
        "topic": "{name}.all",
        "message_format": "json-unformatted",
    }
    section = KafkaTarget.model_validate(document)
    sink = KafkaSink(replication, "copy", section, section.kafka, database="shop")
    # Transactions larger than a batch, and than what waits in memory.
    monkeypatch.setattr("apply.sinks.kafka.sink.WAITING_BYTES_MAX", 2_000)
    rig = Rig([ORDERS, SEATS], seed=3)
    rig.topics.begin_marks()
    chance = random.Random(3)
    ends: set[int] = set()
    first = rig.topics.sequence
    for turn in range(12):
        for _ in range(chance.choice((1, 4, 40))):
            number = chance.randrange(1000)
            if chance.random() < 0.5:
                rig.topics.put(ORDERS, "c", None, (number, f"t{turn}", None))
            else:
                rig.topics.put(SEATS, "c", None, ("a", f"t{turn}", number))
        ends.add(rig.topics.sequence)
        rig.topics.put_mark(whole=True)
    last = rig.topics.sequence
    flush, seen = sink.flush, list[int]()

    def flushed() -> None:
        flush()
        documents = [json.loads(value or b"") for *_, value in read_raw(kafka_server.bootstrap, [topic])]
        there = sorted(document["metadata"]["commit-sequence"] for document in documents)
        assert there == sorted(set(there))
        assert not there or (there[-1] in ends and there == list(range(there[0], there[-1] + 1)))
        seen.append(len(there))

    topic = f"{replication}.all"
    monkeypatch.setattr(sink, "flush", flushed)
    member = rig.member(limits=Limits(batch_rows=7), take_all=True, by_commit=True, other=sink)
    rig.settle(member, steps=20_000)
    sink.close()
    assert seen[-1] == last - first
    assert len(set(seen)) > 2
