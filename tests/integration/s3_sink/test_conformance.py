"""The S3 sink passes the conformance suite of sinks, on a real object store and on the imitation of AWS."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import boto3
import pytest

from apply.row_files.sink import RowFilesSink
from apply.sink import Sink
from apply.sinks.s3.store import BucketStore
from deploy.local.moto import MotoServer
from deploy.local.s3 import S3Server
from schemas.file_targets import S3Target
from schemas.table import TableSchema
from schemas.types import LogicalType
from tests.conformance.changes import Seen
from tests.conformance.sink_suite import SinkSuite
from tests.kit import row_files

pytestmark = pytest.mark.integration


def make_bucket(server: S3Server | MotoServer) -> tuple[Any, str]:
    """Make a bucket of an unused name; return a client of the test's own, and the name."""
    settings = server.settings
    client = boto3.client(
        "s3",
        endpoint_url=settings["endpoint_url"],
        region_name=settings["region"],
        aws_access_key_id=settings["access_key_id"],
        aws_secret_access_key=settings["secret_access_key"],
    )
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
