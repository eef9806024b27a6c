"""A Kafka cluster as a target: changes are published again, to other topics, of this cluster or another.

Settings that AWS DMS has too bear the names of its Kafka endpoint settings (API reference, `KafkaSettings`) in lower
case with underscores. How to reach the cluster is said in librdkafka's own words.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from schemas.endpoints.files import AwsTarget
from schemas.endpoints.section import TargetSection
from schemas.kafka_properties import check_properties
from schemas.topic_settings import RegistrySettings


class KafkaTarget(AwsTarget, TargetSection):
    """Topics of a Kafka cluster, Amazon MSK among them."""

    engine: Literal["kafka"]
    """The engine."""
    kafka: Annotated[dict[str, str | int | float | bool], Field(repr=False)]
    """librdkafka properties of the target's cluster; `bootstrap.servers` at least. SCRAM and client certificates are
    set here."""
    authentication: Literal["none", "msk-iam"] = "none"
    """`msk-iam`: log in to Amazon MSK by IAM, with the credentials of this section (`region` and what follows it).
    `none`: as `kafka` says."""
    topic: Annotated[str, Field(pattern=r"^([a-zA-Z0-9._-]|\{(name|schema|table)\})+$", max_length=249)] = (
        "{name}.{schema}.{table}"
    )
    """Topic of a table's changes, with the replication's `{name}`, the `{schema}` and the `{table}`; a name without
    them is one topic for all tables. In the replication's own cluster give another name than the default, which is that
    of capture's topics."""
    topic_partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Partitions of topics that are made."""
    topic_replication_factor: Annotated[int, Field(ge=1, le=32_767)] | None = None
    """Copies of each partition of topics that are made. Left out: the cluster's default."""
    topic_config: dict[str, str | int | float | bool] = Field(default={})
    """Further properties of topics that are made (`retention.ms`, `cleanup.policy`, …)."""
    positions_topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")] | None = None
    """Compacted topic, in the target's cluster, of the positions reached. Left out: named after replication and
    target."""
    message_format: Literal["json", "json-unformatted", "debezium", "debezium-with-schema", "avro"] = "json"
    """DMS's JSON with indentation (`json`) or on one line (`json-unformatted`); Debezium's envelope in JSON, without or
    with schema; or the envelope in Avro (Confluent wire format; needs `registry`)."""
    registry: RegistrySettings | None = None
    """The schema registry of the target's consumers, for `avro`."""
    tombstones: bool = False
    """Let a record without value follow each delete (envelopes only)."""
    message_max_bytes: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 1_000_000
    """Largest record. A larger one is refused, and its key parked."""
    partition_key_type: Literal["primary-key", "schema-table"] = "primary-key"
    """What DMS's JSON records have as their key, which decides the partition: the row's key, or `schema.table`."""
    partition_include_schema_table: bool = False
    """Put schema and table before the row's key in the keys of DMS's JSON."""
    include_partition_value: bool = False
    """Let the metadata of DMS's JSON hold the record's key (`partition-key-value`)."""
    include_transaction_details: bool = False
    """Let the metadata of DMS's JSON hold `commit-timestamp` and `stream-position` (the commit sequence)."""
    include_control_details: bool = False
    """Send control records of DMS's JSON: a table's definition before its first row, and truncates."""
    include_table_alter_operations: bool = False
    """Send control records of DMS's JSON when a table changes."""
    include_null_and_empty: bool = False
    """Let the data of DMS's JSON have members that are null."""

    @field_validator("kafka")
    @classmethod
    def _kafka_is_reachable_and_ours(cls, kafka: dict[str, Any]) -> dict[str, Any]:
        return check_properties(kafka)

    @model_validator(mode="after")
    def _format_and_login_fit(self) -> KafkaTarget:
        if (self.message_format == "avro") != (self.registry is not None):
            raise ValueError("message_format avro and registry go together")
        logins = {"sasl.mechanism", "sasl.mechanisms", "sasl.username", "security.protocol"} & self.kafka.keys()
        if self.authentication == "msk-iam" and logins:
            raise ValueError(f"authentication msk-iam sets {', '.join(sorted(logins))}: leave it out of `kafka`")
        return self

    @property
    def is_dms(self) -> bool:
        """Whether records are DMS's documents."""
        return self.message_format in ("json", "json-unformatted")

    idle_object_words: ClassVar[frozenset[str]] = frozenset(
        {"target-table-name", "sort-key-name", "condition-expression"}
    )

    @property
    def maps_objects(self) -> bool:
        """See `TargetSection`: of documents; envelopes tell a table's own columns."""
        return self.is_dms

    @property
    def place(self) -> str:
        """Where the cluster is, in words."""
        return str(self.kafka["bootstrap.servers"])
