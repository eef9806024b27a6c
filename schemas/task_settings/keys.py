"""What is known of one key of a task-settings document: its values, its default at DMS, its meaning, and what is done.

A key is in one of four standings. Whatever it is, a document that holds it can be read; only a value that asks for
something that is not done is refused, by the key's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_CODE_POINT = re.compile(r"[0-9A-Fa-f]{1,6}")
_WHOLE = re.compile(r"-?[0-9]{1,18}")

Stated = Mapping[str, Any]
"""The keys that a document states, by their paths (`Group.Key`). A null states nothing, as at DMS."""
Sets = Callable[[Any, Stated], Mapping[str, Any]]
"""From the key's value, and whatever else is stated, to settings of ours by their paths; what is None is not set."""


class Standing(StrEnum):
    """What becomes of a key."""

    HONOURED = "honoured"
    DIFFERENTLY = "honoured differently"
    MEANINGLESS = "meaningless here"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Kind:
    """Which values a key takes."""

    name: str
    """In words, for the documentation."""
    takes: Callable[[Any], bool]
    read: Callable[[Any], Any] = lambda value: value
    """A value as people write it, to that which it is: tools write numbers and truths as texts."""


def _flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


FLAG = Kind("true or false", lambda value: isinstance(value, bool), _flag)
TEXT = Kind("text", lambda value: isinstance(value, str))


CODE_POINT = Kind("code point in hexadecimal digits", lambda value: bool(_CODE_POINT.fullmatch(str(value))))


def integer(least: int = 0, most: int | None = None) -> Kind:
    """Return the kind of whole numbers between two bounds."""
    name = f"integer, {least} to {most}" if most is not None else f"integer, {least} or more"
    return Kind(
        name,
        lambda value: (
            isinstance(value, int)
            and not isinstance(value, bool)
            and value >= least
            and (most is None or value <= most)
        ),
        _whole,
    )


def one_of(*values: str) -> Kind:
    """Return the kind of a word from a list."""
    return Kind(", ".join(f"`{value}`" for value in values), lambda value: value in values)


@dataclass(frozen=True, slots=True)
class Key:
    """One documented key."""

    path: str
    """`Group.Key`; a key within a list of groups stands under the list's name."""
    kind: Kind
    default: Any
    """What DMS takes where a document does not state it; None: nothing, or not documented."""
    meaning: str
    standing: Standing
    here: str = ""
    """What is done instead, or why nothing is."""
    sets: Sets | None = None
    idle: tuple[Any, ...] = ()
    """Of a key that is refused, the values that ask for nothing."""

    def refuses(self, value: Any) -> bool:
        """Tell whether a value asks for what is not done."""
        return self.standing is Standing.REFUSED and value not in self.idle


def honoured(path: str, kind: Kind, default: Any, meaning: str, sets: Sets | None = None, *, here: str = "") -> Key:
    """Return a key that does what it does at DMS."""
    return Key(path, kind, default, meaning, Standing.HONOURED, here, sets)


def differently(path: str, kind: Kind, default: Any, meaning: str, here: str, sets: Sets | None = None) -> Key:
    """Return a key whose purpose is served in another way."""
    return Key(path, kind, default, meaning, Standing.DIFFERENTLY, here, sets)


def meaningless(path: str, kind: Kind, default: Any, meaning: str, here: str) -> Key:
    """Return a key that has nothing to act on."""
    return Key(path, kind, default, meaning, Standing.MEANINGLESS, here)


def refused(path: str, kind: Kind, default: Any, meaning: str, here: str, idle: tuple[Any, ...] = (False,)) -> Key:
    """Return a key that is only accepted with values that ask for nothing."""
    return Key(path, kind, default, meaning, Standing.REFUSED, here, idle=idle)


def to(setting: str, convert: Callable[[Any], Any] = lambda value: value) -> Sets:
    """Return what makes a key's value the value of a setting."""
    return lambda value, _stated: {setting: convert(value)}
