"""What a file's rows have besides the table's columns, and which changes it holds: DMS's settings, compiled once.

The leading columns are, where they are asked for: the operation (`I`, `U`, `D`, and `T` for a truncate), the table and
its schema (in files of several), the time of the commit, the commit sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apply.sink import Origin
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.files import RowFiles
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types import LogicalType
from schemas.types.logical import Family
from schemas.types.plain import timestamp_text

Change = tuple[str, Row | None, Row | None]

OPERATION, TABLE, SCHEMA = "Op", "table_name", "database_schema_name"
LETTERS = {"r": "I", "c": "I", "u": "U", "d": "D", "t": "T"}

STRING = LogicalType(Family.STRING)
INT64 = LogicalType(Family.INT64)
TIMESTAMP = LogicalType(Family.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class Head:
    """A column in front of the table's own."""

    name: str
    type: LogicalType
    value: Callable[[str, Origin], Any]
    """From the operation and the origin to a canonical value."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of one version's rows in files of the full load, or of changes."""

    table: TableSchema
    loads: bool
    heads: tuple[Head, ...]
    operations: frozenset[str]
    """Changes of others are left out, as the settings have it."""

    @property
    def names(self) -> list[str]:
        """The names of all columns, in order."""
        return [*(head.name for head in self.heads), *self.table.column_names]

    @property
    def types(self) -> list[LogicalType]:
        """Their types."""
        return [*(head.type for head in self.heads), *(column.type for column in self.table.columns)]

    def values(self, change: Change, origin: Origin) -> Row:
        """Return the canonical values of a change, in the order of `names`."""
        op, before, after = change
        row = after if after is not None else before
        if row is None:
            row = (None if op == "t" else UNCHANGED,) * len(self.table.columns)
        return (*[head.value(op, origin) for head in self.heads], *row) if self.heads else row


def shape_of(table: TableSchema, settings: RowFiles, *, loads: bool) -> Shape:
    """Return the shape of a table's files. Raises TARGET_SCHEMA if one of its columns is called as one of theirs."""
    some = settings.cdc_inserts_only or settings.cdc_inserts_and_updates
    together = settings.preserve_transactions and not loads
    heads: list[Head] = []
    if settings.include_op_for_full_load or not (loads or some) or together:
        heads.append(Head(OPERATION, STRING, lambda op, _: LETTERS[op]))
    if together:
        heads.append(Head(TABLE, STRING, lambda _, __: table.name.table))
        heads.append(Head(SCHEMA, STRING, lambda _, __: table.name.schema))
    if settings.timestamp_column_name is not None:
        heads.append(Head(settings.timestamp_column_name, TIMESTAMP, lambda _, origin: origin.commit_ts_us))
    if settings.sequence_column_name is not None:
        heads.append(Head(settings.sequence_column_name, INT64, lambda _, origin: origin.seq))
    # Readers of partitions do not tell capitals apart.
    folded = str.lower if settings.partition_columns else str
    names = set(map(folded, table.column_names))
    taken = [name for name in (*(head.name for head in heads), *settings.partition_columns) if folded(name) in names]
    if taken and not together:
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"the table has a column {taken[0]}, as its files or folders have",
            table=str(table.name),
            remedy="set another name for it, or rename the column by table mappings",
        )
    operations = frozenset("rc" if settings.cdc_inserts_only else "rcu" if some else "rcudt")
    return Shape(table, loads, tuple(heads), operations)


def column_text(us: int) -> str:
    """Return a time as CSV files have it: as DMS writes it, with a space and without a zone."""
    return timestamp_text(us).replace("T", " ")
