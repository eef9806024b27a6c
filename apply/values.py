"""Substitutes characters and cuts large values off, in batches on their way to a sink, before any rule."""

from __future__ import annotations

from dataclasses import replace

from apply.sink import TableBatch
from runtime import metrics
from runtime.logging import get_logger
from schemas.substitution import Rows, ValueSettings, key_function, row_function
from schemas.table import TableSchema

log = get_logger(__name__)

TABLES_REMEMBERED_MAX = 10_000


class Values:
    """Does to rows what the settings say; the functions are made once for each version of a table."""

    def __init__(self, settings: ValueSettings, target: str) -> None:
        self._settings = settings
        self._target = target
        self._known: dict[int, tuple[TableSchema, Rows | None, Rows | None]] = {}
        self._cut: dict[str, int] = {}

    def touches(self, table: TableSchema) -> bool:
        """Tell whether anything is done to rows of a table."""
        return self._functions(table)[1:] != (None, None)

    def batch(self, batch: TableBatch) -> TableBatch:
        """Return the batch with its values as they should be. Nothing is refused, and every row keeps its place."""
        _, rows, keys = self._functions(batch.table)
        if rows is None and keys is None:
            return batch
        self._cut.clear()
        change = rows or list
        made = replace(
            batch,
            upserts=change(batch.upserts),
            updates=change(batch.updates),
            deletes=keys(batch.deletes) if keys is not None else batch.deletes,
            sequence=[(op, b and change([b])[0], a and change([a])[0]) for op, b, a in batch.sequence],
        )
        for column, count in self._cut.items():
            log.warning("large values cut off", table=str(batch.table.name), column=column, values=count)
            metrics.APPLY_CUT_VALUES.labels(self._target, str(batch.table.name)).inc(count)
        return made

    def _functions(self, table: TableSchema) -> tuple[TableSchema, Rows | None, Rows | None]:
        # By identity, as the schema is kept: its hash would be that of all its columns.
        found = self._known.get(id(table))
        if found is None:
            if len(self._known) >= TABLES_REMEMBERED_MAX:
                self._known.clear()
            rows = row_function(self._settings, table, self._count)
            found = self._known[id(table)] = (table, rows, key_function(self._settings, table))
        return found

    def _count(self, column: str) -> None:
        self._cut[column] = self._cut.get(column, 0) + 1
