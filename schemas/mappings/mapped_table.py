"""One version of one table as the rules would have it at the target, and the functions that make its rows so.

The functions are generated: one list comprehension over the rows, in which only what a rule changes is more than a
name. A table that no rule touches has none, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from schemas.changes import UNCHANGED, Row
from schemas.mappings import keys, names
from schemas.mappings.expressions import Expression, Headers
from schemas.mappings.mapped_columns import MappedColumn, mapped_columns
from schemas.mappings.rules import TransformationRule
from schemas.mappings.values import Convert
from schemas.table import ForeignKey, Index, TableSchema, mentions


class Rows(Protocol):
    """Rows, and beside each the `Change` that it comes from where `needs_changes`, to rows."""

    def __call__(self, rows: Sequence[Row], changes: Sequence[Change] = (), /) -> list[Row]: ...


class Change(NamedTuple):
    """What columns are made of beside the row."""

    headers: Headers
    before: Row | None = None
    """The old row, as far as it is known."""


@dataclass(frozen=True, slots=True)
class MappedTable:
    """What becomes of a table. `rows` and `keys` raise ValueError for a value that cannot become what it should."""

    table: TableSchema
    """As the target has it."""
    rows: Rows | None
    """Whole or partial rows in the source's column order to the target's; None: as they are."""
    old_rows: Rows | None
    """The same for old rows, of which the log may hold the key alone: what is made of what it lacks is UNCHANGED; and,
    but for targets that keep every change, so is what is `unsteady`."""
    keys: Rows | None
    """Values of the key, in key order; None: as they are."""
    read: tuple[int, ...]
    """The source's columns that expressions read."""
    unsteady: frozenset[int]
    """The target's columns, by place, that are other ones each time: at random, of facts of changes, of old rows."""
    needs_changes: bool
    """Whether the functions look at the changes that are given beside the rows."""
    needs_old_rows: bool
    """Whether these changes' old rows are looked at."""
    constants: tuple[tuple[int, Any], ...]
    """The columns of the target's key, by place, that have one value for all rows, and the value."""
    gains_key: bool
    """Whether it has a key that the source's table lacks."""
    indicators: tuple[tuple[int, Expression], ...]
    """The target's columns, by place, that say of a row what was done with it; if there are any, deleted rows stay."""
    left_out: tuple[str, ...]
    """In words: indexes, foreign keys and generated columns that the rules leave no place for."""

    def flagged(self, key: Row, headers: Headers) -> Row:
        """Return what is written of a row that was deleted and stays: its key, as the target has it, and the flags."""
        row: list[Any] = [UNCHANGED] * len(self.table.columns)
        for place, value in zip(self.table.key, key, strict=True):
            row[place] = value
        for place, expression in self.indicators:
            row[place] = expression(*(getattr(headers, str(fact)) for fact in expression.arguments))
        return tuple(row)


def map_table(rules: Sequence[TransformationRule], table: TableSchema, *, keeps_history: bool = False) -> MappedTable:
    """Compile the rules for a table. Raises CONFIGURATION, with the rules' ids, for what cannot be.

    `keeps_history`: the target is given every change, one by one.
    """
    concerned = [rule for rule in rules if names.concerns(rule, table.name)]
    name = names.of_table(rules, table.name)
    keying = keys.rule_of(rules, table.name)
    # Where there is no key, a row that goes is found by all its values.
    by_all = not table.key and table.full_before and not keeps_history and keying is None
    targets = mapped_columns(concerned, table, by_all=by_all)
    kept = [t.source for t in targets if t.source is not None]
    renamed = {table.columns[t.source].name: t.column.name for t in targets if t.source is not None}
    touched = {
        column.name
        for i, column in enumerate(table.columns)
        if renamed.get(column.name) != column.name or any(t.source == i and t.steps for t in targets)
    }
    key = tuple(kept.index(i) for i in table.key)
    primary = table.primary_key
    if keying is not None:
        key = keys.defined(keying, table, [_key_part(table, target) for target in targets])
        assert keying.primary_key_def is not None
        primary = keying.primary_key_def.origin == "primary-key"
    mapped = replace(
        table,
        name=name,
        renamed_from=table.name if name != table.name else None,
        columns=tuple(t.column for t in targets),
        key=key,
        primary_key=primary,
        indexes=tuple(i for i in table.indexes if not mentions(i.definition, touched)),
        foreign_keys=tuple(k for k in (_reference(rules, table, key, renamed) for key in table.foreign_keys) if k),
        generated=tuple(g for g in table.generated if not mentions(g.expression, touched)),
    )
    key_targets = [targets[i] for i in key]
    key_rows = None
    if table.key and (keying is not None or any(t.steps for t in key_targets)):
        key_rows = _key_function(key_targets, table.key)
    needs_old = any(t.earlier is not None for t in targets)
    read = tuple(sorted({i for t in targets if t.expression is not None for i in t.expression.columns}))
    changed = any(t.steps or t.source is None for t in targets) or kept != list(range(len(table.columns)))
    # Rows are made anew, as they are, where a key is to be found in them.
    rows = old_rows = None
    if changed or keying is not None:
        rows = _row_function(targets, len(table.columns))
        # By an old row a row without a key is found: what it was given then is told by nothing that comes later.
        sought = targets if keeps_history else [t if t.is_steady else replace(t, is_unknown=True) for t in targets]
        old_rows = _row_function(sought, len(table.columns), is_old=True)
    return MappedTable(
        table if mapped == table else mapped,
        rows,
        old_rows,
        key_rows,
        read,
        unsteady=frozenset(i for i, t in enumerate(targets) if not t.is_steady),
        needs_changes=needs_old or any(t.expression and t.expression.reads_headers for t in targets),
        needs_old_rows=needs_old,
        constants=tuple((i, targets[i].expression()) for i in key if _is_constant(targets[i])),  # type: ignore[misc]
        gains_key=bool(key and not table.key),
        indicators=tuple((i, t.expression) for i, t in enumerate(targets) if t.expression and t.expression.indicates),
        left_out=_left_out(table, mapped),
    )


