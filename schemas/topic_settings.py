"""The settings of topics and of the schema registry."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from schemas.format import Format
from schemas.section import Section


class Cleanup(StrEnum):
    """What Kafka does with old records of a table's topic."""

    DELETE = "delete"
    COMPACT = "compact"


class Shape(StrEnum):
    """What a record of a table's topic holds."""

    ENVELOPE = "envelope"
    ROW = "row"
    CLOUDEVENT = "cloudevent"


class Deletes(StrEnum):
    """What becomes of a deleted row where records hold rows only."""

    TOMBSTONE = "tombstone"
    DROP = "drop"
    REWRITE = "rewrite"


class RowField(StrEnum):
    """What a row can carry of its change, in a field of that name behind `__`."""

    OP = "op"
    SEQ = "seq"
    TABLE = "table"
    SCHEMA = "schema"
    TS_MS = "ts_ms"
    SOURCE_TS_MS = "source_ts_ms"


class Outbox(Section):
    """A table whose new rows become messages, as Debezium's outbox event router makes them. Names are columns'."""

    id: str = "id"
    """The event's id: the header `id`."""
    aggregate_type: str = "aggregatetype"
    """What the topic is named by."""
    aggregate_id: str = "aggregateid"
    """The message's key, as text."""
    payload: str = "payload"
    """The message's value as it is: the text of a json or text column, the bytes of a binary one, none for null."""
    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]*\{aggregate_type\}[a-zA-Z0-9._-]*$")] = (
        "outbox.event.{aggregate_type}"
    )
    """The topic's name; topics are made when their first message comes."""
    headers: dict[str, str] = Field(default={})
    """Further headers: a column, and the name of the header. A null is left out."""
    tombstones: bool = False
    """Whether a message without payload is a tombstone; else its value is empty."""
    updates: Literal["ignore", "stop"] = "ignore"
    """What the update of a row leads to: messages are facts. Deletes are ignored: outboxes are emptied."""

    @property
    def columns(self) -> list[str]:
        """The columns that it needs: id, aggregate's type, its id, payload, then those of headers."""
        return [self.id, self.aggregate_type, self.aggregate_id, self.payload, *self.headers]


class TopicOverride(Section):
    """What is different for some tables. Of several overrides that match a table the last one decides, setting by
    setting.
    """

    tables: Annotated[list[str], Field(min_length=1)]
    """Patterns over `schema.table`, as in `source.tables`."""
    topic: Annotated[str, Field(pattern=r"^([a-zA-Z0-9._-]|\{(name|schema|table)\})+$", max_length=249)] | None = None
    """The topic's name; `{name}` (the replication's), `{schema}` and `{table}` are filled in."""
    shared: bool | None = None
    """Whether several tables may be published to this topic. Appliers leave them out."""
    format: Format | None = None
    """As in `topics`."""
    shape: Shape | None = None
    """`envelope` (default), `row` (just the row; a delete is a tombstone), or `cloudevent` (the envelope within a
    CloudEvent, JSON only). Appliers read envelopes."""
    fields: list[RowField] | None = None
    """Of shape `row`: what each row carries of its change, in fields whose names begin with `__`."""
    deletes: Deletes | None = None
    """Of shape `row`: a deleted row becomes a `tombstone`, nothing (`drop`), or its last row with `__deleted`
    (`rewrite`, with a tombstone behind it where `tombstones` says so)."""
    key: Annotated[list[str], Field(min_length=1)] | None = None
    """Columns of the records' key instead of the table's: records with equal keys are in one partition. Appliers leave
    such tables out."""
    partitions: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """As in `topics`, but also for tables with unique values besides their key."""
    cleanup: Cleanup | None = None
    """As in `topics`."""
    tombstones: bool | None = None
    """As in `topics`."""
    config: dict[str, str | int | float | bool] = Field(default={})
    """Further topic properties, beside those of `topics`."""
    outbox: Outbox | None = None
    """The tables are outboxes: their new rows are messages to other topics."""

    @model_validator(mode="after")
    def _fits_together(self) -> TopicOverride:
        if self.shape is Shape.CLOUDEVENT and self.format not in (None, Format.JSON):
            raise ValueError("a CloudEvent is JSON: leave `format` out, or set it to json")
        if self.outbox is not None and (self.shape or self.key or self.format):
            raise ValueError("an outbox has no shape, key or format: its rows say all of it")
        return self


