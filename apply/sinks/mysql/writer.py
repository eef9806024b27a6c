"""How MySQL and MariaDB write batches: each part is loaded into a staging table, then merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pymysql

from apply.frames.relational.writer import Attempt, Group, RelationalWriter
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.errors import DUPLICATE, code_of, refusal
from apply.sinks.mysql.keyless import deletion, net_counts
from apply.sinks.mysql.rows import Encode
from apply.sinks.mysql.stages import Stages
from apply.sinks.mysql.statements import StagedColumn, TablePlan
from runtime.logging import get_logger
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

_INSERT_BYTES = 1 << 20
"""Of one insertion of literals, where the server loads no data of clients."""
_PACKET_MARGIN_BYTES = 1024


class Writer(RelationalWriter[TablePlan]):
    """Writes batches in the link's open transaction."""

    stages: Stages
    _link: Link

    def _streams(self, plan: TablePlan) -> bool:
        # Literals of a statement must fit into a packet.
        return super()._streams(plan) and self._link.loads_local

    def _there(self, plan: TablePlan, stage: str, keys: Sequence[Row]) -> list[int]:
        part = self._stage(plan, stage, plan.key, plan.key_encoder(loads=self._link.loads_local), keys)
        return [place for (place,) in self._link.rows(plan.present(stage, part))]

    def _straight(self, plan: TablePlan, rows: Sequence[Row]) -> Attempt | None:
        if plan.fillings:
            return None

        def attempt() -> list[str]:
            loads = self._link.loads_local
            lines = plan.encoder(plan.columns, loads=loads, with_part=False)(rows, 0)
            if loads:
                self._load(plan, plan.direct_load(), lines)
            else:
                self._insert(plan, plan.direct_insert(), lines)
            return []

        return attempt

    def _attempt(self, plan: TablePlan, stage: str, groups: Sequence[Group], *, replace: bool) -> list[str]:
        parts: list[tuple[int, Sequence[StagedColumn]]] = []
        """Of rows that are upserted or updated, with the columns that change."""
        statements: list[str] = []
        loads = self._link.loads_local
        for kind, rows in groups:
            if kind == "deletes":
                part = self._stage(plan, stage, plan.key, plan.key_encoder(loads=loads), rows)
                statements.append(plan.delete(stage, part))
            elif kind == "upserts":
                part = self._stage(plan, stage, plan.columns, plan.encoder(plan.columns, loads=loads), rows)
                parts.append((part, plan.columns))
                statements += [] if replace else plan.upsert(stage, part)
            else:
                for changed, some in plan.by_changed_columns(rows):
                    sent = tuple(c for c in plan.columns if c in plan.key or c in changed)
                    part = self._stage(plan, stage, sent, plan.encoder(sent, loads=loads), some)
                    parts.append((part, changed))
                    statements += [] if replace else [plan.update(stage, part, changed)]
        if replace:
            statements += plan.replace(stage, parts)
        return [*statements, *self.stages.emptying(plan, sum(len(rows) for _, rows in groups))]

    def _attempt_sequence(self, plan: TablePlan, stage: str, entries: Sequence[Any]) -> list[str]:
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
        return self.stages.emptying(plan, coming.total())

    def _is_passing(self, violation: Any) -> bool:
        return code_of(violation) in DUPLICATE

    # Ways to the server

    def _stage(
        self, plan: TablePlan, stage: str, columns: Sequence[StagedColumn], encode: Encode, rows: Sequence[Any]
    ) -> int:
        """Bring rows into the staging table; return their part."""
        part = self.stages.next_part()
        lines = encode(rows, part)
        if self._link.loads_local:
            self._load(plan, plan.stage_load(stage, columns), lines)
        else:
            self._insert(plan, plan.stage_insert(stage, columns), lines)
        return part

    def _load(self, plan: TablePlan, statement: str, lines: Sequence[str]) -> None:
        code = self._link.load(statement, "".join(lines).encode(), len(lines))
        if code is not None:
            self._violation = pymysql.DataError(code)
            raise _refused(code, plan)

    def _insert(self, plan: TablePlan, head: str, lines: Sequence[str]) -> None:
        room = self._link.packet_bytes_max - len(head.encode()) - _PACKET_MARGIN_BYTES
        for literals in _pieces(lines, min(room, _INSERT_BYTES)):
            if len(literals) == 1 and len(literals[0].encode()) > room:
                # The server would end the connection.
                raise refusal(1153, "writing rows", str(plan.table.name))
            self._link.run(head + ",".join(literals))


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
