"""Amazon Neptune as a target.

Settings that AWS DMS has too bear the names of its Neptune endpoint settings (API reference, `NeptuneSettings`) in
lower case with underscores, unless other engines' settings have a name for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.file_targets import AwsTarget
from schemas.graph_mapping import GraphMappingDocument
from schemas.target_section import TargetSection


class NeptuneTarget(AwsTarget, TargetSection):
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

    @property
    def place(self) -> str:
        """Where the cluster is, in words."""
        return self.url
