"""Opens what AWS DMS tells of a whole task, where one of its documents is named.

`aws dms describe-replication-tasks` has table mappings and task settings as texts within each task, as
`describe-replication-configs` has of a serverless replication, and CloudFormation's resources have as documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas import json_text

_AROUND = (
    "ReplicationTasks",
    "ReplicationTask",
    "ReplicationConfigs",
    "ReplicationConfig",
)
_NAMES = ("ReplicationTaskIdentifier", "ReplicationConfigIdentifier")
MAPPINGS = ("TableMappings",)
SETTINGS = ("ReplicationTaskSettings", "ReplicationSettings")
_TYPES = ("MigrationType", "ReplicationType")
_SUPPLEMENTAL = "SupplementalSettings"
_POSITIONS = {
    "CdcStartPosition": "say it as `start_position`",
    "CdcStartTime": "say it as `start_position`, with its zone",
    "CdcStopPosition": "`tailrace signal pause --at POSITION` lets a capture go on to there",
}


def member(document: Any, names: tuple[str, ...]) -> Any:
    """Return what a task holds under one of these names, and a document that is no task as it is.

    Raises ValueError, without any value, where the document does not have one of them, or has several tasks.
    """
    task = whole(document)
    if task is None:
        return _opened(document)
    for name in names:
        if task.get(name) is not None:
            return _read(task[name], name)
    raise ValueError(f"{names[0]}: the task has none; a description `--without-settings` leaves them out")


def whole(document: Any) -> Mapping[str, Any] | None:
    """Return a document as a task, if it is one. Raises ValueError, with their names, where there are several."""
    inner = document = _opened(document)
    for name in _AROUND:
        inner = inner[name] if isinstance(inner, Mapping) and name in inner else inner
    if isinstance(inner, list) and inner is not document:
        if len(inner) != 1 or not isinstance(inner[0], Mapping):
            raise ValueError(f"there must be one task in the document, and there are: {_names(inner)}")
        inner = inner[0]
    known = (*MAPPINGS, *SETTINGS, *_NAMES, *_TYPES)
    is_task = isinstance(inner, Mapping) and any(name in inner for name in known)
    return inner if is_task else None


def mode(document: Any) -> str | None:
    """Return what kind of task it is, as DMS says it; None where the document is none, or does not tell."""
    task = whole(document)
    found = next((task[name] for name in _TYPES if task.get(name)), None) if task is not None else None
    return str(found) if found is not None else None


def problems(document: Any, *, follows: bool, has_start: bool) -> list[str]:
    """Return what a task asks for besides its settings that is not done by naming it.

    `follows` tells whether changes are all that is taken: only then does DMS heed a start. `has_start` tells whether
    the configuration says one itself.
    """
    task = whole(document) or {}
    found = [
        f"{name}: {remedy}"
        for name, remedy in _POSITIONS.items()
        if task.get(name) and (name == "CdcStopPosition" or (follows and not has_start))
    ]
    if task.get(_SUPPLEMENTAL) and _read(task[_SUPPLEMENTAL], _SUPPLEMENTAL):
        found.append(f"{_SUPPLEMENTAL}: AWS documents nothing that can stand in it; leave it out")
    return found


def _opened(document: Any) -> Any:
    """Return the document that a text is, as `aws dms … --query` prints one of a task's. Raises ValueError."""
    document = json_text.content_of(document)
    is_text = isinstance(document, str) and document.lstrip()[:1] in ("{", "[")
    return json_text.read(document) if is_text else document


def _read(value: Any, name: str) -> Any:
    """Return a document that stands as a text, or as itself."""
    if not isinstance(value, str):
        return value
    try:
        return json_text.read(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _names(tasks: list[Any]) -> str:
    named = [
        next((str(one[name]) for name in _NAMES if one.get(name)), "?") for one in tasks if isinstance(one, Mapping)
    ]
    return ", ".join(named) or "none"
