"""Topics of a Debezium connector as a source."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.endpoints.mysql import MysqlConnection
from schemas.endpoints.postgresql import PostgresqlConnection
from schemas.endpoints.section import SourceSection
from schemas.format import Format


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
