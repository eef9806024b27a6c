"""Reads a task-settings document: every key is known, every value one that it takes, and all that is asked for is done.

Every problem is told at once, by the key's name. Values are not repeated: a document may hold names that are private.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator

from schemas import task_document
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, note
from schemas.hints import nearest
from schemas.task_settings.keys import Key, Standing
from schemas.task_settings.table import GROUPS, KEYS, LISTS


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What a document states."""

    stated: dict[str, Any]
    """Values by the keys' paths; of a list of groups, the list by the list's path, and each last value by the key's."""


@dataclass(slots=True)
class _Reading:
    stated: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def parse(document: Any) -> TaskSettings:
    """Return what a document, or that of a task, states. Raises CONFIGURATION that lists every problem."""
    try:
        document = task_document.member(document, task_document.SETTINGS)
    except ValueError as error:
        raise TailraceError(ErrorKind.CONFIGURATION, f"the task settings cannot be found: {error}") from error
    if not isinstance(document, dict):
        raise TailraceError(
            ErrorKind.CONFIGURATION, f"task settings are groups of settings, not {type(document).__name__}"
        )
    if "rules" in document:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the task settings are a document of table mappings",
            remedy="name it at `mappings`; task settings have groups as `TargetMetadata`",
        )
    reading = _Reading()
    for name, value in document.items():
        _read(str(name), str(name), value, reading)
    if reading.problems:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the task settings cannot be followed:\n" + "\n".join(f"  {problem}" for problem in reading.problems),
            remedy="docs/task-settings.md lists every key and what becomes of it",
        )
    return TaskSettings(stated=reading.stated)


def findings(settings: TaskSettings) -> list[Finding]:
    """Return what is done otherwise than at DMS, and what means nothing here; keys of one reason are told together."""
    found: dict[tuple[Standing, str], list[str]] = {}
    for key in _stated(settings):
        if key.standing in {Standing.DIFFERENTLY, Standing.MEANINGLESS}:
            found.setdefault((key.standing, key.here), []).append(key.path)
    return [
        note("task-setting", f"{', '.join(paths)}: {standing}: {here}") for (standing, here), paths in found.items()
    ]


def _stated(settings: TaskSettings) -> Iterator[Key]:
    return (key for path, key in KEYS.items() if path in settings.stated)


def _read(path: str, where: str, value: Any, reading: _Reading) -> None:
    """Take in what stands at a path. `where` is the path as the document has it, with places in lists."""
    key = KEYS.get(path)
    if key is None and path not in GROUPS:
        reading.problems.append(f"{where}: unknown setting; {_hint(path)}")
    elif value is None:
        return
    elif key is not None:
        _take(key, where, value, reading)
    elif path in LISTS:
        _read_list(path, where, value, reading)
    elif not isinstance(value, dict):
        reading.problems.append(f"{where}: is a group of settings, not {type(value).__name__}")
    else:
        for name, inner in value.items():
            _read(f"{path}.{name}", f"{where}.{name}", inner, reading)


def _read_list(path: str, where: str, value: Any, reading: _Reading) -> None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        reading.problems.append(f"{where}: is a list of groups of settings, not {type(value).__name__}")
        return
    reading.stated[path] = value
    for index, item in enumerate(value):
        for name, inner in item.items():
            _read(f"{path}.{name}", f"{where}[{index}].{name}", inner, reading)


def _take(key: Key, where: str, given: Any, reading: _Reading) -> None:
    value = key.kind.read(given)
    if not key.kind.takes(value):
        reading.problems.append(f"{where}: should be {key.kind.name}")
    elif key.refuses(value):
        reading.problems.append(f"{where}: not supported with this value: {key.here}")
    else:
        reading.stated[key.path] = value


def _hint(path: str) -> str:
    group, _, name = path.rpartition(".")
    others = sorted(known for known in KEYS if known.rpartition(".")[2].lower() == name.lower())
    if others:
        return f"did you mean {others[0]}?"
    beside = sorted({_step(known, group) for known in (*KEYS, *GROUPS)} - {""})
    near = nearest(name, beside) or nearest(path, [*KEYS, *sorted(GROUPS)])
    return f"did you mean {near}?" if near else f"known: {', '.join(beside)}"


def _step(known: str, group: str) -> str:
    """Return the name that a path has within a group; empty if it is elsewhere."""
    prefix = f"{group}." if group else ""
    return known.removeprefix(prefix).partition(".")[0] if known.startswith(prefix) else ""


def checked(document: Any) -> Any:
    """Return a document as what it states, and what is that already, or none, as it is.

    Raises ValueError, as pydantic wants it, that says what is wrong.
    """
    if document is None or isinstance(document, TaskSettings):
        return document
    try:
        return parse(document)
    except TailraceError as error:
        raise ValueError(error.within) from error


TaskSettingsDocument = Annotated[TaskSettings, BeforeValidator(checked)]
"""A task-settings document of AWS DMS."""
