"""Writes batches: loads into a staging table, then set-wise merges; and narrows a failure down to its rows.

A batch is tried whole under a savepoint. If the server refuses some row, the batch is halved until the rows that it
refuses stand alone; all others are written. What only a second row of the batch made impossible (two rows that swap a
unique value) is tried again by deleting and inserting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import pymysql

from apply.sink import Rejection, TableBatch
from apply.sinks.mysql.errors import DUPLICATE, LOAD_DISABLED, classify, code_of, is_row_error, refusal
from apply.sinks.mysql.keyless import deletion, net_counts
from apply.sinks.mysql.rows import Encode
from apply.sinks.mysql.stages import Stages
from apply.sinks.mysql.statements import StagedColumn, TablePlan
from runtime.logging import get_logger
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

_ENCODING_ERRORS = (OverflowError, TypeError, ValueError, AttributeError, ArithmeticError, KeyError)
_CONFLICT_ROUNDS_MAX = 5
_INSERT_BYTES = 1 << 20
"""Of one insertion of literals, where the server loads no data of clients."""
_PACKET_MARGIN_BYTES = 1024
_SAVEPOINT = "savepoint tailrace"

Item = tuple[str, int, Any]
"""(list of the batch, index there, row)."""

Group = tuple[str, Sequence[Any]]
"""(list of the batch, rows of it)."""


class Writer:
    """Writes batches in the link's open transaction."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._link = stages.link
        self._code = 0
        """The server's number of the last refusal; 0 where it was not the server's."""

    def write(self, plan: TablePlan, batch: TableBatch) -> list[Rejection]:
        """Write a batch; return the rows that the target refuses. Raises a classified error for any other trouble."""
        lists: list[tuple[str, list[Any]]] = [
            ("deletes", batch.deletes),
            ("upserts", batch.upserts),
            ("updates", batch.updates),
            ("sequence", batch.sequence),
        ]
        groups = [(kind, rows) for kind, rows in lists if rows]
        if not groups or (batch.fresh and self._write_straight(plan, batch)):
            return []
        refused_as = self._try(plan, groups)
        if refused_as is None:
            return []
        refused: list[tuple[Item, TailraceError]] = []
        for kind, rows in groups:
            items = [(kind, index, row) for index, row in enumerate(rows)]
            refused += self._narrow(plan, items, refused_as if len(groups) == 1 else None)
        refused = self._retry_conflicts(plan, refused)
        return [
            Rejection(batch.table.name, kind, index, _with_table(error, plan)) for (kind, index, _), error in refused
        ]

    def _write_straight(self, plan: TablePlan, batch: TableBatch) -> bool:
        """Load the rows of a fresh batch into the table itself; False if that cannot be, and nothing was written."""
        rows = batch.upserts or [after for op, _, after in batch.sequence if op in {"r", "c"} and after is not None]
        if len(rows) != len(batch.upserts) + len(batch.sequence) or batch.updates or batch.deletes:
            return False
        return self._guarded(plan, lambda: self._load_straight(plan, rows)) is None

    def _load_straight(self, plan: TablePlan, rows: Sequence[Row]) -> None:
        loads = self._link.loads_local
        lines = plan.encoder(plan.columns, loads=loads, with_part=False)(rows, 0)
        if loads:
            self._load(plan, plan.direct_load(), lines)
        else:
            self._insert(plan, plan.direct_insert(), lines)

    def _try(self, plan: TablePlan, groups: Sequence[Group], *, replace: bool = False) -> TailraceError | None:
        """Write some rows, or nothing; return the error of a refused row."""
        stage = self._stages.stage(plan)
        kind, rows = groups[0]
        if kind == "sequence":
            return self._guarded(plan, lambda: self._attempt_sequence(plan, stage, rows))
        return self._guarded(plan, lambda: self._attempt(plan, stage, groups, replace=replace))

    def _guarded(self, plan: TablePlan, attempt: Callable[[], None]) -> TailraceError | None:
        """Run an attempt under a savepoint; undo it, and return the error, if a row is bad."""
        self._code = 0
        table = str(plan.table.name)
        try:
            self._link.begin(then=_SAVEPOINT)
            attempt()
            self._link.run(f"release {_SAVEPOINT}")
        except pymysql.Error as error:
            found = classify(error, "writing rows", table)
            if code_of(error) in LOAD_DISABLED:
                # Only a new session asks anew what the server allows.
                self._link.discard()
            if is_row_error(error) or found.kind is ErrorKind.TARGET_SCHEMA:
                self._undo(plan)
            if not is_row_error(error) and found.kind is not ErrorKind.ROW_REJECTED:
                raise found from error
            self._code = code_of(error)
            found.__cause__ = error
            return found
        except _ENCODING_ERRORS as error:
            self._undo(plan)
            # The error's own text may hold the value.
            return TailraceError(
                ErrorKind.ROW_REJECTED,
                f"a value is outside what the target's column can hold ({type(error).__name__})",
                table=table,
            )
        except TailraceError as error:
            if error.kind not in (ErrorKind.ROW_REJECTED, ErrorKind.ROW_CONFLICT):
                raise
            self._undo(plan)
            return error
        return None

    def _undo(self, plan: TablePlan) -> None:
        try:
            self._link.run(f"rollback to {_SAVEPOINT}", f"release {_SAVEPOINT}")
        except pymysql.Error as error:
            raise classify(error, "undoing a refused batch", str(plan.table.name)) from error

    def _attempt(self, plan: TablePlan, stage: str, groups: Sequence[Group], *, replace: bool) -> None:
        statements: list[str] = []
        loads = self._link.loads_local
        for kind, rows in groups:
            if kind == "deletes":
                part = self._stage(plan, stage, plan.key, plan.key_encoder(loads=loads), rows)
                statements.append(plan.delete(stage, part))
            elif kind == "upserts":
                encode = plan.encoder(plan.columns, loads=loads)
                part = self._stage(plan, stage, plan.columns, encode, rows)
                statements += plan.replace(stage, part) if replace else plan.upsert(stage, part)
            else:
                for changed, some in by_changed_columns(plan, rows):
                    sent = tuple(c for c in plan.columns if c in plan.key or c in changed)
                    part = self._stage(plan, stage, sent, plan.encoder(sent, loads=loads), some)
                    if replace:
                        statements += plan.replace_updated(stage, part, changed)
                    else:
                        statements.append(plan.update(stage, part, changed))
        if statements:
            self._link.run(*statements)

    def _attempt_sequence(self, plan: TablePlan, stage: str, entries: Sequence[Any]) -> None:
        coming, going = net_counts(plan, entries)
        if coming:
            encode = plan.encoder(plan.columns, loads=self._link.loads_local)
            part = self._stage(plan, stage, plan.columns, encode, list(coming.elements()))
            self._link.run(plan.insert(stage, part))
        for image, count in going.items():
            found = self._link.run(deletion(plan, image, count))
            if found < count:
                # A row that is not there stays missing: the target has been written by somebody else.
                log.warning("rows to delete were missing", table=str(plan.table.name), missing=count - found)

    # Ways to the server

    def _stage(
        self, plan: TablePlan, stage: str, columns: Sequence[StagedColumn], encode: Encode, rows: Sequence[Any]
    ) -> int:
        """Bring rows into the staging table; return their part."""
        part = self._stages.next_part()
        lines = encode(rows, part)
        self._stages.staged(plan, len(lines))
        if self._link.loads_local:
            self._load(plan, plan.stage_load(stage, columns), lines)
        else:
            self._insert(plan, plan.stage_insert(stage, columns), lines)
        return part

    def _load(self, plan: TablePlan, statement: str, lines: Sequence[str]) -> None:
        code = self._link.load(statement, "".join(lines).encode(), len(lines))
        if code is not None:
            self._code = code
            raise _refused(code, plan)

    def _insert(self, plan: TablePlan, head: str, lines: Sequence[str]) -> None:
        room = self._link.packet_bytes_max - len(head.encode()) - _PACKET_MARGIN_BYTES
        for literals in _pieces(lines, min(room, _INSERT_BYTES)):
            if len(literals) == 1 and len(literals[0].encode()) > room:
                # The server would end the connection.
                raise refusal(1153, "writing rows", str(plan.table.name))
            self._link.run(head + ",".join(literals))

    # Finding the rows

    def _narrow(
        self, plan: TablePlan, items: Sequence[Item], refused_as: TailraceError | None = None
    ) -> list[tuple[Item, TailraceError]]:
        """Write all rows but those that are refused; return these. `refused_as` is known if they were just tried."""
        if not items:
            return []
        refused_as = refused_as or self._try(plan, _grouped(items))
        if refused_as is None:
            return []
        if len(items) == 1:
            return [(items[0], refused_as)]
        if self._code in DUPLICATE and items[0][0] in ("upserts", "updates") and plan.replaces:
            # They may only be in each other's way.
            again = self._try(plan, _grouped(items), replace=True)
            if again is None:
                return []
        middle = len(items) // 2
        return self._narrow(plan, items[:middle]) + self._narrow(plan, items[middle:])

    def _retry_conflicts(
        self, plan: TablePlan, refused: list[tuple[Item, TailraceError]]
    ) -> list[tuple[Item, TailraceError]]:
        """Try rows again that only conflicted: halving may have parted two rows that must be written together."""
        for _ in range(_CONFLICT_ROUNDS_MAX):
            conflicts = [item for item, error in refused if error.kind is ErrorKind.ROW_CONFLICT]
            if not conflicts or not plan.table.key:
                break
            others = [one for one in refused if one[1].kind is not ErrorKind.ROW_CONFLICT]
            kinds = [list(group) for _, group in groupby(conflicts, key=_kind)]
            left = [one for kind in kinds for one in self._narrow(plan, kind)]
            stuck = len(left) == len(conflicts)
            refused = others + left
            if stuck:
                break
        return refused


