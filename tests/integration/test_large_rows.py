"""Rows of a size that nobody planned for: in parts, or whole where Kafka is told to take them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.kafka import QUICK_JVM, KafkaAddress, KafkaServer
from tests.integration.services import DEADLINE_S, Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import read_raw, read_topics

MIB = 1 << 20
LIMIT = 110 * MIB
CREATE = "create table wide (id bigint primary key, body text)"
INSERT = "insert into wide values ({}, repeat('a', {}))"
INSERT_WIDE = f"insert into wide values (1001, 'refused', repeat('r', {3 * MIB}), null)"


class Roomy(KafkaAddress):
    """A broker whose clients may send large records."""

    @property
    def settings(self) -> dict[str, str | int | bool]:
        return {**super().settings, "message.max.bytes": LIMIT}


def test_rows_that_kafka_does_not_take_travel_in_parts(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, target_database: Database, replication: str
) -> None:
    source, target = source_database, target_database
    source.execute(
        "create table wide (id bigint primary key, name text, body text, data bytea)",
        "alter table wide alter body set storage external",
        f"insert into wide values (1, 'loaded', repeat('é', {2 * MIB}), null), (2, 'small', 'b', '')",
    )
    with Services(tmp_path, replication, kafka_server, source, target) as services:
        services.start("capture")
        services.start("apply")
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=DEADLINE_S) == []
        # More at once than an applier puts together at a time; then others in between, another key, and over a kill.
        source.execute(
            f"insert into wide select g, 'n', repeat(md5(g::text), {MIB // 16}), null from generate_series(3, 22) g",
            f"update wide set data = decode(repeat('00ff', {MIB}), 'hex') where id = 2",
            "update wide set name = 'moved', id = 100 where id = 1",
            "update wide set name = 'unchanged' where id = 4",
            "delete from wide where id = 5",
        )
        services.kill("apply")
        services.start("apply")
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=DEADLINE_S) == []
        # One that the target refuses is parked where it stands, and can be tried again.
        target.execute("alter table wide add constraint small check (length(body) < 100 or id < 1000)")
        source.execute(INSERT_WIDE)
        parked = ("parked list", "--target", "replica", "--json")
        services.wait(lambda: len(json.loads(services.run(*parked).stdout)) == 1, "a parked key")
        target.execute("alter table wide drop constraint small")
        (key,) = json.loads(services.run(*parked).stdout)
        retried = services.run("parked retry", "--target", "replica", key["identifier"])
        assert retried.returncode == 0, retried.stdout + retried.stderr
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=DEADLINE_S) == []
        assert services.stop("capture") == 0
        assert services.stop("apply") == 0
    topic = f"{replication}.public.wide"
    large = [value for *_, value in read_raw(kafka_server.bootstrap, [topic]) if len(value or b"") > MIB]
    assert large == []
    envelopes = [r.envelope for r in read_topics(kafka_server.bootstrap, [topic]) if r.envelope is not None]
    (moved,) = [e for e in envelopes if e["op"] == "c" and e["after"]["id"] == 100]
    # Who does not know of parts is told which columns the record does not have.
    assert moved["after"] == {"id": 100, "name": "moved", "body": None, "data": None}
    assert moved["unavailable"] == ["body"]


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
