"""Every example of the AWS DMS user guide on table mappings, in one running pipeline, by load and by log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.mysql import MysqlAddress
from tests.integration.services import TARGET, Serve, Services
from tests.kit.guide import EXAMPLES, Example, rules
from tests.kit.guide_objects import CUSTOMER, OBJECTS, WRITTEN
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.topics import read_raw


class _Postgresql:
    """The schemas of examples in a database of PostgreSQL."""

    engine = "postgresql"

    def __init__(self, database: Database) -> None:
        self.place = database

    def execute(self, example: Example, statements: list[str]) -> None:
        with self.place.connect() as connection:
            connection.execute(f"create schema if not exists {example.name}")
            connection.execute(f"set search_path to {example.name}")
            for statement in statements:
                connection.execute(statement)
                if statement.startswith('create table "ITEM"'):
                    connection.execute('alter table "ITEM" replica identity full')


class _Mysql:
    """The same as databases of MySQL."""

    engine = "mysql"

    def __init__(self, address: MysqlAddress) -> None:
        self.place = MysqlDatabase(address, "mysql", is_mariadb=False)

    def execute(self, example: Example, statements: list[str]) -> None:
        connection = self.place.connect()
        try:
            connection.run(f"create database if not exists {example.name} character set utf8mb4")
            connection.run(f"use {example.name}")
            for statement in statements:
                connection.run(statement.replace('"', "`"))
        finally:
            connection.close()

    def drop(self) -> None:
        self.place.execute(*(f"drop database if exists {example.name}" for example in EXAMPLES))


@pytest.fixture(params=["postgresql", "mysql"])
def source(request: pytest.FixtureRequest) -> Iterator[_Postgresql | _Mysql]:
    """Where the examples' tables are."""
    if request.param == "postgresql":
        yield _Postgresql(request.getfixturevalue("new_database")(18, "source"))
        return
    found = _Mysql(request.getfixturevalue("mysql_server"))
    yield found
    found.drop()


def _differing(target: Database, examples: list[Example]) -> dict[str, Any]:
    """Return, by example, what the target has otherwise than the guide says."""
    found: dict[str, Any] = {}
    there = set(target.rows("select table_schema, table_name from information_schema.tables"))
    for example in examples:
        for query, expected in example.rows.items():
            try:
                rows = target.rows(query.replace("{}", example.name))
            except Exception as error:  # noqa: BLE001 - not there yet
                found[example.name] = str(error)
                continue
            shown = [tuple(None if value is None else str(value) for value in row) for row in rows]
            if shown != expected:
                found[example.name] = shown
        extra = [table for table in example.absent if (example.name, table) in there]
        if extra:
            found[example.name] = f"tables that must not be there: {extra}"
    return found


def _is_loaded(services: Services) -> bool:
    tables = services.status().get("tables", {})
    return bool(tables) and all(table["state"] == "loaded" for table in tables.values())


def test_the_target_has_what_the_guide_says(
    tmp_path: Path, serve: Serve, new_database: Callable[..., Database], source: _Postgresql | _Mysql
) -> None:
    target = new_database(16, "target")
    examples = [example for example in EXAMPLES if example.only in ("", source.engine)]
    for example in examples:
        source.execute(example, example.tables)
    (tmp_path / "mappings.json").write_text(json.dumps({"rules": rules(examples)}))
    more: dict[str, Any] = {"at_source": {"tables": None}, "mappings": "mappings.json"}
    with serve(source.place, target, **more) as services:
        preview = services.run("mappings preview", "--target", TARGET)
        assert preview.returncode == 0, preview.stdout + preview.stderr
        services.start("capture")
        services.start("apply")
        services.wait(lambda: services.status().get("state") == "running", "capture at work")
        # A row that comes and goes within one batch would leave no flag.
        flagged = Example("g_flag", [], [], rows={"select count(*) from {}.employee": [("3",)]})
        services.wait(lambda: _differing(target, [flagged]) == {} and _is_loaded(services), "every load")
        for example in examples:
            source.execute(example, example.changes)
        try:
            services.wait(lambda: _differing(target, examples) == {}, "what the guide says")
        finally:
            assert _differing(target, examples) == {}
        assert services.stop("capture") == 0
        assert services.stop("apply") == 0


class _Topics:
    """Kafka as a target: one topic for all tables, unless a rule says another."""

    def __init__(self, kafka: KafkaAddress, topic: str) -> None:
        self.target_settings = {"engine": "kafka", "kafka": kafka.settings, "topic": topic}


def test_records_at_kafka_are_what_the_guide_says(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, new_database: Callable[..., Database]
) -> None:
    source = _Postgresql(new_database(18, "source"))
    columns = ", ".join(f'"{name}" {kind}' for name, kind, _ in CUSTOMER)
    values = ", ".join(f"'{value}'" for *_, value in CUSTOMER)
    for table in WRITTEN:
        source.execute(OBJECTS, [f'create table "{table}" ({columns})', f'insert into "{table}" values ({values})'])
    said = json.dumps({"rules": rules([OBJECTS])}).replace("{}", f"{replication}.out")
    (tmp_path / "mappings.json").write_text(said)
    target = _Topics(kafka_server, f"{replication}.out")
    more: dict[str, Any] = {"at_source": {"tables": None}, "mappings": "mappings.json"}
    with Services(tmp_path, replication, kafka_server, source.place, target, **more) as services, services.moving():
        place = f"{replication}.out"
        expected: dict[str, Any] = {
            table: (topic.replace("{}", place), *rest) for table, (topic, *rest) in WRITTEN.items()
        }
        topics = sorted({topic for topic, *_ in expected.values()})

        def found() -> dict[str, Any]:
            taken: dict[str, Any] = {}
            for topic, _, _, key, value in read_raw(kafka_server.bootstrap, topics):
                record = json.loads(value or b"{}")
                taken[record["metadata"]["table-name"]] = (topic, (key or b"").decode(), record["data"])
            return taken

        try:
            services.wait(lambda: len(found()) == len(expected), "a record of each table")
        finally:
            assert found() == expected
