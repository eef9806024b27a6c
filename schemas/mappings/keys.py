"""Another key at the target: `define-primary-key`, and what it takes to tell rows apart by it.

Deletes come with the values of the source's key alone. So the columns of another key must be made of those; and all of
those must be in it, or rows would fall together. A table without a key at the source has whole old rows: any columns
will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.errors import ErrorKind, TailraceError
from schemas.mappings import names
from schemas.mappings.rules import Action, TransformationRule
from schemas.table import TableName, TableSchema


@dataclass(frozen=True, slots=True)
class KeyPart:
    """What a column at the target is made of."""

    name: str
    former: str
    """Its name at the source, where it is a column of it."""
    sources: frozenset[int]
    """The source's columns that decide its value."""
    is_same: bool
    """Whether different values of its column stay different."""
    is_steady: bool = True
    """Whether equal rows have an equal value."""


def rule_of(rules: Sequence[TransformationRule], name: TableName) -> TransformationRule | None:
    """Return the rule that gives a table another key. Raises CONFIGURATION if there are several."""
    found = [r for r in rules if r.rule_action is Action.DEFINE_PRIMARY_KEY and names.concerns(r, name)]
    return names.sole(found, f"key of {name}")


def defined(rule: TransformationRule, table: TableSchema, parts: Sequence[KeyPart]) -> tuple[int, ...]:
    """Return the key as places of `parts`. Raises CONFIGURATION, with the rule's id, if rows cannot go by it."""
    definition = rule.primary_key_def
    assert definition is not None
    key = []
    for name in definition.columns:
        found = [i for i, part in enumerate(parts) if part.name == name]
        found = found or [i for i, part in enumerate(parts) if part.former == name]
        if not found:
            raise _refused(rule, table, f"there is no column {name} to be in a key")
        key.append(found[0])
    chosen = [parts[i] for i in key]
    for part in chosen:
        if not part.is_steady:
            raise _refused(rule, table, f"{part.name} is another one with each change")
        if table.key and not part.sources <= set(table.key):
            raise _refused(
                rule, table, f"{part.name} is not known of rows that are deleted: it is not of the source's key"
            )
    kept = {i for part in chosen if part.is_same for i in part.sources}
    missing = [table.columns[i].name for i in table.key if i not in kept]
    if missing:
        raise _refused(
            rule, table, f"without {missing[0]}, which the source tells rows apart by, rows would fall together"
        )
    return tuple(key)


def _refused(rule: TransformationRule, table: TableSchema, why: str) -> TailraceError:
    return TailraceError(
        ErrorKind.CONFIGURATION,
        f"rule {rule.rule_id}: {why}",
        remedy="a key at the target has the source's key, and columns that are made of it or constant",
        table=str(table.name),
    )


@dataclass(slots=True)
class Claims:
    """Which tables of the source go into which table at the target."""

    _claims: dict[TableName, dict[TableName, tuple[TableSchema, tuple[tuple[int, object], ...]]]] = field(
        default_factory=dict
    )

    def claim(self, source: TableName, table: TableSchema, constants: tuple[tuple[int, object], ...]) -> None:
        """Let a table of the source go into `table`. `constants`: the columns of its key that are always the same.

        Raises TARGET_SCHEMA if another one goes there that has other columns, or whose rows cannot be told from these.
        """
        claims = self._claims.setdefault(table.name, {})
        for other, (shape, values) in claims.items():
            if other == source:
                continue
            into = f"the table mappings make {table.name} of both {other} and {source}"
            differing = _difference(shape, table)
            if differing:
                raise TailraceError(
                    ErrorKind.TARGET_SCHEMA,
                    f"{into}, and {differing}",
                    table=str(source),
                    remedy="bring both to the same columns, or give one another name",
                )
            # A column that is constant in one alone may have that value in the other, too.
            others = dict(values)
            if not any(others.get(place, value) != value for place, value in constants):
                raise TailraceError(
                    ErrorKind.TARGET_SCHEMA,
                    f"{into}, and nothing in its key tells their rows apart",
                    table=str(source),
                    remedy="add a column with a constant of each ($AR_M_SOURCE_SCHEMA), and define-primary-key with it",
                )
        claims[source] = (table, constants)

    def note(self, source: TableName, table: TableSchema, constants: tuple[tuple[int, object], ...]) -> None:
        """Take note of a claim that is not for this one to judge."""
        self._claims.setdefault(table.name, {})[source] = (table, constants)

    def release(self, source: TableName, name: TableName) -> None:
        """Forget that a table of the source goes into a table."""
        self._claims.get(name, {}).pop(source, None)


def _difference(one: TableSchema, other: TableSchema) -> str:
    if one.key_names != other.key_names:
        return f"their keys differ: {', '.join(one.key_names) or 'none'}; {', '.join(other.key_names) or 'none'}"
    for left, right in zip(one.columns, other.columns, strict=False):
        if (left.name, left.native) != (right.name, right.native):
            return f"their columns differ: {left.name} {left.native}; {right.name} {right.native}"
    if len(one.columns) != len(other.columns):
        return f"one has {len(one.columns)} columns, the other {len(other.columns)}"
    return ""
