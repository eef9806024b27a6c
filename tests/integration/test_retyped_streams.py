"""Columns get other types, and targets that keep every change go on: later values have the new type there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.control.test_verify_read_back import TARGETS
from tests.integration.services import TARGET, Services
from tests.kit.servers import Database

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
)


@pytest.mark.parametrize("name", NAMES)
def test_a_history_goes_on_with_the_new_types(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    source_database: Database,
    kafka_server: KafkaAddress,
    replication: str,
) -> None:
    _fill(source_database)
    place = SimpleNamespace(target_settings=_section(name, request))
    with Services(tmp_path, replication, kafka_server, source_database, place, topics={"partitions": 2}) as services:
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
