"""A bucket as a store of files: objects are created by conditional writes, the last commit sequence is metadata."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from botocore.exceptions import ClientError

from apply import aws
from apply.sink_kinds.row_files.store import FileName, path_part
from schemas.endpoints.files import S3Target
from schemas.errors import ErrorKind, TailraceError

LAST = "tailrace-last-seq"
"""Metadata of each object (`x-amz-meta-…`): the commit sequence of its last change."""

KEY_BYTES_MAX = 1024
"""Amazon S3 user guide, "Naming Amazon S3 objects"."""

PART_BYTES = 16 << 20
"""Size of a part. Amazon S3 user guide, "Multipart upload limits": 5 MiB to 5 GiB, at most 10,000 parts."""

TAKEN = frozenset({"PreconditionFailed", "412"})
BUSY = frozenset({"ConditionalRequestConflict", "409", "OperationAborted"})
"""Two conditional writes at the same time: user guide, "How to prevent object overwrites with conditional writes"."""


class BucketStore:
    """See `apply.sink_kinds.row_files.store.Store`."""

    def __init__(self, target: S3Target, *, part_bytes: int = PART_BYTES) -> None:
        self._target = target
        self._part_bytes = part_bytes
        self._made: Any = None
        self._owner = {"ExpectedBucketOwner": target.expected_bucket_owner} if target.expected_bucket_owner else {}

    @property
    def client(self) -> Any:
        """The client of the service, made when it is first used."""
        if self._made is None:
            self._made = aws.client("s3", self._target)
        return self._made

    def create(self, name: FileName, content: bytes, content_type: str) -> int | None:
        """See `Store`."""
        key = self.key(name)
        where = {"Bucket": self._target.bucket_name, "Key": key, **self._owner}
        try:
            if self._put(where, content, self._headers(name, content_type)):
                return None
        except aws.AwsError as error:
            raise aws.classify(error, f"writing s3://{self._target.bucket_name}") from error
        return self.last(key)

    def paths(self, folder: tuple[str, ...]) -> Iterator[str]:
        """See `Store`."""
        prefix = "/".join([*self._folder, *map(path_part, folder), ""])
        where = {"Bucket": self._target.bucket_name, "Prefix": prefix, **self._owner}
        try:
            for page in self.client.get_paginator("list_objects_v2").paginate(**where):
                yield from (item["Key"] for item in page.get("Contents", ()))
        except aws.AwsError as error:
            raise aws.classify(error, f"listing s3://{self._target.bucket_name}") from error

    def last(self, path: str) -> int:
        """See `Store`."""
        try:
            found = self.client.head_object(Bucket=self._target.bucket_name, Key=path, **self._owner)
        except aws.AwsError as error:
            raise aws.classify(error, f"looking at s3://{self._target.bucket_name}") from error
        last = found["Metadata"].get(LAST, "")
        if not last.isdigit():
            raise TailraceError(
                ErrorKind.INVARIANT,
                f"s3://{self._target.bucket_name}/{path} is not ours: it has no metadata {LAST}",
                remedy="choose another `bucket_folder`, or move the object away",
            )
        return int(last)

    def read(self, path: str) -> bytes:
        """See `Store`."""
        try:
            found = self.client.get_object(Bucket=self._target.bucket_name, Key=path, **self._owner)
            return bytes(found["Body"].read())
        except aws.AwsError as error:
            raise aws.classify(error, f"reading s3://{self._target.bucket_name}") from error

    def close(self) -> None:
        """See `Store`."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def key(self, name: FileName) -> str:
        """Return an object's key. Raises TARGET_SCHEMA if names are too long for one."""
        key = "/".join([*self._folder, *map(path_part, name.folder), f"{name.stem}{name.extension}"])
        if len(key.encode()) > KEY_BYTES_MAX:
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                f"a key of {len(key.encode())} bytes is too long: S3 allows {KEY_BYTES_MAX}",
                table=".".join(name.folder[:2]),
            )
        return key

    @property
    def _folder(self) -> list[str]:
        return [part] if (part := self._target.bucket_folder.strip("/")) else []

    def _headers(self, name: FileName, content_type: str) -> dict[str, Any]:
        target = self._target
        headers: dict[str, Any] = {"ContentType": content_type, "Metadata": {LAST: str(name.last)}}
        headers |= aws.encryption(target)
        if target.canned_acl_for_objects != "none":
            headers["ACL"] = target.canned_acl_for_objects
        if name.tags:
            headers["Tagging"] = urlencode(name.tags)
        return headers

    def _put(self, where: dict[str, Any], content: bytes, headers: dict[str, Any]) -> bool:
        """Write an object; False if there is one. A write at the same time as another counts as a lost connection."""
        try:
            if len(content) <= self._part_bytes:
                self.client.put_object(**where, Body=content, IfNoneMatch="*", **headers)
            else:
                self._put_parts(where, content, headers)
        except ClientError as error:
            if aws.code_of(error) in TAKEN:
                return False
            if aws.code_of(error) in BUSY:
                raise TailraceError(
                    ErrorKind.TARGET_CONNECTION, "another applier writes the same object at this moment"
                ) from error
            raise
        return True

    def _put_parts(self, where: dict[str, Any], content: bytes, headers: dict[str, Any]) -> None:
        upload = self.client.create_multipart_upload(**where, **headers)["UploadId"]
        try:
            parts = []
            for number, begin in enumerate(range(0, len(content), self._part_bytes), 1):
                body = content[begin : begin + self._part_bytes]
                made = self.client.upload_part(**where, UploadId=upload, PartNumber=number, Body=body)
                parts.append({"PartNumber": number, "ETag": made["ETag"]})
            self.client.complete_multipart_upload(
                **where, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except aws.AwsError:
            # Parts of an upload that is not completed are kept, and cost. What fails here is the bucket's to expire.
            with contextlib.suppress(*aws.AwsError):
                self.client.abort_multipart_upload(**where, UploadId=upload)
            raise
