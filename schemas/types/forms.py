"""The table of all families, and the names that their fragments use."""

from __future__ import annotations

from typing import Any

from schemas.types import numbers, temporal, text, varints
from schemas.types.form import WireForm, wrong
from schemas.types.logical import Family

FORMS: dict[Family, WireForm] = {
    form.family: form for forms in (numbers.FORMS, text.FORMS, temporal.FORMS) for form in forms
}
"""Complete: a test walks `Family`."""


def is_loose(family: Family) -> bool:
    """Tell whether values that a database holds equal may look different, so that keys need one form for all."""
    return FORMS[family].key != "{v}"


NAMES: dict[str, Any] = {**varints.NAMES, **numbers.NAMES, **text.NAMES, **temporal.NAMES, "wrong": wrong}
