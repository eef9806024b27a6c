"""What is made for each version of each table, once: compiled functions, mappings. Bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from schemas.table import TableName, TableSchema

TABLES_REMEMBERED_MAX = 10_000

T = TypeVar("T")


class PerTable(Generic[T]):
    """What is made for each version, whichever object it is. Beyond the bound the oldest is made again."""

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


class PerSchema(Generic[T]):
    """The same by identity, where what is not part of a fingerprint counts. Beyond the bound all are made again."""

    def __init__(self, make: Callable[[TableSchema], T]) -> None:
        self._make = make
        self._made: dict[int, tuple[TableSchema, T]] = {}

    def __call__(self, table: TableSchema) -> T:
        """Return what belongs to a schema."""
        # A schema's hash is that of all its columns. The schema is kept, so its identity stays its own.
        found = self._made.get(id(table))
        if found is None:
            if len(self._made) >= TABLES_REMEMBERED_MAX:
                self._made.clear()
            found = self._made[id(table)] = (table, self._make(table))
        return found[1]
