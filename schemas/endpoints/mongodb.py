"""MongoDB and Amazon DocumentDB as targets.

Settings that AWS DMS has too bear the names of its DocumentDB endpoint settings (API reference, `DocDbSettings`) in
lower case with underscores, unless other engines' settings have a name for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from schemas.endpoints.section import TargetSection


class MongodbTarget(TargetSection):
    """A MongoDB server or replica set: a collection for each table, a document for each row."""

    engine: Literal["mongodb"]
    """The engine."""
    host: str = "127.0.0.1"
    """Host name or address (DMS: `ServerName`). Several members of a replica set: with commas between."""
    port: Annotated[int, Field(ge=1, le=65535)] = 27017
    """TCP port."""
    replica_set: str | None = None
    """Name of the replica set: then its primary is looked for."""
    user: str | None = None
    """User to log in as; left out: none."""
    password: SecretStr | None = None
    """Its password: write `${ENV}` or `${file:PATH}`."""
    auth_source: str = "admin"
    """Database that knows the user."""
    auth_mechanism: Literal["default", "scram-sha-1", "scram-sha-256", "mongodb-x509"] = "default"
    """How to log in; `default`: as the server likes it."""
    tls: Literal["disable", "require", "verify-ca", "verify-full"] = "disable"
    """How the connection is protected. `verify-full` is the only one that a man in the middle cannot defeat."""
    ca: str | None = None
    """Path of the file with the trusted certificate authorities (PEM; of Amazon DocumentDB: `global-bundle.pem`). Left
    out: those of the system."""
    certificate_key: str | None = None
    """Path of the file with the client's certificate and its private key (PEM)."""
    timeout_s: Annotated[float, Field(ge=1, le=3600)] = 60
    """How long one answer may take."""
    retry_writes: bool = True
    """Let the driver send a write again whose answer was lost. Writes may be repeated in any case."""
    database: str | None = None
    """Database of all collections. Left out: the one named like the source's schema."""
    collection_name: Annotated[str, Field(min_length=1)] = "{table}"
    """Name of a table's collection; `{schema}` stands for its schema."""
    control_database: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")] = "tailrace"
    """Database of the barriers at which appliers wait for each other, and of what is known of deleted documents."""
    deleted_kept_s: Annotated[int, Field(ge=60, le=30 * 86_400)] = 86_400
    """How long the sequence of a deleted document is remembered: so long may a writer be late."""
    nesting_level: Literal["none", "one"] = "one"
    """`one`: columns are fields. `none`: the JSON of a column `_doc` is the document (what DMS reads of MongoDB in its
    document mode)."""
    json_form: Literal["document", "text"] = "document"
    """What becomes of JSON columns."""

    @property
    def leaves_new_columns_empty(self) -> bool:
        """See `TargetSection`."""
        return True

    @property
    def place(self) -> str:
        """Where the server is, in words."""
        return f"{self.host}:{self.port}"


class DocdbTarget(MongodbTarget):
    """An Amazon DocumentDB cluster."""

    engine: Literal["docdb"]  # type: ignore[assignment]
    """The engine."""
    tls: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    """How the connection is protected; give `ca`."""
    retry_writes: bool = False
    """Amazon DocumentDB knows no retryable writes."""
