"""Where a replication begins and ends: one model per engine, told apart by `engine`.

`source` and each entry of `targets` is a union of these. An engine that is none of ours is a plug-in's: what it needs
stands under `options`, and the plug-in checks it (`capture.sources`, `apply.sinks`).
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, SecretStr, Tag, field_validator, model_validator

from schemas.dynamodb_target import DynamodbTarget
from schemas.endpoint_section import EndpointSection
from schemas.endpoint_settings.endpoint import Role, engine_of
from schemas.file_targets import FilesTarget, S3Target, StdoutTarget, WebhookTarget
from schemas.format import Format
from schemas.hints import nearest
from schemas.kafka_target import KafkaTarget
from schemas.kinesis_target import KinesisTarget
from schemas.mongodb_target import DocdbTarget, MongodbTarget
from schemas.neptune_target import NeptuneTarget
from schemas.opensearch_target import OpensearchTarget
from schemas.redshift_target import RedshiftTarget
from schemas.section import Section
from schemas.selection import Selection
from schemas.table import TableSchema
from schemas.target_section import TargetSection

SOURCE_ENGINES = ("postgresql", "mysql", "debezium")
TARGET_ENGINES = (
    "postgresql",
    "mysql",
    "docdb",
    "dynamodb",
    "files",
    "kafka",
    "kinesis",
    "mongodb",
    "neptune",
    "opensearch",
    "redshift",
    "s3",
    "stdout",
    "webhook",
)
"""The engines that have a model of their own, the default first."""


class TlsMode(StrEnum):
    """How far a database connection is protected: libpq's `sslmode`."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Tls(Section):
    """Transport security of a database connection."""

    mode: TlsMode = TlsMode.PREFER
    """libpq's `sslmode`. `verify-full` is the only one that a man in the middle cannot defeat."""
    ca: str | None = None
    """Path of the file with the trusted certificate authorities (PEM), or `system`."""
    cert: str | None = None
    """Path of the client's certificate (PEM)."""
    key: str | None = None
    """Path of the client's private key (PEM), readable by its owner only."""
    key_password: SecretStr | None = None
    """Password of the private key."""


class SourceSection(EndpointSection):
    """What every source has."""

    role: ClassVar[Role] = Role.SOURCE

    database: str
    """Name of the database."""
    tables: Annotated[list[str], Field(min_length=1)]
    """Patterns over `schema.table` with `*` and `?`; a leading `!` excludes; the last one that matches decides."""

    @field_validator("tables", "views", check_fields=False)
    @classmethod
    def _patterns_are_qualified(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            if not re.fullmatch(r"!?.+\..+", pattern):
                raise ValueError(f"{pattern!r} is not of the form schema.table")
        if patterns and all(pattern.startswith("!") for pattern in patterns):
            raise ValueError("all patterns exclude; name what to include first")
        return patterns

    def takes(self, table: TableSchema) -> bool:
        """Tell whether a table that was captured before still is to be."""
        return Selection(self.tables).takes(table.name)

    def holdings(self, replication: str) -> str:
        """Say what a capture makes at the source, for who is about to remove it."""
        return f"what the capture of {replication} made at the source"


class PostgresqlConnection(Section):
    """How to reach a PostgreSQL database."""

    engine: Literal["postgresql"] = "postgresql"
    """The engine; this one where it is left out."""
    host: str = "127.0.0.1"
    """Host name, address, or the directory of the server's Unix socket."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    """TCP port."""
    database: str
    """Name of the database."""
    user: str
    """Role to log in as."""
    password: SecretStr | None = None
    """Its password: write `${ENV}` or `${file:PATH}`. Left out: libpq's own means (password file, certificate)."""
    tls: Tls = Tls()
    """Transport security."""
    connect_timeout_s: Annotated[int, Field(ge=2, le=600)] = 10
    """How long one attempt to connect may take. libpq knows nothing shorter than two seconds."""
    parameters: dict[str, str] = Field(default={})
    """Further libpq connection parameters, by their names (`target_session_attrs`, `channel_binding`, …)."""

    @property
    def place(self) -> str:
        """Where the database is, in words."""
        return f"{self.host}:{self.port}"

    def conninfo(self) -> dict[str, str]:
        """Return libpq's connection keywords. Holds the password in clear: for the driver only, never for a log."""
        words = {
            "host": self.host,
            "port": str(self.port),
            "dbname": self.database,
            "user": self.user,
            "password": self.password.get_secret_value() if self.password else None,
            "sslmode": str(self.tls.mode),
            "sslrootcert": self.tls.ca,
            "sslcert": self.tls.cert,
            "sslkey": self.tls.key,
            "sslpassword": self.tls.key_password.get_secret_value() if self.tls.key_password else None,
            "connect_timeout": str(self.connect_timeout_s),
        }
        return {name: value for name, value in words.items() if value is not None} | self.parameters


class ViewsSection(SourceSection):
    """A source that has views."""

    views: list[str] = Field(default=[])
    """Patterns over views (materialised ones, too), as those of `tables`: loaded once, and not followed."""

    def takes(self, table: TableSchema) -> bool:
        """Tell whether a table or a view that was captured before still is to be."""
        return Selection(self.views if table.is_view else self.tables).takes(table.name)


class PostgresqlSource(ViewsSection, PostgresqlConnection):
    """A PostgreSQL database to capture."""

    slot: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,63}$")] | None = None
    """Name of the replication slot. Left out: `tailrace_` and the replication's name."""
    publication: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Name of the publication. Left out: `tailrace_` and the replication's name."""
    manage_slot: bool = True
    """Make the slot where it is missing at the first start. False: it must be there."""
    manage_publication: bool = True
    """Make the publication and keep it to the selected tables. False: it must be there, and is left alone."""
    failover: bool = True
    """Make the slot one that a standby can take along when it is promoted, where the server has such (17 and later)."""
    replication_host: str | None = None
    """Where the replication connection goes, if `host` is a connection pooler. Left out: to `host`."""
    replication_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port for it. Left out: `port`."""
    slot_wait_s: Annotated[int, Field(ge=0, le=3600)] = 60
    """How long to wait for a slot that a predecessor's connection still holds."""

    def slot_name(self, replication: str) -> str:
        """Return the replication slot's name."""
        return self.slot or _identifier(replication)

    def publication_name(self, replication: str) -> str:
        """Return the publication's name."""
        return self.publication or _identifier(replication)

    def holdings(self, replication: str) -> str:
        """Say what a capture makes at the source."""
        return f"slot {self.slot_name(replication)} and publication {self.publication_name(replication)} at the source"


