"""The rows that a history of changes comes to, for targets that keep every change.

They are kept in a file beside, so that memory does not grow with the table.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types.numbers import key_decimal

Form = Callable[[Any], Any]


class _Misfit(Enum):
    # A member is itself when it comes out of the file.
    VALUE = "misfit"


MISFIT = _Misfit.VALUE
"""Stands for a value of another type than its column has now: from before a change of the table, behind which the rows
come again, or stay as they are where nothing is loaded.
"""


def fitting(form: Form) -> Form:
    """Return what reads a value of a column's type as `form` does, and MISFIT for any other."""

    def read(value: Any) -> Any:
        try:
            return form(value)
        except (ValueError, KeyError, TypeError, ArithmeticError):
            return MISFIT

    return read


class Told(NamedTuple):
    """A change as a target tells it."""

    op: str
    """`r`, `c`, `u`, `d` or `t`."""
    values: Mapping[str, Any]
    """Canonical values by column; what the log did not hold is not there."""
    partition: int
    """Of the source's topic: changes of a key are in one, in order."""
    seq: int | None = None
    """The commit sequence; None where the target does not keep it, and then has no change twice."""


def folded(table: TableSchema, changes: Iterable[Told]) -> Iterator[Row]:
    """Yield the rows of a table after all changes, those of each key in order.

    Raises TARGET_SCHEMA, also where a row still has a value that is not of its column's type.
    """
    if not table.key:
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            "changes of a table without a key do not say which rows are left",
            table=str(table.name),
        )
    # The name '' is a private file that is gone with the connection.
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        fold = _Fold(table, connection)
        for change in changes:
            fold.take(change)
        for row in fold.rows():
            if MISFIT in row:
                name = table.column_names[row.index(MISFIT)]
                message = f"the column {name} has a value of another type than it has now, from before it was changed"
                raise TailraceError(ErrorKind.TARGET_SCHEMA, message, table=str(table.name))
            yield row


class _Fold:
    """Rows by key. A deleted row's key stays with its commit sequence, so that what comes twice changes nothing."""

    def __init__(self, table: TableSchema, connection: sqlite3.Connection) -> None:
        self._names = table.column_names
        self._key = table.key_names
        self._execute = connection.execute
        self._truncated = -1
        self._execute("pragma synchronous = off")
        self._execute("pragma journal_mode = off")
        self._execute("create table t (k blob primary key, part integer, seq integer, row blob) without rowid")
        self._execute("begin")

    def take(self, change: Told) -> None:
        op, values, partition, seq = change
        if op == "t":
            self._truncate(partition, seq)
            return
        if seq is not None and seq < self._truncated:
            return
        key = pickle.dumps([_comparable(values[name]) for name in self._key])
        if seq is None:
            # Under another key of the table a row may have been in another partition: a truncate stands between, which
            # is found by its place in each.
            key += partition.to_bytes(4)
        if seq is not None or op == "u":
            found = self._execute("select seq, row from t where k = ?", (key,)).fetchone()
            if found is not None and seq is not None and found[0] >= seq:
                return
            if op == "u" and len(values) < len(self._names):
                if found is None or found[1] is None:
                    # A row that is known in part only does not bring one back that is gone.
                    return
                values = {**dict(zip(self._names, pickle.loads(found[1]), strict=True)), **values}  # noqa: S301 - ours
        row = None if op == "d" else pickle.dumps(tuple(values.get(name) for name in self._names))
        self._execute("replace into t values (?, ?, ?, ?)", (key, partition, seq, row))

    def rows(self) -> Iterator[Row]:
        for (row,) in self._execute("select row from t where row is not null"):
            yield pickle.loads(row)  # noqa: S301 - ours

    def _truncate(self, partition: int, seq: int | None) -> None:
        """Forget what precedes a truncate, which stands in every partition: by sequence, or by its place in each."""
        if seq is None:
            self._execute("delete from t where part = ?", (partition,))
        else:
            self._truncated = max(self._truncated, seq)
            self._execute("delete from t where seq < ?", (seq,))


def _comparable(value: Any) -> Any:
    """Return the same for all values of a key that are equal, however they look: 1.0 and 1.00."""
    if isinstance(value, Decimal):
        return key_decimal(value)
    return value + 0.0 if isinstance(value, float) else value
