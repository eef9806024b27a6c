"""Signals: commands to running services, as JSON documents on a replication's signals topic, keyed by their ids.

| member | meaning |
|---|---|
| `version` | of this form: 1 |
| `id` | names the command; a second record with it changes nothing |
| `command` | `pause`, `resume` or `reload` |
| `target` | of `pause` and `resume`: the appliers of this target; without it capture |
| `at` | of `pause` without target: the source's position to stop at, as `status` prints it |
| `table` | of `reload`: `schema.table` |
| `lower`, `upper` | of `reload`: only keys above `lower`, up to and with `upper`: lists of literals, one a column |
| `empty` | of `reload`: consumers empty the table first |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from schemas.errors import ErrorKind, TailraceError

FORM_VERSION = 1

PAUSE, RESUME, RELOAD = "pause", "resume", "reload"
ACCEPTED = "accepted"
"""How an answer begins that another will follow."""
COMMANDS = (PAUSE, RESUME, RELOAD)

Bound = tuple[str, ...]


class Signal(NamedTuple):
    """One command."""

    id: str
    command: str
    target: str | None = None
    at: str | None = None
    table: str | None = None
    lower: Bound | None = None
    upper: Bound | None = None
    empty: bool = False


def encode(signal: Signal) -> tuple[bytes, bytes]:
    """Return the record's key and value."""
    document = {name: value for name, value in signal._asdict().items() if value not in (None, False)}
    return signal.id.encode(), orjson.dumps({"version": FORM_VERSION, **document})


def decode(value: bytes) -> Signal:
    """Return the command of a record's value. Raises DECODE for anything that is none."""
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _bad("it is not JSON") from error
    if not isinstance(document, dict):
        raise _bad("it is not an object")
    members = dict(document)
    if members.pop("version", None) != FORM_VERSION:
        raise _bad(f"its form is not {FORM_VERSION}")
    unknown = members.keys() - set(Signal._fields)
    if unknown:
        # A command is not carried out in part.
        raise _bad(f"this release does not know {len(unknown)} of its members")
    if members.get("command") not in COMMANDS or not _is_text(members.get("id")):
        raise _bad("it has no id, or no command that this release knows")
    for name in ("target", "at", "table"):
        if members.get(name) is not None and not _is_text(members[name]):
            raise _bad(f"{name} is not a text")
    for name in ("lower", "upper"):
        members[name] = _bound(members, name)
    if not isinstance(members.setdefault("empty", False), bool):
        raise _bad("empty is not true or false")
    if members["command"] == RELOAD and not members.get("table"):
        raise _bad("a reload names no table")
    return Signal(**members)


def _bound(members: Mapping[str, Any], name: str) -> Bound | None:
    bound = members.get(name)
    if bound is None:
        return None
    if not isinstance(bound, list) or not bound or not all(isinstance(part, str) for part in bound):
        raise _bad(f"{name} is not a list of texts")
    return tuple(bound)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _bad(why: str) -> TailraceError:
    return TailraceError(ErrorKind.DECODE, f"a record on the signals topic is no signal: {why}")
