"""Tables without a key: rows are a multiset, and one deletion removes exactly one equal row.

The order of insertions and deletions does not matter to a multiset, so the changes of a batch collapse to a count per
row image.
"""

from __future__ import annotations

from typing import Any

from apply.sink_kinds.relational.plan import RelationalPlan
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError

Entry = tuple[str, Row | None, Row | None]
"""(op, before, after)."""


def known_columns(plan: RelationalPlan[Any], before: Row | None) -> tuple[Any, ...]:
    """Return the columns by which an old row is known. Raises ROW_REJECTED if there are none."""
    known = () if before is None else tuple(c for c in plan.columns if before[c.index] is not UNCHANGED)
    # (A table without columns has rows all the same: they are equal.)
    if before is None or (plan.columns and not known):
        raise _unidentified(plan)
    return known


def completed(plan: RelationalPlan[Any], before: Row | None, after: Row) -> Row:
    """Return a new row with what it left unchanged from the old one. Raises ROW_REJECTED if that is not known."""
    if UNCHANGED not in after:
        return after
    if before is not None:
        after = tuple(old if new is UNCHANGED else new for old, new in zip(before, after, strict=True))
    if UNCHANGED in after:
        raise _unidentified(plan)
    return after


def _unidentified(plan: RelationalPlan[Any]) -> TailraceError:
    return TailraceError(
        ErrorKind.ROW_REJECTED,
        "an update or delete of a table without a key does not hold the old row",
        remedy=f"let the source log whole rows of {plan.table.name} (PostgreSQL: `replica identity full`; MySQL and "
        "MariaDB: `binlog_row_image` FULL)",
        table=str(plan.table.name),
    )