def by_changed_columns(plan: TablePlan, rows: Sequence[Row]) -> list[tuple[tuple[StagedColumn, ...], list[Row]]]:
    """Group rows by the columns that they change; rows that change nothing are left out."""
    groups: dict[tuple[StagedColumn, ...], list[Row]] = {}
    for row in rows:
        changed = tuple(column for column in plan.others if row[column.index] is not UNCHANGED)
        changed = (*plan.loose, *changed)
        if changed:
            groups.setdefault(changed, []).append(row)
    return list(groups.items())


def _pieces(lines: Sequence[str], bytes_max: int) -> Iterator[list[str]]:
    """Yield lines in groups of so many bytes, one at least."""
    piece: list[str] = []
    size = 0
    for line in lines:
        length = len(line) if line.isascii() else len(line.encode())
        if piece and size + length + 1 > bytes_max:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += length + 1
    if piece:
        yield piece


def _refused(code: int, plan: TablePlan) -> TailraceError:
    """Return the error of a row that a load warned of: the rows that it bent are never kept."""
    found = refusal(code, "loading rows", str(plan.table.name))
    if found.kind not in (ErrorKind.ROW_CONFLICT, ErrorKind.ROW_REJECTED):
        found.kind = ErrorKind.ROW_REJECTED
    return found


def _kind(item: Item) -> str:
    return item[0]


def _grouped(items: Sequence[Item]) -> list[Group]:
    return [(kind, [row for _, _, row in group]) for kind, group in groupby(items, key=_kind)]


def _with_table(error: TailraceError, plan: TablePlan) -> TailraceError:
    error.table = error.table or str(plan.table.name)
    return error
