"""MySQL and MariaDB, as a source and as a target."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from schemas.endpoints.section import TargetSection, Tls, ViewsSection
from schemas.section import Section


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
    tls: Tls = Field(default_factory=Tls)
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
