"""One version of one table as the rules would have it at the target, and the functions that make its rows so.

The functions are generated: one list comprehension over the rows, in which only what a rule changes is more than a
name. A table that no rule touches has none, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from schemas.before_image import has_image
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings import keys, names
from schemas.mappings.expressions import Expression, Headers
from schemas.mappings.rules import MASKING, Action, TransformationRule
from schemas.mappings.types import Meaning, meaning, means
from schemas.mappings.values import Convert, converter, digits_mask, digits_randomizer, hash_mask, to_text
from schemas.table import Column, ForeignKey, Index, TableSchema, mentions
from schemas.types import Family, LogicalType


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


@dataclass(frozen=True, slots=True)
class _Target:
    """One column at the target: where its values come from, and what is done to them."""

    column: Column
    source: int | None
    """None: not from the new row."""
    steps: tuple[Convert, ...] = ()
    expression: Expression | None = None
    earlier: int | None = None
    """The column of the old row that it is."""
    is_random: bool = False
    is_unknown: bool = False
    """Whether its value is UNCHANGED in all rows."""

    @property
    def is_steady(self) -> bool:
        """Whether equal rows have an equal value."""
        expression = self.expression
        is_fact = expression is not None and (expression.reads_headers or expression.is_volatile)
        return not (is_fact or self.is_random or self.earlier is not None)


def map_table(rules: Sequence[TransformationRule], table: TableSchema, *, keeps_history: bool = False) -> MappedTable:
    """Compile the rules for a table. Raises CONFIGURATION, with the rules' ids, for what cannot be.

    `keeps_history`: the target is given every change, one by one.
    """
    concerned = [rule for rule in rules if names.concerns(rule, table.name)]
    name = names.of_table(rules, table.name)
    kept = _kept(concerned, table)
    keying = keys.rule_of(rules, table.name)
    # Where there is no key, a row that goes is found by all its values.
    by_all = not table.key and table.full_before and not keeps_history and keying is None
    targets = [_target(concerned, table, i, by_all=by_all) for i in kept] + _added(concerned, table)
    targets += _earlier(concerned, table, targets)
    _check_names(concerned, table, targets)
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
    constants = tuple((i, targets[i].expression()) for i in key if _is_constant(targets[i]))  # type: ignore[misc]
    needs_old = any(t.earlier is not None for t in targets)
    needs = needs_old or any(t.expression and t.expression.reads_headers for t in targets)
    read = tuple(sorted({i for t in targets if t.expression is not None for i in t.expression.columns}))
    changed = any(t.steps or t.source is None for t in targets) or kept != list(range(len(table.columns)))
    # Rows are made anew, as they are, where a key is to be found in them.
    rows = old_rows = None
    if changed or keying is not None:
        rows = _row_function(targets, len(table.columns))
        # By an old row a row without a key is found: what it was given then is told by nothing that comes later.
        sought = targets if keeps_history else [t if t.is_steady else replace(t, is_unknown=True) for t in targets]
        old_rows = _row_function(sought, len(table.columns), is_old=True)
    left_out = _left_out(table, mapped)
    if mapped == table:
        mapped = table
    unsteady = frozenset(i for i, t in enumerate(targets) if not t.is_steady)
    gains_key = bool(key and not table.key)
    indicators = tuple((i, t.expression) for i, t in enumerate(targets) if t.expression and t.expression.indicates)
    return MappedTable(
        mapped, rows, old_rows, key_rows, read, unsteady, needs, needs_old, constants, gains_key, indicators, left_out
    )


def _is_constant(target: _Target) -> bool:
    expression = target.expression
    return expression is not None and not expression.arguments and not expression.is_volatile


def _key_part(table: TableSchema, target: _Target) -> keys.KeyPart:
    if target.source is not None:
        former = table.columns[target.source].name
        return keys.KeyPart(target.column.name, former, frozenset({target.source}), is_same=True)
    expression = target.expression
    reads = frozenset(expression.columns) if expression is not None else frozenset[int]()
    return keys.KeyPart(target.column.name, "", reads, False, target.is_steady)


def _kept(rules: list[TransformationRule], table: TableSchema) -> list[int]:
    """Return the columns that stay."""
    includes = [rule for rule in rules if rule.rule_action is Action.INCLUDE_COLUMN]
    removes = [rule for rule in rules if rule.rule_action is Action.REMOVE_COLUMN]
    kept = []
    for i, column in enumerate(table.columns):
        gone = next((r for r in removes if means(r, table, column)), None)
        if gone is None and includes and not any(means(r, table, column) for r in includes):
            gone = includes[0]
        if gone is None:
            kept.append(i)
        elif i in table.key:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"rule {gone.rule_id} removes {column.name}, which rows are identified by",
                table=str(table.name),
            )
    return kept


def _target(rules: list[TransformationRule], table: TableSchema, index: int, *, by_all: bool) -> _Target:
    column = table.columns[index]
    here = [r for r in rules if r.rule_target == "column" and means(r, table, column)]
    what = f"column {column.name} of {table.name}"
    name = names.of_column(rules, table.name, column.name)
    steps: list[Convert] = []
    type_, native = column.type, column.native
    mask = names.sole([r for r in here if r.rule_action in MASKING], what)
    if mask is not None:
        # Targets would look for a row that they never had. (What is masked in capture is so for all of them.)
        by_all = by_all or (mask.at == "capture" and not table.key and table.full_before)
        if (index in table.key or by_all) and mask.rule_action is Action.DIGITS_RANDOMIZE:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"rule {mask.rule_id}: {column.name} identifies rows; at random they would be other rows each time",
                table=str(table.name),
            )
    retype = names.sole([r for r in here if r.rule_action is Action.CHANGE_DATA_TYPE], what)
    wanted = None
    if retype is not None:
        assert retype.data_type is not None
        wanted = meaning(retype.rule_id, retype.data_type)
    in_order = [mask, retype]
    if mask is not None and retype is not None and type_comes_first(mask, retype):
        in_order.reverse()
    for rule in filter(None, in_order):
        if rule is mask:
            found = _mask(rule, type_, native)
            steps.append(found.convert)
            # What is a text by another rule stays as long as that one says.
            if found.meaning is not None and not (wanted is not None and type_ == wanted.type and _is_text(type_)):
                type_, native = found.meaning.type, found.meaning.native.get(table.engine, native)
        elif wanted is not None:
            convert = converter(type_, wanted.type, f"rule {rule.rule_id}: column {column.name}: ")
            if convert is not None:
                steps.append(convert)
            type_, native = wanted.type, wanted.native.get(table.engine, native)
    if mask is not None and mask.rule_action is Action.HASH_MASK and (type_.length or HASH_LENGTH) < HASH_LENGTH:
        assert retype is not None
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"rule {retype.rule_id}: {column.name} gets {type_.length} characters, and rule {mask.rule_id} makes "
            f"{HASH_LENGTH} of it",
            table=str(table.name),
            remedy=f"a length of {HASH_LENGTH} or more",
        )
    if not steps and retype is None:
        return _Target(replace(column, name=name), index)
    column = replace(column, name=name, type=type_, native=native, default=None, identity="", collation=None)
    if column.filling is not None:
        # It is a text of the source's type. Rows of versions without the column have nothing in its place. (Of what
        # capture makes appliers know that by themselves: it tells them of no filling.)
        in_capture = any(one.at == "capture" for one in (mask, retype) if one is not None)
        is_loose = index not in table.key and not column.nullable and not in_capture
        column = replace(column, filling=None, nullable=column.nullable or is_loose, loosened=is_loose)
    return _Target(
        column,
        index,
        tuple(steps),
        is_random=mask is not None and mask.rule_action is Action.DIGITS_RANDOMIZE,
    )


def type_comes_first(mask: TransformationRule, retype: TransformationRule) -> bool:
    """Tell whether a column gets its other type before it is masked: where that rule's id is the lower number.

    AWS DMS user guide, "Using data masking to hide sensitive information".
    """
    return mask.number is not None and retype.number is not None and retype.number < mask.number


def _is_text(type_: LogicalType) -> bool:
    return type_.family in _STRINGS


@dataclass(frozen=True, slots=True)
class _Mask:
    convert: Convert
    meaning: Meaning | None = None


_STRINGS = (Family.STRING, Family.TEXT)
HASH_LENGTH = 64
"""Characters of a SHA-256 in hexadecimal."""


def _mask(rule: TransformationRule, type_: LogicalType, native: str) -> _Mask:
    """Return what a mask does. A text stays of its type where it can; the rest becomes a text, or stays a number."""
    action = rule.rule_action
    if action is Action.HASH_MASK:
        meaning_ = Meaning(
            LogicalType(Family.STRING, length=HASH_LENGTH),
            {"postgresql": f"character varying({HASH_LENGTH})", "mysql": f"varchar({HASH_LENGTH})"},
        )
        text = to_text(type_)
        return _Mask(lambda value: hash_mask(text(value)), meaning_)
    if action is Action.DIGITS_MASK:
        digits = digits_mask(rule.value or "")
    elif (found := digits_randomizer(type_, native)) is not None:
        digits = found
    else:
        why = f"{action} is for texts, whole numbers and decimals, not {native}"
        raise TailraceError(ErrorKind.CONFIGURATION, f"rule {rule.rule_id}: {why}")
    if type_.family is Family.STRING or (action is Action.DIGITS_RANDOMIZE and not _is_text(type_)):
        return _Mask(digits)
    text = to_text(type_)
    wide = Meaning(LogicalType(Family.STRING), {"postgresql": "text", "mysql": "longtext"})
    return _Mask(lambda value: digits(text(value)), wide)


def _added(rules: list[TransformationRule], table: TableSchema) -> list[_Target]:
    found = []
    for rule in rules:
        if rule.rule_action is not Action.ADD_COLUMN:
            continue
        assert rule.data_type is not None
        assert rule.value is not None
        wanted = meaning(rule.rule_id, rule.data_type)
        column = Column(rule.value, wanted.type, wanted.native.get(table.engine, rule.data_type.type))
        expression = None
        if rule.expression:
            text = rule.expression
            expression = Expression(rule.rule_id, text, table, wanted.type)
        found.append(_Target(column, None, (), expression))
    return found


def _earlier(rules: list[TransformationRule], table: TableSchema, targets: Sequence[_Target]) -> list[_Target]:
    """Return the columns that hold what others held before the change."""
    found: list[_Target] = []
    for target in targets:
        if target.source is None:
            continue
        source = table.columns[target.source]
        here = [r for r in rules if r.rule_action is Action.BEFORE_IMAGE and means(r, table, source)]
        rule = names.sole(here, f"column {source.name} of {table.name}")
        image = rule.before_image_def if rule is not None else None
        if rule is None or image is None or not has_image(table, target.source, image.column_filter):
            continue
        named = f"{image.column_prefix}{target.column.name}{image.column_suffix}"
        column = replace(target.column, name=named, nullable=True, default=None, identity="", filling=None, number=0)
        found.append(_Target(column, None, target.steps, None, target.source))
    return found


def _check_names(rules: list[TransformationRule], table: TableSchema, targets: list[_Target]) -> None:
    seen: set[str] = set()
    for name in [t.column.name for t in targets] + [g.name for g in table.generated]:
        if name in seen:
            ids = [rule.rule_id for rule in rules if names.gives(rule, table.name, table.column_names, name)]
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"{'rules' if len(ids) > 1 else 'rule'} {' and '.join(ids)} {'give' if len(ids) > 1 else 'gives'} "
                f"two columns the name {name}",
                table=str(table.name),
                remedy="make the locator of one narrower, or give another name",
            )
        seen.add(name)


def _row_function(targets: list[_Target], width: int, *, is_old: bool = False) -> Rows:
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


def _key_function(targets: list[_Target], key: tuple[int, ...]) -> Rows:
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
