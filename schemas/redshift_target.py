"""Amazon Redshift as a target.

Settings that AWS DMS has too bear the names of its Redshift endpoint settings (API reference, `RedshiftSettings`) in
lower case with underscores, unless other engines' settings have a name for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from schemas.file_targets import AwsTarget, Encryption
from schemas.table import TableName
from schemas.target_section import TargetSection


class RedshiftTarget(Encryption, AwsTarget, TargetSection):
    """A database of a Redshift cluster or workgroup; rows pass through a bucket of Amazon S3."""

    engine: Literal["redshift"]
    """The engine."""
    host: str
    """Host name of the cluster or workgroup (DMS: `ServerName`)."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5439
    """TCP port."""
    database: str
    """Name of the database."""
    user: str
    """User to log in as."""
    password: SecretStr | None = None
    """Its password: write `${ENV}` or `${file:PATH}`."""
    tls: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    """How the connection is protected. `verify-full` is the only one that a man in the middle cannot defeat."""
    ca: str | None = None
    """Path of the file with the trusted certificate authorities (PEM). Left out: those of the system."""
    connect_timeout_s: Annotated[int, Field(ge=2, le=600)] = 10
    """How long one attempt to connect may take."""
    statement_timeout_s: Annotated[int, Field(ge=0, le=86400)] = 0
    """Longest duration of one statement at the target; 0: none."""
    schema_map: dict[str, str] = Field(default={})
    """Source schema to target schema, where they differ."""
    control_schema: Annotated[str, Field(min_length=1, max_length=127)] = "tailrace"
    """Schema of Tailrace's own tables (offsets, barriers) in the target."""
    bucket_name: Annotated[str, Field(min_length=3, max_length=63)]
    """The bucket that rows pass through. It must be there."""
    bucket_folder: str = ""
    """Folder of the bucket. A lifecycle rule should remove what is older than a day: a crash leaves files behind."""
    copy_role_arn: Annotated[str, Field(pattern=r"^(default|arn:[A-Za-z0-9:/_+=,.@-]+)$")] = "default"
    """Role by which Redshift reads the bucket (DMS: `ServiceAccessRoleArn`); `default`: the cluster's own."""
    bucket_region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    """Region of the bucket, where it is not the cluster's."""

    @property
    def place(self) -> str:
        """Where the database is, in words."""
        return f"{self.host}:{self.port}"

    def name_of(self, table: TableName) -> TableName:
        """Return what a table of the source is called at the target."""
        return TableName(self.schema_map.get(table.schema, table.schema), table.table)

    def conninfo(self) -> dict[str, str]:
        """Return libpq's connection keywords. Holds the password in clear: for the driver only, never for a log."""
        words = {
            "host": self.host,
            "port": str(self.port),
            "dbname": self.database,
            "user": self.user,
            "password": self.password.get_secret_value() if self.password else None,
            "sslmode": self.tls,
            "sslrootcert": self.ca or ("system" if self.tls == "verify-full" else None),
            "connect_timeout": str(self.connect_timeout_s),
        }
        return {name: value for name, value in words.items() if value is not None}
