"""What sections of endpoints have that AWS DMS has endpoints for: its own spelling of their settings."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from pydantic import Field, model_validator

from schemas.endpoint_settings import document as endpoint_settings
from schemas.endpoint_settings.endpoint import Role
from schemas.section import Section


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
