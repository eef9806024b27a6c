"""Which columns of two versions of a table are the same."""

from __future__ import annotations

from schemas.table import Column, TableSchema


def matches(table: TableSchema, other: TableSchema) -> list[Column | None]:
    """Return, for each column of `table`, the column of another version that it is; None where that has none.

    The engine's lasting numbers decide first, so that columns whose names change places keep their values. What is
    left goes by name where one side has no number, or the numbers are those of another table. No column is matched
    twice, and it does not matter which version is the older one.
    """
    numbers_count = table.number == other.number
    by_number = {c.number: c for c in other.columns if c.number and numbers_count}
    found = [by_number.get(column.number) for column in table.columns]
    taken = {column.name for column in found if column is not None}
    by_name = {c.name: c for c in other.columns if c.name not in taken}
    for place, column in enumerate(table.columns):
        if found[place] is None:
            same_name = by_name.get(column.name)
            if same_name is not None and not (numbers_count and column.number and same_name.number):
                found[place] = same_name
    return found
