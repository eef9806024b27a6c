"""What scripts that DMS runs when it connects are for: the statements of AWS's guide, each a setting of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from schemas.endpoint_settings.keys import EndpointKey, NotDone
from schemas.task_settings.keys import Standing

_SET = re.compile(
    r"set\s+(?:session\s+|@@session\.|@@)?(?P<name>\w+)\s*(?:=|\bto\b)\s*(?P<quote>['\"]?)(?P<value>[^'\";]*)(?P=quote)",
    re.IGNORECASE,
)
_ON, _OFF = ("1", "on"), ("0", "off")

Meanings = Mapping[tuple[str, str], Mapping[str, Any]]
"""From a variable and its value, in small letters, to settings of ours."""

POSTGRESQL: Meanings = {
    ("session_replication_role", "replica"): {"disable_triggers": True},
    ("session_replication_role", "origin"): {},
}
MYSQL: Meanings = (
    {("foreign_key_checks", value): {"foreign_key_checks": False} for value in _OFF}
    | {("foreign_key_checks", value): {} for value in _ON}
    # Times with a zone are written as instants, in a session whose zone this is.
    | {("time_zone", value): {} for value in ("utc", "+00:00", "+0:00")}
)


def script(name: str, ours: str, meanings: Meanings, here: str) -> EndpointKey:
    """Return a script's key: honoured where each of its statements has a meaning, refused by name else."""
    return EndpointKey(name, Standing.HONOURED, here, ours, _read(meanings, here))


def _read(meanings: Meanings, here: str) -> Callable[[Any], Mapping[str, Any]]:
    def sets(value: Any) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for statement in filter(None, (text.strip() for text in str(value).split(";"))):
            match = _SET.fullmatch(statement)
            key = (match["name"].lower(), match["value"].strip().lower()) if match else ("", "")
            if key not in meanings:
                raise NotDone(here)
            found |= meanings[key]
        return found

    return sets
