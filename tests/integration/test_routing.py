"""Topics of every form beside one another: names, formats, keys, shapes and outboxes, over a crash of capture."""

from __future__ import annotations

import io
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro

from deploy.local.java import find_java
from deploy.local.kafka import KafkaAddress, kafka_jars, run_tool
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.ranges import read_ranges
from schemas.registry import NOOP_KEY
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import read_raw

ROWS = 40
MESSAGES = 30


def _overrides(name: str) -> list[dict[str, Any]]:
    return [
        {"tables": ["public.*"], "config": {"retention.ms": 86_400_000}},
        {"tables": ["public.renamed"], "topic": "{name}.other-{table}", "format": "json", "partitions": 3},
        {"tables": ["public.part_*"], "topic": "{name}.all-parts", "shared": True},
        {"tables": ["public.lines"], "key": ["order_id"], "format": "json"},
        {"tables": ["public.avro_rows"], "shape": "row", "fields": ["op", "seq"], "cleanup": "compact"},
        {"tables": ["public.json_rows"], "shape": "row", "format": "json", "deletes": "rewrite", "tombstones": True},
        {"tables": ["public.events"], "shape": "cloudevent"},
        {
            "tables": ["public.outbox"],
            "partitions": 2,
            "outbox": {
                "topic": f"{name}.outbox.{{aggregate_type}}",
                "headers": {"type": "eventType"},
                "tombstones": True,
            },
        },
    ]


TABLES = (
    "create table plain (id bigint primary key, note text)",
    "create table renamed (id uuid primary key, note text)",
    "create table part_a (id bigint primary key, note text)",
    "create table part_b (id bigint primary key, note text)",
    "create table lines (id bigint primary key, order_id int not null, note text)",
    "alter table lines replica identity full",
    "create table avro_rows (id bigint primary key, amount numeric(10,2), big text)",
    "alter table avro_rows alter big set storage external",
    "create table json_rows (id bigint primary key, big text, at timestamptz)",
    "alter table json_rows alter big set storage external",
    "create table events (id bigint primary key, note text)",
    "create table outbox (id uuid primary key, aggregatetype text, aggregateid text, type text, payload jsonb)",
)


def _fill(first: int, last: int) -> list[str]:
    series = f"from generate_series({first}, {last}) n"
    return [
        *(f"insert into {t} select n, 'note ' || n {series}" for t in ("plain", "part_a", "part_b", "events")),
        f"insert into renamed select gen_random_uuid(), 'note ' || n {series}",
        f"insert into lines select n, n % 7, 'note ' || n {series}",
        f"insert into avro_rows select n, n / 4.0, repeat(md5(n::text), 200) {series}",
        f"insert into json_rows select n, repeat(md5(n::text), 200), 'epoch' {series}",
    ]


def _message(n: int) -> str:
    payload = "null" if n == 5 else f"""jsonb_build_object('n', {n})"""
    kind = "order" if n % 3 else "customer"
    return f"insert into outbox values (md5('{n}')::uuid, '{kind}', 'a{n % 4}', 'kind {n % 2}', {payload})"


