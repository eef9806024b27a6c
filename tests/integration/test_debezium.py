"""Appliers read what a real Debezium wrote, recorded once (tests/recorded/debezium), and are killed on the way."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.producer import PlainProducer
from tests.integration.services import TARGET, Services
from tests.kit.debezium import PREFIX, DebeziumTopics, Recorded, all_rows, differences, recorded
from tests.kit.servers import Database

pytestmark = [pytest.mark.flaky(reruns=0), pytest.mark.timeout(900)]

DEADLINE_S = 240.0


class Replay:
    """Writes a recording's topics under another prefix, a part at a time."""

    def __init__(self, kafka: KafkaAddress, recording: Recorded, prefix: str) -> None:
        self._kafka = kafka
        self._recording = recording
        self._prefix = prefix
        self._done: dict[str, int] = {}
        Topics(kafka.settings).ensure([TopicSpec(self.topic(topic), 1) for topic in recording.topics()])

    def topic(self, recorded_topic: str) -> str:
        return recorded_topic.replace(PREFIX, self._prefix)

    def write(self, share: float) -> None:
        """Write records up to a share of each topic."""
        producer = PlainProducer(self._kafka.settings)
        try:
            for topic in self._recording.topics():
                records = list(self._recording.records(topic))
                end = int(len(records) * share)
                for key, value in records[self._done.get(topic, 0) : end]:
                    producer.produce(self.topic(topic), key, value)
                self._done[topic] = end
            producer.flush()
        finally:
            producer.close()


@pytest.mark.parametrize("name", ["json-with-schema", "json"])
def test_what_debezium_wrote_reaches_the_target_as_it_was(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, target_database: Database, name: str
) -> None:
    recording = recorded(name)
    source = DebeziumTopics(replication, name)
    replay = Replay(kafka_server, recording, replication)
    applied = f"{replication}-applied"
    with Services(tmp_path, applied, kafka_server, source, target_database) as services:
        replay.write(0.5)
        plan = services.run("plan", "--json")
        assert plan.returncode == 0, plan.stdout + plan.stderr
        planned = {table["name"]: table for table in json.loads(plan.stdout)["tables"]}
        assert planned["public.orders"]["key"] == ["tenant", "id"]
        for failpoint in ("apply.flush.before", "apply.flush.after"):
            services.start("apply", failpoint=failpoint)
            services.meet("apply", failpoint)
        services.start("apply")
        services.start("apply-2")
        services.wait(lambda: services.status("apply") != {} or bool(all_rows(target_database)), "the first rows")
        replay.write(0.8)
        services.kill("apply-2")
        replay.write(1.0)
        deadline = time.monotonic() + DEADLINE_S
        while left := list(differences(recording.expected, all_rows(target_database))):
            assert time.monotonic() < deadline, f"{left}\n{services.log_tail('apply')}"
            time.sleep(0.3)
        status = json.loads(services.run("status", "--json").stdout)
        assert {target["name"] for target in status["targets"]} == {TARGET}
        assert services.stop("apply") == 0, services.log_tail("apply")
        services.start("apply", "--stop-at", "now")
        assert services.join("apply") == 0, services.log_tail("apply")
        assert list(differences(recording.expected, all_rows(target_database))) == []
        assert services.run("reset", "--yes").returncode == 0
    topics = Topics(kafka_server.settings).list(replication)
    assert any(topic.endswith(".public.orders") for topic in topics), "a reset deletes nothing of Debezium's"
    assert not any("tailrace" in topic for topic in topics)
