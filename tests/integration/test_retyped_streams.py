"""Columns get other types, and targets that keep every change go on: later values have the new type there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.registry import RegistryServer
from runtime.registry import MEDIA_TYPE
from tests.integration.control.test_verify_read_back import TARGETS
from tests.integration.services import Serve, Services
from tests.kit.servers import Database
from tests.kit.topics import read_raw

pytestmark = pytest.mark.timeout(1200)

CHANGES = {
    "numbers": (
        "alter table numbers alter a type bigint, alter b type numeric(12, 2)",
        "update numbers set a = 5000000000, b = 1234567.25 where id = 1",
    ),
    "wordy": (
        "alter table wordy alter a type text using 'n' || a, alter b type text using b::text",
        "update wordy set a = 'many', b = 'some' where id = 1",
    ),
    "counted": (
        "alter table counted alter a type integer using length(a), alter b type boolean using a <> ''",
        "update counted set a = 77, b = false where id = 1",
    ),
    "dated": (
        "alter table dated alter a type timestamptz, alter b type date using b::date",
        "update dated set a = '2026-05-06 07:08:09Z', b = '2026-05-06' where id = 1",
    ),
}
TYPES = {
    "numbers": ("integer", "numeric(8, 2)", "g * 2, g / 4.0"),
    "wordy": ("integer", "boolean", "g * 2, g % 2 = 0"),
    "counted": ("text", "varchar(20)", "repeat('x', g), 'word ' || g"),
    "dated": ("timestamp", "text", "timestamp '2026-01-01' + g * interval '1 hour', '2026-02-0' || g"),
}


HISTORIES: dict[str, tuple[str, dict[str, Any]]] = {
    "csv": ("csv files with names, zipped", {"cdc_max_batch_interval": 1}),
    "json": ("json files", {"cdc_max_batch_interval": 1}),
    "parquet": ("json files", {"cdc_max_batch_interval": 1, "data_format": "parquet"}),
    "opensearch": ("opensearch", {"index_kind": "data-stream"}),
    "kinesis": ("kinesis", {}),
    "kafka-json": ("kafka, DMS's JSON", {"topic": "{name}.json.{table}"}),
    "kafka-avro": ("kafka, avro", {"topic": "{name}.avro.{table}"}),
}
"""Targets, which of `TARGETS` each is like, and what it has of its own: files are written at once."""


def _fill(source: Database) -> None:
    for table, (first, second, values) in TYPES.items():
        source.execute(
            f"create table {table} (id bigint primary key, a {first}, b {second})",
            f"insert into {table} select g, {values} from generate_series(1, 5) g",
        )


def test_histories_go_on_with_the_new_types(
    request: pytest.FixtureRequest, serve: Serve, source_database: Database
) -> None:
    _fill(source_database)
    targets = {name: TARGETS[like](request.getfixturevalue) | own for name, (like, own) in HISTORIES.items()}
    with serve(source_database, None, targets=targets, topics={"partitions": 2}) as services:
        services.start("capture")
        appliers = services.start_appliers(targets)
        services.wait_until_equal(targets)
        for statements in CHANGES.values():
            source_database.execute(*statements)
        services.wait_until_equal(targets)
        assert [name for name in appliers if services.said(name, "table suspended")] == []
        for name in ("capture", *appliers):
            assert services.stop(name) == 0, services.log_tail(name)


def test_a_registry_that_takes_no_other_type_suspends_one_table(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    source_database: Database,
    kafka_server: KafkaAddress,
    registry_server: RegistryServer,
    replication: str,
) -> None:
    _fill(source_database)
    section = TARGETS["kafka, avro"](request.getfixturevalue)
    section["registry"]["compatibility"] = "BACKWARD"
    place = SimpleNamespace(target_settings=section)
    with Services(tmp_path, replication, kafka_server, source_database, place) as services:
        for service in ("capture", "apply"):
            services.start(service)
        services.wait(lambda: all(_count(kafka_server, replication, table) == 5 for table in TYPES), "the load")
        # A reader of longs reads ints; one of texts does not.
        for table in ("numbers", "wordy"):
            source_database.execute(*CHANGES[table])
        source_database.execute("update counted set a = 'on' where id = 1")
        services.wait(lambda: _count(kafka_server, replication, "numbers") >= 11, "the table whose type may change so")
        services.wait(lambda: _count(kafka_server, replication, "counted") == 6, "another table")
        services.wait(lambda: services.said("apply", "table suspended"), "the suspension")
        reason = (f"{replication}.copy.wordy-value", "BACKWARD", "a was null or int and is null or string")

        def is_told() -> bool:
            """Tell whether one status says which table it is, and why: it is tried again, and suspended once more."""
            topics, why = _suspended(services)
            return topics == [f"{replication}.public.wordy"] and all(words in why for words in reason)

        services.wait(is_told, "the status")
        assert _count(kafka_server, replication, "wordy") == 5
        # The one who knows the readers lets it.
        level = f"{registry_server.url}/config/{replication}.copy.wordy-value"
        answer = httpx.put(level, content=b'{"compatibility": "NONE"}', headers={"Content-Type": MEDIA_TYPE})
        assert answer.is_success
        services.wait(lambda: _count(kafka_server, replication, "wordy") >= 11, "the suspended table goes on")
        assert services.stop("apply") == services.stop("capture") == 0


def _count(kafka: KafkaAddress, replication: str, table: str) -> int:
    return len(list(read_raw(kafka.bootstrap, [f"{replication}.copy.{table}"])))


def _suspended(services: Services) -> tuple[list[str], str]:
    """Return the topics of the suspended tables, and why."""
    (target,) = json.loads(services.run("status", "--json").stdout)["targets"]
    facts = [each["facts"] for each in target["instances"]]
    topics = {topic for one in facts for topic, table in one.get("tables", {}).items() if table["state"] == "suspended"}
    return sorted(topics), json.dumps([one.get("error") for one in facts])