def test_topics_take_every_form_at_once(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    source_database: Database,
    target_database: Database,
) -> None:
    source, target = source_database, target_database
    source.execute(*TABLES, *_fill(1, ROWS), _message(0))
    topics = {"overrides": _overrides(replication), "registry_topic": f"{replication}.registry"}
    read = Reader(kafka_server.bootstrap, replication)
    with Services(tmp_path, replication, kafka_server, source, target, topics=topics) as services:
        planned = services.run("plan")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        services.start("capture")
        services.start("apply")
        services.wait(lambda: len(services.loaded()) == 9, "the load")
        source.execute(*_fill(ROWS + 1, 2 * ROWS), *(_message(n) for n in range(1, MESSAGES // 2)))
        source.execute(
            "update avro_rows set amount = 99.5 where id = 1",
            "update json_rows set at = '2026-11-29 12:00Z' where id = 1",
            "update lines set note = 'x' where id = 1",
            *(f"delete from {table} where id = 2" for table in ("avro_rows", "json_rows", "lines", "events", "part_a")),
            "truncate events",
            "update outbox set payload = '{}'",
            "delete from outbox",
        )
        services.wait(lambda: len(read("outbox.order")) > 2, "the first messages")
        services.kill("capture")
        source.execute(*(_message(n) for n in range(MESSAGES // 2, MESSAGES)), "insert into part_b values (1000)")
        services.start("capture")
        # Appliers take what is theirs: envelopes under the tables' own keys, on topics of their own.
        applied = ["public.plain", "public.renamed"]
        assert wait_until_equal(source.dsn, target.dsn, tables=applied) == []
        assert services.said("apply", "it is an outbox")
        services.wait(lambda: len(read("outbox.order") + read("outbox.customer")) >= MESSAGES, "all messages")
        services.wait(lambda: len(read("all-parts")) >= 4 * ROWS + 2, "the last row")
        assert services.stop("capture") == services.stop("apply") == 0
        listed = services.run("topics").stdout
        assert all(f"{replication}.{name}" in listed for name in ("other-renamed", "all-parts", "public.events"))
    _check_names_and_keys(read)
    _check_rows(read)
    _check_events(read)
    _check_outbox(read)
    _check_partitions(read, kafka_server)
    _check_settings_and_headers(read, kafka_server)
    # A registry that is pointed at the topic waits for its last offset: it must not be a transaction's marker.
    registry_topic = str(topics["registry_topic"])
    *_, (_, _, offset, key, value) = read_raw(kafka_server.bootstrap, [registry_topic])
    assert (key, value) == (NOOP_KEY, None)
    ends = Topics(kafka_server.settings).end_offsets([registry_topic], read_committed=False)
    assert list(ends.values()) == [offset + 1]


class Reader:
    """Reads topics of a replication whole, again and again."""

    def __init__(self, bootstrap: str, replication: str) -> None:
        self._bootstrap = bootstrap
        self.replication = replication

    def __call__(self, topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
        """Return partitions, keys and values."""
        return [(p, key, value) for _, p, _, key, value in read_raw(self._bootstrap, [f"{self.replication}.{topic}"])]

    def avro(self, topic: str) -> list[tuple[int, Any, Any]]:
        """Return the same, decoded as anybody would who has the schemas topic of a registry."""
        found: dict[int, Any] = {}
        for _, _, _, _, value in read_raw(self._bootstrap, [f"{self.replication}.registry"]):
            document = json.loads(value or b"{}")
            if self.replication in document.get("subject", ""):
                found[document["id"]] = fastavro.parse_schema(json.loads(document["schema"]))

        def decoded(content: bytes | None) -> Any:
            if content is None:
                return None
            schema = found[int.from_bytes(content[1:5], "big")]
            return fastavro.schemaless_reader(io.BytesIO(content[5:]), schema, None)

        return [(partition, decoded(key), decoded(value)) for partition, key, value in self(topic)]

    def json(self, topic: str) -> list[tuple[int, Any, Any]]:
        """Return the same of JSON."""
        return [(p, json.loads(k or b"null"), json.loads(v or b"null")) for p, k, v in self(topic)]


def _check_names_and_keys(read: Reader) -> None:
    assert {p for p, _, _ in read("other-renamed")} == {0, 1, 2}
    assert read.json("other-renamed")[0][2]["source"]["table"] == "renamed"
    parts = Counter(value["source"]["table"] for _, _, value in read.avro("all-parts"))
    assert parts == {"part_a": 2 * ROWS + 1, "part_b": 2 * ROWS + 1}
    lines = read.json("public.lines")
    assert len(lines) == 2 * ROWS + 2
    partitions: dict[int, set[int]] = {}
    for partition, key, value in lines:
        row = value["after"] or value["before"]
        assert key == {"order_id": row["order_id"]}
        partitions.setdefault(row["order_id"], set()).add(partition)
    assert all(len(found) == 1 for found in partitions.values())
    assert {value["op"] for _, _, value in lines} == {"r", "c", "u", "d"}


def _check_rows(read: Reader) -> None:
    rows = read.avro("public.avro_rows")
    assert [value for _, key, value in rows if key["id"] == 2][-1] is None
    last = [value for _, key, value in rows if key["id"] == 1][-1]
    assert last == {
        "id": 1,
        "amount": Decimal("99.50"),
        "big": None,
        "__op": "u",
        "__seq": last["__seq"],
        "__unavailable": ["big"],
    }
    assert len({value["__seq"] for _, _, value in rows if value}) == len(rows) - 1 == 2 * ROWS + 1
    rows = read.json("public.json_rows")
    # A value that the log did not hold is absent, not null.
    assert [value for _, key, value in rows if key["id"] == 1][-1] == {
        "id": 1,
        "at": "2026-11-29T12:00:00.000000Z",
        "__deleted": False,
        "__unavailable": ["big"],
    }
    deleted, tombstone = [value for _, key, value in rows if key["id"] == 2][-2:]
    assert (deleted["id"], deleted["__deleted"], tombstone) == (2, True, None)
    fresh = [value for _, key, value in rows if key["id"] == 3]
    assert [sorted(value) for value in fresh] == [["__deleted", "at", "big", "id"]]


def _check_events(read: Reader) -> None:
    events = read.json("public.events")
    changes = [event for _, key, event in events if key is not None]
    assert Counter(event["data"]["op"] for event in changes) == {"r": ROWS, "c": ROWS, "d": 1}
    assert len({event["id"] for event in changes}) == len(changes)
    truncates = [(partition, event["id"]) for partition, key, event in events if key is None]
    assert (sorted(p for p, _ in truncates), len({e for _, e in truncates})) == ([0, 1, 2, 3], 1)
    event = changes[0]
    assert event["specversion"] == "1.0"
    assert event["source"].endswith("/public.events")
    assert event["type"] == f"tailrace.change.{event['data']['op']}"


def _check_outbox(read: Reader) -> None:
    """Each message is there once, whatever crashed; what became of its row later is of no matter."""
    found: Counter[int] = Counter()
    for kind in ("order", "customer"):
        for _, key, value in read(f"outbox.{kind}"):
            number = 5 if value is None else json.loads(value)["n"]
            found[number] += 1
            assert (key or b"").decode() == f"a{number % 4}"
            assert kind == ("order" if number % 3 else "customer")
    assert found == dict.fromkeys(range(MESSAGES), 1)


def _check_settings_and_headers(read: Reader, kafka: KafkaAddress) -> None:
    """Topics are made as their overrides say; records have headers only where these were asked for."""
    topics = Topics(kafka.settings)
    assert topics.config(f"{read.replication}.public.plain")["retention.ms"] == "86400000"
    assert topics.config(f"{read.replication}.public.avro_rows")["cleanup.policy"] == "compact"
    headers: dict[str, set[str]] = {"public.plain": set(), "public.avro_rows": set(), "public.lines": set()}
    headers |= {"public.events": {"content-type"}, "outbox.order": {"id", "eventType"}}
    for name, expected in headers.items():
        ranges = {p: (0, end) for p, end in topics.end_offsets([f"{read.replication}.{name}"]).items()}
        records = [record for found in read_ranges(kafka.settings, ranges).values() for record in found]
        assert records
        assert {header for record in records for header in record.headers} == expected, name


def _check_partitions(read: Reader, kafka: KafkaAddress) -> None:
    """Java's own producer puts the same keys into the same partitions."""
    ours = {key: partition for partition, key, _ in read("other-renamed") if key}
    topic = f"{read.replication}.by-java"
    Topics(kafka.settings).ensure([TopicSpec(topic, 3)])
    java, jars = find_java(), kafka_jars()
    options = ["--bootstrap-server", kafka.bootstrap, "--topic", topic, "--reader-property", "parse.key=true"]
    lines = "".join(f"{key.decode()}\tx\n" for key in ours)
    done = run_tool(java, jars, "org.apache.kafka.tools.ConsoleProducer", options, lines)
    assert done.returncode == 0, done.stderr
    assert {key: partition for partition, key, _ in read("by-java")} == ours
