"""What is asked of a table that a target's catalogue has found, whatever the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from schemas.table import TableName


class FoundColumn(Protocol):
    """A column as the target's catalogue has it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def not_null(self) -> bool:
        """Whether it refuses nulls."""
        ...

    @property
    def has_default(self) -> bool:
        """Whether the target has a value for it where a row brings none."""
        ...

    @property
    def generated(self) -> bool:
        """Whether the target computes its values."""
        ...


class FoundTable(Protocol):
    """A table as the target's catalogue has it."""

    @property
    def name(self) -> TableName:
        """Its name at the target."""
        ...

    @property
    def kind(self) -> str:
        """`table`, or what else it is."""
        ...

    @property
    def columns(self) -> Mapping[str, Any]:
        """Its columns (`FoundColumn`) by name."""
        ...
