"""Targets that are read back: what was applied is equal, in every type, and each difference is told by its key."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from apply.sink import TableBatch, TopicPartition
from apply.sinks import open_sink
from capture.sources import open_snapshot_reader, open_source
from control.verify import Limits, open_sides
from control.verify.comparison import compare_tables
from deploy.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from deploy.local.signatures import SignatureChecker
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.producer import TransactionalProducer
from schemas.changes import UNCHANGED
from schemas.codecs import compile_encoder
from schemas.registry import TableVersion, table_record
from schemas.settings import Settings, parse
from schemas.table import TableSchema
from schemas.topics import schemas_topic
from tests.conformance.changes import Giver
from tests.integration.control.test_verify_across_engines import COLUMNS, Applied, Silent
from tests.integration.s3_sink.test_conformance import make_bucket
from tests.kit.gate import Gate
from tests.kit.servers import Database

Fixture = Callable[[str], Any]


def _files(fixture: Fixture, **more: Any) -> dict[str, Any]:
    directory: Path = fixture("tmp_path") / secrets.token_hex(5)
    directory.mkdir()
    return {"engine": "files", "directory": str(directory), **more}


def _s3(fixture: Fixture) -> dict[str, Any]:
    server = fixture("s3_server")
    client, bucket = make_bucket(server)
    client.close()
    return {
        "engine": "s3",
        "bucket_name": bucket,
        "bucket_folder": "landing",
        "data_format": "parquet",
        "date_partition_enabled": True,
        **server.settings,
    }


def _opensearch(fixture: Fixture) -> dict[str, Any]:
    settings = {"index.number_of_replicas": 0}
    name = f"t{secrets.token_hex(5)}-{{schema}}.{{table}}"
    url = fixture("opensearch_server").url
    return {"engine": "opensearch", "url": url, "index_name": name, "index_settings": settings}


@pytest.fixture
def signed_opensearch(opensearch_server: Any) -> Iterator[str]:
    """Return the URL of a gate that lets nobody pass who does not sign as a domain of AWS asks for it."""
    with Gate(opensearch_server.url, signatures=SignatureChecker("es")) as gate:
        yield gate.url


def _signed_opensearch(fixture: Fixture) -> dict[str, Any]:
    keys = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "region": REGION}
    return {**_opensearch(fixture), "url": fixture("signed_opensearch"), "authentication": "aws", **keys}


def _mongodb(fixture: Fixture) -> dict[str, Any]:
    names = {"database": f"t{secrets.token_hex(5)}", "control_database": f"t{secrets.token_hex(5)}"}
    return {"engine": "mongodb", "port": fixture("secantus_server").port, **names}


def _neptune(fixture: Fixture) -> dict[str, Any]:
    return {"engine": "neptune", **fixture("gremlin_server").settings}


def _kinesis(fixture: Fixture) -> dict[str, Any]:
    server = fixture("moto_server")
    client = server.client("kinesis")
    stream = f"test-{secrets.token_hex(6)}"
    client.create_stream(StreamName=stream, ShardCount=2)
    arn = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    client.close()
    return {"engine": "kinesis", "stream_arn": arn, "include_control_details": True, **server.settings}


def _dynamodb(fixture: Fixture) -> dict[str, Any]:
    name = f"t{secrets.token_hex(5)}"
    tables = {"table_name": f"{name}-{{schema}}.{{table}}", "control_table": f"{name}-control"}
    return {"engine": "dynamodb", **tables, **fixture("moto_server").settings}


def _kafka(fixture: Fixture, message_format: str) -> dict[str, Any]:
    address = {"bootstrap.servers": fixture("kafka_server").bootstrap}
    section = {"engine": "kafka", "kafka": address, "topic": "{name}.copy.{table}", "message_format": message_format}
    if message_format == "avro":
        section["registry"] = {"url": fixture("registry_server").url}
    return section


TARGETS: dict[str, Callable[[Fixture], dict[str, Any]]] = {
    "csv files": _files,
    "csv files with names, zipped": lambda f: _files(
        f, add_column_name=True, compression_type="gzip", sequence_column_name="seq", timestamp_column_name="committed"
    ),
    "json files": lambda f: _files(f, data_format="json", include_op_for_full_load=True),
    "s3": _s3,
    "opensearch": _opensearch,
    "opensearch, signed": _signed_opensearch,
    "mongodb": _mongodb,
    "neptune": _neptune,
    "kinesis": _kinesis,
    "dynamodb": _dynamodb,
    "kafka, DMS's JSON": lambda f: _kafka(f, "json"),
    "kafka, envelopes": lambda f: _kafka(f, "debezium"),
    "kafka, avro": lambda f: _kafka(f, "avro"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_there_is_equal_and_what_differs_is_told(
    target: str, request: pytest.FixtureRequest, source_database: Database, kafka_server: Any, replication: str
) -> None:
    values, definition = ", ".join(value for value, _ in COLUMNS.values()), ", ".join(COLUMNS)
    count = len(COLUMNS) + 1
    source_database.execute(
        f"create table keyed (id bigint, name text, {definition}, primary key (name, id))",
        f"insert into keyed select n, 'k' || n, {values} from generate_series(1, {count}) n",
        "insert into keyed (id, name) values (0, ' ')",
    )
    settings = parse(
        {
            "name": replication,
            "kafka": {"bootstrap.servers": kafka_server.bootstrap},
            "source": {**source_database.settings, "tables": ["public.keyed"]},
            "targets": {"copy": TARGETS[target](request.getfixturevalue)},
        }
    )
    table = apply_all(settings)
    assert differences(settings, table) == set()
    columns = [name.split()[0] for name in COLUMNS]
    source_database.execute(
        *(f"update keyed set {column} = null where id = {n}" for n, column in enumerate(columns, 1)),
        "delete from keyed where id = 0",
        "insert into keyed (id, name) values (99, 'new')",
    )
    expected = {(f"k{n}", str(n), "different") for n in range(1, len(columns) + 1)}
    assert differences(settings, table) == expected | {(" ", "0", "extra"), ("new", "99", "missing")}


def apply_all(settings: Settings) -> TableSchema:
    """Bring the source's rows to the target by way of rows that go, change, and come again; return the table."""
    with (
        closing(open_source(settings)) as source,
        closing(open_snapshot_reader(settings)) as reader,
        closing(open_sink(settings, "copy")) as sink,
    ):
        (table,) = source.tables()
        _tell_version(settings, table)
        rows = [row for c in reader.plan(table, 1000) for batch in reader.read(table, c, 100) for row in batch]
        width = len(rows[0])
        first, second = table.key
        ghost = tuple(7_777 if i == 0 else "ghost" if i == 1 else None for i in range(width))
        partial = tuple(value if i in (0, 1, width - 1) else UNCHANGED for i, value in enumerate(rows[-1]))
        stale = tuple(value if i != width - 1 else None for i, value in enumerate(rows[-1]))
        giver = Giver()
        batches = [
            TableBatch(table, upserts=[*rows[:-1], stale, ghost], fresh=True),
            TableBatch(table, updates=[partial], deletes=[(ghost[first], ghost[second])]),
        ]
        if sink.capabilities.history:
            batches[1:1] = [
                TableBatch(table, sequence=[("t", None, None)]),
                TableBatch(table, upserts=[*rows[:-1], stale, ghost]),
            ]
        sink.prepare(table)
        if not sink.capabilities.stores_offsets:
            sink.load_offsets([TopicPartition(f"shop.{table.name}", 0)])
        for batch in batches:
            given = giver.unseen(sink, giver.given(batch, sink.capabilities))
            assert sink.apply(given) == []
        giver.stage(sink)
        sink.flush()
    return table


def _tell_version(settings: Settings, table: TableSchema) -> None:
    """Publish the table's version, as capture does it."""
    Topics(settings.kafka).ensure([TopicSpec(schemas_topic(settings.name), 1, "compact")])
    encoder = compile_encoder(table, settings.topics.format, replication=settings.name, connector="x", database="x")
    producer = TransactionalProducer(settings.kafka, f"{settings.name}.test")
    producer.init()
    producer.begin()
    record = table_record(TableVersion(table, encoder.key_schema_id, encoder.value_schema_id))
    producer.produce(schemas_topic(settings.name), record.key, record.value)
    producer.commit()
    producer.close()


def differences(settings: Settings, table: TableSchema) -> set[tuple[str | None, ...]]:
    """Return the differing keys, each with its kind."""
    source, target = open_sides(settings, "copy", [table.name])
    with closing(source), closing(target):
        (result,) = compare_tables(
            source, target, [(table, table.name, 5000)], Applied(), Limits(keys_max=100), Silent()
        )
    assert result.error is None
    return {(*d.key, d.kind) for d in result.differences}
