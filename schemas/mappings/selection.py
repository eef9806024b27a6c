"""Selection rules as patterns of `source.tables`: what any rule includes, without what any rule excludes.

The order of rules does not count, unlike that of `source.tables` (AWS DMS user guide, "Selection rules and actions").
"""

from __future__ import annotations

from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.patterns import glob, plain
from schemas.mappings.rules import Mappings


def table_patterns(mappings: Mappings) -> list[str]:
    """Return the patterns. Raises CONFIGURATION if no rule includes anything."""
    included, excluded = [], []
    for rule in mappings.selections:
        locator = rule.object_locator
        form = plain if rule.rule_action == "explicit" else glob
        pattern = f"{form(locator.schema_name)}.{form(locator.table_name)}"
        if rule.rule_action == "exclude":
            excluded.append(f"!{pattern}")
        else:
            included.append(pattern)
    if not included:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the table mappings select nothing",
            remedy='add a rule with "rule-type": "selection", "rule-action": "include"',
        )
    return included + excluded
