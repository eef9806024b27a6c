"""Columns of earlier values where the key changes, from each form of the log: the new row has what the old one had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.topics import read_raw

WHOLE, SCANT = "whole", "scant"
"""Tables of which the log has whole old rows, and the key alone."""

CHANGES = (
    "update {table} set id = 3, n = 30 where id = 1",
    "update {table} set id = 4 where id = 2",
    "insert into {table} values (5, 'new', 50)",
)
LATER = "update {table} set n = 41 where id = 4"
ROWS = "select id, v, n, bi_id, bi_v, bi_n from {table} order by id"


def _rules() -> str:
    place = {"schema-name": "%", "table-name": "%"}
    image = {"column-prefix": "bi_", "column-suffix": "", "column-filter": "all"}
    column = {"rule-type": "transformation", "rule-target": "column", "rule-action": "add-before-image-columns"}
    rules: list[dict[str, Any]] = [
        {"rule-type": "selection", "rule-action": "include", "object-locator": place},
        {**column, "object-locator": place | {"column-name": "%"}, "before-image-def": image},
    ]
    return json.dumps({"rules": [rule | {"rule-id": str(number)} for number, rule in enumerate(rules)]})


def _change(source: Database | MysqlDatabase, *changes: str) -> None:
    """Run statements on both tables; MySQL's session leaves out of the images of one what it can."""
    source.execute(*(change.format(table=WHOLE) for change in changes))
    scant = [change.format(table=SCANT) for change in changes]
    if isinstance(source, Database):
        source.execute(*scant)
        return
    connection = source.connect()
    connection.run("set session binlog_row_image = 'MINIMAL'")
    for statement in scant:
        connection.run(statement)
    connection.close()


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_the_new_row_has_the_values_of_the_old_one(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
    request: pytest.FixtureRequest,
    engine: str,
) -> None:
    source: Any = new_database(18, "source") if engine == "postgresql" else request.getfixturevalue("mysql_source")
    target = new_database(18, "target")
    for table in (WHOLE, SCANT):
        source.execute(
            f"create table {table} (id int primary key, v varchar(20), n int)",
            f"insert into {table} values (1, 'one', 10), (2, 'two', 20)",
        )
    if engine == "postgresql":
        source.execute(f"alter table {WHOLE} replica identity full")
    schema = "public" if engine == "postgresql" else source.name
    (tmp_path / "mappings.json").write_text(_rules())
    with Services(tmp_path, replication, kafka_server, source, target, mappings="mappings.json") as services:
        document = json.loads(services.configuration.read_text())
        del document["source"]["tables"]
        document["targets"] |= {
            "files": {"engine": "files", "directory": str(tmp_path / "out"), "data_format": "json"},
            "stream": {"engine": "kafka", "kafka": kafka_server.settings, "topic": f"{replication}.copy.{{table}}"},
        }
        services.configuration.write_text(json.dumps(document))
        services.start("capture")
        services.start("apply")

        def found(table: str) -> list[tuple[object, ...]]:
            return target.rows(ROWS.format(table=f'"{schema}".{table}'))

        def is_loaded() -> bool:
            is_there = f"""select count(*) from information_schema.tables where table_schema = '{schema}'"""
            return target.rows(is_there) == [(2,)] and all(len(found(table)) == 2 for table in (WHOLE, SCANT))

        services.wait(is_loaded, "the load")
        services.wait(lambda: services.status().get("phase") == "streaming", "the stream")
        _change(source, *CHANGES)
        new = (5, "new", 50, None, None, None)
        moved: dict[str, list[tuple[object, ...]]] = {
            WHOLE: [(3, "one", 30, 1, "one", 10), (4, "two", 20, 2, "two", 20), new],
            SCANT: [(3, "one", 30, 1, None, None), (4, "two", 20, 2, None, None), new],
        }
        services.wait(lambda: {table: found(table) for table in moved} == moved, "the old keys")
        _change(source, LATER)
        # Of its last change: what a minimal image left out is not known.
        later = {WHOLE: (4, "two", 41, 4, "two", 20), SCANT: (4, "two", 41, 4, None, None)}
        services.wait(lambda: {table: found(table)[1] for table in later} == later, "the later change")

        services.start("apply-files", "--target", "files", "--stop-at", "now")
        services.start("apply-stream", "--target", "stream", "--stop-at", "now")
        for name in ("apply-files", "apply-stream"):
            assert services.join(name) == 0, services.log_tail(name)
        for table, rows in moved.items():
            assert _inserted_in_files(tmp_path / "out" / schema / table) == rows
            assert _inserted_in_topic(kafka_server, f"{replication}.copy.{table}") == rows
        assert services.stop("apply") == 0
        assert services.stop("capture") == 0


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    return tuple(record.get(name) for name in ("id", "v", "n", "bi_id", "bi_v", "bi_n"))


def _inserted_in_files(directory: Path) -> list[tuple[object, ...]]:
    lines = [line for path in directory.iterdir() if path.is_file() for line in path.read_text().splitlines()]
    return sorted(_row(record) for record in map(json.loads, lines) if record.get("Op") == "I" and record["id"] > 2)


def _inserted_in_topic(kafka: KafkaAddress, topic: str) -> list[tuple[object, ...]]:
    records = [json.loads(value or b"") for *_, value in read_raw(kafka.bootstrap, [topic])]
    return sorted(_row(record["data"]) for record in records if record["metadata"]["operation"] == "insert")
