"""What lies between two versions of a table: whether it is another table, and what rows have now that no log tells."""

from __future__ import annotations

import re
from collections.abc import Collection

from schemas.matching import matches
from schemas.table import Column, TableSchema

_ZERO_DATE = r"(?:0000-|\d{4}-00-|\d{4}-\d\d-00)"
_CONSTANT = re.compile(rf"\(?(-?[\d.]+|'(?!{_ZERO_DATE})(?:[^'\\]|'')*'|true|false|null)\)?(::[^']*)?", re.IGNORECASE)
"""A literal with or without casts; with a backslash, targets leave it out, and what a date with a zero part becomes
says `source.zero_dates`. (Not null without a default: a serial's, which is left out of schemas.)"""


def is_same(one: TableSchema | None, other: TableSchema | None) -> bool:
    """Tell whether two versions are published alike, or there is neither."""
    return (one and one.fingerprint) == (other and other.fingerprint)


def is_another(one: TableSchema | None, other: TableSchema) -> bool:
    """Tell whether a table is not the one that it was, whatever its name: dropped and made anew."""
    return one is None or bool(one.number and other.number and one.number != other.number)


def key_of(table: TableSchema) -> tuple[list[tuple[str, str]], str]:
    """Return what a key is made of: names and types of its columns, and who made it."""
    return [(table.columns[i].name, table.columns[i].native) for i in table.key], table.key_made_by


def changes_key(before: TableSchema, after: TableSchema) -> bool:
    """Tell whether rows have other keys now: it is of other columns, or of a type whose labels were renamed."""
    # In pg_catalog is no type of a user's; a domain or a composite may be made of the enum.
    is_of_user_type = any("." in before.columns[i].native for i in before.key)
    return key_of(before) != key_of(after) or (
        is_of_user_type and (_renames_labels(before, after) or _alters_composites(before, after))
    )


def came_with_rows(before: TableSchema, after: TableSchema) -> tuple[int, ...]:
    """Return the partitions whose rows no log has told as the table's: they were attached since, or were detached,
    changed perhaps, and attached again.
    """
    placed = dict(zip(before.partitions, before.placed or (0,) * len(before.partitions), strict=True))
    now = dict(zip(after.partitions, after.placed, strict=False))
    return tuple(p for p in after.attached if p not in placed or (placed[p] and now.get(p, 0) not in (0, placed[p])))


def rewrites_rows(before: TableSchema, after: TableSchema, stored: TableSchema | None) -> bool:
    """Tell whether existing rows may hold values now that a target cannot make by itself.

    Where the source numbers the storage of rows, a rewriting shows: `stored` is the last version before that has it,
    and `after` has none where a type has changed and it is not known yet. What a column was filled with when it was
    added without a rewriting is part of the version. Elsewhere: a new column's default may be different in each row,
    and a new type's values come of an expression that nobody tells. A constant default a target fills in as the source
    does.
    """
    if _alters_composites(before, after):
        # A composite's values have another text in all rows now, and none was written.
        return True
    if _renames_labels(before, after):
        # All rows that have one read otherwise now, and none was written.
        return True
    if stored is not None and (is_rewritten := after.is_rewritten(stored)) is not None:
        return is_rewritten
    names, later_names = set(before.column_names), set(after.column_names)
    if not any(column.number for column in before.columns) and names - later_names and later_names - names:
        # One column goes and another comes: it may be the same one, renamed, and nobody can tell.
        return True
    for column, earlier in zip(after.columns, matches(after, before), strict=True):
        if earlier is not None:
            if earlier.native != column.native or _computes_anew(earlier, column):
                return True
        elif stored is not None and not after.knows_storage:
            # It shows when the storage is known again.
            continue
        elif column.identity or (not _CONSTANT.fullmatch(column.default) if column.default else not column.nullable):
            return True
    return False


def fills_rows(before: TableSchema, after: TableSchema, former: Collection[str]) -> bool:
    """Tell whether rows that were there have values under names that are new: of a column that has come with one value
    for all of them, which the source has filled in, or of one that was renamed. Or none under a name that is new again:
    `former` are those of columns that were dropped, whose values a target may still have.
    """
    for column, earlier in zip(after.columns, matches(after, before), strict=True):
        if earlier is not None and earlier.name != column.name:
            return True
        if earlier is None and column.name in former:
            return True
        # Where no storage is known, nothing tells what rows were filled with but the default.
        if earlier is None and (column.filling is not None or (column.default is not None and not after.knows_storage)):
            return True
    return False


def _computes_anew(before: Column, after: Column) -> bool:
    """Tell whether a column may be computed in another way now, and so have other values in all rows. Where the engine
    numbers no columns those that it computes are columns like others, whose expressions stand where defaults do.
    """
    return not after.number and (after.default or "").startswith("(") and before.default != after.default


def _renames_labels(before: TableSchema, after: TableSchema) -> bool:
    """Tell whether an enum has other names for its values: none can be dropped or moved, and what is new is added."""
    now = {(t.schema, t.name): t.labels for t in after.user_types}
    return any(
        [label for label in now.get((t.schema, t.name), t.labels) if label in t.labels] != list(t.labels)
        for t in before.user_types
    )


def _alters_composites(before: TableSchema, after: TableSchema) -> bool:
    """Tell whether a composite has lost attributes or has new ones: names alone are not in its values."""
    now = {(t.schema, t.name): t.definition for t in after.user_types}
    return any(
        t.kind == "composite" and now.get((t.schema, t.name), t.definition) != t.definition for t in before.user_types
    )
