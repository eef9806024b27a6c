"""OpenSearch as a target."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator

from schemas.endpoints.files import AwsTarget
from schemas.endpoints.section import TargetSection


class OpensearchTarget(AwsTarget, TargetSection):
    """A domain of Amazon OpenSearch Service, or any OpenSearch: an index for each table, a document for each row."""

    engine: Literal["opensearch"]
    """The engine."""
    url: Annotated[str, Field(pattern=r"^https?://[^@]+$")]
    """The domain's endpoint (DMS: `EndpointUri`)."""
    authentication: Literal["none", "basic", "aws"] = "none"
    """`basic`: `user` and `password`. `aws`: requests are signed (SigV4) with the credentials below."""
    user: str | None = None
    """User for `basic`."""
    password: SecretStr | None = None
    """Its password."""
    service: Literal["es", "aoss"] = "es"
    """What requests are signed for: a domain, or a serverless collection."""
    ca: str | None = None
    """Path of the file with the trusted certificate authorities (PEM). Left out: those of the system."""
    timeout_s: Annotated[float, Field(ge=1, le=3600)] = 60
    """How long one answer may take."""
    index_kind: Literal["index", "data-stream"] = "index"
    """`index`: a table's rows as they are, in an index. `data-stream`: every change of it, in a data stream."""
    index_name: Annotated[str, Field(min_length=1)] = "{schema}.{table}"
    """Name of a table's index or data stream, in lower case. What OpenSearch does not allow becomes `_`."""
    index_settings: dict[str, Any] = Field(default={})
    """Settings of indices that are made (`index.number_of_shards`, `index.refresh_interval`, …); of a data stream, of
    those behind it."""
    gc_deletes_s: Annotated[int, Field(ge=60, le=86_400)] = 3600
    """How long an index that is made remembers the version of a deleted document: so long may a writer be late."""
    control_index: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,100}$")] = "tailrace-control"
    """Index of the barriers at which appliers wait for each other, and of their claims to let a data stream go on."""
    bulk_documents: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Most operations of one bulk request."""
    bulk_bytes: Annotated[int, Field(ge=65_536, le=100 << 20)] = 8 << 20
    """Most bytes of one bulk request, unless a single document has more. Amazon OpenSearch Service takes 10 MiB on
    small instances, 100 MiB on others (its developer guide, "Quotas")."""

    @property
    def leaves_new_columns_empty(self) -> bool:
        """See `TargetSection`."""
        return self.index_kind == "index"

    @property
    def place(self) -> str:
        """Where the domain is, in words."""
        return self.url

    @model_validator(mode="after")
    def _login_is_whole(self) -> OpensearchTarget:
        if self.authentication == "basic" and (self.user is None or self.password is None):
            raise ValueError("authentication basic needs user and password")
        return self
