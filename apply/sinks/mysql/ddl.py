"""The DDL of tables, as text: creating one, and altering it from one version to the next, in one statement each.

One statement is whole or not at all, which is all that the servers offer: a definition commits by itself ("Atomic Data
Definition Statement Support"). So each may be repeated after a crash: what is done already is left out.
"""

from __future__ import annotations

import re

from apply.frames.relational.difference import Difference
from apply.sinks.mysql.catalog import PRIMARY, TargetTable
from apply.sinks.mysql.names import listed, literal, quoted, shortened
from schemas.table import Column, TableSchema
from schemas.types import Family

COMMENT_CHARACTERS_MAX = 2048


def create_table(table: TableSchema, sql_name: str, collation: str, *, with_defaults: bool = True) -> str:
    """Return the statement that makes a table with its key, not-null constraints and defaults."""
    keys = set(table.key)
    parts = [
        column_definition(column, not_null=not column.nullable or index in keys, with_default=with_defaults)
        for index, column in enumerate(table.columns)
    ]
    if table.key:
        parts.append(_key(table))
    comment = f" comment = {literal(table.comment[:COMMENT_CHARACTERS_MAX])}" if table.comment else ""
    inside = ",\n    ".join(parts)
    return (
        f"create table {sql_name} (\n    {inside}\n) engine = InnoDB default character set utf8mb4 "
        f"collate {collation}{comment}"
    )


def column_definition(column: Column, *, not_null: bool, with_default: bool = True) -> str:
    """Return a column as `create table`, `add column` and `change column` take it."""
    text = f"{quoted(column.name)} {column.native}"
    if column.collation:
        text += f" character set {column.collation.split('_')[0]} collate {column.collation}"
    # Said either way: what is left out means something else to older servers for timestamps.
    text += " not null" if not_null else " null"
    if column.identity:
        return text + " auto_increment"
    if column.default is not None and with_default:
        text += f" default {column.default}"
    elif not not_null:
        text += " default null"
    elif with_default and column.native.startswith("timestamp"):
        # Else the first one would be set by every update.
        text += " default '1970-01-01 00:00:01'"
    return text


def alter_table(
    new: TableSchema,
    change: Difference,
    target: TargetTable,
    present_keys: frozenset[str],
    *,
    with_defaults: bool = True,
) -> list[str]:
    """Return the clauses that lead the target's table to the new version.

    `present_keys` names the target's foreign keys and indexes.
    """
    clauses = [f"drop foreign key {quoted(name)}" for name in change.foreign_keys_dropped if name in present_keys]
    clauses += [
        f"drop index {quoted(shortened(index.name))}"
        for index in change.indexes_dropped
        if shortened(index.name) in present_keys
    ]
    present = dict.fromkeys(target.columns)
    primary = next((index.columns for index in target.unique if index.name == PRIMARY), frozenset[str]())
    # The catalogue does not say in which order the key is; a column that counts must be its first.
    counts = any(after.identity and not before.identity for before, after in change.changed)
    rekeys = change.key_changed and (counts or primary != frozenset(new.key_names))
    if rekeys and primary:
        clauses.append("drop primary key")
    clauses += [f"drop column {quoted(name)}" for name in change.dropped if name in present]
    renames = {after: before for before, after in change.renamed if before in present}
    # A key is the primary key here, whatever it is at the source; MySQL takes none over columns that may be null.
    keys = set(new.key_names)
    by_name = {column.name: column for column in new.columns}
    changed = {after.name: before for before, after in change.changed}
    # A name may be free only by this statement: another column had it.
    freed = {*change.dropped, *renames.values()}
    missing = {column.name for column in change.added if column.name not in present or column.name in freed}
    kept = [name for name in new.key_names if name in present and name not in missing]
    loose = [name for name in kept if rekeys and not target.columns[name].not_null]
    for name in dict.fromkeys([*changed, *renames, *loose]):
        before = renames.get(name, name)
        if before in present:
            clauses.append(_change(by_name[name], changed.get(name), before, target, name in keys, with_defaults))
    for column in change.added:
        if column.name in missing:
            # Not null only with a value for the rows that are there; other appliers may still write older versions.
            # With another key there are none: see `Preparation`.
            fills = column.default is not None and with_defaults and not column.nullable
            fills = fills or (rekeys and column.name in keys)
            clauses.append(f"add column {column_definition(column, not_null=fills, with_default=with_defaults)}")
    if rekeys and new.key:
        clauses.append(f"add {_key(new)}")
    return clauses


def filling(column: Column, text: str | None) -> str:
    """Return as SQL what rows hold that were there when the column was added, from the source's text of it."""
    if text is None:
        return "null"
    family = column.type.family
    if family is Family.BOOLEAN:
        return "1" if text in ("t", "true", "1") else "0"
    if family is Family.BYTES:
        return f"unhex({literal(text.removeprefix(chr(92) + 'x'))})"
    if family is Family.TIMESTAMPTZ:
        return literal(re.sub(r"[-+]00(:00)?$", "", text))
    return literal(text)


def _change(
    after: Column, before: Column | None, present_name: str, target: TargetTable, is_key: bool, with_defaults: bool
) -> str:
    found = target.columns[present_name]
    # Never made stricter: rows of other partitions may still be on their way with nulls; looser where types change.
    retyped = before is not None and before.native != after.native
    not_null = is_key or (found.not_null and not after.nullable and not retyped)
    definition = column_definition(after, not_null=not_null, with_default=with_defaults)
    return f"change column {quoted(present_name)} {definition}"


def _key(table: TableSchema) -> str:
    """Return the key's definition: the primary key here, too, where it is another unique index at the source."""
    return f"primary key ({listed(table.key_names)})"
