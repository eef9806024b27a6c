"""How MySQL and MariaDB write batches: each part is loaded into a staging table, then merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pymysql

from apply.sink_kinds.relational.writer import Attempt, Group, RelationalWriter
from apply.sinks.mysql.catalog import referring, traits
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.errors import DIVISION_BY_ZERO, DUPLICATE, code_of, refusal
from apply.sinks.mysql.keyless import deletion, net_counts
from apply.sinks.mysql.rows import numbered
from apply.sinks.mysql.stages import Stages
from apply.sinks.mysql.statements import StagedColumn, TablePlan
from runtime.logging import get_logger
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

_INSERT_BYTES = 1 << 20
"""Of one insertion of literals, where the server loads no data of clients."""
_PACKET_MARGIN_BYTES = 1024

OVERWRITTEN_ROWS_MIN = 500
"""From so many rows on, to load them over others saves more time than to ask whether it still may be."""


class Writer(RelationalWriter[TablePlan]):
    """Writes batches in the link's open transaction."""

    stages: Stages
    _link: Link

    def _streams(self, plan: TablePlan) -> bool:
        # Literals of a statement must fit into a packet.
        return super()._streams(plan) and self._link.loads_local

    def _there(self, plan: TablePlan, stage: str, keys: Sequence[Row]) -> list[int]:
        part = self._stage(plan, stage, plan.key, keys, of_keys=True)
        return [place for (place,) in self._link.rows(plan.present(stage, part))]

    def _straight(self, plan: TablePlan, rows: Sequence[Row]) -> Attempt | None:
        if plan.fillings:
            return None

        def attempt() -> list[str]:
            if self._link.loads_local:
                self._load_whole(plan, rows)
            else:
                self._insert(plan, plan.direct_insert(), plan.literals(plan.columns, rows))
            return []

        return attempt

    def _try(self, plan: TablePlan, groups: Sequence[Group], *, replace: bool = False) -> TailraceError | None:
        refused = super()._try(plan, groups, replace=replace)
        violation = self._violation
        given = isinstance(violation, pymysql.Error) and code_of(violation) == DIVISION_BY_ZERO
        # Unless a trigger divides, upserts do (`TablePlan.upsert`): then the table has changed, or a key pads.
        if given and traits(self._link, plan.target.name) != plan.target.traits:
            raise _altered(plan)
        return _blanks(plan) if given and plan.pads else refused

    def _attempt(self, plan: TablePlan, stage: str, groups: Sequence[Group], *, replace: bool) -> list[str]:
        if replace and referring(self._link, plan.target.name) != plan.target.referring:
            # A foreign key that has come since would act on what is deleted.
            raise _altered(plan)
        parts: list[tuple[int, Sequence[StagedColumn]]] = []
        """Of rows that are upserted or updated, with the columns that change."""
        statements: list[str] = []
        staged = sum(len(rows) for _, rows in groups)
        upserts = next((rows for kind, rows in groups if kind == "upserts"), ())
        overwriting = not replace and len(upserts) >= OVERWRITTEN_ROWS_MIN and self._overwrites(plan)
        for kind, rows in groups:
            if kind == "deletes":
                part = self._stage(plan, stage, plan.key, rows, of_keys=True)
                statements.append(plan.delete(stage, part))
            elif kind == "upserts" and overwriting:
                if statements:
                    # What is deleted may have had a key that the column compares as equal.
                    self._link.run(*statements)
                    statements.clear()
                # A foreign key that refers to the table may have come since it was read: it does not see a row go.
                with self._link.without_foreign_keys():
                    self._load_whole(plan, rows, overwriting=True)
                staged -= len(rows)
            elif kind == "upserts":
                part = self._stage(plan, stage, plan.columns, rows)
                parts.append((part, plan.columns))
                statements += [] if replace else plan.upsert(stage, part)
            else:
                for changed, some in plan.by_changed_columns(rows):
                    sent = tuple(c for c in plan.columns if c in plan.key or c in changed)
                    part = self._stage(plan, stage, sent, some)
                    parts.append((part, changed))
                    statements += [] if replace else [plan.update(stage, part, changed)]
        if replace:
            statements += plan.replace(stage, parts)
        return [*statements, *self.stages.emptying(plan, staged)]

    def _attempt_sequence(self, plan: TablePlan, stage: str, entries: Sequence[Any]) -> list[str]:
        coming, going = net_counts(plan, entries)
        if coming:
            part = self._stage(plan, stage, plan.columns, list(coming.elements()))
            self._link.run(plan.insert(stage, part))
        for image, count in going.items():
            statement = deletion(plan, image, count)
            self._check_length(plan, statement)
            found = self._link.run(statement)
            if found < count:
                # A row that is not there stays missing: the target has been written by somebody else.
                log.warning("rows to delete were missing", table=str(plan.table.name), missing=count - found)
        return self.stages.emptying(plan, coming.total())

    def _is_passing(self, violation: Any) -> bool:
        return code_of(violation) in DUPLICATE

    def _overwrites(self, plan: TablePlan) -> bool:
        """Tell whether whole rows may be loaded over those that are there.

        Raises TARGET_SCHEMA where the table has changed in what counts for that since it was read.
        """
        if not plan.overwrites or not self._link.loads_local:
            return False
        # Nobody alters a table, or makes a trigger, before the transaction ends that has named it.
        self._link.run(f"select 1 from {plan.target.sql} limit 0")
        if traits(self._link, plan.target.name) != plan.target.traits:
            raise _altered(plan)
        return True

    # Ways to the server

    def _stage(
        self,
        plan: TablePlan,
        stage: str,
        columns: Sequence[StagedColumn],
        rows: Sequence[Any],
        *,
        of_keys: bool = False,
    ) -> int:
        """Bring rows into the staging table; return their part."""
        part = self.stages.next_part()
        if self._link.loads_local:
            lines = plan.lines(columns, rows, of_keys=of_keys)
            self._load(plan, plan.stage_load(stage, columns, part), numbered(lines), len(lines))
        else:
            self._insert(plan, plan.stage_insert(stage, columns), plan.literals(columns, rows, part, of_keys=of_keys))
        return part

    def _load_whole(self, plan: TablePlan, rows: Sequence[Row], *, overwriting: bool = False) -> None:
        """Bring whole rows straight into the table."""
        lines = plan.lines(plan.columns, rows)
        if overwriting and plan.columns[0] in plan.key:
            # About in key order: neighbouring rows are met together.
            lines = sorted(lines)
        self._load(plan, plan.direct_load(overwriting=overwriting), b"".join(lines), len(lines))

    def _load(self, plan: TablePlan, statement: str, data: bytes, row_count: int) -> None:
        code = self._link.load(statement, data, row_count)
        if code is not None:
            self._violation = pymysql.DataError(code)
            raise _refused(code, plan)

    def _insert(self, plan: TablePlan, head: str, rows: Sequence[str]) -> None:
        room = self._link.packet_bytes_max - len(head.encode()) - _PACKET_MARGIN_BYTES
        for literals in _pieces(rows, min(room, _INSERT_BYTES)):
            statement = head + ",".join(literals)
            self._check_length(plan, statement)
            self._link.run(statement)

    def _check_length(self, plan: TablePlan, statement: str) -> None:
        """Raise ROW_REJECTED for a statement that is longer than the server takes: it would end the connection."""
        length = len(statement) if statement.isascii() else len(statement.encode())
        if length > self._link.packet_bytes_max - _PACKET_MARGIN_BYTES:
            raise refusal(1153, "writing rows", str(plan.table.name))


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


def _altered(plan: TablePlan) -> TailraceError:
    """Return the error upon which the batch is written anew, by a new plan."""
    return TailraceError(
        ErrorKind.TARGET_SCHEMA, "the target's table has been altered by others", table=str(plan.table.name)
    )


def _blanks(plan: TablePlan) -> TailraceError:
    """Return the error of a key that the target takes for another row's."""
    return TailraceError(
        ErrorKind.ROW_CONFLICT,
        "the target has a row whose key differs by blanks at its end only, which its column's collation does not mind",
        remedy="alter the column of the key as `tailrace plan` says",
        table=str(plan.table.name),
    )


def _refused(code: int, plan: TablePlan) -> TailraceError:
    """Return the error of a row that a load warned of: the rows that it bent are never kept."""
    found = refusal(code, "loading rows", str(plan.table.name))
    if found.kind not in (ErrorKind.ROW_CONFLICT, ErrorKind.ROW_REJECTED):
        found.kind = ErrorKind.ROW_REJECTED
    return found
