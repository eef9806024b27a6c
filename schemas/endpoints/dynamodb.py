"""Amazon DynamoDB as a target."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.endpoints.files import AwsTarget
from schemas.endpoints.section import TargetSection


class DynamodbTarget(AwsTarget, TargetSection):
    """Tables of Amazon DynamoDB, or of a service with its protocol: an item for each row."""

    engine: Literal["dynamodb"]
    """The engine."""
    table_name: Annotated[str, Field(min_length=1)] = "{schema}.{table}"
    """Name of a table's table, where no rule of object mapping gives one. What DynamoDB does not allow becomes `_`."""
    billing_mode: Literal["on-demand", "provisioned"] = "on-demand"
    """How tables that are made are paid for."""
    read_capacity_units: Annotated[int, Field(ge=1, le=40_000)] = 200
    """Of tables that are made `provisioned`; the default is DMS's."""
    write_capacity_units: Annotated[int, Field(ge=1, le=40_000)] = 200
    """Of tables that are made `provisioned`; the default is DMS's."""
    sequence_attribute: Annotated[str, Field(min_length=1, max_length=255)] = "tailrace_seq"
    """Attribute with the commit sequence of an item's last change, by which stale writes are told."""
    control_table: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{3,255}$")] = "tailrace-control"
    """Table of the barriers at which appliers wait for each other, of claims, and of what is known of deleted items."""
    deleted_kept_s: Annotated[int, Field(ge=60, le=30 * 86_400)] = 86_400
    """How long the sequence of a deleted item is remembered: so far back may an applier begin again."""
    parallel_apply_threads: Annotated[int, Field(ge=1, le=32)] = 4
    """Requests of one applier that are under way at the same time (DMS: `ParallelLoadThreads`,
    `ParallelApplyThreads`)."""

    idle_object_words: ClassVar[frozenset[str]] = frozenset(
        {"kafka-target-topic", "partition-key", "partition-key-type schema-table"}
    )

    @property
    def maps_objects(self) -> bool:
        """See `TargetSection`."""
        return True

    @property
    def leaves_new_columns_empty(self) -> bool:
        """See `TargetSection`."""
        return True

    @property
    def place(self) -> str:
        """Where the tables are, in words."""
        return f"DynamoDB in {self.endpoint_url or self.region or 'the default region'}"
