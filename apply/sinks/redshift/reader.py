"""Reads the rows of a table back, for `tailrace verify`, as the texts that Redshift has for their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from apply.sink_kinds.folding import fitting
from apply.sinks.redshift.connecting import open_link
from apply.sinks.redshift.statements import TablePlan, quoted
from schemas.changes import Row
from schemas.endpoints.redshift import RedshiftTarget
from schemas.table import TableSchema
from schemas.types import Family, LogicalType
from schemas.types.plain import canonical

FETCHED_ROWS = 1_000
"""Fetched from the cursor at once."""


class RedshiftReader:
    """See `apply.row_reader.RowReader`."""

    def __init__(self, target: RedshiftTarget, application: str) -> None:
        self._target = target
        self._link = open_link(target, application, as_text=True)

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """Yield each row, by a cursor: Redshift keeps the whole result on its leader node, and we a part of it."""
        plan = TablePlan(table, self._target.name_of(table.name))
        forms = [fitting(_form(column.type)) for column in table.columns]
        shown = ", ".join(
            _shown(quoted(column.name), type_.definition)
            for column, type_ in zip(table.columns, plan.types, strict=True)
        )
        self._link.rollback()
        self._link.run(f"declare tailrace_rows cursor for select {shown} from {plan.sql}", doing="reading a table")
        try:
            while found := self._link.rows(f"fetch forward {FETCHED_ROWS} from tailrace_rows", doing="reading a table"):
                for row in found:
                    yield tuple(None if value is None else form(value) for form, value in zip(forms, row, strict=True))
        finally:
            self._link.rollback()

    def close(self) -> None:
        """Close the connection."""
        self._link.rollback()
        self._link.close()


def _shown(column: str, definition: str) -> str:
    if definition == "super":
        return f"json_serialize({column})"
    # A single's own text has fewer digits than tell all of them apart.
    return f"{column}::double precision" if definition == "real" else column


def _form(type_: LogicalType) -> Callable[[str], Any]:
    """Return what makes a value's text canonical."""
    form, family = canonical(type_), type_.family
    if family is Family.BOOLEAN:
        return {"t": True, "f": False}.__getitem__
    if family in (Family.INT16, Family.INT32, Family.INT64, Family.UINT32):
        return int
    if family in (Family.FLOAT32, Family.FLOAT64):
        return lambda text: form(text if text.endswith(("NaN", "Infinity")) else float(text))
    if family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        return lambda text: form(text.replace(" ", "T"))
    return form
