"""A Kinesis data stream: a record for each change, in DMS's JSON, at least once, in order for each partition key.

`PutRecords` may take some records and refuse others, and does not keep their order. So a request holds at most one
record of each partition key, and the next request waits until all of this one's are taken.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import orjson

from apply import aws
from apply.sink import Rejection, TableBatch
from apply.sink_kinds.documents import KeyMaker, key_maker, reshape, told
from apply.sink_kinds.folding import folded
from apply.sink_kinds.history import AT_LEAST_ONCE, HistorySink
from runtime import clock
from runtime.retry import Backoff
from schemas.before_image import BeforeImageSettings
from schemas.changes import Row
from schemas.dms_json import Write, add_transaction, document_writer, without_nulls
from schemas.endpoints.kinesis import KinesisTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, blocks
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.objects import ObjectTable, check_comparable, object_table
from schemas.per_table import PerTable
from schemas.settings import Settings
from schemas.table import TableSchema

REQUEST_RECORDS_MAX = 500
REQUEST_BYTES_MAX = 5 << 20
RECORD_BYTES_MAX = 1 << 20
"""Data and partition key. API reference, `PutRecords`; larger records are a setting of newer streams."""

PARTITION_KEY_LENGTH_MAX = 256
"""Unicode characters. API reference, `PutRecordsRequestEntry`. A longer key goes by its hash."""

BUSY_FOR_S = 30
"""How long records that the stream refuses are sent again here; then the service starts over."""

_PARENTS = ("ParentShardId", "AdjacentParentShardId")

BULK = {"PutRecords": aws.Stand("Records", lambda records: records[:1])}

Entry = dict[str, Any]


def open_sink(settings: Settings, target: str) -> KinesisSink:
    """Return the sink of a target. Connects when it is first used."""
    return KinesisSink(
        settings.section(target, KinesisTarget), settings.object_mappings(target), settings.apply.before_image
    )


def open_reader(settings: Settings, target: str) -> KinesisReader:
    """Return what reads back the changes that the stream still has."""
    return KinesisReader(settings.section(target, KinesisTarget), settings.object_mappings(target))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the stream is there, and that the rules of object mapping fit the tables."""
    section = settings.section(target, KinesisTarget)
    for table in tables:
        object_table(settings.object_mappings(target), table)
    client = aws.client("kinesis", section)
    try:
        found = client.describe_stream_summary(StreamARN=section.stream_arn)["StreamDescriptionSummary"]
    except aws.AwsError as error:
        refused = aws.classify(error, "describing the stream")
        return [blocks("stream-missing", refused.message, refused.remedy or "create the stream")]
    finally:
        client.close()
    if found["StreamStatus"] not in ("ACTIVE", "UPDATING"):
        message = f"the stream is {found['StreamStatus']}"
        return [blocks("stream-not-active", message, "wait until it is active")]
    return []


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the policy that the role needs, and nothing more."""
    section = settings.section(target, KinesisTarget)
    statement = {
        "Effect": "Allow",
        "Action": ["kinesis:PutRecords", "kinesis:DescribeStreamSummary"],
        "Resource": section.stream_arn,
    }
    return [json.dumps({"Version": "2012-10-17", "Statement": [statement]})]


class KinesisSink(HistorySink):
    """One stream, as one appliers' process sees it."""

    capabilities = AT_LEAST_ONCE

    def __init__(
        self,
        target: KinesisTarget,
        rules: Sequence[ObjectMappingRule] = (),
        image: BeforeImageSettings | None = None,
    ) -> None:
        self._target = target
        self._image = image
        self._rules = rules
        self._made: Any = None
        self._writers = PerTable(self._writer)
        self._pending: deque[tuple[int, Entry]] = deque()
        """With their sizes."""

    @property
    def client(self) -> Any:
        """The client of the service, made when it is first used."""
        if self._made is None:
            self._made = aws.client("kinesis", self._target, bulk=BULK)
        return self._made

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Take in changes; return those that are too large for a record."""
        table, target, rejections = batch.table, self._target, list[Rejection]()
        write, objects, key_of = self._writers(table)
        says_truncates, has_nulls = target.include_control_details, target.include_null_and_empty
        has_transaction, has_key = target.include_transaction_details, target.include_partition_value
        indented = orjson.OPT_INDENT_2 if target.message_format == "json" else 0
        dumps, pending = orjson.dumps, self._pending
        for index, ((op, before, after), origin) in enumerate(
            zip(batch.sequence, batch.origins["sequence"], strict=True)
        ):
            if op == "t" and not says_truncates:
                continue
            place, _, seq, commit_ts_us, txid, *_ = origin
            document = write(op, before, after, seq, commit_ts_us, txid)
            row = after if after is not None else before
            key = None
            if objects is not None and row is not None:
                reshape(objects, document, row, before, self._image)
                if objects.partition_key is not None:
                    key = _bounded(objects.partition_key(row))
            if not has_nulls:
                without_nulls(document)
            if has_transaction:
                add_transaction(document, seq, commit_ts_us)
            # What has no key of its own is kept in order by the partition that it comes from.
            key = key or key_of(row) or f"{table.name}.{place.partition}"
            if has_key:
                document["metadata"]["partition-key-value"] = key
            data = dumps(document, option=indented)
            size = len(data) + (len(key) if key.isascii() else len(key.encode()))
            if size > RECORD_BYTES_MAX:
                error = TailraceError(
                    ErrorKind.ROW_REJECTED,
                    f"a record of {size} bytes is too large: Kinesis allows {RECORD_BYTES_MAX}",
                    table=str(table.name),
                )
                rejections.append(Rejection(table.name, "sequence", index, error))
                continue
            pending.append((size, {"Data": data, "PartitionKey": key}))
        return rejections

    def flush(self) -> None:
        """Send what was taken in. What a request refuses is sent again before anything else is."""
        while self._pending:
            entries = self._next_request()
            backoff = Backoff(BUSY_FOR_S)
            while entries:
                entries = self._put(entries)
                if entries:
                    pause_s = backoff.next_s()
                    if pause_s is None:
                        raise TailraceError(ErrorKind.TARGET_THROTTLED, "the stream takes fewer records than come")
                    clock.sleep(pause_s)

    def rollback(self) -> None:
        """Forget what was not sent."""
        self._pending.clear()

    def close(self) -> None:
        """Close the connection."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _next_request(self) -> list[Entry]:
        """Return records of different partition keys; of each key the first that waits."""
        taken: list[Entry] = []
        left: list[tuple[int, Entry]] = []
        keys: set[str] = set()
        size = 0
        while self._pending and len(taken) < REQUEST_RECORDS_MAX and len(left) < REQUEST_RECORDS_MAX:
            one = self._pending.popleft()
            more, entry = one
            key = entry["PartitionKey"]
            if key in keys or (taken and size + more > REQUEST_BYTES_MAX):
                left.append(one)
            else:
                taken.append(entry)
                size += more
            keys.add(key)
        self._pending.extendleft(reversed(left))
        return taken

    def _put(self, entries: list[Entry]) -> list[Entry]:
        """Send records; return those that were refused."""
        try:
            answer = self.client.put_records(Records=entries, StreamARN=self._target.stream_arn)
        except aws.AwsError as error:
            raise aws.classify(error, "sending records") from error
        if not answer["FailedRecordCount"]:
            return []
        return [entry for entry, result in zip(entries, answer["Records"], strict=True) if "ErrorCode" in result]

    def _writer(self, table: TableSchema) -> tuple[Write, ObjectTable | None, KeyMaker]:
        return document_writer(table, self._image), object_table(self._rules, table), _key_maker(table, self._target)


