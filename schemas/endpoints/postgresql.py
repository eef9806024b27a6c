"""PostgreSQL, as a source and as a target."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from schemas.endpoints.section import TargetSection, Tls, ViewsSection
from schemas.section import Section


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
    tls: Tls = Field(default_factory=Tls)
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


def _identifier(name: str) -> str:
    # Slot names allow lower-case letters, digits and underscores, 63 bytes (PostgreSQL: replication slots).
    return "tailrace_" + re.sub(r"[^a-z0-9_]", "_", name.lower())[:54]
