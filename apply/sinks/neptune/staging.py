"""The bucket that files pass through on their way to Neptune's loader.

`FOLDER/REPLICATION/TARGET/LOAD/TABLE/PARTITION/NUMBER.csv`: whoever takes a partition over finds what its earlier
owner has left of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from apply import aws
from apply.sink import TopicPartition
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName

_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
DELETED_AT_ONCE = 1_000
"""Amazon S3 API reference, `DeleteObjects`."""


class Staged(NamedTuple):
    """A file of a load."""

    load: str
    table: str
    partition: str
    key: str


class Staging:
    """The folder of one replication and target. Connects when it is first used."""

    def __init__(self, target: NeptuneTarget, replication: str, target_name: str) -> None:
        self._target = target
        folder = target.s3_bucket_folder.strip("/")
        self._root = "/".join([*filter(None, [folder]), _part(replication), _part(target_name), ""])
        self._made: Any = None

    @property
    def client(self) -> Any:
        """The client of the service, made when it is first used."""
        if self._made is None:
            self._made = aws.client("s3", self._target)
        return self._made

    def put(self, load: str, table: TableName, partition: TopicPartition, name: str, content: bytes) -> None:
        """Write a file of a load."""
        key = f"{self._root}{load}/{part_of_table(table)}/{part_of_partition(partition)}/{name}"
        place = {"Bucket": self._target.s3_bucket_name, "Key": key}
        try:
            self.client.put_object(**place, Body=content, ContentType="text/csv", **aws.encryption(self._target))
        except aws.AwsError as error:
            raise aws.classify(error, f"writing s3://{self._target.s3_bucket_name}") from error

    def files(self, load: str | None = None) -> Iterator[Staged]:
        """Yield all files, or those of one load."""
        prefix = self._root if load is None else f"{self._root}{load}/"
        pages = self.client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self._target.s3_bucket_name, Prefix=prefix):
                for item in page.get("Contents", ()):
                    parts = item["Key"].removeprefix(self._root).split("/")
                    if len(parts) == 4:
                        yield Staged(parts[0], parts[1], parts[2], item["Key"])
        except aws.AwsError as error:
            raise aws.classify(error, f"listing s3://{self._target.s3_bucket_name}") from error

    def remove(self, files: Sequence[Staged]) -> None:
        """Remove files; those that are gone, too. Raises unless all of them are."""
        for begin in range(0, len(files), DELETED_AT_ONCE):
            keys = [{"Key": file.key} for file in files[begin : begin + DELETED_AT_ONCE]]
            wanted = {"Objects": keys, "Quiet": True}
            try:
                answer = self.client.delete_objects(Bucket=self._target.s3_bucket_name, Delete=wanted)
            except aws.AwsError as error:
                raise aws.classify(error, f"removing files of s3://{self._target.s3_bucket_name}") from error
            if answer.get("Errors"):
                code = str(answer["Errors"][0].get("Code", ""))
                kind = ErrorKind.PREREQUISITE if code in aws.REFUSALS else ErrorKind.TARGET_CONNECTION
                remedy = "`tailrace plan` shows the policy that the role needs"
                raise TailraceError(kind, f"files of loads cannot be removed ({code})", remedy=remedy)

    def url(self, load: str, *parts: str) -> str:
        """Return what the loader calls the folder of a load, or of a part of it."""
        return f"s3://{self._target.s3_bucket_name}/{self._root}{'/'.join([load, *parts])}/"

    def close(self) -> None:
        """Let the connection go."""
        if self._made is not None:
            self._made.close()
            self._made = None


def part_of_table(table: TableName) -> str:
    """Return a table's folder."""
    return _part(str(table))


def part_of_partition(partition: TopicPartition) -> str:
    """Return a partition's folder."""
    return _part(f"{partition.topic}.{partition.partition}")


def _part(text: str) -> str:
    """Return a name as a part of a place, which no reader of URLs takes for anything else."""
    if _SAFE.fullmatch(text):
        return text
    return f"{_UNSAFE.sub('_', text)[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
