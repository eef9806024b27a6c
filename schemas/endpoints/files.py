"""Targets that keep a history of changes: files, S3, standard output, a webhook.

Settings that AWS DMS has too bear the names of its S3 endpoint settings (API reference, `S3Settings`) in lower case
with underscores, and their units and defaults, unless the description says otherwise.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator

from schemas.endpoints.section import TargetSection
from schemas.section import Section

# RFC 9110, "Field Names" and "Field Values".
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OWN_HEADERS = frozenset(
    {"connection", "content-length", "content-type", "host", "idempotency-key", "transfer-encoding"}
)

_DATE_PARTS = {
    "YYYYMMDD": ("year", "month", "day"),
    "YYYYMMDDHH": ("year", "month", "day", "hour"),
    "YYYYMM": ("year", "month"),
    "MMYYYYDD": ("month", "year", "day"),
    "DDMMYYYY": ("day", "month", "year"),
}


class RowFiles(Section):
    """What files of changes look like, wherever they are kept."""

    data_format: Literal["csv", "parquet", "json"] = "csv"
    """`csv`, `parquet` or `json` (one object a line; not in DMS)."""
    compression_type: Literal["none", "gzip"] = "none"
    """Of whole CSV and JSON files, and of the pages of Parquet files."""
    csv_delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """Between the values of a row."""
    csv_row_delimiter: Annotated[str, Field(min_length=1, max_length=2)] = "\n"
    """Behind each row."""
    csv_null_value: str = "NULL"
    """What stands for null. A text that is the same stands in quotes."""
    csv_no_sup_value: str = "__debezium_unavailable_value"
    """What stands for a value that the log did not hold (unchanged TOAST, other columns of a deleted row). DMS writes
    its null value where this is not set; then nobody can tell the two apart."""
    add_column_name: bool = False
    """Begin each CSV file with a line of column names."""
    row_group_length: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Rows of a Parquet row group."""
    enable_statistics: bool = True
    """Keep minimum and maximum of columns in Parquet files."""
    parquet_version: Literal["parquet-1-0", "parquet-2-0"] = "parquet-2-0"
    """Version of Parquet's format. DMS asks for the first one, in which unsigned integers have other types."""
    encoding_type: Literal["plain", "plain-dictionary", "rle-dictionary"] = "rle-dictionary"
    """Whether columns of Parquet files have dictionaries of their values; what these are called follows from the
    version."""
    dict_page_size_limit: Annotated[int, Field(ge=1, le=1 << 30)] = 1 << 20
    """Largest dictionary, in bytes; beyond it a column goes on without."""
    data_page_size: Annotated[int, Field(ge=1, le=1 << 30)] = 1 << 20
    """Size of a page of a Parquet file, in bytes."""
    include_op_for_full_load: bool = False
    """Let rows of the full load begin with the operation (`I`) too."""
    cdc_inserts_only: bool = False
    """Write inserted rows only."""
    cdc_inserts_and_updates: bool = False
    """Write inserted and updated rows only."""
    timestamp_column_name: str | None = None
    """A column with the time at which the source committed a change, or a row was loaded."""
    sequence_column_name: str | None = None
    """A column with the commit sequence, by which changes of a row can be sorted (not in DMS)."""
    date_partition_enabled: bool = False
    """Put files of changes into folders by the day or hour of their commit."""
    date_partition_sequence: Literal["YYYYMMDD", "YYYYMMDDHH", "YYYYMM", "MMYYYYDD", "DDMMYYYY"] = "YYYYMMDD"
    """The parts of these folders' names."""
    date_partition_delimiter: Literal["SLASH", "UNDERSCORE", "DASH", "NONE"] = "SLASH"
    """What stands between the parts."""
    date_partition_style: Literal["plain", "hive"] = "plain"
    """`hive`: the folders are called `year=2025/month=01/day=01`, which Hive, Athena and Spark read as columns; files
    of loaded rows lie in such folders too, by the time at which they were read (not in DMS)."""
    date_partition_timezone: str = "UTC"
    """Whose day and hour, by its IANA name."""
    preserve_transactions: bool = False
    """Put the changes of all tables into common CSV files below `cdc_path`, in the order of their commits: each row has
    the operation, the table and its schema in front. One applier works at a time, the others stand by."""
    cdc_path: str = ""
    """The folder of these files, below that of the tables'."""
    max_file_size: Annotated[int, Field(ge=1, le=1_048_576)] = 1_048_576
    """Largest file, in KB before compression. A single row may be larger."""
    cdc_max_batch_interval: Annotated[int, Field(ge=1, le=3600)] = 60
    """Longest time, in seconds, that a change waits for its file."""
    cdc_min_file_size: Annotated[int, Field(ge=1, le=1_048_576)] = 32_000
    """So many KB of records on the topics, of all tables together, are enough to write files before that time."""

    @property
    def date_parts(self) -> tuple[str, ...]:
        """The parts of the date by which folders are made."""
        return _DATE_PARTS[self.date_partition_sequence] if self.date_partition_enabled else ()

    @property
    def partition_columns(self) -> tuple[str, ...]:
        """The columns that readers see in the names of folders."""
        return self.date_parts if self.date_partition_style == "hive" else ()

    @field_validator("date_partition_timezone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        ZoneInfo(name)
        return name

    @model_validator(mode="after")
    def _one_choice(self) -> RowFiles:
        if self.cdc_inserts_only and self.cdc_inserts_and_updates:
            raise ValueError("cdc_inserts_only and cdc_inserts_and_updates exclude each other")
        if self.preserve_transactions and not self.cdc_path.strip("/"):
            raise ValueError("preserve_transactions needs cdc_path")
        if self.preserve_transactions and (self.date_partition_enabled or self.add_column_name):
            raise ValueError("preserve_transactions excludes date_partition_enabled and add_column_name")
        if self.date_partition_style == "hive" and not self.date_partition_enabled:
            raise ValueError("date_partition_style: hive needs date_partition_enabled")
        if self.date_partition_style == "hive" and self.date_partition_delimiter != "SLASH":
            raise ValueError("date_partition_style: hive has a folder for each part: date_partition_delimiter: SLASH")
        own = (self.timestamp_column_name or "", self.sequence_column_name or "")
        if taken := set(self.partition_columns).intersection(map(str.lower, own)):
            raise ValueError(f"a column is called {taken.pop()}, as folders are by date_partition_style: hive")
        return self


class FilesTarget(RowFiles, TargetSection):
    """A directory of this machine, or one that it has mounted."""

    engine: Literal["files"]
    """The engine."""
    directory: Annotated[str, Field(min_length=1)]
    """Where the files go: `SCHEMA/TABLE/…` below it. It must be there."""

    @property
    def place(self) -> str:
        """Where the files are, in words."""
        return self.directory


class AwsTarget(Section):
    """How to reach a service of AWS, or one that speaks its protocol."""

    region: str | None = None
    """AWS region. Left out: as the standard chain of the AWS libraries finds it."""
    endpoint_url: str | None = None
    """URL of another service with the same protocol, or of a private endpoint."""
    access_key_id: str | None = None
    """Left out: the standard chain (environment, shared files, container or instance role)."""
    secret_access_key: SecretStr | None = None
    """Secret of that key."""
    service_access_role_arn: str | None = None
    """Role to assume."""
    external_id: str | None = None
    """External id that the role's trust policy asks for."""

    @model_validator(mode="after")
    def _key_is_whole(self) -> AwsTarget:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        return self


class Encryption(Section):
    """How objects of a bucket are encrypted at the server."""

    encryption_mode: Literal["bucket", "sse-s3", "sse-kms"] = "bucket"
    """Server-side encryption: as the bucket has it, with keys of S3, or with a key of KMS. DMS asks for `sse-s3`, which
    is what buckets have by default."""
    server_side_encryption_kms_key_id: str | None = None
    """The KMS key for `sse-kms`. Left out: the account's own for S3."""


class S3Target(RowFiles, Encryption, AwsTarget, TargetSection):
    """A bucket of Amazon S3, or of a store with the same protocol and conditional writes."""

    engine: Literal["s3"]
    """The engine."""
    bucket_name: Annotated[str, Field(min_length=3, max_length=63)]
    """The bucket. It must be there."""
    bucket_folder: str = ""
    """Folder of the bucket: objects are `bucket_folder/SCHEMA/TABLE/…`."""
    canned_acl_for_objects: Literal[
        "none",
        "private",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "aws-exec-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
    ] = "none"
    """Predefined access control list of each object."""
    expected_bucket_owner: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = None
    """Account that the bucket must belong to."""
    glue_catalog_generation: bool = False
    """Keep a table of the AWS Glue Data Catalog over each table's files, and a partition over each of their folders."""
    glue_catalog_database: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The catalogue's database. Left out: one for each schema, by its name."""
    glue_endpoint_url: str | None = None
    """URL of another service with the catalogue's protocol, or of a private endpoint."""

    @model_validator(mode="after")
    def _is_catalogued(self) -> S3Target:
        if not self.glue_catalog_generation:
            return self
        if self.data_format == "csv" or self.preserve_transactions:
            raise ValueError(
                "glue_catalog_generation needs data_format: parquet or json, and files of one table: "
                "columns of CSV go by their places, which change with the table"
            )
        if self.date_partition_enabled and self.date_partition_style != "hive":
            raise ValueError(
                "glue_catalog_generation needs date_partition_style: hive, since loaded rows would be in no partition"
            )
        return self

    @property
    def place(self) -> str:
        """Where the objects are, in words."""
        return f"s3://{self.bucket_name}/{self.bucket_folder}"


class StdoutTarget(TargetSection):
    """Standard output: a line of JSON for each change."""

    engine: Literal["stdout"]
    """The engine."""

    @property
    def place(self) -> str:
        """Where the changes go, in words."""
        return "standard output"


class WebhookTarget(TargetSection):
    """An HTTP service that takes changes as JSON documents."""

    engine: Literal["webhook"]
    """The engine."""
    # Kept out of what is printed: services of this kind tell their clients by secret paths.
    url: Annotated[str, Field(pattern=r"^https?://", repr=False)]
    """Where changes are posted to."""
    headers: dict[str, SecretStr] = Field(default={})
    """Headers of each request: write `${ENV}` or `${file:PATH}` for what is secret."""
    timeout_s: Annotated[float, Field(ge=1, le=600)] = 30
    """Longest wait for the service: to be connected, to take a part of a request, to send a part of its answer."""
    request_changes: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Most changes of one request."""

    @field_validator("url")
    @classmethod
    def _url_is_whole(cls, url: str) -> str:
        if "@" in url.split("?", maxsplit=1)[0]:
            raise ValueError("a login does not belong into a URL: give it in `headers`, as `Authorization`")
        try:
            parts = urlsplit(url)
            known = bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known or not url.isascii() or not url.isprintable() or " " in url:
            # Without the reason that the library gives: it quotes the URL, whose parts may be secrets.
            raise ValueError("this is not the URL of a service")
        return url

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} is not a header that can be set")
            if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(f"the value of {name} has a line end, or another character that no header can have")
        return headers

    @property
    def place(self) -> str:
        """Where the changes go, in words. Paths and queries of such URLs are often secrets."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"
