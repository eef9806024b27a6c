"""Amazon Redshift as a target.

Settings that AWS DMS has too bear the names of its Redshift endpoint settings (API reference, `RedshiftSettings`) in
lower case with underscores, unless other engines' settings have a name for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from schemas.endpoints.files import AwsTarget, Encryption
from schemas.endpoints.postgresql import PostgresqlConnection
from schemas.endpoints.section import TargetSection, Tls, TlsMode
from schemas.table import TableName


class RedshiftTarget(Encryption, AwsTarget, TargetSection):
    """A database of a Redshift cluster or workgroup; rows pass through a bucket of Amazon S3."""

    engine: Literal["redshift"]
    """The engine."""
    connect_by: Literal["driver", "data-api"] = "driver"
    """`data-api`: by requests over HTTPS, where no connection to the cluster can be had."""
    host: str = ""
    """Host name of the cluster or workgroup (DMS: `ServerName`), for the driver."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5439
    """TCP port."""
    database: str
    """Name of the database."""
    user: str = ""
    """User to log in as. Left out where it follows from who asks (workgroups) or from the secret."""
    password: SecretStr | None = None
    """Its password: write `${ENV}` or `${file:PATH}`."""
    cluster_identifier: str | None = None
    """The cluster, for the Data API and for `iam_auth_enabled`."""
    workgroup_name: str | None = None
    """The serverless workgroup, instead of the cluster."""
    iam_auth_enabled: bool = False
    """Let the driver log in with temporary credentials, which AWS gives to the role below."""
    secret_arn: str | None = None
    """Secret by which the Data API logs in. Left out: temporary credentials."""
    redshift_endpoint_url: str | None = None
    """URL of another service with the protocols of the Data API and of temporary credentials, or of a private
    endpoint. `endpoint_url` is the bucket's."""
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

    @model_validator(mode="after")
    def _can_be_reached(self) -> RedshiftTarget:
        named = (self.cluster_identifier is not None) + (self.workgroup_name is not None)
        asks = self.connect_by == "data-api" or self.iam_auth_enabled
        if named > 1 or (asks and not named):
            raise ValueError("name one of cluster_identifier and workgroup_name")
        if self.connect_by == "driver" and not self.host:
            raise ValueError("connect_by: driver needs host")
        if not self.user and not (self.workgroup_name if asks else None) and not self.secret_arn:
            raise ValueError("user is missing")
        if self.secret_arn and self.connect_by == "driver":
            raise ValueError("secret_arn is for connect_by: data-api; write `password: ${file:PATH}` here")
        if self.iam_auth_enabled and (self.connect_by == "data-api" or self.password is not None):
            raise ValueError("iam_auth_enabled is for connect_by: driver, and excludes password")
        return self

    @property
    def leaves_new_columns_empty(self) -> bool:
        """See `TargetSection`."""
        return True

    @property
    def place(self) -> str:
        """Where the database is, in words."""
        if self.connect_by == "driver":
            return f"{self.host}:{self.port}"
        return f"the Data API of {self.cluster_identifier or self.workgroup_name}"

    def name_of(self, table: TableName) -> TableName:
        """Return what a table of the source is called at the target."""
        return TableName(self.schema_map.get(table.schema, table.schema), table.table)

    def conninfo(self) -> dict[str, str]:
        """Return libpq's connection keywords. Holds the password in clear: for the driver only, never for a log."""
        # Its driver is PostgreSQL's.
        return PostgresqlConnection(
            host=self.host,
            port=self.port,
            database=self.database,
            user=self.user,
            password=self.password,
            tls=Tls(mode=TlsMode(self.tls), ca=self.ca or ("system" if self.tls == "verify-full" else None)),
            connect_timeout_s=self.connect_timeout_s,
        ).conninfo()
