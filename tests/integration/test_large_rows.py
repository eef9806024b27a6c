"""Rows of a size that nobody planned for: in parts, or whole where Kafka is told to take them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import QUICK_JVM, KafkaAddress, KafkaServer
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import delete_records, read_raw, read_topics

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
        # (Beyond 8 MiB capture and its loaders have it in files.)
        f"insert into wide values (1, 'loaded', repeat('é', {5 * MIB}), null), (2, 'small', 'b', '')",
    )
    with Services(tmp_path, replication, kafka_server, source, target) as services:
        services.start("capture")
        services.start("apply")
        _arrive(services, source, target)
        # More at once than an applier puts together at a time; then others in between, another key, and over a kill.
        source.execute(
            f"insert into wide select g, 'n', repeat(md5(g::text), {MIB // 16}), null from generate_series(3, 22) g",
            f"update wide set data = decode(repeat('00ff', {5 * MIB}), 'hex') where id = 2",
            "update wide set name = 'moved', id = 100 where id = 1",
            "update wide set name = 'unchanged' where id = 4",
            "delete from wide where id = 5",
        )
        services.crash("apply")
        _arrive(services, source, target)
        # One that the target refuses is parked where it stands, and can be tried again.
        target.execute("alter table wide add constraint small check (length(body) < 100 or id < 1000)")
        source.execute(INSERT_WIDE)
        parked = ("parked list", "--target", "replica", "--json")
        services.wait(lambda: len(json.loads(services.run(*parked).stdout)) == 1, "a parked key")
        target.execute("alter table wide drop constraint small")
        (key,) = json.loads(services.run(*parked).stdout)
        retried = services.run("parked retry", "--target", "replica", key["identifier"])
        assert retried.returncode == 0, retried.stdout + retried.stderr
        _arrive(services, source, target)
        # Where retention has taken the parts, their record is parked like others that cannot be read.
        assert services.stop("apply") == 0
        source.execute(INSERT_WIDE.replace("1001", "1002"), "update wide set name = 'behind' where id = 2")
        topic = f"{replication}.public.wide"
        services.wait(
            lambda: any(e["after"] and e["after"]["name"] == "behind" for e in _envelopes(kafka_server, topic)),
            "all in the topic",
        )
        delete_records(kafka_server.bootstrap, f"{replication}.tailrace.parts")
        services.start("apply")
        services.wait(lambda: len(json.loads(services.run(*parked).stdout)) == 1, "the record without its parts")
        (key,) = json.loads(services.run(*parked).stdout)
        assert "parts of a record of" in key["error"]
        # (In another partition.)
        services.wait(lambda: target.rows("select name from wide where id = 2") == [("behind",)], "what came behind it")
        # What is loaded again needs it no more.
        reloaded = services.run("signal reload", "--table", "public.wide", "--above", "1001")
        assert reloaded.returncode == 0, reloaded.stdout + reloaded.stderr
        _arrive(services, source, target)
        services.wait(lambda: json.loads(services.run(*parked).stdout) == [], "no parked key")
        assert services.run("parked audit", "--target", "replica").stdout.count("released") == 2
        assert services.stop("capture") == 0
        assert services.stop("apply") == 0
    large = [value for *_, value in read_raw(kafka_server.bootstrap, [topic]) if len(value or b"") > MIB]
    assert large == []
    (moved,) = [e for e in _envelopes(kafka_server, topic) if e["op"] == "c" and e["after"]["id"] == 100]
    # Who does not know of parts is told which columns the record does not have.
    assert moved["after"] == {"id": 100, "name": "moved", "body": None, "data": None}
    assert moved["unavailable"] == ["body"]


def _arrive(services: Services, source: Database, target: Database) -> None:
    """Wait until the target has the source's rows: they are looked at once, and until then only how large they are."""
    sizes = "select id, octet_length(body) from wide order by id"
    expected = source.rows(sizes)
    services.wait(
        lambda: bool(target.rows("select to_regclass('wide')")[0][0]) and target.rows(sizes) == expected, "the rows"
    )
    assert wait_until_equal(source.dsn, target.dsn) == []


def _envelopes(kafka: KafkaAddress, topic: str) -> list[dict[str, Any]]:
    return [r.envelope for r in read_topics(kafka.bootstrap, [topic]) if r.envelope is not None]


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
            _arrive(services, source, target)
            source.execute(INSERT.format(2, 100 * MIB), "update wide set id = 3 where id = 1")
            _arrive(services, source, target)
            for service in ("capture", "apply"):
                assert services.stop(service) == 0, services.log_tail(service)
