"""The S3 sink passes the conformance suite of sinks, on a real object store and on the imitation of AWS."""

from __future__ import annotations

import contextlib
import io
import random
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, cast

import pytest
from botocore.exceptions import EndpointConnectionError
from pyarrow import parquet

from apply.sink import Sink, TableBatch
from apply.sink_kinds.row_files.sink import RowFilesSink
from apply.sinks import open_sink, target_grants
from apply.sinks.s3.store import BucketStore
from deploy.local.moto import MotoServer
from deploy.local.s3 import S3Server
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.files import S3Target
from schemas.errors import Action, TailraceError
from schemas.settings import parse
from schemas.table import TableName, TableSchema
from schemas.types import LogicalType
from tests.conformance.changes import Giver, Seen
from tests.conformance.sink_suite import ORDERS, ORDERS_2, SinkSuite
from tests.kit import row_files

pytestmark = pytest.mark.integration


def make_bucket(server: S3Server | MotoServer) -> tuple[Any, str]:
    """Make a bucket of an unused name; return a client of the test's own, and the name."""
    client = server.client("s3")
    name = f"test-{secrets.token_hex(6)}"
    client.create_bucket(Bucket=name)
    return client, name


class _S3Suite(SinkSuite):
    more: ClassVar[dict[str, Any]] = {}

    def begin(self, server: S3Server | MotoServer) -> Iterator[Sink]:
        self.client, bucket = make_bucket(server)
        self.section = S3Target.model_validate(
            {"engine": "s3", "bucket_name": bucket, **server.settings, **row_files.SETTINGS, **self.more}
        )
        self.opened: list[RowFilesSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()
        self.client.close()

    def open(self) -> Sink:
        # Parts as small as S3 allows, so that large values go in several.
        self.opened.append(RowFilesSink(BucketStore(self.section, part_bytes=5 << 20), self.section))
        return self.opened[-1]

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        prefix = "/".join([*filter(None, [self.section.bucket_folder]), *table.name, ""])
        found: list[Seen] = []
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.section.bucket_name, Prefix=prefix
        ):
            for item in page.get("Contents", ()):
                content = self.client.get_object(Bucket=self.section.bucket_name, Key=item["Key"])["Body"].read()
                found += row_files.changes(item["Key"], content, table)
        return found

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        """Let a put be answered with `SlowDown`, before it is sent, or after it was done."""
        store = cast("BucketStore", cast("RowFilesSink", sink)._store)
        events = store.client.meta.events
        puts = 0
        slow: dict[str, Any] = {
            "Error": {"Code": "SlowDown", "Message": ""},
            "ResponseMetadata": {"HTTPStatusCode": 503},
        }

        def due() -> bool:
            nonlocal puts
            puts += 1
            return puts == number // 2 + 1

        def before(**_: object) -> Any:
            if number % 2 == 0 and due():
                return Refused(), slow
            return None

        def after(parsed: dict[str, Any], **_: object) -> None:
            if number % 2 and due():
                parsed.update(slow)

        events.register("before-call.s3.PutObject", before)
        # Behind the retries of the client: it does not try what we say again.
        events.register("after-call.s3.PutObject", after)
        try:
            yield
        finally:
            events.unregister("before-call.s3.PutObject", before)
            events.unregister("after-call.s3.PutObject", after)

    def test_a_large_object_goes_up_in_parts(self, sink: Sink) -> None:
        # Parts are of 5 MiB, the smallest that S3 takes; what is zipped must be no smaller than two.
        wide = [(i, random.Random(i).randbytes(1_500_000 + i).hex(), None) for i in range(1, 6)]
        batch = TableBatch(ORDERS, upserts=wide)
        calls = self._calls(sink)
        with self._broken_part(sink), pytest.raises(TailraceError) as caught:
            self.write(sink, batch)
        assert caught.value.action is Action.RETRY
        assert self._unfinished() == []
        sink.rollback()
        self.write(sink, batch)
        assert self.rows(sink, ORDERS) == set(wide)
        # Whoever writes the same again finds it there, when its parts are up.
        other = self.other_sink(sink)
        self.write(other, batch, TableBatch(ORDERS, upserts=[(9, "z", None)]))
        assert self.rows(sink, ORDERS) == {*wide, (9, "z", None)}
        assert self._unfinished() == []
        assert calls.count("CompleteMultipartUpload") == 1
        assert calls.count("UploadPart") >= 3

    def _calls(self, sink: Sink) -> list[str]:
        calls: list[str] = []
        store = cast("BucketStore", cast("RowFilesSink", sink)._store)
        store.client.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
        return calls

    def _unfinished(self) -> list[Any]:
        return list(self.client.list_multipart_uploads(Bucket=self.section.bucket_name).get("Uploads", ()))

    @contextlib.contextmanager
    def _broken_part(self, sink: Sink) -> Iterator[None]:
        """Let the second part of an upload be lost, however often the client tries."""
        events = cast("BucketStore", cast("RowFilesSink", sink)._store).client.meta.events

        def lose(model: Any, params: dict[str, Any], **_: object) -> None:
            if params["query_string"].get("partNumber") == 2:
                raise EndpointConnectionError(endpoint_url="https://s3.invalid")

        events.register("before-call.s3.UploadPart", lose)
        try:
            yield
        finally:
            events.unregister("before-call.s3.UploadPart", lose)


