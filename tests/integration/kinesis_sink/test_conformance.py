"""The Kinesis sink passes the conformance suite of sinks on the imitation of AWS, with throttling injected."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast

import pytest

from apply.sink import Sink, TableBatch
from apply.sinks import kinesis
from apply.sinks.kinesis import KinesisReader, KinesisSink
from deploy.local.kinesis import KinesisServer
from deploy.local.moto import MotoServer
from schemas.changes import UNCHANGED
from schemas.endpoints.kinesis import KinesisTarget
from schemas.errors import ErrorKind
from schemas.table import TableSchema
from schemas.types.plain import canonical
from tests.conformance.changes import Giver, Seen
from tests.conformance.sink_suite import ORDERS, SinkSuite

pytestmark = pytest.mark.integration

OPS = {"load": "r", "insert": "c", "update": "u", "delete": "d", "truncate-table": "t"}


class TestKinesis(SinkSuite):
    more: ClassVar[dict[str, Any]] = {
        "include_null_and_empty": True,
        "include_control_details": True,
        "include_transaction_details": True,
        "include_partition_value": True,
    }

    @pytest.fixture
    def sink(self, moto_server: MotoServer) -> Iterator[Sink]:
        settings = moto_server.settings
        self.client = moto_server.client("kinesis")
        self.stream = f"test-{secrets.token_hex(6)}"
        self.client.create_stream(StreamName=self.stream, ShardCount=3)
        arn = self.client.describe_stream_summary(StreamName=self.stream)["StreamDescriptionSummary"]["StreamARN"]
        self.section = KinesisTarget.model_validate({"engine": "kinesis", "stream_arn": arn, **settings, **self.more})
        self.opened: list[KinesisSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()
        self.client.close()

    def open(self) -> Sink:
        self.opened.append(KinesisSink(self.section))
        return self.opened[-1]

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the partition key and the document of every record, shard by shard."""
        for shard in self.client.list_shards(StreamName=self.stream)["Shards"]:
            place = {"StreamName": self.stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            iterator = self.client.get_shard_iterator(**place)["ShardIterator"]
            while True:
                answer = self.client.get_records(ShardIterator=iterator)
                for record in answer["Records"]:
                    yield record["PartitionKey"], json.loads(record["Data"])
                if not answer["Records"]:
                    break
                iterator = answer["NextShardIterator"]

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        forms = {column.name: canonical(column.type) for column in table.columns}
        found: list[Seen] = []
        latest: dict[str, int] = {}
        for key, document in self.records():
            about = document["metadata"]
            if (about["schema-name"], about["table-name"]) != table.name:
                continue
            assert about["partition-key-value"] == key
            assert (about["commit-timestamp"], about["stream-position"]) == (
                about["timestamp"],
                str(about["commit-sequence"]),
            )
            values = {
                name: None if value is None else forms[name](value)
                for name, value in document.get("data", {}).items()
                if name in forms
            }
            seen = Seen(about["commit-sequence"], OPS[about["operation"]], values)
            if seen not in found:
                # What comes for the first time comes in order.
                assert latest.get(key, 0) < seen.seq
                latest[key] = seen.seq
                found.append(seen)
        return found

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        """Let the stream take a request in part, or answer it with an error after it took it."""
        client = cast("KinesisSink", sink).client
        calls = iter(range(1000))
        put = client.put_records

        def put_records(**request: Any) -> dict[str, Any]:
            if next(calls) != number // 2:
                return cast("dict[str, Any]", put(**request))
            if number % 2:
                put(**request)
                raise client.exceptions.ProvisionedThroughputExceededException(
                    {"Error": {"Code": "ProvisionedThroughputExceededException"}}, "PutRecords"
                )
            # Every second record is taken.
            records = request["Records"]
            taken = records[1::2]
            if taken:
                put(**{**request, "Records": taken})
            refused = {"ErrorCode": "ProvisionedThroughputExceededException"}
            results = [{} if i % 2 else refused for i in range(len(records))]
            return {"FailedRecordCount": len(records) - len(taken), "Records": results}

        client.put_records = put_records
        try:
            yield
        finally:
            client.put_records = put

    def test_a_record_that_is_too_large_is_refused(self, sink: Sink) -> None:
        batch = TableBatch(ORDERS, upserts=[(1, "x" * kinesis.RECORD_BYTES_MAX, None), (2, "b", None)])
        (rejection,) = sink.apply(self.giver.given(batch, sink.capabilities))
        assert (rejection.index, rejection.error.kind) == (0, ErrorKind.ROW_REJECTED)
        sink.flush()
        assert self.rows(sink, ORDERS) == {(2, "b", None)}

    def test_requests_stay_within_their_limits(self, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kinesis, "REQUEST_RECORDS_MAX", 7)
        monkeypatch.setattr(kinesis, "REQUEST_BYTES_MAX", 2000)
        client = cast("KinesisSink", sink).client
        put, sizes = client.put_records, list[int]()

        def put_records(**request: Any) -> Any:
            keys = [record["PartitionKey"] for record in request["Records"]]
            assert len(keys) == len(set(keys)) <= 7
            sizes.append(sum(len(record["Data"]) for record in request["Records"]))
            return put(**request)

        monkeypatch.setattr(client, "put_records", put_records)
        changes = [TableBatch(ORDERS, upserts=[(i % 5, f"s{i}", None)]) for i in range(30)]
        self.write(sink, *changes, TableBatch(ORDERS, upserts=[(i, "n", True) for i in range(10, 20)]))
        assert max(sizes) <= 2000
        expected = {(i, f"s{25 + i}", None) for i in range(5)} | {(i, "n", True) for i in range(10, 20)}
        assert self.rows(sink, ORDERS) == expected


KEYS, TURNS_MAX, SHARDS = 20, 2_000, 2


def test_order_holds_while_shards_are_split_and_merged(kinesis_server: KinesisServer) -> None:
    with contextlib.closing(kinesis_server.client("kinesis")) as client:
        client.create_stream(StreamName="shop", ShardCount=SHARDS)
        place = {
            "StreamARN": client.describe_stream_summary(StreamName="shop")["StreamDescriptionSummary"]["StreamARN"]
        }

        def is_active() -> bool:
            found = client.describe_stream_summary(**place)["StreamDescriptionSummary"]
            return bool(found["StreamStatus"] == "ACTIVE")

        _until(is_active)
        section = {"engine": "kinesis", "stream_arn": place["StreamARN"], **kinesis_server.settings}
        target = KinesisTarget.model_validate({**section, "include_null_and_empty": True})
        giver, turns = Giver(), iter(range(1, TURNS_MAX))
        with contextlib.closing(KinesisSink(target)) as sink, contextlib.closing(KinesisReader(target)) as reader:

            def write(batch: TableBatch) -> None:
                assert sink.apply(giver.given(batch, sink.capabilities)) == []
                sink.flush()

            def turn() -> int:
                # What is known of a row is not all of it: only after what the parents hold is it read for what it is.
                number = next(turns)
                write(TableBatch(ORDERS, updates=[(key, f"turn {number}", UNCHANGED) for key in range(KEYS)]))
                return number

            def turn_until_active() -> bool:
                turn()
                return is_active()

            write(TableBatch(ORDERS, upserts=[(key, "new", key % 2 == 0) for key in range(KEYS)]))
            first, second = client.list_shards(**place)["Shards"]
            half = str(int(first["HashKeyRange"]["EndingHashKey"]) // 2)
            client.split_shard(**place, ShardToSplit=first["ShardId"], NewStartingHashKey=half)
            _until(turn_until_active)
            upper = next(
                s for s in client.list_shards(**place)["Shards"] if s["HashKeyRange"]["StartingHashKey"] == half
            )
            merged = {"ShardToMerge": upper["ShardId"], "AdjacentShardToMerge": second["ShardId"]}
            client.merge_shards(**place, **merged)
            _until(turn_until_active)
            last = turn()
            assert set(reader.rows(ORDERS)) == {(key, f"turn {last}", key % 2 == 0) for key in range(KEYS)}

        shards = client.list_shards(**place)["Shards"]
        assert len(shards) == SHARDS + 3
        sequences: dict[str, list[int]] = {}
        filled = 0
        # Ids are given in the order in which shards are made.
        for shard in sorted(shards, key=lambda shard: shard["ShardId"]):
            start = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            iterator = client.get_shard_iterator(**place, **start)["ShardIterator"]
            records = client.get_records(**place, ShardIterator=iterator)["Records"]
            filled += bool(records)
            for record in records:
                about = json.loads(record["Data"])["metadata"]
                sequences.setdefault(record["PartitionKey"], []).append(about["commit-sequence"])
        assert filled >= SHARDS + 2
        assert len(sequences) == KEYS
        for found in sequences.values():
            assert found == sorted(set(found))
            assert len(found) == last + 1


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not done():
        assert time.monotonic() < deadline
