"""Amazon Kinesis Data Streams as a target."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.endpoints.files import AwsTarget
from schemas.endpoints.section import TargetSection


class KinesisTarget(AwsTarget, TargetSection):
    """A data stream: a record for each change, in DMS's JSON."""

    engine: Literal["kinesis"]
    """The engine."""
    stream_arn: Annotated[str, Field(pattern=r"^arn:[a-z-]+:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[a-zA-Z0-9_.-]+$")]
    """The stream. It must be there."""
    message_format: Literal["json", "json-unformatted"] = "json"
    """`json` with indentation, `json-unformatted` on one line."""
    include_null_and_empty: bool = False
    """Let data have members that are null."""
    include_control_details: bool = False
    """Send control records of truncates too."""
    include_transaction_details: bool = False
    """Let the metadata hold `commit-timestamp` and `stream-position` (the commit sequence)."""
    include_partition_value: bool = False
    """Let the metadata hold the record's partition key (`partition-key-value`)."""
    partition_include_schema_table: bool = False
    """Put schema and table before the key in partition keys: equal keys of several tables go to different shards."""

    idle_object_words: ClassVar[frozenset[str]] = frozenset(
        {"target-table-name", "kafka-target-topic", "sort-key-name", "condition-expression"}
    )

    @property
    def maps_objects(self) -> bool:
        """See `TargetSection`."""
        return True

    @property
    def place(self) -> str:
        """Where the stream is, in words."""
        return self.stream_arn
