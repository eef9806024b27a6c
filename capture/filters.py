"""Filters on the stream: a change becomes what it is to somebody who sees the filtered rows alone.

| before | after | becomes |
|---|---|---|
| taken | taken | the same |
| taken | not | a delete |
| not | taken | an insert, of a whole row |
| not | not | nothing |
| not known | taken | the same, of a whole row: targets write it whether or not they have it |
| not known | not | a delete: targets that have no such row have nothing to delete |

The old row is known where the log keeps whole ones, or where the key alone decides. Nothing that may have been taken is
lost, whatever the log keeps (Invariant 4). Values that the log left out and that are needed are asked of the source;
they may be newer than the change, whose own change then follows and settles it. Where the row is gone, so that nobody
can tell them, it is not taken: all that follows is its delete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from capture.full_load.window import overlay
from schemas.changes import UNCHANGED, Row, RowChanges
from schemas.mappings.filters import RowFilter, row_filter
from schemas.mappings.rules import SelectionRule
from schemas.per_table import PerSchema
from schemas.table import TableSchema


class Filters:
    """The filters of all tables."""

    def __init__(self, rules: Sequence[SelectionRule], complete: Callable[[RowChanges], None]) -> None:
        """`complete` is that of the source."""
        self._rules = rules
        self._complete = complete
        self._filter = PerSchema(lambda table: row_filter(rules, table))

    def check(self, tables: Sequence[TableSchema]) -> None:
        """Raise CONFIGURATION, with the rule's id, if a filter does not fit one of these tables."""
        for table in tables:
            row_filter(self._rules, table)

    def kept(self, changes: RowChanges) -> RowChanges:
        """Return what is to be published of a run of changes; its `left_out` counts what is not."""
        found = self._filter(changes.table)
        return changes if found is None else _kept(changes, found, self._complete)


def _kept(changes: RowChanges, found: RowFilter, complete: Callable[[RowChanges], None]) -> RowChanges:
    table, matches = changes.table, found.matches
    kept = RowChanges(table, changes.txn)
    key = set(table.key)
    is_told = key.issuperset(found.columns) or (table.full_before and not _has_doubtful_nulls(table))

    def is_due(before: Row | None, after: Row) -> bool:
        """Tell whether values lack that decide, or the row may not have been taken before: then it must be whole."""
        return not found.knows(after) or (matches(after) and not _was_taken(found, before, after, is_told=is_told))

    afters = completed(changes, is_due, complete)
    for op, before, after in zip(changes.ops, changes.before, afters, strict=True):
        stays = after is not None and found.knows(after) and matches(after)
        if op == "c":
            if stays:
                kept.add(op, before, after)
            continue
        old = before
        if old is None and is_told and not table.full_before:
            # The key is the same, and the key decides.
            old = after
        was = matches(old) if is_told and old is not None and found.knows(old) else None
        if stays and was is False:
            kept.add("c", None, after)
        elif stays:
            kept.add(op, before, after)
        elif was is not False:
            kept.add("d", before if before is not None else _key_of(after, key), None)
    kept.left_out = changes.count - kept.count
    return kept


def completed(
    changes: RowChanges, is_due: Callable[[Row | None, Row], bool], complete: Callable[[RowChanges], None]
) -> list[Row | None]:
    """Return the new rows. Where values lack and `is_due` says so, of the old row and the new one, the source is asked
    by `complete`.
    """
    table = changes.table
    afters = list(changes.after)
    places = []
    for i, (before, after) in enumerate(zip(changes.before, afters, strict=True)):
        if after is None or UNCHANGED not in after:
            continue
        if before is not None and not _has_doubtful_nulls(table):
            after = afters[i] = overlay(before, after)
            if UNCHANGED not in after:
                continue
        if is_due(before, after):
            places.append(i)
    if not places:
        return afters
    key = set(table.key)
    asked = RowChanges(table, changes.txn)
    for i in places:
        # An old row is what makes the source look: it completes the new rows of changed keys.
        asked.add("u", changes.before[i] or _key_of(afters[i], key), afters[i])
    complete(asked)
    for i, after in zip(places, asked.after, strict=True):
        afters[i] = after
    return afters


def _has_doubtful_nulls(table: TableSchema) -> bool:
    """Tell whether old rows may have nulls where nothing is known.

    A partition may keep less than its table, and a session of MySQL may log less than the old row.
    """
    return bool(table.key) and (bool(table.partitions) or table.engine == "mysql")


def _was_taken(found: RowFilter, before: Row | None, after: Row, *, is_told: bool) -> bool:
    """Tell whether the row is known to have been taken before, so that targets have it."""
    if not is_told:
        return False
    old = before if before is not None else after
    return found.knows(old) and found.matches(old)


def _key_of(row: Row | None, key: set[int]) -> Row:
    assert row is not None
    return tuple(value if i in key else UNCHANGED for i, value in enumerate(row))
