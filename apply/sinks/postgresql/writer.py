"""Writes batches: one copy into a staging table, then set-wise merges; and narrows a failure down to its rows.

A batch is tried whole under a savepoint, in the fast way. If rows are only in each other's way (they swap a unique
value), it is written by one statement that deletes and inserts them all. If the server refuses some row, the batch is
halved until the rows that it refuses stand alone; all others are written.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import psycopg

from apply.sink import Rejection, TableBatch
from apply.sinks.postgresql.culprits import Culprits
from apply.sinks.postgresql.errors import CONFLICTS, FOREIGN_KEY_VIOLATION, classify, is_row_error
from apply.sinks.postgresql.keyless import attempt_sequence
from apply.sinks.postgresql.rows import HEADER, TRAILER
from apply.sinks.postgresql.stages import Stages
from apply.sinks.postgresql.statements import StagedColumn, TablePlan
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError

_ENCODING_ERRORS = (struct.error, OverflowError, TypeError, ValueError, AttributeError, ArithmeticError)
_CONFLICT_ROUNDS_MAX = 5
_MOVABLE = CONFLICTS - {FOREIGN_KEY_VIOLATION}
"""Violations that two rows of one batch can only be in passing."""
_KINDS = ("deletes", "upserts", "updates", "sequence")
"""The lists of a batch in the order of their writing."""

Item = tuple[str, int, Any]
"""(list of the batch, index there, row)."""

Group = tuple[str, Sequence[Any]]
"""(list of the batch, rows of it)."""


class Writer:
    """Writes batches in the link's open transaction."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._link = stages.link
        self._culprits = Culprits(stages)
        self._violation: psycopg.Error | None = None

    def write(self, plan: TablePlan, batch: TableBatch) -> list[Rejection]:
        """Write a batch; return the rows that the target refuses. Raises a classified error for any other trouble."""
        groups: list[Group] = [(kind, getattr(batch, kind)) for kind in _KINDS if getattr(batch, kind)]
        if not groups or (batch.fresh and self._copy_straight(plan, batch)):
            return []
        refusal = self._try(plan, groups)
        if refusal is None:
            return []
        items = [(kind, index, row) for kind, rows in groups for index, row in enumerate(rows)]
        refused = self._retry_conflicts(plan, self._narrow(plan, items, refusal))
        return [
            Rejection(batch.table.name, kind, index, _with_table(error, plan)) for (kind, index, _), error in refused
        ]

    def _copy_straight(self, plan: TablePlan, batch: TableBatch) -> bool:
        """Copy the rows of a fresh batch into the table itself; False if that cannot be, and nothing was written."""
        encode = plan.direct_encoder()
        rows = batch.upserts or [after for op, _, after in batch.sequence if op in {"r", "c"} and after is not None]
        if encode is None or len(rows) != len(batch.upserts) + len(batch.sequence) or batch.updates or batch.deletes:
            return False

        def attempt() -> None:
            data = b"".join([HEADER, *encode(rows, 0), TRAILER])
            self._link.copy(plan.direct_copy(), data)
            self._link.run("release savepoint tailrace")

        return self._guarded(plan, attempt) is None

    def _try(self, plan: TablePlan, groups: Sequence[Group], *, replace: bool = False) -> TailraceError | None:
        """Write some rows, or nothing; return the error of a refused row."""
        stage = self._stages.stage(plan)
        kind, rows = groups[0]
        if kind == "sequence":
            return self._guarded(plan, lambda: attempt_sequence(self._link, self._stages, plan, rows))
        return self._guarded(plan, lambda: self._attempt(plan, stage, groups, replace=replace))

    def _guarded(self, plan: TablePlan, attempt: Any) -> TailraceError | None:
        """Run an attempt under a savepoint, which it must release; undo it, and return the error, if a row is bad."""
        self._violation = None
        self._link.begin(then="savepoint tailrace")
        try:
            attempt()
        except psycopg.Error as error:
            refusal = classify(error, "writing rows", str(plan.table.name))
            if is_row_error(error) or refusal.kind is ErrorKind.TARGET_SCHEMA:
                self._undo(plan)
            if not is_row_error(error):
                raise refusal from error
            self._violation = error
            refusal.__cause__ = error
            return refusal
        except _ENCODING_ERRORS as error:
            self._undo(plan)
            # The error's own text may hold the value.
            return TailraceError(
                ErrorKind.ROW_REJECTED,
                f"a value is outside what its column's type can hold ({type(error).__name__})",
                table=str(plan.table.name),
            )
        except TailraceError as error:
            if error.kind is not ErrorKind.ROW_REJECTED:
                raise
            self._undo(plan)
            return error
        return None

    def _undo(self, plan: TablePlan) -> None:
        self._stages.undone(plan)
        try:
            self._link.run("rollback to savepoint tailrace; release savepoint tailrace")
        except psycopg.Error as error:
            raise classify(error, "undoing a refused batch", str(plan.table.name)) from error

    def _attempt(self, plan: TablePlan, stage: str, groups: Sequence[Group], *, replace: bool) -> None:
        pieces = [HEADER]
        statements = []
        places: dict[str, int] = {}
        updated: dict[int, tuple[StagedColumn, ...]] = {}
        for kind, rows in groups:
            if kind == "deletes":
                places[kind] = part = self._stages.next_part()
                pieces += plan.delete_encoder()(rows, part)
                statements.append(plan.delete(stage, part))
            elif kind == "upserts":
                places[kind] = part = self._stages.next_part()
                pieces += plan.upsert_encoder()(rows, part)
                statements.append(plan.upsert(stage, part))
            else:
                for changed, some in by_changed_columns(plan, rows):
                    part = self._stages.next_part()
                    pieces += plan.update_encoder(changed)(some, part)
                    statements.append(plan.update(stage, part, changed))
                    updated[part] = changed
        if replace:
            statements = [plan.replace(stage, places.get("deletes"), places.get("upserts"), updated)]
        if not statements:
            self._link.run("release savepoint tailrace")
            return
        pieces.append(TRAILER)
        self._link.copy(plan.stage_copy(stage), b"".join(pieces))
        statements += self._stages.emptying(plan, stage, sum(len(rows) for _, rows in groups))
        statements.append("release savepoint tailrace")
        self._link.run("; ".join(statements))

    def _narrow(
        self, plan: TablePlan, items: Sequence[Item], refusal: TailraceError | None = None
    ) -> list[tuple[Item, TailraceError]]:
        """Write all rows but those that are refused; return these. `refusal` is known if they have just been tried."""
        if not items:
            return []
        refusal = refusal or self._try(plan, _grouped(items))
        if refusal is None:
            return []
        if len(items) == 1:
            return [(items[0], refusal)]
        violation = self._violation
        if violation is not None and violation.sqlstate in CONFLICTS and plan.table.key:
            found = self._find(plan, items, violation)
            if found:
                rest = [item for n, item in enumerate(items) if n not in found]
                return [(items[n], refusal) for n in sorted(found)] + self._narrow(plan, rest)
            if violation.sqlstate in _MOVABLE and plan.replaces:
                # They are only in each other's way.
                refusal = self._try(plan, _grouped(items), replace=True)
                if refusal is None:
                    return []
        middle = len(items) // 2
        return self._narrow(plan, items[:middle]) + self._narrow(plan, items[middle:])

    def _find(self, plan: TablePlan, items: Sequence[Item], violation: psycopg.Error) -> set[int]:
        """Look for the rows that a constraint refuses; what is staged for it is undone."""
        found: set[int] = set()

        def look() -> None:
            found.update(self._culprits.find(plan, items, violation))
            self._link.run("release savepoint tailrace")

        # A row that cannot even be staged is found by halving.
        return found if self._guarded(plan, look) is None else set()

    def _retry_conflicts(
        self, plan: TablePlan, refused: list[tuple[Item, TailraceError]]
    ) -> list[tuple[Item, TailraceError]]:
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


def by_changed_columns(plan: TablePlan, rows: Sequence[Row]) -> list[tuple[tuple[StagedColumn, ...], list[Row]]]:
    """Group rows by the columns that they change; rows that change nothing are left out."""
    groups: dict[tuple[StagedColumn, ...], list[Row]] = {}
    for row in rows:
        changed = plan.changed_by(row)
        if changed:
            groups.setdefault(changed, []).append(row)
    return list(groups.items())


def _order(item: Item) -> tuple[int, int]:
    return _KINDS.index(item[0]), item[1]


def _kind(item: Item) -> str:
    return item[0]


def _grouped(items: Sequence[Item]) -> list[Group]:
    return [(kind, [row for _, _, row in group]) for kind, group in groupby(items, key=_kind)]


def _with_table(error: TailraceError, plan: TablePlan) -> TailraceError:
    error.table = error.table or str(plan.table.name)
    return error
