"""What operators do by hand with Kafka's own tools: it goes on rightly, or says what it cannot know."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from deploy.local.java import find_java
from deploy.local.kafka import KafkaAddress, kafka_jars, run_tool
from runtime.kafka.admin import Topics
from schemas.topics import apply_group, checkpoints_topic, schemas_topic, status_topic
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import data_topics, read_topics, sequence_faults
from tests.kit.workload import Workload


class Shift:
    """An operator's day: services that do what there is to do, and what happens in between."""

    def __init__(
        self, directory: Path, kafka: KafkaAddress, source: Database, target: Database, replication: str
    ) -> None:
        self.kafka, self.source, self.target, self.replication = kafka, source, target, replication
        self.services = Services(directory, replication, kafka, source, target)
        self.workload = Workload(source.dsn, seed=5)
        self.workload.create(rows=500)

    def go_on(self) -> None:
        """Write, capture, apply; then target must equal source."""
        self.workload.run(10)
        for service in ("capture", "apply"):
            self.services.start(service, "--stop-at", "now")
            assert self.services.join(service) == 0, self.services.log_tail(service)
        assert wait_until_equal(self.source.dsn, self.target.dsn, timeout_s=60) == []
        bootstrap = self.kafka.bootstrap
        assert sequence_faults(read_topics(bootstrap, data_topics(bootstrap, self.replication))) == []

    def reset_offsets(self, where: str) -> None:
        """Set the group's offsets with Kafka's tool."""
        group = apply_group(self.replication, "replica")
        arguments = ["--bootstrap-server", self.kafka.bootstrap, "--group", group, "--all-topics"]
        arguments += ["--reset-offsets", where, "--execute"]
        tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
        done = run_tool(find_java(), kafka_jars(), tool, arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def delete(self, *topics: str) -> None:
        """Delete topics."""
        # Kept until its answers are there: the client ends with its last reference.
        admin = AdminClient({**self.kafka.settings})
        for future in admin.delete_topics(list(topics), operation_timeout=60).values():
            future.result(120)
        known = Topics(self.kafka.settings)
        self.services.wait(lambda: not any(map(known.exists, topics)), "the topics are gone")

    def refused(self, service: str) -> str:
        """Run a service that must end with an error; return the last that it said."""
        self.services.start(service, "--stop-at", "now")
        assert self.services.join(service) == 3, self.services.log_tail(service)
        return self.services.log_tail(service)


@pytest.mark.timeout(900)
def test_topics_and_offsets_that_somebody_touched(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, target_database: Database, replication: str
) -> None:
    shift = Shift(tmp_path, kafka_server, source_database, target_database, replication)
    with shift.services:
        shift.go_on()

        # The target's own offsets win over the group's: rows without a key would be there twice else.
        shift.reset_offsets("--to-earliest")
        shift.go_on()
        # Nor is anything passed over; and without status nothing is forgotten.
        shift.reset_offsets("--to-latest")
        shift.delete(status_topic(replication))
        shift.go_on()

        # Without the checkpoint everything is: a new load, with numbers above all that were ever used.
        shift.delete(checkpoints_topic(replication))
        shift.go_on()
        assert shift.services.said("capture", "begins anew")

        # A table's topic is not made anew in silence: appliers would pass over its first records.
        shift.delete(next(iter(data_topics(kafka_server.bootstrap, replication))))
        assert "is gone, and with it what was published" in shift.refused("capture")

        # What cannot be known is said: which columns the published bytes have.
        shift.delete(schemas_topic(replication))
        assert "does not hold version" in shift.refused("capture")
