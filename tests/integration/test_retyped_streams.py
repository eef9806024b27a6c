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
from tests.integration.services import TARGET, Serve, Services
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


BASED_ON = {"parquet files": "json files", "opensearch, data streams": "opensearch"}
MORE = {"parquet files": {"data_format": "parquet"}, "opensearch, data streams": {"index_kind": "data-stream"}}


def _fill(source: Database) -> None:
    for table, (first, second, values) in TYPES.items():
        source.execute(
            f"create table {table} (id bigint primary key, a {first}, b {second})",
            f"insert into {table} select g, {values} from generate_series(1, 5) g",
        )


def _section(name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    section = TARGETS[BASED_ON.get(name, name)](request.getfixturevalue) | MORE.get(name, {})
    # Files are written at once.
    return section | ({"cdc_max_batch_interval": 1} if section["engine"] == "files" else {})


NAMES = (
    "csv files with names, zipped",
    "json files",
    "parquet files",
    "opensearch, data streams",
    "kinesis",
    "kafka, DMS's JSON",
    "kafka, avro",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_history_goes_on_with_the_new_types(
    name: str, request: pytest.FixtureRequest, serve: Serve, source_database: Database
) -> None:
    _fill(source_database)
    place = SimpleNamespace(target_settings=_section(name, request))
    with serve(source_database, place, topics={"partitions": 2}) as services:
        said: list[str] = []

        def is_equal() -> bool:
            done = services.run("verify", "--target", TARGET, "--wait", "20", "--tries", "2")
            said.append(done.stdout + done.stderr)
            return done.returncode == 0

        for service in ("capture", "apply"):
            services.start(service)
        services.wait(is_equal, "the rows")
        for statements in CHANGES.values():
            source_database.execute(*statements)
        try:
            services.wait(is_equal, "the rows in their new types")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{said[-1]}") from None
        assert not services.said("apply", "table suspended")
        for service in ("capture", "apply"):
            assert services.stop(service) == 0, services.log_tail(service)


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
