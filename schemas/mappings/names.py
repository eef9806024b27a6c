"""Names at the target: which rule gives an object another name, and which one it is."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.patterns import matches
from schemas.mappings.rules import NAMING, Action, TransformationRule
from schemas.table import TableName


def of_table(rules: Iterable[TransformationRule], name: TableName) -> TableName:
    """Return a table's name at the target. Raises CONFIGURATION where two rules name the same thing."""
    found = [rule for rule in rules if rule.rule_action in NAMING]
    schemas = [r for r in found if r.rule_target == "schema" and matches(r.object_locator.schema_name, name.schema)]
    tables = [r for r in found if r.rule_target == "table" and concerns(r, name)]
    return TableName(_name(schemas, name.schema, f"schema {name.schema}"), _name(tables, name.table, f"table {name}"))


def of_column(rules: Iterable[TransformationRule], table: TableName, column: str) -> str:
    """Return a column's name at the target. Raises CONFIGURATION where two rules name it."""
    found = [r for r in rules if r.rule_action in NAMING and r.rule_target == "column" and concerns(r, table, column)]
    return _name(found, column, f"column {column} of {table}")


def concerns(rule: TransformationRule | ObjectMappingRule, table: TableName, column: str | None = None) -> bool:
    """Tell whether a rule's locator means this table, or this column of it."""
    locator = rule.object_locator
    return (
        matches(locator.schema_name, table.schema)
        and matches(locator.table_name, table.table)
        and (column is None or matches(locator.column_name or "%", column))
    )


def gives(rule: TransformationRule, table: TableName, columns: Iterable[str], name: str) -> bool:
    """Tell whether a rule lets a column of a table have a name."""
    if rule.rule_action is Action.ADD_COLUMN:
        return rule.value == name
    if image := rule.before_image_def:
        return name.startswith(image.column_prefix) and name.endswith(image.column_suffix)
    if rule.rule_action not in NAMING or rule.rule_target != "column":
        return False
    return any(column != name == _renamed(rule, column) for column in columns if concerns(rule, table, column))


def sole(rules: list[TransformationRule], what: str) -> TransformationRule | None:
    """Return the one rule that does something to an object. Raises CONFIGURATION if there are several."""
    if len(rules) > 1:
        ids = " and ".join(rule.rule_id for rule in rules)
        numbers = {rule.number for rule in rules}
        first = min((n for n in numbers if n is not None), default=None) if None not in numbers else None
        dms = f"; AWS DMS heeds rule {first} alone, of the lowest rule-id" if first is not None else ""
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"rules {ids} both concern the {what}",
            remedy=f"one transformation of a kind for each object: make the locators of one narrower{dms}",
        )
    return rules[0] if rules else None


def _name(rules: list[TransformationRule], name: str, what: str) -> str:
    # A prefix that is not there is left alone: such a rule does nothing, and is no second one.
    rule = sole([r for r in rules if _renamed(r, name) != name], what)
    if rule is None:
        return name
    if not (found := _renamed(rule, name)):
        raise TailraceError(ErrorKind.CONFIGURATION, f"rule {rule.rule_id} leaves no name of the {what}")
    return found


def _renamed(rule: TransformationRule, name: str) -> str:
    action, value, old = rule.rule_action, rule.value or "", rule.old_value or ""
    if action is Action.RENAME:
        return value
    if action is Action.LOWERCASE:
        return name.lower()
    if action is Action.UPPERCASE:
        return name.upper()
    if action is Action.ADD_PREFIX:
        return value + name
    if action is Action.REMOVE_PREFIX:
        return name.removeprefix(value)
    if action is Action.REPLACE_PREFIX:
        return value + name[len(old) :] if name.startswith(old) else name
    if action is Action.ADD_SUFFIX:
        return name + value
    if action is Action.REMOVE_SUFFIX:
        return name.removesuffix(value)
    assert action is Action.REPLACE_SUFFIX
    return name[: len(name) - len(old)] + value if name.endswith(old) else name
