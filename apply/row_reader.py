"""What a target offers that can be read back: the rows that its tables have now, for `tailrace verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from schemas.changes import Row
from schemas.table import TableSchema


class RowReader(Protocol):
    """Reads a target by its own means; a target's module makes one by `open_reader(settings, target)`."""

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """Yield each row that a table has, as the target has its name and columns: canonical values in column order.

        What was applied before the call is among them; what is applied meanwhile may be. Memory does not grow with the
        table. Raises TARGET_SCHEMA for a table that is not there or cannot be told from what is.
        """
        ...

    def close(self) -> None:
        """Let connections go. May be called twice."""
        ...