class MysqlConnection(Section):
    """How to reach a MySQL or MariaDB server."""

    engine: Literal["mysql"]
    """The engine: `mysql`, for MariaDB too. Which of the two it is the server says."""
    host: str = "127.0.0.1"
    """Host name, address, or the path of the server's Unix socket."""
    port: Annotated[int, Field(ge=1, le=65535)] = 3306
    """TCP port."""
    user: str
    """User to log in as, by `caching_sha2_password`, `mysql_native_password` or MariaDB's `ed25519`."""
    password: SecretStr | None = None
    """Its password: write `${ENV}` or `${file:PATH}`."""
    tls: Tls = Tls()
    """Transport security; `prefer` and `require` encrypt without looking at the certificate, `allow` does not."""
    connect_timeout_s: Annotated[int, Field(ge=1, le=600)] = 10
    """How long one attempt to connect may take."""

    @property
    def place(self) -> str:
        """Where the server is, in words."""
        return f"{self.host}:{self.port}"


class MysqlSource(ViewsSection, MysqlConnection):
    """A MySQL or MariaDB server to capture."""

    database: str = ""
    """What `source.db` says in envelopes. Left out: each table's own database, as Debezium says it."""
    server_id: Annotated[int, Field(ge=1, le=4_294_967_295)] | None = None
    """Number that the log's reader registers by, unlike every other replica's. Left out: made of the name."""
    positions: Literal["auto", "gtid", "file"] = "auto"
    """What positions are: sets of GTIDs (`gtid`), which hold on replicas too, or a file and an offset (`file`, MySQL
    only). `auto`: files where MySQL's `gtid_mode` is not ON. A replication goes on with what it began with."""
    zero_dates: Annotated[str, Field(pattern=r"^(error|null|[0-9]{4}-[0-9]{2}-[0-9]{2})$")] = "error"
    """What dates with a zero year, month or day become: an `error` that stops, `null`, or the date that stands here."""

    @field_validator("zero_dates")
    @classmethod
    def _zero_dates_is_a_date(cls, policy: str) -> str:
        if policy not in ("error", "null"):
            date.fromisoformat(policy)
        return policy

    def holdings(self, replication: str) -> str:
        """Say what a capture makes at the source."""
        return "nothing at the source"


