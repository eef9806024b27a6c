"""Writes batches: staged in bulk, then merged set-wise; and narrows a failure down to its rows.

A batch is tried whole under a savepoint, in the fast way. If rows are only in each other's way (they swap a unique
value), they are written by deleting and inserting them. If the server refuses some row, the batch is halved until the
rows that it refuses stand alone; all others are written. An error that may be the table's as well as a row's (a trigger
of the user can raise any) is a row's if the table takes other rows, or none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from struct import error as struct_error
from typing import Any, Generic, TypeVar

from apply.sink import Rejection, TableBatch
from apply.sink_kinds.relational.plan import RelationalPlan
from apply.sink_kinds.relational.stages import RelationalStages
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName

_ENCODING_ERRORS = (struct_error, OverflowError, TypeError, ValueError, AttributeError, ArithmeticError, KeyError)
"""What encoders raise for a value that its column cannot hold."""
_CONFLICT_ROUNDS_MAX = 5
_KINDS = ("deletes", "upserts", "updates", "sequence")
"""The lists of a batch in the order of their writing."""
_SAVEPOINT = "savepoint tailrace"
_OF_A_ROW = (ErrorKind.ROW_REJECTED, ErrorKind.ROW_CONFLICT)
_PERHAPS_OF_A_ROW = (ErrorKind.TARGET_SCHEMA, ErrorKind.PREREQUISITE, ErrorKind.INVARIANT)
"""Of the table, as most often, or of what its triggers and policies make of one row."""
_SUSPECTS_MAX = 16
"""So many rows are tried alone, and none is taken: then it is the table."""

Item = tuple[str, int, Any]
"""(list of the batch, index there, row)."""

Group = tuple[str, Sequence[Any]]
"""(list of the batch, rows of it)."""

Attempt = Callable[[], list[str]]
"""Writes some rows, and returns statements that are still to be run: they go in one round trip with the last word."""

P = TypeVar("P", bound=RelationalPlan[Any])


class RelationalWriter(ABC, Generic[P]):
    """Writes batches in the link's open transaction."""

    def __init__(self, stages: RelationalStages[P, Any]) -> None:
        self.stages = stages
        self._link = stages.link
        self.whole: set[TableName] = set()
        """Tables that large values cannot be streamed into."""
        self._violation: Exception | None = None
        """The driver's error that refused the last attempt; None where it was not the server that did."""
        self._taken = self._suspects = 0
        """Rows of the batch that the table has taken, and such as may have been refused for the table's sake."""

    def write(self, plan: P, batch: TableBatch) -> list[Rejection]:
        """Write a batch; return the rows that the target refuses. Raises a classified error for any other trouble.

        TARGET_THROTTLED where large values must be part of their rows: from then on the table is among `whole`.
        """
        if batch.values and not self._streams(plan):
            self.whole.add(batch.table.name)
            raise TailraceError(
                ErrorKind.TARGET_THROTTLED,
                "large values cannot be streamed into this table: they are read again, with their rows",
                table=str(batch.table.name),
            )
        with self._link.streaming(batch.values):
            return self._write(plan, batch)

    def _write(self, plan: P, batch: TableBatch) -> list[Rejection]:
        groups: list[Group] = [(kind, getattr(batch, kind)) for kind in _KINDS if getattr(batch, kind)]
        if not groups or (batch.fresh and self._write_straight(plan, batch)):
            return []
        refusal = self._try(plan, groups)
        if refusal is None:
            return []
        takes_none = None if refusal.kind in _OF_A_ROW else self._takes_none(plan)
        if takes_none is False:
            raise refusal
        items = [(kind, index, row) for kind, rows in groups for index, row in enumerate(rows)]
        self._taken = self._suspects = 0
        refused = self._retry_conflicts(plan, self._narrow(plan, items, refusal))
        if self._suspects and not self._taken and (len(items) > 1 or not takes_none):
            raise refusal
        return [Rejection(batch.table.name, kind, index, _of_row(error, plan)) for (kind, index, _), error in refused]

    def _streams(self, plan: P) -> bool:
        """Tell whether rows may have stand-ins for large values."""
        return plan.takes_values

    def present(self, plan: P, keys: Sequence[Row]) -> list[bool | None]:
        """Tell of each key whether the table has its row; None where it cannot be staged."""
        found: set[int] = set()

        def look() -> list[str]:
            stage = self.stages.stage(plan)
            found.update(self._there(plan, stage, keys))
            return self.stages.emptying(plan, len(keys))

        if self._guarded(plan, look) is None:
            return [place in found for place in range(len(keys))]
        if len(keys) == 1:
            return [None]
        middle = len(keys) // 2
        return self.present(plan, keys[:middle]) + self.present(plan, keys[middle:])

    # What an engine does

    @abstractmethod
    def _there(self, plan: P, stage: str, keys: Sequence[Row]) -> Iterable[int]:
        """Stage keys; return the places among them of those that the table has."""

    @abstractmethod
    def _straight(self, plan: P, rows: Sequence[Row]) -> Attempt | None:
        """Return what loads new rows into the table itself; None if that cannot be."""

    @abstractmethod
    def _attempt(self, plan: P, stage: str, groups: Sequence[Group], *, replace: bool) -> list[str]:
        """Stage rows and merge them; with `replace` so that unique values may change places between them."""

    @abstractmethod
    def _attempt_sequence(self, plan: P, stage: str, entries: Sequence[Any]) -> list[str]:
        """Write (op, before, after) entries of a table without a key."""

    @abstractmethod
    def _is_passing(self, violation: Exception) -> bool:
        """Tell whether two rows of one batch can be such a violation in passing: each is in the other's way."""

    def _takes_none(self, plan: P) -> bool | None:
        """Tell whether the statements work for no row at all; None where that cannot be asked."""
        return None

    def _find(self, plan: P, items: Sequence[Item], violation: Exception) -> set[int]:
        """Return the rows that a constraint refuses, where the server can be asked for them in one query."""
        return set()

    # Attempts

    def _write_straight(self, plan: P, batch: TableBatch) -> bool:
        """Load the rows of a fresh batch into the table itself; False if that cannot be, and nothing was written."""
        rows = batch.upserts or [after for op, _, after in batch.sequence if op in {"r", "c"} and after is not None]
        if len(rows) != len(batch.upserts) + len(batch.sequence) or batch.updates or batch.deletes:
            return False
        attempt = self._straight(plan, rows)
        return attempt is not None and self._guarded(plan, attempt) is None

    def _try(self, plan: P, groups: Sequence[Group], *, replace: bool = False) -> TailraceError | None:
        """Write some rows, or nothing; return the error of a refused row."""
        stage = self.stages.stage(plan)
        kind, rows = groups[0]
        if kind == "sequence":
            return self._guarded(plan, lambda: self._attempt_sequence(plan, stage, rows))
        return self._guarded(plan, lambda: self._attempt(plan, stage, groups, replace=replace))

    def _guarded(self, plan: P, attempt: Attempt) -> TailraceError | None:
        """Run an attempt under a savepoint; undo it, and return the error, if a row is bad, or may be."""
        self._violation = None
        link, name = self._link, plan.table.name
        try:
            link.begin(then=_SAVEPOINT)
            link.run(*attempt(), f"release {_SAVEPOINT}")
        except link.driver_error as error:
            refusal: TailraceError = link.refusal(error, "writing rows", name)
            if refusal.kind not in _OF_A_ROW + _PERHAPS_OF_A_ROW:
                raise refusal from error
            self._undo(plan)
            self._violation = error
            refusal.__cause__ = error
            return refusal
        except _ENCODING_ERRORS as error:
            self._undo(plan)
            # The error's own text may hold the value.
            return TailraceError(
                ErrorKind.ROW_REJECTED,
                f"a value is outside what the target's column can hold ({type(error).__name__})",
                table=str(name),
            )
        except TailraceError as error:
            if error.kind not in _OF_A_ROW:
                raise
            self._undo(plan)
            return error
        return None

    def _undo(self, plan: P) -> None:
        self.stages.undone(plan)
        with self._link.classified("undoing a refused batch", plan.table.name):
            self._link.run(f"rollback to {_SAVEPOINT}", f"release {_SAVEPOINT}")

    # Finding the rows

    def _narrow(
        self, plan: P, items: Sequence[Item], refusal: TailraceError | None = None
    ) -> list[tuple[Item, TailraceError]]:
        """Write all rows but those that are refused; return these. `refusal` is known if they have just been tried."""
        if not items:
            return []
        refusal = refusal or self._try(plan, _grouped(items))
        if refusal is None:
            self._taken += len(items)
            return []
        if len(items) == 1:
            self._suspects += refusal.kind not in _OF_A_ROW
            if self._suspects >= _SUSPECTS_MAX and not self._taken:
                raise refusal
            return [(items[0], refusal)]
        violation = self._violation
        if violation is not None and refusal.kind is ErrorKind.ROW_CONFLICT and plan.table.key:
            found = self._find(plan, items, violation)
            if found:
                rest = [item for n, item in enumerate(items) if n not in found]
                return [(items[n], refusal) for n in sorted(found)] + self._narrow(plan, rest)
            if plan.replaces and self._is_passing(violation):
                # They are only in each other's way.
                refusal = self._try(plan, _grouped(items), replace=True)
                if refusal is None:
                    self._taken += len(items)
                    return []
        middle = len(items) // 2
        return self._narrow(plan, items[:middle]) + self._narrow(plan, items[middle:])

    def _retry_conflicts(self, plan: P, refused: list[tuple[Item, TailraceError]]) -> list[tuple[Item, TailraceError]]:
        """Try rows again that only conflicted: halving may have parted two rows that must be written together."""
        for _ in range(_CONFLICT_ROUNDS_MAX):
            conflicts = [item for item, error in refused if error.kind is ErrorKind.ROW_CONFLICT]
            if not conflicts or not plan.table.key:
                break
            others = [one for one in refused if one[1].kind is not ErrorKind.ROW_CONFLICT]
            left = self._narrow(plan, sorted(conflicts, key=_order))
            stuck = len(left) == len(conflicts)
            refused = others + left
            if stuck:
                break
        return refused


def _order(item: Item) -> tuple[int, int]:
    return _KINDS.index(item[0]), item[1]


def _kind(item: Item) -> str:
    return item[0]


def _grouped(items: Sequence[Item]) -> list[Group]:
    return [(kind, [row for _, _, row in group]) for kind, group in groupby(items, key=_kind)]


def _of_row(error: TailraceError, plan: RelationalPlan[Any]) -> TailraceError:
    error.table = error.table or str(plan.table.name)
    if error.kind in _OF_A_ROW:
        return error
    remedy = "correct the row at the source, or what the target makes of it (a trigger, a policy)"
    return TailraceError(ErrorKind.ROW_REJECTED, error.message, remedy=remedy, table=error.table)
