"""The DDL of tables, as text: creating one, and altering it from one version to the next, in one statement each.

One statement is whole or not at all, which is all that the servers offer: a definition commits by itself ("Atomic Data
Definition Statement Support"). So each may be repeated after a crash: what is done already is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from apply.sink_kinds.relational.difference import Difference
from apply.sinks.mysql.catalog import PRIMARY, TargetTable
from apply.sinks.mysql.names import STORAGE, foreign_key_names, listed, literal, quoted, shortened
from schemas.table import Column, TableSchema
from schemas.types import Family

COMMENT_CHARACTERS_MAX = 2048
MADE_BY_SERVER = "my_row_id"
"""The key's column that MySQL adds where `sql_generate_invisible_primary_key` is on: the key does not go without it."""


def create_table(table: TableSchema, sql_name: str, collation: str) -> str:
    """Return the statement that makes a table with its key, not-null constraints and defaults."""
    keys = set(table.key)
    parts = [
        column_definition(column, not_null=not column.nullable or index in keys)
        for index, column in enumerate(table.columns)
    ]
    if table.key:
        parts.append(_key(table))
    comment = f" comment = {literal(table.comment[:COMMENT_CHARACTERS_MAX])}" if table.comment else ""
    inside = ",\n    ".join(parts)
    return (
        f"create table {sql_name} (\n    {inside}\n) {STORAGE} default character set utf8mb4 "
        f"collate {collation}{comment}"
    )


def column_definition(column: Column, *, not_null: bool) -> str:
    """Return a column as `create table`, `add column` and `change column` take it."""
    text = f"{quoted(column.name)} {column.native}"
    if column.collation:
        text += f" character set {column.collation.split('_')[0]} collate {column.collation}"
    # Said either way: what is left out means something else to older servers for timestamps.
    text += " not null" if not_null else " null"
    if column.identity:
        return text + " auto_increment"
    if column.default is not None:
        text += f" default {column.default}"
    elif not not_null:
        text += " default null"
    elif column.native.startswith("timestamp"):
        # Else the first one would be set by every update.
        text += " default '1970-01-01 00:00:01'"
    return text


@dataclass(frozen=True, slots=True)
class Alteration:
    """What leads the target's table from one version to a later one."""

    new: TableSchema
    """Its columns are made as they are here; `change` says which."""
    change: Difference
    target: TargetTable
    present_keys: frozenset[str]
    """Names of the target's foreign keys and indexes."""

    def clauses(self) -> list[str]:
        """Return the clauses of the statement, in order."""
        return [
            *self._constraints_dropped(),
            *(f"drop column {quoted(name)}" for name in self.change.dropped if name in self.target.columns),
            *self._changed(),
            *self._added(),
            *([f"add {_key(self.new)}"] if self._rekeys and self.new.key else []),
        ]

    def _constraints_dropped(self) -> Iterator[str]:
        for name in self.change.foreign_keys_dropped:
            for called in foreign_key_names(self.target.name.table, name):
                if called in self.present_keys:
                    yield f"drop foreign key {quoted(called)}"
        for index in self.change.indexes_dropped:
            if shortened(index.name) in self.present_keys:
                yield f"drop index {quoted(shortened(index.name))}"
        if self._rekeys and self._primary:
            yield "drop primary key"
            if self._primary == {MADE_BY_SERVER} and MADE_BY_SERVER not in self.new.column_names:
                yield f"drop column {MADE_BY_SERVER}"

    @property
    def _primary(self) -> frozenset[str]:
        """The columns of the target's primary key. The catalogue does not say in which order it has them."""
        return next((index.columns for index in self.target.unique if index.name == PRIMARY), frozenset())

    @property
    def _rekeys(self) -> bool:
        """Whether the table is to get another primary key."""
        # A column that counts must be the key's first.
        counts = any(after.identity and not before.identity for before, after in self.change.changed)
        return self.change.key_changed and (counts or self._primary != frozenset(self.new.key_names))

    @property
    def _renames(self) -> dict[str, str]:
        """By new name, the old one of columns that are to be renamed."""
        return {after: before for before, after in self.change.renamed if before in self.target.columns}

    @property
    def _missing(self) -> set[str]:
        """The columns that are to be added."""
        # A name may be free only by this statement: another column had it.
        freed = {*self.change.dropped, *self._renames.values()}
        present = self.target.columns
        return {column.name for column in self.change.added if column.name not in present or column.name in freed}

    def _changed(self) -> Iterator[str]:
        present, renames, missing = self.target.columns, self._renames, self._missing
        # A key is the primary key here, whatever it is at the source; MySQL takes none over columns that may be null.
        keys = set(self.new.key_names)
        by_name = {column.name: column for column in self.new.columns}
        changed = {after.name: before for before, after in self.change.changed}
        kept = [name for name in self.new.key_names if name in present and name not in missing]
        loose = [name for name in kept if self._rekeys and not present[name].not_null]
        for name in dict.fromkeys([*changed, *renames, *loose]):
            found = present.get(renames.get(name, name))
            if found is not None:
                after, before = by_name[name], changed.get(name)
                # Never made stricter: rows of other partitions may still be on their way with nulls; looser where
                # types change.
                retyped = before is not None and before.native != after.native
                not_null = name in keys or (found.not_null and not after.nullable and not retyped)
                definition = column_definition(after, not_null=not_null)
                yield f"change column {quoted(renames.get(name, name))} {definition}"

    def _added(self) -> Iterator[str]:
        missing = self._missing
        for column in self.new.columns:
            if column.name in missing:
                # Not null only with a value for the rows that are there; other appliers may still write older
                # versions. With another key there are none: see `Preparation`.
                fills = column.default is not None and not column.nullable
                fills = fills or (self._rekeys and column.name in self.new.key_names)
                yield f"add column {column_definition(column, not_null=fills)}"


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


def _key(table: TableSchema) -> str:
    """Return the key's definition: the primary key here, too, where it is another unique index at the source."""
    return f"primary key ({listed(table.key_names)})"
