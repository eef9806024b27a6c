"""What sections of sources and of targets have, and how the connection to a database is protected."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, get_args

from pydantic import Field, SecretStr, field_validator, model_validator

from schemas.endpoint_settings import document as endpoint_settings
from schemas.endpoint_settings.endpoint import Role
from schemas.mappings.field import TableMappings
from schemas.section import Section
from schemas.selection import Selection
from schemas.table import TableSchema


class EndpointSection(Section):
    """A source or a target that may be said in DMS's words."""

    role: ClassVar[Role]

    endpoint_settings: dict[str, Any] | list[Any] | str | None = Field(default=None, repr=False)
    """Settings of AWS DMS for such an endpoint: the path of a document from the configuration's directory, the document
    (the settings alone, or what `aws dms describe-endpoints` prints), or extra connection attributes. A text with `=`
    is a path if it ends in `.json` and has no semicolon, or begins with `./`, `../`, `/` or `~`. What the section says
    itself stands."""

    @model_validator(mode="before")
    @classmethod
    def _speaks_as_dms(cls, section: Any) -> Any:
        engine = cls.model_fields.get("engine")
        names = get_args(engine.annotation) if engine is not None else ()
        if not isinstance(section, dict):
            return section
        return endpoint_settings.applied(section, names[0] if names else None, set(cls.model_fields), cls.role)


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


class ViewsSection(SourceSection):
    """A source that has views."""

    views: list[str] = Field(default=[])
    """Patterns over views (materialised ones, too), as those of `tables`: loaded once, and not followed."""

    def takes(self, table: TableSchema) -> bool:
        """Tell whether a table or a view that was captured before still is to be."""
        return Selection(self.views if table.is_view else self.tables).takes(table.name)


class TargetSection(EndpointSection):
    """What every target has."""

    role: ClassVar[Role] = Role.TARGET

    idle_object_words: ClassVar[frozenset[str]] = frozenset()
    """What a rule of object mapping may say (`ObjectMappingRule.said`) that its sink does not look at."""

    mappings: TableMappings | None = None
    """What to make of tables and rows at this target alone, instead of what the mappings of all targets say: a document
    like theirs, without selection rules."""

    @property
    def maps_objects(self) -> bool:
        """Whether its sink heeds rules of object mapping (`Settings.object_mappings`)."""
        return False

    @property
    def leaves_new_columns_empty(self) -> bool:
        """Whether rows that are there get a new column's value, and lose a dropped one's, only as they come again.
        (Others do to them as the source did, or keep changes and no rows.)
        """
        return False

    @field_validator("mappings")
    @classmethod
    def _mappings_select_nothing(cls, mappings: TableMappings | None) -> TableMappings | None:
        if mappings is not None and mappings.selections:
            rule = mappings.named(mappings.selections[0])
            raise ValueError(f"{rule}: selection rules say what is captured, for all targets: they go with the others'")
        return mappings


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
