"""Topics that an earlier release wrote, met by the services of this one: they go on as if they had written them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from capture.publishing import large_records
from capture.service import own_topics
from capture.sources import open_source
from deploy.local.kafka import KafkaAddress
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.producer import TransactionalProducer
from schemas.settings import Settings, parse
from schemas.topics import checkpoints_topic
from tests.integration.services import Services
from tests.kit import golden
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults

VERSIONS = [path for path in sorted(golden.ROOT.iterdir()) if (path / "topics.json").exists()]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_capture_and_an_applier_go_on_over_topics_of_an_earlier_release(
    version: Path,
    tmp_path: Path,
    kafka_server: KafkaAddress,
    source_database: Database,
    target_database: Database,
    replication: str,
) -> None:
    source, target = source_database, target_database
    source.execute(
        "create table notes (id bigint primary key, title text, body text)",
        # An update that leaves it alone does not log it: what the target has of it comes from the golden parts.
        "alter table notes alter body set storage external",
        f"insert into notes values (1, 'first', '{golden.LARGE}'), (4, 'fourth', 'body'), (5, 'three', 'moved')",
    )
    topics = {"format": "json", "partitions": 1}
    apply = {"ordering": "transactional"}
    with Services(tmp_path, replication, kafka_server, source, target, topics=topics, apply=apply) as services:
        settings = parse(json.loads(services.configuration.read_text()))
        _write(version, settings, _at_source(settings, source))
        before = _records(kafka_server, replication)
        source.execute(
            "update notes set title = 'again' where id = 1",
            "update notes set id = 7 where id = 5",
            "delete from notes where id = 4",
            "insert into notes values (6, 'new', null)",
        )
        for service in ("capture", "apply"):
            services.start(service, "--stop-at", "now")
            assert services.join(service) == 0, services.log_tail(service)
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=60) == []
    records = _records(kafka_server, replication)
    assert sequence_faults(records) + key_faults(records) == []
    # Nothing was loaded once more, and no command obeyed twice.
    later = [record.envelope["op"] for record in records[len(before) :] if record.envelope is not None]
    assert later == ["u", "d", "c", "d", "c"]


def _records(kafka: KafkaAddress, replication: str) -> list[Any]:
    return read_topics(kafka.bootstrap, data_topics(kafka.bootstrap, replication))


def _at_source(settings: Settings, database: Database) -> dict[str, Any]:
    """Make slot and publication, as the earlier release had; return what it knew of this server."""
    source = open_source(settings)
    try:
        tables = source.tables()
        identity, begin = source.identity(), source.prepare(tables)
    finally:
        source.close()
    ((number,),) = database.rows("select 'notes'::regclass::oid::bigint")
    return {"identity": identity, "position": begin.to_document(), "number": number}


def _write(version: Path, settings: Settings, at_source: dict[str, Any]) -> None:
    """Write the golden topics of a replication `shop` as those of this one, with what only its server can say."""
    name = settings.name
    data = TopicSpec(f"{name}.public.notes", settings.topics.partitions)
    Topics(settings.kafka).ensure([*own_topics(settings), large_records.topic_spec(settings), data])
    producer = TransactionalProducer(settings.kafka, f"{name}.capture")
    try:
        producer.init()
        for transaction in json.loads((version / "topics.json").read_text(encoding="utf-8")):
            producer.begin()
            for record in transaction:
                topic, value = f"{name}.{record['topic']}", record["value"]
                if topic == checkpoints_topic(name) or '"columns"' in value:
                    document = json.loads(value)
                    value = json.dumps({**document, **{k: v for k, v in at_source.items() if k in document}})
                value = value.replace('"shop.', f'"{name}.')
                headers = [(header, content.encode()) for header, content in record["headers"].items()]
                producer.produce(topic, record["key"].encode(), value.encode(), 0, headers)
            producer.commit()
    finally:
        producer.close()
