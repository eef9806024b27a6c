"""Record what a real Debezium writes: `python -m tests.works_with.record_debezium [NAME…]`; then see the difference.

A connector captures the tables of `tests/kit/debezium.py` (`debezium_mysql.py`) and is killed on the way: so it sends
some changes twice. The topics' records, and what the source holds at the end, become
`tests/recorded/debezium/NAME.json`; of Avro the schemas, too.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Consumer, TopicPartition

from deploy.local.connect import ConnectWorker, avro_converters, json_converters
from deploy.local.kafka import QUICK_JVM, KafkaServer
from deploy.local.mysql import MysqlServer
from deploy.local.postgresql import PostgresqlServer
from deploy.local.registry import RegistryServer
from tests.kit import debezium_mysql
from tests.kit.debezium import CHANGES, PREFIX, SNAPSHOT, TABLES, all_rows, postgresql_connector
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import create_database

RECORDED = Path(__file__).resolve().parent.parent / "recorded" / "debezium"
RECORDINGS = (
    "postgresql-json",
    "postgresql-json-with-schema",
    "postgresql-avro",
    "mysql-json-with-schema",
    "mysql-avro",
    "mariadb-json-with-schema",
    "mariadb-avro",
)
PAYLOAD = b',"payload":'
DEADLINE_S = 300.0
MYSQL_DATABASE = "shop"


class Stage:
    """The servers, and a connector's worker for each recording."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-record-")))
        self.directory.chmod(0o755)
        self.kafka = stack.enter_context(KafkaServer(self.directory / "kafka", jvm_options=QUICK_JVM))
        self.bootstrap = self.kafka.address.bootstrap
        self.registry = stack.enter_context(RegistryServer(self.directory / "registry"))

    def postgresql(self, name: str, format_: str) -> dict[str, Any]:
        """Record the connector for PostgreSQL; return what belongs to the recording besides records."""
        server = self._stack.enter_context(PostgresqlServer(self.directory / name / "server", major=18))
        database = create_database(server.address, "recorded")
        database.execute(*TABLES.split(";\n")[:-1], "create publication dbz for all tables", *SNAPSHOT)
        connector = postgresql_connector(_prefix(name), database, **self._converters(format_))
        worker = self._worker(name, connector, "debezium-postgres")
        orders, parent = (f"{_prefix(name)}.public.{table}" for table in ("orders", "parent"))
        with worker:
            wait(worker, self.bootstrap, orders, 5)
            wait_for_slot(worker, database)
            wait_for_flush(worker)
            for statement in CHANGES[:9]:
                database.execute(statement)
            wait(worker, self.bootstrap, orders, 12)
            worker.kill()
            for statement in CHANGES[9:]:
                database.execute(statement)
            worker.restart()
            wait(worker, self.bootstrap, parent, 5)
        return {"schema": "public", "expected": {table: rows._asdict() for table, rows in all_rows(database).items()}}

    def mysql(self, name: str, format_: str) -> dict[str, Any]:
        """Record the connector for MySQL, or MariaDB."""
        engine = name.partition("-")[0]
        series = {"mysql": "mysql", "mariadb": "11.4"}[engine]
        server = self._stack.enter_context(MysqlServer(self.directory / name / "server", series=series))
        database = MysqlDatabase(server.address, MYSQL_DATABASE, is_mariadb=engine == "mariadb")
        MysqlDatabase(server.address, "mysql", is_mariadb=database.is_mariadb).execute(
            f"create database {database.name} character set utf8mb4"
        )
        database.execute(*debezium_mysql.TABLES, *debezium_mysql.SNAPSHOT)
        connector = debezium_mysql.mysql_connector(_prefix(name), database, self.directory, **self._converters(format_))
        worker = self._worker(name, connector, f"debezium-{engine}")
        things, pairs = (f"{_prefix(name)}.{database.name}.{table}" for table in ("things", "pairs"))
        with worker:
            wait(worker, self.bootstrap, things, 4)
            wait_for_flush(worker)
            database.execute(*debezium_mysql.CHANGES[:6])
            # A new row, two updates of which one is of the key, a delete, and the tombstones.
            wait(worker, self.bootstrap, things, 11)
            worker.kill()
            database.execute(*debezium_mysql.CHANGES[6:])
            worker.restart()
            # Not by counts: what was sent before the kill may come again.
            wait_for_key(worker, self.bootstrap, pairs, b'{"a":5,"b":"e"}', b"\x0a\x02e")
            wait_for_key(worker, self.bootstrap, things, b'{"id":40}', b"\x50")
        expected = {table: rows._asdict() for table, rows in debezium_mysql.source_rows(database).items()}
        return {"schema": database.name, "expected": expected}

    def schemas(self, records: list[list[Any]]) -> dict[str, str]:
        """Return the texts of the Avro schemas that records were written with, by the registry's ids."""
        parts = (base64.b64decode(part[1]) for record in records for part in record[1:] if part and part[2:])
        ids = {int.from_bytes(data[1:5], "big") for data in parts if data[:1] == b"\0"}
        answers = {number: httpx.get(f"{self.registry.url}/schemas/ids/{number}") for number in sorted(ids)}
        return {str(number): answer.raise_for_status().json()["schema"] for number, answer in answers.items()}

    def _converters(self, format_: str) -> dict[str, str | bool]:
        if format_ != "avro":
            return json_converters(schemas=format_ == "json-with-schema")
        return {"schema.name.adjustment.mode": "avro", **avro_converters(self.registry)}

    def _worker(self, name: str, connector: dict[str, Any], plugin: str) -> ConnectWorker:
        return ConnectWorker(
            self.directory / name / "connect",
            self.bootstrap,
            [connector],
            plugins=[plugin, "apicurio-converter"],
            offset_flush_interval_ms=8000,
        )


