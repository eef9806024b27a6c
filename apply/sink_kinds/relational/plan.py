"""How rows of one version of a table are written to the table that the target has now."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from apply.sink_kinds.relational.catalog import FoundTable
from schemas.changes import UNCHANGED, Row
from schemas.table import Column, TableSchema
from schemas.types.forms import is_loose


class WrittenColumn(Protocol):
    """A column that is written."""

    @property
    def index(self) -> int:
        """Where its value stands in the rows."""
        ...


C = TypeVar("C", bound=WrittenColumn)


class RelationalPlan(ABC, Generic[C]):
    """The columns of a version that are written. An engine's plan adds encoders and statements."""

    def __init__(self, table: TableSchema, columns: Sequence[C], fillings: Mapping[str, str]) -> None:
        """`fillings`, SQL by column, are for new rows: what they lack that the source has filled in."""
        self.table = table
        self.fillings = fillings
        self.columns = tuple(columns)
        by_index = {column.index: column for column in self.columns}
        self.key = tuple(by_index[index] for index in table.key if index in by_index)
        self.whole_key = len(self.key) == len(table.key)
        keys = {column.index for column in self.key}
        self.loose = tuple(column for column in self.key if is_loose(table.columns[column.index].type.family))
        """Columns of the key whose values may change their looks and stay equal: 1.0 becomes 1.00."""
        self.takes_values = False
        """Whether fields of texts and bytes are what they hold, so that rows may have stand-ins for large ones."""
        self.others = tuple(column for column in self.columns if column.index not in keys)

    def changed_by(self, row: Row) -> tuple[C, ...]:
        """Return the columns that an update writes: those that it knows, and what of the key may look different."""
        return (*self.loose, *(column for column in self.others if row[column.index] is not UNCHANGED))

    def by_changed_columns(self, rows: Sequence[Row]) -> list[tuple[tuple[C, ...], list[Row]]]:
        """Group rows by the columns that they change; rows that change nothing are left out."""
        groups: dict[tuple[C, ...], list[Row]] = {}
        for row in rows:
            changed = self.changed_by(row)
            if changed:
                groups.setdefault(changed, []).append(row)
        return list(groups.items())

    @property
    @abstractmethod
    def replaces(self) -> bool:
        """Whether rows may be deleted and inserted anew, without foreign keys acting on the deletion."""

    @abstractmethod
    def create_stage(self, stage: str) -> str:
        """Return the definition of the staging table."""


def filling_of(
    column: Column, sql: Callable[[str | None], str], name: Callable[[str], str], literal: Callable[[str], str]
) -> str:
    """Return as SQL what rows hold that were there when a column was added: `sql` says it of a text, `name` of a column
    that tells whose rows they are.
    """
    cases = [
        " and ".join(f"{name(key)} = {value if isinstance(value, int) else literal(value)}" for key, value in part)
        + f" then {sql(filling)}"
        for part, filling in column.fillings
    ]
    otherwise = sql(column.filling)
    return f"case when {' when '.join(cases)} else {otherwise} end" if cases else otherwise


def written_columns(table: TableSchema, found: FoundTable) -> list[tuple[int, Any]]:
    """Return the columns of a version that the target's table has and does not compute: (place in the rows, column)."""
    return [
        (index, found.columns[column.name])
        for index, column in enumerate(table.columns)
        if column.name in found.columns and not found.columns[column.name].generated
    ]
