"""Rows of a size that nobody planned for: refused with the reason, or moved where Kafka is told to take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.kafka import QUICK_JVM, KafkaAddress, KafkaServer
from runtime import exit_codes
from tests.integration.services import DEADLINE_S, Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database

MIB = 1 << 20
LIMIT = 110 * MIB
CREATE = "create table wide (id bigint primary key, body text)"
INSERT = "insert into wide values ({}, repeat('a', {}))"


class Roomy(KafkaAddress):
    """A broker whose clients may send large records."""

    @property
    def settings(self) -> dict[str, str | int | bool]:
        return {**super().settings, "message.max.bytes": LIMIT}


def test_a_row_that_kafka_does_not_take_stops_capture_with_table_and_size(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, target_database: Database, replication: str
) -> None:
    source_database.execute(CREATE, INSERT.format(1, 10))
    with Services(tmp_path, replication, kafka_server, source_database, target_database) as services:
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == 0, services.log_tail("capture")
        source_database.execute(INSERT.format(2, 3 * MIB))
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == exit_codes.CONFIGURATION, services.log_tail("capture")
        assert services.said("capture", f"{replication}.public.wide, 3,1")
        assert services.said("capture", "raise max.message.bytes of the topic")
        # Nothing is lost: the row goes, and capture goes on.
        source_database.execute("update wide set body = 'short' where id = 2")
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == exit_codes.CONFIGURATION, services.log_tail("capture")


@pytest.mark.timeout(900)
def test_a_row_of_a_hundred_megabytes_moves_where_kafka_takes_it(
    tmp_path: Path, servers_directory: Path, new_database: Callable[..., Database], replication: str
) -> None:
    broker_settings = {"socket.request.max.bytes": str(2 * LIMIT), "message.max.bytes": str(LIMIT)}
    source, target = new_database(18, "source"), new_database(16, "target")
    source.execute(CREATE, INSERT.format(1, 100 * MIB))
    directory = servers_directory / replication
    with KafkaServer(directory, heap_mb=1024, jvm_options=QUICK_JVM, settings=broker_settings) as broker:
        kafka = Roomy(broker.address.bootstrap)
        with Services(
            tmp_path, replication, kafka, source, target, topics={"config": {"max.message.bytes": str(LIMIT)}}
        ) as services:
            services.start("capture")
            services.start("apply")
            # Loaded, inserted, and moved to another key: the old value is not in the log, and capture asks for it.
            assert wait_until_equal(source.dsn, target.dsn, timeout_s=DEADLINE_S) == []
            source.execute(INSERT.format(2, 100 * MIB), "update wide set id = 3 where id = 1")
            assert wait_until_equal(source.dsn, target.dsn, timeout_s=DEADLINE_S) == []
            for service in ("capture", "apply"):
                assert services.stop(service) == 0, services.log_tail(service)
