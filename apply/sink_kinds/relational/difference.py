"""What leads from one version of a table to a later one, whatever the dialect."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace

from schemas.matching import matches
from schemas.table import Column, GeneratedColumn, Index, TableSchema


@dataclass(slots=True)
class Difference:
    """What leads from one version of a table to a later one."""

    renamed: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    added: list[Column] = field(default_factory=list)
    changed: list[tuple[Column, Column]] = field(default_factory=list)
    generated_added: list[GeneratedColumn] = field(default_factory=list)
    key_changed: bool = False
    indexes_dropped: list[Index] = field(default_factory=list)
    foreign_keys_dropped: list[str] = field(default_factory=list)

    @property
    def reused(self) -> set[str]:
        """Names that another column has afterwards: by them nobody can tell whether a table was altered already."""
        before = {name for name, _ in self.renamed}.union(self.dropped)
        return before & {name for _, name in self.renamed}.union(column.name for column in self.added)

    def without_values(self, keys: Container[str]) -> Difference:
        """Return the change with the columns outside of the key whose types change made anew, and so empty."""
        anew = [
            (before, after)
            for before, after in self.changed
            if (before.native, before.collation) != (after.native, after.collation) and after.name not in keys
        ]
        names = {after.name for _, after in anew}
        return replace(
            self,
            renamed=[pair for pair in self.renamed if pair[1] not in names],
            dropped=self.dropped + [before.name for before, _ in anew],
            added=self.added + [after for _, after in anew],
            changed=[pair for pair in self.changed if pair[1].name not in names],
        )


def difference(old: TableSchema, new: TableSchema) -> Difference:
    """Compare two versions of a table."""
    result = Difference()
    kept: set[str] = set()
    for column, before in zip(new.columns, matches(new, old), strict=True):
        if before is None:
            result.added.append(column)
            continue
        kept.add(before.name)
        if before.name in old.key_names and column.name not in new.key_names:
            # As one of the key it holds no nulls at the target, whatever the source said of it.
            before = replace(before, nullable=False)
        if before.name != column.name:
            result.renamed.append((before.name, column.name))
        if before != column:
            result.changed.append((before, column))
    old_generated = {column.name: column for column in old.generated}
    new_generated = {column.name: column for column in new.generated}
    for name, generated in new_generated.items():
        if name not in old_generated or old_generated[name].expression != generated.expression:
            result.generated_added.append(generated)
            if name in old_generated:
                result.dropped.append(name)
    result.dropped += [name for name in old_generated if name not in new_generated]
    # After the computed columns, which may depend on them.
    result.dropped += [column.name for column in old.columns if column.name not in kept]
    renames = dict(result.renamed)
    result.key_changed = [renames.get(name, name) for name in old.key_names] != list(new.key_names)
    present = {(index.name, index.definition) for index in new.indexes}
    result.indexes_dropped = [index for index in old.indexes if (index.name, index.definition) not in present]
    result.foreign_keys_dropped = [key.name for key in old.foreign_keys if key not in new.foreign_keys]
    return result


def as_found(table: TableSchema, present: Container[str]) -> TableSchema:
    """Return `table` without what the target lacks: the version to alter from when the table is somebody else's."""
    missing = [column for column in table.columns if column.name not in present]
    if not missing:
        return table
    key_names = table.key_names
    columns = tuple(column for column in table.columns if column.name in present)
    places = {column.name: place for place, column in enumerate(columns)}
    return TableSchema(
        name=table.name,
        columns=columns,
        key=tuple(places[name] for name in key_names if name in places),
        version=table.version,
        primary_key=table.primary_key,
        generated=table.generated,
    )
