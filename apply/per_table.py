"""What is compiled for each version of each table, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from schemas.table import TableName, TableSchema

TABLES_REMEMBERED_MAX = 10_000
"""What is compiled for versions of tables; beyond, the oldest is compiled again."""

T = TypeVar("T")


class PerTable(Generic[T]):
    """Makes what belongs to a version when it is first asked for, and keeps it."""

    def __init__(self, make: Callable[[TableSchema], T]) -> None:
        self._make = make
        self._made: dict[tuple[TableName, int, tuple[str, ...], str], T] = {}

    def __call__(self, table: TableSchema) -> T:
        """Return what belongs to a table's version."""
        # Two cuts of a version to fewer columns may have its number, and equal tables may be versions of their own.
        key = (table.name, table.version, table.column_names, table.fingerprint)
        if key not in self._made:
            if len(self._made) >= TABLES_REMEMBERED_MAX:
                self._made.pop(next(iter(self._made)))
            self._made[key] = self._make(table)
        return self._made[key]