def main(names: Sequence[str]) -> None:
    """Record what is named, or everything."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        for name in names or RECORDINGS:
            connector, _, format_ = name.partition("-")
            more = (stage.postgresql if connector == "postgresql" else stage.mysql)(name, format_)
            document = {"format": format_, **topics(stage.bootstrap, _prefix(name)), **more}
            if format_ == "avro":
                schemas = stage.schemas(document["records"])
                document["schemas"] = {n: text.replace(_prefix(name), PREFIX) for n, text in schemas.items()}
            RECORDED.mkdir(parents=True, exist_ok=True)
            path = RECORDED / f"{name}.json"
            path.write_text(json.dumps(document, ensure_ascii=False, indent=0) + "\n")
            print(path, len(document["records"]), "records")


def _prefix(name: str) -> str:
    return f"{PREFIX}{name.replace('-', '')}"


def wait_for_slot(worker: ConnectWorker, database: Any) -> None:
    """Wait until the connector streams."""
    deadline = time.monotonic() + DEADLINE_S
    query = "select count(*) from pg_replication_slots where active and database = current_database()"
    while database.rows(query) != [(1,)]:
        worker.check()
        assert time.monotonic() < deadline, "the connector does not stream"
        time.sleep(0.2)


def wait_for_flush(worker: ConnectWorker) -> None:
    """Wait until the connector has just noted how far it got: what it sends next, it sends again after a kill."""
    offsets = worker.directory / "offsets"
    deadline = time.monotonic() + DEADLINE_S
    before = offsets.stat().st_mtime_ns if offsets.exists() else 0
    while (offsets.stat().st_mtime_ns if offsets.exists() else 0) == before:
        worker.check()
        assert time.monotonic() < deadline, "the connector notes no offsets"
        time.sleep(0.1)


def wait(worker: ConnectWorker, bootstrap: str, topic: str, count: int) -> None:
    """Wait until a topic's one partition has so many records."""
    deadline = time.monotonic() + DEADLINE_S
    while end_of(bootstrap, topic) < count:
        worker.check()
        assert time.monotonic() < deadline, f"{topic} has not got {count} records"
        time.sleep(0.3)


def wait_for_key(worker: ConnectWorker, bootstrap: str, topic: str, json_text: bytes, avro: bytes) -> None:
    """Wait until the last record of a topic's one partition is of a key, written in JSON or in Avro."""
    deadline = time.monotonic() + DEADLINE_S
    endings = (json_text, json_text + b"}", avro)
    while not last_key(bootstrap, topic).endswith(endings):
        worker.check()
        assert time.monotonic() < deadline, f"{topic} does not end with {json_text!r}"
        time.sleep(0.3)


def last_key(bootstrap: str, topic: str) -> bytes:
    """Return the key of the last record of a topic's one partition."""
    end = end_of(bootstrap, topic)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "recorder"})
    try:
        consumer.assign([TopicPartition(topic, 0, max(0, end - 1))])
        message = consumer.poll(30)
        return bytes(message.key() or b"") if message is not None and message.error() is None else b""
    finally:
        consumer.close()


def end_of(bootstrap: str, topic: str) -> int:
    """Return where a topic's one partition ends; 0 for one that is not there."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "recorder"})
    try:
        if topic not in consumer.list_topics(timeout=30).topics:
            return 0
        return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1])
    finally:
        consumer.close()


def topics(bootstrap: str, name: str) -> dict[str, Any]:
    """Return the records of a connector's topics, with the schemas that they repeat told once."""
    heads: dict[bytes, int] = {}
    records: list[list[Any]] = []
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "recorder", "enable.partition.eof": True})
    try:
        wanted = re.compile(rf"(.*\.)?{name}(\..*)?")
        names = sorted(topic for topic in consumer.list_topics(timeout=30).topics if wanted.fullmatch(topic))
        consumer.assign([TopicPartition(topic, 0, 0) for topic in names])
        left = set(names)
        while left:
            message = consumer.poll(30)
            assert message is not None, f"no answer about {left}"
            if message.error():
                left.discard(message.topic())
                continue
            parts = [split(part, heads) for part in (message.key(), message.value())]
            records.append([(message.topic() or "").replace(name, PREFIX), *parts])
    finally:
        consumer.close()
    records.sort(key=lambda record: record[0])
    return {"heads": [head.decode().replace(name, PREFIX) for head in heads], "records": records}


def split(data: bytes | None, heads: dict[bytes, int]) -> list[Any] | None:
    """Return a key or value as the number of its head and the rest of it."""
    if data is None:
        return None
    end = data.find(PAYLOAD)
    head = data[: end + len(PAYLOAD)] if end > 0 else b""
    rest = data[len(head) :]
    number = heads.setdefault(head, len(heads))
    if data.startswith(b"\0"):
        return [number, base64.b64encode(data).decode(), "base64"]
    try:
        return [number, rest.decode()]
    except UnicodeDecodeError:
        return [number, base64.b64encode(rest).decode(), "base64"]


if __name__ == "__main__":
    main(sys.argv[1:])