class DebeziumSource(SourceSection):
    """Topics that a Debezium connector writes: they are applied as they are, and nothing is captured."""

    engine: Literal["debezium"]
    """The engine: `debezium`."""
    connector: Literal["postgresql", "mysql", "mariadb"] = "postgresql"
    """What the connector captures."""
    topics: Annotated[list[str], Field(min_length=1)]
    """Patterns over the topics' names, as those of `tables`: `shop.public.*`. Topics that hold no changes of a table
    (heartbeats, transactions, DDL) are left out by themselves."""
    tables: list[str] = Field(default=["*.*"])
    """Patterns over `schema.table` (`database.table`) of what the topics hold."""
    database: str = ""
    """Nothing: the records say it."""
    format: Format = Format.JSON_WITH_SCHEMA
    """How Kafka Connect's converters write: `json-with-schema` (`schemas.enable`), `json`, or `avro` (Confluent wire
    format; needs `registry`)."""
    start_group: Annotated[str, Field(min_length=1)] | None = None
    """A consumer group whose offsets a target begins at, as that of a sink which it replaces (`connect-NAME`). Left
    out: at the topics' beginning."""
    origin: PostgresqlConnection | MysqlConnection | None = Field(default=None, discriminator="engine")
    """The database that the connector captures, for `tailrace verify` alone: `engine`, `host`, `database`, `user`, …"""
    placeholder: Annotated[str, Field(min_length=1)] = "__debezium_unavailable_value"
    """The connector's `unavailable.value.placeholder`."""
    types: dict[str, dict[str, str]] = Field(default={})
    """Of plain JSON: by table, the types of columns that values do not tell, as PostgreSQL writes them
    (`numeric(12,2)`, `timestamp(3)`, `bytea`, `uuid`); of MySQL besides `datetime(p)`, and `timestamptz` for its
    `timestamp`. What is not stated is inferred: booleans, whole numbers, floats, text."""
    time_precision: (
        Literal["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"] | None
    ) = None
    """Of plain JSON: the connector's `time.precision.mode`. Left out: its default, `adaptive` for PostgreSQL, and
    `adaptive_time_microseconds` for MySQL and MariaDB."""
    decimals: Literal["precise", "double", "string"] = "precise"
    """Of plain JSON: the connector's `decimal.handling.mode`."""
    binary: Literal["bytes", "base64", "base64-url-safe", "hex"] = "bytes"
    """Of plain JSON: the connector's `binary.handling.mode`."""

    @model_validator(mode="after")
    def _origin_is_what_is_captured(self) -> Self:
        engine = "postgresql" if self.connector == "postgresql" else "mysql"
        if self.origin is not None and self.origin.engine != engine:
            raise ValueError(f"origin: the connector is for {self.connector}, and this engine is {self.origin.engine}")
        return self

    @property
    def times(self) -> str:
        """The connector's `time.precision.mode`."""
        default = "adaptive" if self.connector == "postgresql" else "adaptive_time_microseconds"
        return self.time_precision or default

    @property
    def place(self) -> str:
        """Where the source is, in words."""
        return f"topics {', '.join(self.topics)}"

    def holdings(self, replication: str) -> str:
        """Say what a capture makes at the source."""
        return "nothing at the source"


class PostgresqlTarget(PostgresqlConnection, TargetSection):
    """A PostgreSQL database to write."""

    schema_map: dict[str, str] = Field(default={})
    """Source schema to target schema, where they differ."""
    control_schema: Annotated[str, Field(min_length=1, max_length=63)] = "tailrace"
    """Schema of Tailrace's own tables (offsets, barriers) in the target."""
    synchronous_commit: bool = True
    """False: commits do not wait for the target's disk. Safe against a crash of Tailrace, not of the target."""
    disable_triggers: bool = False
    """Write with `session_replication_role = replica` (needs the right): triggers and foreign keys are not run."""
    statement_timeout_s: Annotated[int, Field(ge=0, le=86400)] = 0
    """Longest duration of one statement at the target; 0: none."""
    lock_timeout_s: Annotated[int, Field(ge=0, le=86400)] = 30
    """Longest wait for a lock at the target, before the batch is tried again; 0: none."""


