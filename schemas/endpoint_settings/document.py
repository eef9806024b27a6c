"""Reads a document of endpoint settings into an endpoint's section: one mechanism, two spellings.

What the section says itself stands. Values are not repeated in errors: some are secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas.endpoint_settings.endpoint import ENGINES, Opened, Role, Statement, opened
from schemas.endpoint_settings.keys import EndpointKey, NotDone, plain
from schemas.endpoint_settings.table import Group, groups
from schemas.findings import Finding, note
from schemas.hints import suggestion
from schemas.json_text import InFile
from schemas.task_settings.keys import Standing

SETTING = "endpoint_settings"


def applied(section: Mapping[str, Any], engine: str | None, known: set[str], role: Role) -> dict[str, Any]:
    """Return an endpoint's section with what its endpoint settings mean, and of these the standings alone.

    `known` are the settings of ours. Raises ValueError, as pydantic wants it, that names every problem.
    """
    result = dict(section)
    group = groups(role).get(engine or "")
    problems = _misplaced(section, group, known)
    document = result.get(SETTING)
    if document is not None:
        if group is None:
            raise ValueError(f"{SETTING}: AWS DMS has no such {role}")
        place = f"{SETTING} ({document.file})" if isinstance(document, InFile) else SETTING
        try:
            found = opened(document, role)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        meant, stated, faults = _meant(_statements(found, group), group, section)
        problems += [f"{place}: {problem}" for problem in (*_of_another(found, group, engine), *faults)]
        if faults and isinstance(document, str) and not stated:
            problems.append("if this is the path of a file, begin it with ./")
        # Groups of settings, and properties of a client, stand together; what the section says of one stands.
        for name, value in meant.items():
            mine = result.get(name)
            both = isinstance(mine, Mapping) and isinstance(value, Mapping)
            result[name] = {**value, **mine} if both and mine is not None else result.get(name, value)
        result[SETTING] = stated
        if "engine" in known:
            result.setdefault("engine", engine)
    if problems:
        raise ValueError("; ".join(problems))
    return result


def findings(stated: Mapping[str, str] | None, engine: str, role: Role) -> list[Finding]:
    """Return what is done otherwise than at DMS, and what means nothing here."""
    found = [groups(role)[engine].find(name) for name in stated or ()]
    return [
        note("endpoint-setting", f"{key.name}: {key.standing}: {key.here}")
        for key in found
        if key is not None and key.standing in {Standing.DIFFERENTLY, Standing.MEANINGLESS}
    ]


def _of_another(found: Opened, group: Group, engine: str | None) -> Iterator[str]:
    """Return what shows that a document is for an endpoint of another engine."""
    if found.engine is not None and ENGINES.get(found.engine) != engine:
        known = f"is for {ENGINES[found.engine]}" if found.engine in ENGINES else "is none of ours"
        yield f"EngineName: {found.engine} {known}, and this section is for {engine}"
    for name, _ in found.groups:
        if name and not group.is_called(name):
            yield f"{name}: no settings of this endpoint; " + suggestion(name, [group.name], f"see {group.name}")


def _statements(found: Opened, group: Group) -> Iterator[Statement]:
    """Return what a document states: the group last, which goes before what stands for it elsewhere."""
    yield from found.others
    for name, settings in found.groups:
        if not name or group.is_called(name):
            yield from (Statement(str(each), value) for each, value in settings.items())


def _meant(
    statements: Iterable[Statement], group: Group, section: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    meant: dict[str, Any] = {}
    stated: dict[str, str] = {}
    problems: list[str] = []
    values: dict[str, dict[str, Any]] = {}
    for name, value, is_shared, behind in statements:
        key = group.find(name)
        if key is None:
            if behind:
                problems.append(f"{behind}: behind it stands no setting; a value with semicolons cannot stand there")
            elif not is_shared or value not in (None, "", {}, [], "none"):
                problems.append(_unknown(name, group, is_shared=is_shared))
        elif key.states(value):
            stated[key.name] = str(key.standing)
            if key.refuses(value, section):
                problems.append(f"{key.name}: not supported with this value: {key.here}")
            elif (sets := _taken(key, value, problems)) is not None:
                spelt = {ours: plain(str(setting)) for ours, setting in sets.items()}
                if values.setdefault(key.name, spelt) != spelt:
                    problems.append(f"{key.name}: is stated twice, with two values")
                for ours, setting in sets.items():
                    meant[ours] = {**meant.get(ours, {}), **setting} if isinstance(setting, dict) else setting
    return meant, stated, list(dict.fromkeys(problems))


def _unknown(name: str, group: Group, *, is_shared: bool) -> str:
    if is_shared:
        return f"{name}: such an endpoint has none"
    known = (key.name for key in group.all())
    return f"{name}: unknown setting; " + suggestion(name, known, f"see {group.name}")


def _taken(key: EndpointKey, value: Any, problems: list[str]) -> Mapping[str, Any] | None:
    """Return what a value means in our settings; None where it means none of them, or is none."""
    if key.sets is None:
        return None
    try:
        return key.sets(value)
    except NotDone as error:
        problems.append(f"{key.name}: not supported with this value: {error}")
    except (ValueError, TypeError, OverflowError):
        problems.append(f"{key.name}: is no value of this setting")
    return None


def _misplaced(section: Mapping[str, Any], group: Group | None, known: set[str]) -> list[str]:
    """Return what a section asks for in DMS's words, or in ours for them, that has no setting of ours."""
    keys = group.keys.values() if group else ()
    by_name = {spelling: key for key in keys for spelling in (key.name, _ours(key.name))}
    return [
        f"{name}: {by_name[name].standing}: {by_name[name].here}"
        for name in section
        if name not in known and name in by_name and by_name[name].here
    ]


def _ours(name: str) -> str:
    """Return DMS's name in our spelling: small letters, words with underscores between."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
