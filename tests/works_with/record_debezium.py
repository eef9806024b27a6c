"""Record what a real Debezium writes: `python -m tests.works_with.record_debezium`, then look at the difference.

A connector captures the tables of `tests/kit/debezium.py` and is killed on the way: so it sends some changes twice. The
topics' records, and what the source holds at the end, become `tests/recorded/debezium/postgresql-FORMAT.json`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from deploy.local.connect import ConnectWorker, json_converters
from deploy.local.kafka import QUICK_JVM, KafkaServer
from deploy.local.postgresql import PostgresqlServer
from tests.kit.debezium import CHANGES, PREFIX, SNAPSHOT, TABLES, all_rows, postgresql_connector
from tests.kit.servers import create_database

GOLDEN = Path(__file__).resolve().parent.parent / "recorded" / "debezium"
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "json": json_converters(schemas=False),
    "json-with-schema": json_converters(schemas=True),
}
PAYLOAD = b',"payload":'
DEADLINE_S = 300.0


def main() -> None:
    """Record every format."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-record-")))
        directory.chmod(0o755)
        kafka = stack.enter_context(KafkaServer(directory / "kafka", jvm_options=QUICK_JVM))
        postgresql = stack.enter_context(PostgresqlServer(directory / "postgresql", major=18))
        for format_, converters in FORMATS.items():
            database = create_database(postgresql.address, "recorded")
            database.execute(*TABLES.split(";\n")[:-1], "create publication dbz for all tables", *SNAPSHOT)
            name = f"{PREFIX}{format_.replace('-', '')}"
            connector = postgresql_connector(name, database, **converters)
            worker = ConnectWorker(
                directory / format_,
                kafka.address.bootstrap,
                [connector],
                plugins=["debezium-postgres"],
                offset_flush_interval_ms=8000,
            )
            record(worker, name, kafka.address.bootstrap, database)
            document = {"format": format_, **topics(kafka.address.bootstrap, name)}
            document["expected"] = {table: rows._asdict() for table, rows in all_rows(database).items()}
            GOLDEN.mkdir(parents=True, exist_ok=True)
            path = GOLDEN / f"postgresql-{format_}.json"
            path.write_text(json.dumps(document, ensure_ascii=False, indent=0) + "\n")
            print(path, len(document["records"]), "records")


def record(worker: ConnectWorker, name: str, bootstrap: str, database: Any) -> None:
    """Let the connector capture everything; kill it in the middle, after what it has not noted as sent."""
    with worker:
        wait(worker, bootstrap, f"{name}.public.orders", 5)
        wait_for_slot(worker, database)
        wait_for_flush(worker)
        for statement in CHANGES[:9]:
            database.execute(statement)
        wait(worker, bootstrap, f"{name}.public.orders", 12)
        worker.kill()
        for statement in CHANGES[9:]:
            database.execute(statement)
        worker.restart()
        wait(worker, bootstrap, f"{name}.public.parent", 5)


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
        names = sorted(topic for topic in consumer.list_topics(timeout=30).topics if name in topic)
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
    try:
        return [number, rest.decode()]
    except UnicodeDecodeError:
        return [number, base64.b64encode(rest).decode(), "base64"]


if __name__ == "__main__":
    main()