class MysqlTarget(MysqlConnection, TargetSection):
    """A MySQL or MariaDB server to write."""

    database: Annotated[str, Field(max_length=64)] = ""
    """Database that all tables go to. Left out: to databases named like the source's schemas."""
    schema_map: dict[str, str] = Field(default={})
    """Source schema to target database, where neither its own name nor `database` is meant."""
    control_schema: Annotated[str, Field(min_length=1, max_length=64)] = "tailrace"
    """Database of Tailrace's own tables (offsets, barriers) and of its temporary ones at the target."""
    foreign_key_checks: bool = True
    """False: foreign keys of the target are not checked for what arrives, and their actions not run."""
    lock_timeout_s: Annotated[int, Field(ge=1, le=86400)] = 30
    """Longest wait for a lock at the target, before the batch is tried again."""


class Plugin(Section):
    """What a plug-in's source and target share."""

    engine: Annotated[str, Field(min_length=1)]
    """Name of the plug-in's entry point."""
    options: dict[str, Any] = Field(default={}, repr=False)
    """The plug-in's own settings."""
    ours: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _is_meant(cls, document: Any) -> Any:
        engine = document["engine"]
        near = nearest(engine, cls.ours) if isinstance(engine, str) else None
        # A misspelt engine of ours would else be told that `host` is unknown.
        if near is not None or not isinstance(engine, str) or set(document) - set(cls.model_fields):
            hint = f"did you mean {near}?" if near else "what a plug-in needs stands under `options`"
            raise ValueError(f"the engine is none of ours ({', '.join(cls.ours)}); {hint}")
        return document

    @property
    def place(self) -> str:
        """Where it is, in words: only the plug-in knows."""
        return "(plug-in)"


class PluginSource(SourceSection, Plugin):
    """A source of an engine that a plug-in brings (entry points `tailrace.sources`)."""

    engine: Annotated[str, Field(min_length=1, json_schema_extra={"not": {"enum": list(SOURCE_ENGINES)}})]
    """Name of the plug-in's entry point."""
    ours: ClassVar[tuple[str, ...]] = SOURCE_ENGINES


class PluginTarget(Plugin, TargetSection):
    """A target of an engine that a plug-in brings (entry points `tailrace.sinks`)."""

    engine: Annotated[str, Field(min_length=1, json_schema_extra={"not": {"enum": list(TARGET_ENGINES)}})]
    """Name of the plug-in's entry point."""
    ours: ClassVar[tuple[str, ...]] = TARGET_ENGINES

    @property
    def maps_objects(self) -> bool:
        """See `TargetSection`."""
        return True

    @property
    def leaves_new_columns_empty(self) -> bool:
        """See `TargetSection`."""
        return True


def _told_apart_by(engines: tuple[str, ...], role: Role) -> Discriminator:
    """Return what tells the member of a union that a document or a model is of."""

    def member_of(document: Any) -> str:
        if isinstance(document, Plugin):
            return "plugin"
        is_plain = isinstance(document, dict)
        engine = engine_of(document, role) if is_plain else getattr(document, "engine", engines[0])
        return engine if isinstance(engine, str) and engine in engines else "plugin"

    return Discriminator(member_of)


AnySource = Annotated[
    Annotated[PostgresqlSource, Tag("postgresql")]
    | Annotated[MysqlSource, Tag("mysql")]
    | Annotated[DebeziumSource, Tag("debezium")]
    | Annotated[PluginSource, Tag("plugin")],
    _told_apart_by(SOURCE_ENGINES, Role.SOURCE),
]
AnyTarget = Annotated[
    Annotated[PostgresqlTarget, Tag("postgresql")]
    | Annotated[MysqlTarget, Tag("mysql")]
    | Annotated[DocdbTarget, Tag("docdb")]
    | Annotated[DynamodbTarget, Tag("dynamodb")]
    | Annotated[FilesTarget, Tag("files")]
    | Annotated[KafkaTarget, Tag("kafka")]
    | Annotated[KinesisTarget, Tag("kinesis")]
    | Annotated[MongodbTarget, Tag("mongodb")]
    | Annotated[NeptuneTarget, Tag("neptune")]
    | Annotated[OpensearchTarget, Tag("opensearch")]
    | Annotated[RedshiftTarget, Tag("redshift")]
    | Annotated[S3Target, Tag("s3")]
    | Annotated[StdoutTarget, Tag("stdout")]
    | Annotated[WebhookTarget, Tag("webhook")]
    | Annotated[PluginTarget, Tag("plugin")],
    _told_apart_by(TARGET_ENGINES, Role.TARGET),
]


def _identifier(name: str) -> str:
    # Slot names allow lower-case letters, digits and underscores, 63 bytes (PostgreSQL: replication slots).
    return "tailrace_" + re.sub(r"[^a-z0-9_]", "_", name.lower())[:54]
