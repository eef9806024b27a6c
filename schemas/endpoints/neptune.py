"""Amazon Neptune as a target.

Settings that AWS DMS has too bear the names of its Neptune endpoint settings (API reference, `NeptuneSettings`) in
lower case with underscores, unless other engines' settings have a name for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.endpoints.files import AwsTarget, Encryption
from schemas.endpoints.section import TargetSection
from schemas.graph_mapping import GraphMappingDocument


class NeptuneTarget(Encryption, AwsTarget, TargetSection):
    """A cluster of Amazon Neptune, or a Gremlin Server that speaks HTTP: a property graph made of rows."""

    engine: Literal["neptune"]
    """The engine."""
    url: Annotated[str, Field(pattern=r"^https?://[^@]+[^/@]$")]
    """The cluster's writer endpoint, `https://HOST:8182` (DMS: `ServerName`, `Port`)."""
    iam_auth_enabled: bool = False
    """Sign requests (SigV4) with the credentials below."""
    ca: str | None = None
    """Path of the file with the trusted certificate authorities (PEM). Left out: those of the system."""
    timeout_s: Annotated[float, Field(ge=1, le=3600)] = 120
    """How long one answer may take: no less than the cluster's `neptune_query_timeout`."""
    graph_mapping: GraphMappingDocument | None = None
    """What rows become, in DMS's JSON (`${file:PATH}` for the text of a file). Left out: each row a vertex, labelled
    with its table's name, with a property for each column."""
    language: Literal["gremlin-lang"] | None = None
    """Named in each request where it is set. Amazon Neptune knows one language; a Gremlin Server takes the text for
    Groovy else."""
    request_statements: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Most rows of one request, which is one transaction."""
    request_bytes: Annotated[int, Field(ge=65_536, le=64 << 20)] = 1 << 20
    """Most bytes of one request, unless a single row has more."""
    deleted_kept_s: Annotated[int, Field(ge=60, le=30 * 86_400)] = 86_400
    """How long the sequence of a deleted row is remembered: so long may a writer be late."""

    s3_bucket_name: Annotated[str, Field(min_length=3, max_length=63)] | None = None
    """The bucket that rows of a full load pass through, as files that Neptune's bulk loader reads. It must be there,
    in the cluster's region. Left out: rows go by Gremlin. `endpoint_url` and encryption are the bucket's."""
    s3_bucket_folder: str = ""
    """Folder of the bucket for these files. They are removed when they are loaded."""
    load_role_arn: Annotated[str, Field(pattern=r"^arn:[A-Za-z0-9:/_+=,.@-]+$")] | None = None
    """Role by which Neptune reads the bucket, attached to the cluster. Left out: `service_access_role_arn`, the one
    role that DMS has."""
    load_parallelism: Literal["LOW", "MEDIUM", "HIGH", "OVERSUBSCRIBE"] = "HIGH"
    """How many of the instance's threads a load takes."""
    load_interval_s: Annotated[int, Field(ge=1, le=3600)] = 30
    """Longest time that a row of the full load waits for others to be loaded with it."""
    load_timeout_s: Annotated[int, Field(ge=10, le=7 * 86_400)] = 86_400
    """How long a load may take, other loads before it included."""
    max_file_size: Annotated[int, Field(ge=1, le=1_048_576)] = 1_048_576
    """Most KB of files, before compression, that one load has."""
    max_retry_count: Annotated[int, Field(ge=0, le=1_000)] = 5
    """How often a load is begun again that failed for a passing reason."""
    error_retry_duration: Annotated[int, Field(ge=0, le=3_600_000)] = 250
    """Milliseconds before it is begun again."""

    @model_validator(mode="after")
    def _can_load(self) -> NeptuneTarget:
        if self.s3_bucket_name is not None and not self.loader_role:
            raise ValueError("s3_bucket_name needs load_role_arn: Neptune reads the bucket by a role of its own")
        if self.s3_bucket_name is None and (self.s3_bucket_folder or self.load_role_arn):
            raise ValueError("s3_bucket_folder and load_role_arn need s3_bucket_name")
        return self

    @property
    def loader_role(self) -> str:
        """The role that the loader is told; empty if there is none."""
        return self.load_role_arn or self.service_access_role_arn or ""

    @property
    def leaves_new_columns_empty(self) -> bool:
        """See `TargetSection`."""
        return True

    @property
    def place(self) -> str:
        """Where the cluster is, in words."""
        return self.url
