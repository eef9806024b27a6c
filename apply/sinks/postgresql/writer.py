"""How PostgreSQL writes batches: one copy into a staging table carries all parts, and a merge follows for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from apply.sink_kinds.relational.writer import Attempt, Group, Item, RelationalWriter
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.culprits import Culprits
from apply.sinks.postgresql.errors import FOREIGN_KEY_VIOLATION
from apply.sinks.postgresql.keyless import attempt_sequence
from apply.sinks.postgresql.rows import HEADER, TRAILER
from apply.sinks.postgresql.stages import Stages
from apply.sinks.postgresql.statements import StagedColumn, TablePlan
from schemas.changes import Row


class Writer(RelationalWriter[TablePlan]):
    """Writes batches in the link's open transaction."""

    stages: Stages
    _link: Link

    def __init__(self, stages: Stages) -> None:
        super().__init__(stages)
        self._culprits = Culprits(stages)

    def _there(self, plan: TablePlan, stage: str, keys: Sequence[Row]) -> list[int]:
        first = self.stages.next_parts(len(keys))
        lines = plan.each_numbered(plan.delete_encoder()(keys), first)
        self._link.copy(plan.stage_copy(stage), [HEADER, lines, TRAILER])
        return [part - first for (part,) in self._link.rows(plan.present(stage, first, len(keys)))]

    def _straight(self, plan: TablePlan, rows: Sequence[Row]) -> Attempt | None:
        if not plan.is_direct:
            return None

        def attempt() -> list[str]:
            lines = plan.upsert_lines(rows)
            self._link.copy(plan.direct_copy(), chain([HEADER], plan.counted(lines), [TRAILER]))
            return []

        return attempt

    def _attempt(self, plan: TablePlan, stage: str, groups: Sequence[Group], *, replace: bool) -> list[str]:
        pieces: list[Iterable[bytes]] = [[HEADER]]
        statements = []
        places: dict[str, int] = {}
        updated: dict[int, tuple[StagedColumn, ...]] = {}
        for kind, rows in groups:
            if kind == "deletes":
                places[kind] = part = self.stages.next_part()
                pieces.append(plan.numbered(plan.delete_encoder()(rows), part))
                statements.append(plan.delete(stage, part))
            elif kind == "upserts":
                places[kind] = part = self.stages.next_part()
                pieces.append(plan.numbered(plan.upsert_lines(rows), part))
                statements.append(plan.upsert(stage, part))
            else:
                for changed, some in plan.by_changed_columns(rows):
                    part = self.stages.next_part()
                    pieces.append(plan.numbered(plan.update_encoder(changed)(some), part))
                    statements.append(plan.update(stage, part, changed))
                    updated[part] = changed
        if replace:
            statements = [plan.replace(stage, places.get("deletes"), places.get("upserts"), updated)]
        if not statements:
            return []
        self._link.copy(plan.stage_copy(stage), chain(*pieces, [TRAILER]))
        return [*statements, *self.stages.emptying(plan, sum(len(rows) for _, rows in groups))]

    def _attempt_sequence(self, plan: TablePlan, stage: str, entries: Sequence[Any]) -> list[str]:
        return attempt_sequence(self._link, self.stages, plan, stage, entries)

    def _takes_none(self, plan: TablePlan) -> bool:
        stage, part = self.stages.stage(plan), self.stages.next_part()
        statements = [plan.delete(stage, part), plan.upsert(stage, part)] if plan.key else [plan.insert(stage, part)]
        return self._guarded(plan, lambda: statements) is None

    def _is_passing(self, violation: Any) -> bool:
        return bool(violation.sqlstate != FOREIGN_KEY_VIOLATION)

    def _find(self, plan: TablePlan, items: Sequence[Item], violation: Any) -> set[int]:
        """Look for the rows that a constraint refuses; what is staged for it is undone."""
        found: set[int] = set()

        def look() -> list[str]:
            found.update(self._culprits.find(plan, items, violation))
            return []

        # A row that cannot even be staged is found by halving.
        return found if self._guarded(plan, look) is None else set()
