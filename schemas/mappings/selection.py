"""Selection rules as patterns of `source.tables` and `source.views`: what any includes, without what any excludes.

The order of rules does not count, unlike that of `source.tables` (AWS DMS user guide, "Selection rules and actions").
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.patterns import glob, matches, plain
from schemas.mappings.rules import Mappings, SelectionRule
from schemas.mappings.table_settings_rule import TableSettingsRule
from schemas.table import TableName


def load_order(rules: Sequence[SelectionRule], name: TableName) -> int:
    """Return a table's place in the full load: higher ones begin first, 0 where no rule says."""
    return max((rule.load_order or 0 for rule in rules if concerns(rule, name)), default=0)


def concerns(rule: SelectionRule, name: TableName) -> bool:
    """Tell whether a rule is about a table."""
    locator = rule.object_locator
    if rule.rule_action == "explicit":
        return locator.sole == name
    return matches(locator.schema_name, name.schema) and matches(locator.table_name, name.table)


def lob_max_kb(rules: Sequence[TableSettingsRule], name: TableName, otherwise: int | None) -> int | None:
    """Return where a table's large values are cut off, in KB; None: nowhere. `otherwise` holds without a rule."""
    for rule in rules:
        locator, lobs = rule.object_locator, rule.lob_settings
        if lobs is not None and lobs.mode != "none" and locator.sole == name:
            return lobs.bulk_max_size if lobs.mode == "limited" else None
    return otherwise


def table_patterns(mappings: Mappings) -> list[str]:
    """Return the patterns of tables. Raises CONFIGURATION if no rule includes any."""
    patterns = _patterns(mappings, "table")
    if not patterns:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the table mappings select no tables",
            remedy='add a rule with "rule-type": "selection", "rule-action": "include"',
        )
    return patterns


def view_patterns(mappings: Mappings) -> list[str]:
    """Return the patterns of views; none if no rule includes any."""
    return _patterns(mappings, "view")


def _patterns(mappings: Mappings, kind: str) -> list[str]:
    included, excluded = [], []
    for rule in mappings.selections:
        locator = rule.object_locator
        if locator.table_type not in (kind, "all"):
            continue
        if rule.rule_action == "explicit":
            pattern = ".".join(map(plain, locator.sole))
        else:
            pattern = f"{glob(locator.schema_name)}.{glob(locator.table_name)}"
        if rule.rule_action == "exclude":
            excluded.append(f"!{pattern}")
        else:
            included.append(pattern)
    return included + excluded if included else []
