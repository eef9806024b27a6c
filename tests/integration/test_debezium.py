"""Appliers read what a real Debezium wrote, recorded once (tests/recorded/debezium), and are killed on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.registry import RegistryServer
from runtime import exit_codes
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.producer import PlainProducer
from runtime.registry import Registry
from schemas.codecs.wire import HEADER_BYTES, header
from schemas.topic_settings import RegistrySettings
from schemas.topics import apply_group
from tests.integration.services import TARGET, Services
from tests.kit.debezium import (
    CHANGES,
    PREFIX,
    SNAPSHOT,
    TABLES,
    DebeziumTopics,
    Recorded,
    all_rows,
    differences,
    recorded,
)
from tests.kit.debezium_mysql import target_rows
from tests.kit.servers import Database

pytestmark = pytest.mark.timeout(900)

DEADLINE_S = 480.0


class Replay:
    """Writes a recording's topics under another prefix, a part at a time."""

    def __init__(
        self, kafka: KafkaAddress, recording: Recorded, prefix: str, ids: Mapping[int, int] = MappingProxyType({})
    ) -> None:
        """`ids` are a registry's instead of those that were recorded."""
        self._kafka = kafka
        self._headers = {header(one): header(other) for one, other in ids.items()}
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
                    producer.produce(self.topic(topic), self._under_ids(key), self._under_ids(value))
                self._done[topic] = end
            producer.flush()
        finally:
            producer.close()

    def _under_ids(self, data: bytes | None) -> bytes | None:
        return data if data is None or not self._headers else self._headers[data[:HEADER_BYTES]] + data[HEADER_BYTES:]


def test_what_debezium_wrote_reaches_the_target_as_it_was(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, source_database: Database, target_database: Database
) -> None:
    recording = recorded("json-with-schema")
    # What the connector captured, once more.
    source_database.execute(*TABLES.split(";\n")[:-1], *SNAPSHOT, *CHANGES)
    source = DebeziumTopics(replication, recording.format, {"origin": source_database.settings})
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
        _wait_until_equal(recording, target_database, services)
        status = json.loads(services.run("status", "--json").stdout)
        assert {target["name"] for target in status["targets"]} == {TARGET}
        assert services.stop("apply") == 0, services.log_tail("apply")
        _apply_to_the_end(services)
        assert list(differences(recording.expected, all_rows(target_database))) == []
        verified = json.loads(services.run("verify", "--json").stdout)
        assert {table["table"]: table["equal"] for table in verified["tables"]} == {
            f"public.{table}": True for table in recording.expected
        }, verified
        listed = json.loads(services.run("topics", "--json").stdout)["topics"]
        orders = f"{replication}.public.orders"
        assert {topic["name"] for topic in listed if topic["exists"]} >= {orders, f"{applied}.tailrace.schemas"}
        read = services.run("debug read", orders, "--max", "5")
        assert (read.returncode, len(read.stdout.splitlines())) == (0, 5), read.stderr
        assert services.run("reset", "--yes").returncode == 0
    topics = Topics(kafka_server.settings).list(replication)
    assert any(topic.endswith(".public.orders") for topic in topics), "a reset deletes nothing of Debezium's"
    assert not any("tailrace" in topic for topic in topics)


def test_plain_json_from_where_another_group_stands(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, target_database: Database
) -> None:
    recording = recorded("json")
    replay = Replay(kafka_server, recording, replication)
    names = [f"{replication}-{part}" for part in ("one", "other")]
    replay.write(0.5)
    source = DebeziumTopics(replication, recording.format)
    with Services(tmp_path, names[0], kafka_server, source, target_database) as services:
        _apply_to_the_end(services)
    replay.write(1.0)
    group = apply_group(names[0], TARGET)
    source = DebeziumTopics(replication, recording.format, {"start_group": f"{group}s"})
    with Services(tmp_path, names[1], kafka_server, source, target_database) as services:
        findings = json.loads(services.run("plan", "--json").stdout)["findings"]
        (refused,) = (finding["message"] for finding in findings if finding["severity"] == "blocks")
        assert refused.endswith(f"groups that have: {group}")
        services.start("apply")
        assert services.join("apply") == exit_codes.CONFIGURATION, services.log_tail("apply")
    source = DebeziumTopics(replication, recording.format, {"start_group": group})
    with Services(tmp_path, names[1], kafka_server, source, target_database) as services:
        _apply_to_the_end(services)
        # A column that was dropped between the two is one that the table has besides.
        expected = {table: rows for table, rows in recording.expected.items() if table != "parent"}
        # From the beginning, rows without a key would be there twice.
        _agree(services, expected, all_rows(target_database))


@pytest.mark.parametrize("connector", ["postgresql", "mysql", "mariadb"])
def test_avro_by_a_registry(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    registry_server: RegistryServer,
    target_database: Database,
    connector: str,
) -> None:
    recording = recorded("avro", connector)
    # Whoever is the first to ask a registry that has just begun waits long on a busy machine.
    with closing(Registry(RegistrySettings(url=registry_server.url, timeout_s=300))) as registry:
        ids = {one: registry.identify(f"{replication}-{one}", "value", text) for one, text in recording.schemas.items()}
    Replay(kafka_server, recording, replication, ids).write(1.0)
    source = DebeziumTopics(replication, "avro", {"connector": connector})
    settings = {"registry": {"url": registry_server.url}}
    with Services(tmp_path, f"{replication}-applied", kafka_server, source, target_database, **settings) as services:
        _apply_to_the_end(services)
        rows = all_rows(target_database) if connector == "postgresql" else target_rows(target_database, "shop")
        _agree(services, recording.expected, rows)


@pytest.mark.parametrize("connector", ["mysql", "mariadb"])
def test_what_debezium_wrote_of_mysql(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, target_database: Database, connector: str
) -> None:
    recording = recorded("json-with-schema", connector)
    Replay(kafka_server, recording, replication).write(1.0)
    source = DebeziumTopics(replication, recording.format, {"connector": connector, "topics": [f"{replication}*"]})
    with Services(tmp_path, f"{replication}-applied", kafka_server, source, target_database) as services:
        _apply_to_the_end(services)
        _agree(services, recording.expected, target_rows(target_database, "shop"))


def _agree(services: Services, expected: Any, rows: Any) -> None:
    """Expect rows; say of others what became of the records."""
    left = list(differences(expected, rows))
    parked = services.run("parked list", "--target", TARGET).stdout if left else ""
    assert left == [], "\n".join([parked, services.log_tail("apply", 200)])


def _apply_to_the_end(services: Services) -> None:
    services.start("apply", "--stop-at", "now")
    assert services.join("apply") == 0, services.log_tail("apply")


def _wait_until_equal(recording: Recorded, target: Database, services: Services) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while left := list(differences(recording.expected, all_rows(target))):
        assert time.monotonic() < deadline, f"{left}\n{services.log_tail('apply')}"
        time.sleep(0.3)
