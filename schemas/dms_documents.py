"""Documents of AWS DMS in a configuration: read where they are named, and what they say put where our own settings are.

This comes before all else is checked: what they say decides what shall stand there. Of all of them all that is wrong is
told at once, with the file that it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas import task_document
from schemas.endpoint_settings.endpoint import Role, engine_of
from schemas.errors import TailraceError
from schemas.json_text import InFile
from schemas.mappings import field, selection
from schemas.mappings.rules import Mappings
from schemas.task_settings import document as task_settings
from schemas.task_settings import translation


def opened(configuration: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration with what its documents say, unless it says that itself; and what is wrong with them."""
    problems: list[str] = []
    found = _read(configuration, "settings", task_settings.checked, problems)
    found = _read(found, "mappings", field.checked, problems)
    targets = found.get("targets")
    if isinstance(targets, dict):
        found["targets"] = {
            name: _read(section, "mappings", field.checked, problems, f"targets.{name}.")
            if isinstance(section, dict)
            else section
            for name, section in targets.items()
        }
    if problems:
        return found, problems
    found = _with_task(found, configuration, problems)
    if found.get("settings") is not None:
        found = translation.applied(found, found["settings"])
    try:
        found = _with_selection(found)
    except (ValueError, TailraceError) as error:
        said = error.within if isinstance(error, TailraceError) else str(error)
        problems.append(f"{_place(configuration, 'mappings')}: {said}")
    return found, problems


def _place(section: dict[str, Any], name: str, within: str = "") -> str:
    given = section[name]
    return f"{within}{name} ({given.file})" if isinstance(given, InFile) else f"{within}{name}"


def _read(
    section: dict[str, Any], name: str, checked: Callable[[Any], Any], problems: list[str], within: str = ""
) -> dict[str, Any]:
    """Return a section of the configuration with the document that it names, checked."""
    try:
        return section | {name: checked(section[name])} if section.get(name) is not None else dict(section)
    except ValueError as error:
        problems.append(f"{_place(section, name, within)}: {error}")
        return dict(section)


def _with_task(found: dict[str, Any], configuration: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the configuration with what a description of a whole task says beside its documents."""
    places: dict[str, str] = {}
    for name in ("settings", "mappings"):
        task = configuration.get(name)
        if (mode := task_document.mode(task)) is not None:
            found = {"mode": mode} | found
        try:
            faults = task_document.problems(
                task, follows=found.get("mode") == "cdc", has_start="start_position" in found
            )
        except ValueError as error:
            faults = [str(error)]
        for fault in faults:
            # Both documents are of one task, as a rule.
            places.setdefault(fault, _place(configuration, name))
    problems += [f"{place}: {fault}" for fault, place in places.items()]
    return found


def _with_selection(found: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with the mappings' selection where `source.tables` is. Raises ValueError, CONFIGURATION
    for one that cannot stand there.
    """
    source, mappings = found.get("source"), found.get("mappings")
    if not isinstance(source, dict) or not isinstance(mappings, Mappings) or not mappings.selections:
        return found
    if "tables" in source:
        raise ValueError("both source.tables and the selection rules of mappings say which tables to take")
    selected = {"tables": selection.table_patterns(mappings)}
    if engine_of(source, Role.SOURCE) in translation.RELATIONAL:
        selected["views"] = selection.view_patterns(mappings)
    elif view := next((rule for rule in mappings.selections if rule.object_locator.table_type == "view"), None):
        raise ValueError(f"rule {view.rule_id} takes views: only those of PostgreSQL and MySQL are loaded")
    return found | {"source": source | selected}
