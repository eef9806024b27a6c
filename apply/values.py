"""Substitutes characters and cuts large values off, in batches on their way to a sink, before any rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apply.sink import TableBatch
from runtime import metrics
from runtime.logging import get_logger
from schemas.mappings.selection import lob_max_kb
from schemas.mappings.table_settings_rule import TableSettingsRule
from schemas.per_table import PerSchema
from schemas.substitution import Rows, ValueSettings, key_function, row_function
from schemas.table import TableSchema

log = get_logger(__name__)


class Values:
    """Does to rows what the settings say; the functions are made once for each version of a table."""

    def __init__(self, settings: ValueSettings, target: str, rules: Sequence[TableSettingsRule] = ()) -> None:
        """`rules` say for single tables where large values are cut off."""
        self._settings = settings
        self._rules = rules
        self._target = target
        self._cut: dict[str, int] = {}
        self._functions = PerSchema(self._compiled)

    def touches(self, table: TableSchema) -> bool:
        """Tell whether anything is done to rows of a table."""
        return self._functions(table) != (None, None)

    def batch(self, batch: TableBatch) -> TableBatch:
        """Return the batch with its values as they should be. Nothing is refused, and every row keeps its place."""
        rows, keys = self._functions(batch.table)
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

    def old_rows(self, batch: TableBatch) -> TableBatch:
        """Return the batch with the old rows in its origins as they should be, too: for whom looks at them."""
        rows, _ = self._functions(batch.table)
        if rows is None:
            return batch
        # What is cut off of them was counted when it was the row.
        origins = {
            kind: [one if one.before is None else one._replace(before=rows([one.before])[0]) for one in origins]
            for kind, origins in batch.origins.items()
        }
        return replace(batch, origins=origins)

    def _compiled(self, table: TableSchema) -> tuple[Rows | None, Rows | None]:
        size = lob_max_kb(self._rules, table.name, self._settings.lob_max_kb)
        settings = self._settings.model_copy(update={"lob_max_kb": size})
        return row_function(settings, table, self._count), key_function(settings, table)

    def _count(self, column: str) -> None:
        self._cut[column] = self._cut.get(column, 0) + 1