class TopicSettings(Section):
    """The topics of a replication."""

    format: Format = Format.AVRO
    """`avro` (Confluent wire format), `json`, or `json-with-schema` (as Kafka Connect's JSON converter writes it)."""
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Partitions of each table's topic: the most appliers that can share one table. Tables without a key, and those
    with unique values besides it, have one (docs/ordering.md)."""
    replication_factor: Annotated[int, Field(ge=1, le=32_767)] | None = None
    """Copies of each partition. Left out: the cluster's `default.replication.factor`."""
    cleanup: Cleanup = Cleanup.DELETE
    """`delete`: records go by retention. `compact`: the last record of each key stays."""
    tombstones: bool | None = None
    """Whether a record without value follows a delete. Left out: exactly where `cleanup` is `compact`."""
    transaction_metadata: bool = False
    """Whether BEGIN and END of each source transaction are written to the transactions topic, and its id and the order
    of the change within it into each envelope (`transaction`), as Debezium does by `provide.transaction.metadata`."""
    config: dict[str, str | int | float | bool] = Field(default={})
    """Further topic properties for the tables' topics (`retention.ms`, `min.insync.replicas`, …)."""
    overrides: list[TopicOverride] = Field(default=[])
    """What is different for some tables: names, formats, shapes, keys, outboxes."""
    registry_topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")] = "_schemas"
    """Where Avro schemas are kept without a `registry`, in the records that a Confluent schema registry keeps."""


class Compatibility(StrEnum):
    """Which schemas may follow one another under a subject (Confluent's levels)."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"


class SubjectNaming(StrEnum):
    """What the subjects of a registry are called (Confluent's `*.subject.name.strategy`)."""

    TOPIC = "topic"
    RECORD = "record"
    TOPIC_RECORD = "topic-record"


class RegistryTls(Section):
    """Transport security of the registry, for a URL that begins with `https`."""

    ca: str | None = None
    """Path of the file with the trusted certificate authorities (PEM). Left out: the system's."""
    cert: str | None = None
    """Path of the client's certificate (PEM)."""
    key: str | None = None
    """Path of the client's private key (PEM)."""
    key_password: SecretStr | None = None
    """Password of the private key."""


class RegistrySettings(Section):
    """A schema registry with Confluent's HTTP interface. Left out: schemas are kept in `topics.registry_topic`."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")]
    """Where it is, with the path of the interface if it has one (`http://apicurio:8080/apis/ccompat/v7`)."""
    user: str | None = None
    """User, with `password`: basic authentication."""
    password: SecretStr | None = None
    """Password of the user: write `${ENV}` or `${file:PATH}`."""
    token: SecretStr | None = None
    """A bearer token, instead of user and password."""
    tls: RegistryTls = Field(default_factory=RegistryTls)
    """Transport security."""
    subjects: SubjectNaming = SubjectNaming.TOPIC
    """Names of subjects: `topic` (`TOPIC-key`, `TOPIC-value`), `record` (the record's full name), or `topic-record`
    (`TOPIC-` and the record's full name)."""
    compatibility: Compatibility | None = None
    """The level that capture sets on each of its subjects. Left out: the registry's own levels are left alone."""
    auto_register: bool = True
    """Whether capture registers new schemas. False: somebody else does before; capture stops at one that it misses."""
    timeout_s: Annotated[float, Field(ge=0.1, le=300)] = 10
    """How long one request may take. An outage is waited out for `capture.retry_for_s`."""

    @field_validator("url")
    @classmethod
    def _url_is_a_base(cls, url: str) -> str:
        return url.rstrip("/")

    @model_validator(mode="after")
    def _one_kind_of_login(self) -> RegistrySettings:
        if self.token is not None and self.user is not None:
            raise ValueError("either user and password, or a token")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        return self
