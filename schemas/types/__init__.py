"""The logical types: one table of what a value can be, its canonical Python form, and its wire forms.

A module per family states everything about its types. Engines map their native types to these; anything that an
engine has no better entry for travels as `text` in the engine's own notation, and is made again as its native type
where the target has it.
"""

from __future__ import annotations

from schemas.types.logical import Family, LogicalType

__all__ = ["Family", "LogicalType"]
