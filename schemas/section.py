"""What all sections of a configuration share.

What a setting means stands below it in the source, where `schemas.reference` finds it: services start without reading
their own sources.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """What all sections share: nothing unknown, nothing changed later, no input echoed in errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,
        validate_default=True,
    )
