"""What becomes of a table's columns: where the values of each come from at the target, and what is done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.before_image import has_image
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings import names
from schemas.mappings.expressions import Expression
from schemas.mappings.rules import MASKING, Action, TransformationRule
from schemas.mappings.types import Meaning, meaning, means
from schemas.mappings.values import Convert, converter, digits_mask, digits_randomizer, hash_mask, to_text
from schemas.table import Column, TableSchema
from schemas.types import Family, LogicalType


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """One column at the target."""

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


def mapped_columns(rules: Sequence[TransformationRule], table: TableSchema, *, by_all: bool) -> list[MappedColumn]:
    """Return the columns that rules make of a table's: those that stay, then those that come in addition. `by_all`: a
    row is found by all its values. Raises CONFIGURATION, with the rules' ids, for what cannot be.
    """
    found = [_mapped(rules, table, i, by_all=by_all) for i in _kept(rules, table)] + _added(rules, table)
    found += _earlier(rules, table, found)
    _check_names(rules, table, found)
    return found


def _kept(rules: Sequence[TransformationRule], table: TableSchema) -> list[int]:
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


def _mapped(rules: Sequence[TransformationRule], table: TableSchema, index: int, *, by_all: bool) -> MappedColumn:
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
        return MappedColumn(replace(column, name=name), index)
    column = replace(column, name=name, type=type_, native=native, default=None, identity="", collation=None)
    if column.filling is not None:
        # It is a text of the source's type. Rows of versions without the column have nothing in its place. (Of what
        # capture makes appliers know that by themselves: it tells them of no filling.)
        in_capture = any(one.at == "capture" for one in (mask, retype) if one is not None)
        is_loose = index not in table.key and not column.nullable and not in_capture
        column = replace(column, filling=None, nullable=column.nullable or is_loose, loosened=is_loose)
    return MappedColumn(
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


def _added(rules: Sequence[TransformationRule], table: TableSchema) -> list[MappedColumn]:
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
        found.append(MappedColumn(column, None, (), expression))
    return found


def _earlier(
    rules: Sequence[TransformationRule], table: TableSchema, targets: Sequence[MappedColumn]
) -> list[MappedColumn]:
    """Return the columns that hold what others held before the change."""
    found: list[MappedColumn] = []
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
        found.append(MappedColumn(column, None, target.steps, None, target.source))
    return found


def _check_names(rules: Sequence[TransformationRule], table: TableSchema, targets: Sequence[MappedColumn]) -> None:
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