class KinesisReader:
    """Implements `apply.row_reader.RowReader`, as long as the stream's retention has kept every change."""

    def __init__(self, target: KinesisTarget, rules: Sequence[ObjectMappingRule] = ()) -> None:
        self._target = target
        self._rules = rules
        self._client = aws.client("kinesis", target)

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """See `RowReader`. Raises TARGET_SCHEMA for a table whose records a rule makes."""
        check_comparable(self._rules, table.name)
        return folded(table, told(table, self._documents()))

    def close(self) -> None:
        """See `RowReader`."""
        self._client.close()

    def _documents(self) -> Iterator[bytes]:
        stream = {"StreamARN": self._target.stream_arn}
        try:
            pages = self._client.get_paginator("list_shards").paginate(**stream)
            for shard in _parents_first([shard for page in pages for shard in page["Shards"]]):
                place = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
                yield from self._shard(self._client.get_shard_iterator(**stream, **place)["ShardIterator"])
        except aws.AwsError as error:
            raise aws.classify(error, "reading the stream") from error

    def _shard(self, iterator: str | None) -> Iterator[bytes]:
        """Yield the records of a shard up to its end as it is now."""
        while iterator is not None:
            answer = self._client.get_records(ShardIterator=iterator, StreamARN=self._target.stream_arn)
            yield from (record["Data"] for record in answer["Records"])
            if not answer["Records"] and not answer.get("MillisBehindLatest"):
                return
            iterator = answer.get("NextShardIterator")


def _parents_first(shards: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each shard after those that it was split or merged from: in this order each key's records are in theirs."""
    left = {shard["ShardId"]: shard for shard in shards}
    while left:
        # Parents whose records have expired are not listed.
        ready = [id_ for id_, shard in left.items() if not any(shard.get(parent) in left for parent in _PARENTS)]
        yield from map(left.pop, ready)


def _key_maker(table: TableSchema, target: KinesisTarget) -> KeyMaker:
    """Return what makes partition keys of a length that Kinesis takes."""
    key = key_maker(table, qualified=target.partition_include_schema_table)
    return lambda row: _bounded(key(row))


def _bounded(text: Any) -> str | None:
    """Return a text as a partition key; None for what is no text: a null, or a value that the log did not hold."""
    if not isinstance(text, str):
        return None
    return text if 0 < len(text) <= PARTITION_KEY_LENGTH_MAX else sha256(text.encode()).hexdigest()
