"""Tables without a key: rows are a multiset, and one deletion removes exactly one equal row.

The order of insertions and deletions does not matter to a multiset, so the changes of a batch collapse to a count per
row image; what is left is inserted first and deleted then. The servers have no place of a row to delete by, so each
image that goes is one `delete … limit`: an index at the target makes it quick.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from apply.sink_kinds.relational.keyless import Entry, completed, known_columns
from apply.sinks.mysql.catalog import TargetColumn
from apply.sinks.mysql.rows import quote
from apply.sinks.mysql.statements import StagedColumn, TablePlan
from apply.sinks.mysql.types import BINARY_BASES, GEOMETRY_BASES, LABEL_BASES, TEXT_BASES, function
from schemas.changes import Row

Image = tuple[tuple[StagedColumn, ...], str]
"""The columns by which rows are known, and the condition that they are equal."""


def net_counts(plan: TablePlan, entries: Sequence[Entry]) -> tuple[Counter[Row], Counter[Image]]:
    """Return how many copies of each whole row come, and how many of each image go.

    Raises ROW_REJECTED for an update or delete that does not say which row it was, and ValueError and its like for a
    value that the target does not have.
    """
    coming: list[Row] = []
    images: Counter[Image] = Counter()
    for op, before, after in entries:
        if op in {"u", "d"}:
            images[_image(plan, before)] += 1
        if op != "d" and after is not None:
            coming.append(completed(plan, before, after))
    return _cancelled(plan, coming, images)


def _cancelled(plan: TablePlan, coming: list[Row], images: Counter[Image]) -> tuple[Counter[Row], Counter[Image]]:
    """Let what comes and goes cancel out. Images tell apart what a comparison of values would not (1.0 and 1.00)."""
    by_image: dict[Image, list[Row]] = {}
    for row in coming:
        by_image.setdefault(_image(plan, row), []).append(row)
    for image, rows in by_image.items():
        both = min(len(rows), images.get(image, 0))
        if both:
            images[image] -= both
            del rows[:both]
    rows_left = Counter(row for rows in by_image.values() for row in rows)
    return rows_left, +images


def deletion(plan: TablePlan, image: Image, count: int) -> str:
    """Return the deletion of so many equal rows."""
    return f"delete from {plan.target.sql} where {image[1]} limit {count}"


def _image(plan: TablePlan, row: Row | None) -> Image:
    known = known_columns(plan, row)
    assert row is not None
    return known, " and ".join(_equal(column, row[column.index]) for column in known)


def _equal(column: StagedColumn, value: object) -> str:
    """Return the condition that a column holds a value: to the byte, whatever its collation."""
    name = column.sql
    if value is None:
        return f"{name} is null"
    text = _TEXTS.setdefault(column.wire.expression, _compiled(column.wire.expression))(value)
    if column.wire.number and column.wire.sql == "{v}":
        return f"{name} = {text}"
    same = column.wire.sql.format(v=f"'{quote(text)}'")
    return _comparison(column.target).format(name=name, value=same)


def _comparison(target: TargetColumn) -> str:
    if target.base == "json":
        return "{name} = cast({value} as json)"
    if target.base in TEXT_BASES or target.base in LABEL_BASES:
        # The column's own comparison first, so that an index may serve; then to the byte.
        return "{name} = {value} and cast(convert({name} using utf8mb4) as binary) = cast({value} as binary)"
    if target.base in BINARY_BASES or target.base in GEOMETRY_BASES:
        return "cast({name} as binary) = {value}"
    return "{name} = {value}"


_TEXTS: dict[str, Callable[[object], str]] = {}


def _compiled(expression: str) -> Callable[[object], str]:
    """Return the function that makes a value's text."""
    names = {name: function(name) for name in _names(expression)}
    made: Callable[[object], str] = eval(f"lambda v: f'{{{expression.format(v='v')}}}'", names)  # noqa: S307
    return made


def _names(expression: str) -> list[str]:
    head = expression.partition("(")[0].partition("[")[0].strip("+")
    if head.startswith(("unscaled_", "array_")) or head in ("days", "stamp", "clock", "span", "numeric", "year"):
        return [head]
    return ["unreal"] if "unreal" in expression else []