class Refused:
    """An answer of the service that botocore looks at no further than this."""

    status_code = 503


class TestCsvOnARealStore(_S3Suite):
    @pytest.fixture
    def sink(self, s3_server: S3Server) -> Iterator[Sink]:
        yield from self.begin(s3_server)


class TestParquetInDatedFoldersOnARealStore(_S3Suite):
    more: ClassVar = {
        "data_format": "parquet",
        "date_partition_enabled": True,
        "bucket_folder": "landing/shop",
        "canned_acl_for_objects": "none",
    }

    @pytest.fixture
    def sink(self, s3_server: S3Server) -> Iterator[Sink]:
        yield from self.begin(s3_server)

    def holds(self, type_: LogicalType, value: Any) -> bool:
        return row_files.parquet_holds(type_, value)


class TestJsonOnTheImitation(_S3Suite):
    more: ClassVar = {"data_format": "json", "compression_type": "gzip", "encryption_mode": "sse-kms"}

    @pytest.fixture
    def sink(self, moto_server: MotoServer) -> Iterator[Sink]:
        yield from self.begin(moto_server)


@pytest.mark.parametrize("store", ["s3_server", "moto_server"])
def test_objects_have_the_tags_of_their_table(store: str, request: pytest.FixtureRequest) -> None:
    """In one piece or in parts, by the source's names, and by the one rule that means the table best."""
    server = request.getfixturevalue(store)
    client, bucket = make_bucket(server)
    every = {"schema-name": "%", "table-name": "%"}
    shared = {"rule-type": "post-processing", "rule-action": "add-tag"}
    both = [{"key": "origin", "value": "${schema-name}/${table-name}"}, {"key": "${table-name} kind", "value": "a=b"}]
    rules = [
        {"rule-type": "selection", "rule-id": 1, "rule-action": "include", "object-locator": every},
        {**shared, "rule-id": 2, "object-locator": every, "tag-set": both},
        {
            **shared,
            "rule-id": 3,
            "object-locator": {"schema-name": "public", "table-name": "single"},
            "tag-set": [{"key": "only", "value": ""}],
        },
        {
            "rule-type": "transformation",
            "rule-id": 4,
            "rule-action": "add-prefix",
            "rule-target": "table",
            "object-locator": every,
            "value": "new_",
        },
    ]
    section = {"engine": "s3", "bucket_name": bucket, **server.settings}
    settings = parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "127.0.0.1:9"},
            "source": {"host": "127.0.0.1", "user": "u", "database": "d"},
            "mappings": {"rules": rules},
            "targets": {"lake": section},
        }
    )
    giver = Giver()
    tables = [ORDERS, replace(ORDERS, name=TableName("public", "single"))]
    wide = [(i, random.Random(i).randbytes(6_000_000).hex(), None) for i in (1, 2)]
    given: list[list[Row]] = [[(1, "a", True), *wide], [(1, "a", True)]]
    with contextlib.closing(open_sink(settings, "lake")) as sink:
        for table, rows in zip(tables, given, strict=True):
            assert sink.apply(giver.given(TableBatch(table, upserts=rows), sink.capabilities)) == []
        sink.flush()
    found: dict[str, list[dict[str, str]]] = {}
    for item in client.list_objects_v2(Bucket=bucket)["Contents"]:
        tagged = client.get_object_tagging(Bucket=bucket, Key=item["Key"])["TagSet"]
        found[item["Key"].rpartition("/")[0]] = sorted(tagged, key=lambda tag: str(tag["Key"]))
    assert found == {
        "public/new_orders": [
            {"Key": "orders kind", "Value": "a=b"},
            {"Key": "origin", "Value": "public/orders"},
        ],
        "public/new_single": [{"Key": "only", "Value": ""}],
    }
    assert "s3:PutObjectTagging" in target_grants(settings, "lake", tables)[0]
    client.close()


