"""Says a task-settings document in our own settings: one mechanism, two spellings.

What the configuration says itself stands: a document is often shared by tasks, and saved ones state every default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.endpoint_settings.endpoint import Role, engine_of
from schemas.findings import Finding, note
from schemas.mappings.parts import Locator
from schemas.mappings.rules import Action, TransformationRule
from schemas.task_settings.document import TaskSettings
from schemas.task_settings.table import KEYS

RELATIONAL = ("postgresql", "mysql")
"""Engines of targets that have transactions."""


def meant(settings: TaskSettings) -> dict[str, tuple[str, Any]]:
    """Return the settings that a document means, by their paths, each with the key that says so."""
    found: dict[str, tuple[str, Any]] = {}
    for path, key in KEYS.items():
        if key.sets is not None and path in settings.stated:
            for setting, value in key.sets(settings.stated[path], settings.stated).items():
                if value is not None:
                    found[setting] = (path, value)
    return found


def applied(document: Mapping[str, Any], settings: TaskSettings) -> dict[str, Any]:
    """Return a configuration with what the task settings mean, where it does not say something itself."""
    result = dict(document)
    for setting, (_, value) in meant(settings).items():
        if setting != "apply.ordering" or value != "transactional" or _has_transactions(document):
            result = _with(result, setting.split("."), value)
    return result


def findings(settings: TaskSettings, actual: Any) -> list[Finding]:
    """Return which keys do not hold since the configuration says otherwise. `actual` are the checked settings."""
    found = []
    for setting, (path, value) in meant(settings).items():
        stands = actual
        for step in setting.split("."):
            stands = getattr(stands, step, None)
        if stands != value:
            message = f"{path}: `{setting}` is {stands}, by the configuration or its source and targets"
            found.append(note("task-setting", message))
    return found


def schema_rules(settings: TaskSettings | None) -> list[TransformationRule]:
    """Return the rule that TargetSchema amounts to."""
    schema = settings.stated.get("TargetMetadata.TargetSchema") if settings is not None else None
    if not schema:
        return []
    return [
        TransformationRule.model_validate(
            {
                "rule-type": "transformation",
                "rule-id": "TargetMetadata.TargetSchema",
                "rule-name": "TargetSchema",
                "rule-target": "schema",
                "rule-action": str(Action.RENAME),
                "object-locator": Locator.model_validate({"schema-name": "%"}),
                "value": schema,
            }
        )
    ]


def _with(document: Any, path: list[str], value: Any) -> Any:
    """Return the document with a value at a path, unless something stands there or on the way to it."""
    first, *rest = path
    if not isinstance(document, dict):
        return document
    if rest:
        return document | {first: _with(document.get(first, {}), rest, value)}
    return {first: value} | document


def _has_transactions(document: Mapping[str, Any]) -> bool:
    """Tell whether source and targets can keep transactions whole."""
    source, targets = document.get("source"), document.get("targets")
    engine = engine_of(source, Role.SOURCE) if isinstance(source, dict) else ""
    sections = targets.values() if isinstance(targets, dict) else ()
    engines = {engine_of(section, Role.TARGET) for section in sections if isinstance(section, dict)}
    return engine != "debezium" and engines <= set(RELATIONAL)
