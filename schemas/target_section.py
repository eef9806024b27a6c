"""What every target's section has."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import Field, field_validator, model_validator

from schemas.endpoint_settings import document as endpoint_settings
from schemas.mappings.field import TableMappings
from schemas.section import Section


class TargetSection(Section):
    """What every target has."""

    mappings: TableMappings | None = None
    """What to make of tables and rows at this target alone, instead of what the mappings of all targets say: a document
    like theirs, without selection rules."""

    endpoint_settings: dict[str, Any] | str | None = Field(default=None, repr=False)
    """Settings of AWS DMS for such an endpoint: a document, or its text (`${file:PATH}`). What the section says itself
    stands."""

    @property
    def maps_objects(self) -> bool:
        """Whether its sink heeds rules of object mapping (`Settings.object_mappings`)."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _speaks_as_dms(cls, section: Any) -> Any:
        engine = cls.model_fields.get("engine")
        names = get_args(engine.annotation) if engine is not None else ()
        if not isinstance(section, dict) or not names:
            return section
        return endpoint_settings.applied(section, names[0], set(cls.model_fields))

    @field_validator("mappings")
    @classmethod
    def _mappings_select_nothing(cls, mappings: TableMappings | None) -> TableMappings | None:
        if mappings is not None and mappings.selections:
            raise ValueError("selection rules say what is captured, for all targets: they go with the others'")
        return mappings
