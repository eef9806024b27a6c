"""Changes as they flow from a source to its publisher, and from a topic to a sink: batches of plain tuples.

A row is a tuple in the order of its table's columns. A batch is for one table and one schema version, and the
transaction's facts stand once for a run of rows, never per row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.position import Position
from schemas.table import TableName, TableSchema

Row = tuple[Any, ...]
"""Canonical values in column order; `UNCHANGED` where the log did not hold the value."""


class Unchanged:
    """The type of `UNCHANGED`: a value that the log did not hold, since the change left it as it was."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNCHANGED"

    def __reduce__(self) -> str:
        return "UNCHANGED"


UNCHANGED = Unchanged()


@dataclass(slots=True)
class Transaction:
    """The facts of one source transaction."""

    id: str
    """As the source prints it (PostgreSQL: the xid)."""
    xid: int
    """The number that snapshots decide visibility by; 0 where the engine has none."""
    commit: int
    """The `commit` of the transaction's position."""
    commit_ts_us: int
    """Commit time, microseconds since the epoch, by the source's clock."""


@dataclass(slots=True)
class RowChanges:
    """A run of row changes of one table, in one transaction: three parallel lists."""

    table: TableSchema
    txn: Transaction
    ops: list[str] = field(default_factory=list)
    """`c`, `u` or `d`."""
    before: list[Row | None] = field(default_factory=list)
    """The old row of an update or delete as far as the log has it: None, the key columns with UNCHANGED elsewhere, or
    the whole row (`full_before`). An update has an old row only if its key changed or the log keeps whole rows."""
    after: list[Row | None] = field(default_factory=list)
    """The new row; None for a delete."""


@dataclass(slots=True)
class Truncate:
    """One or more tables were emptied by one statement."""

    tables: list[TableSchema]
    txn: Transaction


@dataclass(slots=True)
class SchemaChange:
    """The log goes on with a new version of a table, or without it (`after` is None)."""

    name: TableName
    before: TableSchema | None
    after: TableSchema | None
    is_certain: bool = True
    """False where it cannot be told which columns of the two versions are the same ones."""


@dataclass(slots=True)
class LogMessage:
    """A message that somebody wrote into the source's log by hand."""

    prefix: str
    content: bytes
    txn: Transaction | None


@dataclass(slots=True)
class Begin:
    """A transaction's changes follow."""

    txn: Transaction


@dataclass(slots=True)
class Commit:
    """A transaction's changes are complete; `position` is the one after it."""

    txn: Transaction
    position: Position


@dataclass(slots=True)
class Heartbeat:
    """The log is read up to `position`, and no transaction is open."""

    position: Position


Change = RowChanges | Truncate | SchemaChange | LogMessage | Begin | Commit | Heartbeat
"""What a log reader yields, in log order."""
