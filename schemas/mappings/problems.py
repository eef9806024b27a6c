"""What is wrong with a document of table mappings, in words: by the rule's id, and with what may have been meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from schemas.hints import nearest, suggested, suggestion
from schemas.mappings.parts import Part

_REFUSED = {
    "validation": "`tailrace verify` compares values in one form, and by no functions of one's own; take the rule out",
}
"""Types of rules that DMS knows, and why they are refused."""


def line(document: Any, problem: Any, models: Mapping[str, type[Part]], root: type[Part]) -> str:
    """Return one of pydantic's problems in a line: the rule, the setting in it, and what is wrong.

    `models` are those of a document's parts, by where they stand: first the rules', by their types. `root` is its own.
    """
    types = list(models)[:5]
    path = [step for step in problem["loc"] if not (isinstance(step, str) and step.startswith("function-"))]
    where, inside, rule = "the document", path, None
    if path[:1] == ["rules"] and len(path) > 1 and isinstance(path[1], int):
        rule = document["rules"][path[1]]
        named = rule.get("rule-id") if isinstance(rule, dict) else None
        where = f"rule {named}" if named is not None else f"the rule at place {path[1] + 1}"
        inside = path[2:]
    kind, message = problem["type"], problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(rule, dict) and rule.get("rule-type") in _REFUSED:
        return f"{where}: {rule['rule-type']} is not supported: {_REFUSED[rule['rule-type']]}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"{where}: rule-type must be one of {', '.join(types)}{_untyped(rule, types)}"
    model = next((models[str(step)] for step in reversed(inside[:-1]) if step in models), None)
    steps = ".".join(str(step) for step in inside if step not in types)
    if kind == "extra_forbidden":
        known = [str(field.alias) for field in (model or root).model_fields.values()]
        return f"{where}: {steps} is unknown; " + suggestion(str(path[-1]), known, f"known: {', '.join(known)}")
    if kind == "missing":
        return f"{where}: {steps} is missing"
    if kind in ("literal_error", "enum") and (near := nearest(str(problem["input"]), _OPTION.findall(message))):
        message = f"did you mean {near}? It {message}"
    if kind in ("model_type", "model_attributes_type"):
        message = "should be an object"
    if kind == "too_short":
        message = "is empty"
    return f"{where}: {steps + ': ' if steps else ''}{message}"


_OPTION = re.compile("'([^']*)'")


def _untyped(rule: Any, types: list[str]) -> str:
    """Return what may have been meant to be a rule's type."""
    if not isinstance(rule, dict):
        return ""
    if "rule-type" not in rule:
        named = nearest("rule-type", map(str, rule))
        return f"; {named} is unknown: did you mean rule-type?" if named else ""
    return suggested(str(rule["rule-type"]), types)
