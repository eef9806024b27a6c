"""Reads a document of endpoint settings into a target's section: one mechanism, two spellings.

What the section says itself stands. Values are not repeated in errors: some are secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from schemas.endpoint_settings.keys import EndpointKey
from schemas.endpoint_settings.table import GROUPS, Group
from schemas.findings import Finding, Severity
from schemas.hints import nearest
from schemas.task_settings.keys import Standing

SETTING = "endpoint_settings"


def applied(section: Mapping[str, Any], engine: str | None, known: set[str]) -> dict[str, Any]:
    """Return a target's section with what its endpoint settings mean, and of these the standings alone.

    `known` are the settings of ours. Raises ValueError, as pydantic wants it, that names every problem.
    """
    result = dict(section)
    group = GROUPS.get(engine or "")
    problems = _misplaced(section, group, known)
    document = result.get(SETTING)
    if document is not None:
        if group is None:
            raise ValueError(f"{SETTING}: AWS DMS has no such target")
        meant, stated, faults = _read(_opened(document, group), group)
        problems += faults
        # Properties of a client stand together; what the section says of one stands.
        for name, value in meant.items():
            mine = result.get(name)
            both = isinstance(mine, Mapping) and isinstance(value, Mapping)
            result[name] = {**value, **mine} if both and mine is not None else result.get(name, value)
        result[SETTING] = stated
    if problems:
        raise ValueError("; ".join(problems))
    return result


def findings(stated: Mapping[str, str] | None, engine: str) -> list[Finding]:
    """Return what is done otherwise than at DMS, and what means nothing here."""
    keys = GROUPS[engine].keys if stated else {}
    return [
        Finding(Severity.NOTE, "endpoint-setting", f"{name}: {keys[name].standing}: {keys[name].here}")
        for name in stated or ()
        if keys[name].standing in {Standing.DIFFERENTLY, Standing.MEANINGLESS}
    ]


def _opened(document: Any, group: Group) -> Mapping[str, Any]:
    """Return the settings of a document, which may be text, and may have them under the group's name."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except json.JSONDecodeError as error:
            raise ValueError(f"{SETTING}: is no JSON (line {error.lineno})") from None
    if isinstance(document, Mapping) and set(document) == {group.name}:
        document = document[group.name]
    if not isinstance(document, Mapping):
        raise ValueError(f"{SETTING}: are settings by their names, not {type(document).__name__}")
    return document


def _read(document: Mapping[str, Any], group: Group) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    meant: dict[str, Any] = {}
    stated: dict[str, str] = {}
    problems: list[str] = []
    for name, value in document.items():
        key = group.keys.get(name)
        if key is None:
            near = nearest(name, group.keys)
            problems.append(f"{name}: unknown setting; " + (f"did you mean {near}?" if near else f"see {group.name}"))
        elif value is not None:
            stated[name] = str(key.standing)
            if key.refuses(value):
                problems.append(f"{name}: not supported with this value: {key.here}")
            elif key.sets is not None:
                _take(key, value, meant, problems)
    return meant, stated, problems


def _take(key: EndpointKey, value: Any, meant: dict[str, Any], problems: list[str]) -> None:
    assert key.sets is not None
    try:
        for name, setting in key.sets(value).items():
            meant[name] = {**meant.get(name, {}), **setting} if isinstance(setting, dict) else setting
    except (ValueError, TypeError, OverflowError):
        problems.append(f"{key.name}: is no value of this setting")


def _misplaced(section: Mapping[str, Any], group: Group | None, known: set[str]) -> list[str]:
    """Return what a section asks for in DMS's words, or in ours for them, that has no setting of ours."""
    by_name = (
        {spelling: key for key in group.keys.values() for spelling in (key.name, _ours(key.name))} if group else {}
    )
    return [
        f"{name}: {by_name[name].standing}: {by_name[name].here}"
        for name in section
        if name not in known and name in by_name and by_name[name].here
    ]


def _ours(name: str) -> str:
    """Return DMS's name in our spelling: small letters, words with underscores between."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