def test_the_glue_catalogue_leads_readers_to_every_file(moto_server: MotoServer) -> None:
    client, bucket = make_bucket(moto_server)
    settings = moto_server.settings
    glue = moto_server.client("glue")
    database = f"Lake_{secrets.token_hex(4)}"
    more = {"data_format": "parquet", "date_partition_enabled": True, "date_partition_style": "hive"}
    catalog = {"glue_catalog_generation": True, "glue_catalog_database": database}
    section = {"engine": "s3", "bucket_name": bucket, "bucket_folder": "landing", **settings, **more, **catalog}
    document = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "127.0.0.1:9"},
        "source": {"host": "127.0.0.1", "user": "u", "database": "d", "tables": ["public.*"]},
        "targets": {"lake": {**section, "glue_endpoint_url": settings["endpoint_url"]}},
    }
    giver = Giver()
    # Two appliers, one of which knows the table as it was.
    with (
        contextlib.closing(open_sink(parse(document), "lake")) as one,
        contextlib.closing(open_sink(parse(document), "lake")) as other,
    ):
        for sink, batch in (
            (one, TableBatch(ORDERS, upserts=[(1, "a", True)], fresh=True)),
            (other, TableBatch(ORDERS, updates=[(1, "b", UNCHANGED)])),
            (one, TableBatch(ORDERS_2, upserts=[(2, False, "n")])),
            (other, TableBatch(ORDERS, upserts=[(3, "c", None)])),
        ):
            assert sink.apply(giver.given(batch, sink.capabilities)) == []
            sink.flush()
    found = glue.get_table(DatabaseName=database.lower(), Name="orders")["Table"]
    columns = {column["Name"]: column["Type"] for column in found["StorageDescriptor"]["Columns"]}
    assert columns == {
        "id": "bigint",
        "status": "string",
        "paid": "boolean",
        "op": "string",
        "tailrace_unavailable": "array<string>",
        "note": "string",
    }
    names = [column["Name"] for column in found["PartitionKeys"]]
    assert names == ["year", "month", "day"]
    # A reader of its own finds all rows in the partitions, by the columns that the catalogue tells.
    rows: list[dict[str, Any]] = []
    files = 0
    for partition in glue.get_partitions(DatabaseName=database.lower(), TableName="orders")["Partitions"]:
        place = partition["StorageDescriptor"]["Location"].removeprefix(f"s3://{bucket}/")
        assert place.endswith("/".join(f"{n}={v}" for n, v in zip(names, partition["Values"], strict=True)) + "/")
        for item in client.list_objects_v2(Bucket=bucket, Prefix=place)["Contents"]:
            content = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            table = parquet.read_table(io.BytesIO(content))
            assert {name.lower() for name in table.column_names} <= columns.keys()
            rows += table.to_pylist()
            files += 1
    assert files == len(client.list_objects_v2(Bucket=bucket)["Contents"])
    assert {(row.get("Op"), row["id"], row.get("status"), row.get("note")) for row in rows} == {
        (None, 1, "a", None),
        ("U", 1, "b", None),
        ("I", 2, None, "n"),
        ("I", 3, "c", None),
    }
    client.close()
    glue.close()
