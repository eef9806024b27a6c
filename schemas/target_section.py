"""What every target's section has."""

from __future__ import annotations

from typing import ClassVar

from pydantic import field_validator

from schemas.endpoint_section import EndpointSection
from schemas.endpoint_settings.endpoint import Role
from schemas.mappings.field import TableMappings


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
            raise ValueError("selection rules say what is captured, for all targets: they go with the others'")
        return mappings