def _is_constant(target: MappedColumn) -> bool:
    expression = target.expression
    return expression is not None and not expression.arguments and not expression.is_volatile


def _key_part(table: TableSchema, target: MappedColumn) -> keys.KeyPart:
    if target.source is not None:
        former = table.columns[target.source].name
        return keys.KeyPart(target.column.name, former, frozenset({target.source}), is_same=True)
    expression = target.expression
    reads = frozenset(expression.columns) if expression is not None else frozenset[int]()
    return keys.KeyPart(target.column.name, "", reads, False, target.is_steady)


def _row_function(targets: list[MappedColumn], width: int, *, is_old: bool = False) -> Rows:
    """Generate `[(v0, f1(v1), …) for v0, v1, … in rows]`. `is_old`: values that expressions need may be lacking."""
    scope: dict[str, Any] = {"UNCHANGED": UNCHANGED}
    cells = []
    for place, target in enumerate(targets):
        if target.is_unknown:
            cells.append("UNCHANGED")
        elif target.expression is not None and _is_constant(target):
            scope[f"k{place}"] = target.expression()
            cells.append(f"k{place}")
        elif target.expression is not None:
            scope[f"e{place}"] = target.expression
            given = (f"v{a}" if isinstance(a, int) else f"c.headers.{a}" for a in target.expression.arguments)
            cell = f"e{place}({', '.join(given)})"
            lacking = " or ".join(f"v{a} is UNCHANGED" for a in target.expression.columns) if is_old else ""
            cells.append(f"UNCHANGED if {lacking} else {cell}" if lacking else cell)
        elif target.earlier is not None:
            # What the log did not hold of an old row is not known: null.
            value = f"c.before[{target.earlier}]"
            cell = _cell(scope, value, place, target.steps)
            cells.append(f"None if c.before is None or {value} is UNCHANGED else {cell}")
        elif target.source is None:
            cells.append("None")
        else:
            cells.append(_cell(scope, f"v{target.source}", place, target.steps))
    return _compiled(scope, cells, width)


def _key_function(targets: list[MappedColumn], key: tuple[int, ...]) -> Rows:
    """Generate the function from values of the source's key, in its order, to those of the target's key."""
    scope: dict[str, Any] = {"UNCHANGED": UNCHANGED}
    cells = []
    for place, target in enumerate(targets):
        if target.expression is not None:
            scope[f"e{place}"] = target.expression
            cells.append(f"e{place}({', '.join(f'v{key.index(i)}' for i in target.expression.columns)})")
        else:
            assert target.source is not None
            cells.append(_cell(scope, f"v{key.index(target.source)}", place, target.steps))
    return _compiled(scope, cells, len(key))


def _cell(scope: dict[str, Any], value: str, place: int, steps: tuple[Convert, ...]) -> str:
    text = value
    for number, step in enumerate(steps):
        scope[f"f{place}_{number}"] = step
        text = f"f{place}_{number}({text})"
    return text if text == value else f"{value} if {value} is None or {value} is UNCHANGED else {text}"


def _compiled(scope: dict[str, Any], cells: list[str], width: int) -> Rows:
    values = "".join(f"v{i}, " for i in range(width))
    made = "".join(f"({cell}), " for cell in cells)
    is_beside = any("c.headers" in cell or "c.before" in cell for cell in cells)
    each = f"({values}), c in zip(rows, changes, strict=True)" if is_beside else f"({values}) in rows"
    exec(f"def rows(rows, changes=()):\n    return [({made}) for {each}]", scope)
    return scope["rows"]  # type: ignore[no-any-return]


def _reference(
    rules: Sequence[TransformationRule], table: TableSchema, key: ForeignKey, renamed: dict[str, str]
) -> ForeignKey | None:
    """Return a foreign key in the target's names, None where a column of it is gone."""
    # What had a key of its own may not be unique in what it has now.
    if any(column not in renamed for column in key.columns) or keys.rule_of(rules, key.target) is not None:
        return None
    return replace(
        key,
        columns=tuple(renamed[column] for column in key.columns),
        target=names.of_table(rules, key.target),
        target_columns=tuple(names.of_column(rules, key.target, column) for column in key.target_columns),
    )


def _left_out(table: TableSchema, mapped: TableSchema) -> tuple[str, ...]:
    def gone(kind: str, before: Sequence[Index | ForeignKey], after: Sequence[Index | ForeignKey]) -> list[str]:
        kept = {item.name for item in after}
        return [f"{kind} {item.name}" for item in before if item.name not in kept]

    generated = {g.name for g in mapped.generated}
    return (
        *gone("index", table.indexes, mapped.indexes),
        *gone("foreign key", table.foreign_keys, mapped.foreign_keys),
        *(f"generated column {g.name}" for g in table.generated if g.name not in generated),
    )
