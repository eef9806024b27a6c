"""The AWS DMS user guide's examples of object mapping, in a pipeline, at the stand-in of the targets they are for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.moto import MotoServer
from tests.integration.services import Services
from tests.kit.guide import rules
from tests.kit.guide_items import ITEMS, KEPT, KEYED, STREAM, STREAMED
from tests.kit.guide_objects import CUSTOMER
from tests.kit.servers import Database


class _Section:
    """A target by its section."""

    def __init__(self, **section: Any) -> None:
        self.target_settings = section


@pytest.fixture
def client(moto_server: MotoServer) -> Iterator[Callable[[str], Any]]:
    opened: list[Any] = []

    def open_client(service: str) -> Any:
        opened.append(moto_server.client(service))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


def _fill(source: Database, schema: str, tables: list[str], key: tuple[str, ...]) -> None:
    columns = ", ".join(f'"{name}" {kind.removesuffix(" primary key")}' for name, kind, _ in CUSTOMER)
    keyed = ", ".join(f'"{name}"' for name in key)
    values = ", ".join(f"'{value}'" for *_, value in CUSTOMER)
    source.execute(f"create schema {schema}")
    for table in tables:
        place = f'{schema}."{table}"'
        source.execute(
            f"create table {place} ({columns}, primary key ({keyed}))", f"insert into {place} values ({values})"
        )


def _services(
    directory: Path, replication: str, kafka: KafkaAddress, source: Database, target: _Section, mappings: str
) -> Services:
    (directory / "mappings.json").write_text(mappings)
    # The document says which tables.
    more: dict[str, Any] = {"at_source": {"tables": None}, "mappings": "mappings.json"}
    return Services(directory, replication, kafka, source, target, **more)


def test_records_at_kinesis_are_what_the_guide_says(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
    moto_server: MotoServer,
    client: Callable[[str], Any],
) -> None:
    source, kinesis = new_database(18, "source"), client("kinesis")
    _fill(source, STREAM.name, list(STREAMED), ("StoreId",))
    kinesis.create_stream(StreamName=replication, ShardCount=1)
    arn = kinesis.describe_stream_summary(StreamName=replication)["StreamDescriptionSummary"]["StreamARN"]
    target = _Section(engine="kinesis", stream_arn=arn, **moto_server.settings)
    said = json.dumps({"rules": rules([STREAM])})
    with _services(tmp_path, replication, kafka_server, source, target, said) as services, services.moving() as plan:
        assert "rule 4: target-table-name does nothing at target" in " ".join(plan.split())

        def found() -> dict[str, Any]:
            (shard,) = kinesis.list_shards(StreamName=replication)["Shards"]
            place = {"StreamName": replication, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            first = kinesis.get_shard_iterator(**place)["ShardIterator"]
            taken = {}
            for record in kinesis.get_records(ShardIterator=first)["Records"]:
                told = json.loads(record["Data"])
                taken[told["metadata"]["table-name"]] = (record["PartitionKey"], told["data"])
            return taken

        try:
            services.wait(lambda: len(found()) == len(STREAMED), "a record of each table")
        finally:
            assert found() == STREAMED


def test_items_at_dynamodb_are_what_the_guide_says(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
    moto_server: MotoServer,
    client: Callable[[str], Any],
) -> None:
    source, dynamodb = new_database(18, "source"), client("dynamodb")
    _fill(source, ITEMS.name, list(KEPT), KEYED)
    target = _Section(engine="dynamodb", control_table=f"{replication}-control", **moto_server.settings)
    said = json.dumps({"rules": rules([ITEMS])}).replace("{}", replication)
    with _services(tmp_path, replication, kafka_server, source, target, said) as services, services.moving():

        def found() -> dict[str, Any]:
            made = set(dynamodb.list_tables()["TableNames"])
            items = {
                table: dynamodb.scan(TableName=f"{replication}-{table}")["Items"]
                for table in KEPT
                if f"{replication}-{table}" in made
            }
            return {
                table: {name: value for name, value in item.items() if name != "tailrace_seq"}
                for table, found in items.items()
                for item in found
            }

        try:
            services.wait(lambda: found() == KEPT, "an item of each table")
        finally:
            assert found() == KEPT
        # What the log says of the rows becomes of the items.
        for table in KEPT:
            source.execute(f'delete from {ITEMS.name}."{table}"')
        services.wait(
            lambda: not any(dynamodb.scan(TableName=f"{replication}-{table}")["Items"] for table in KEPT), "no item"
        )
