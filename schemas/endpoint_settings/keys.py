"""What is known of one endpoint setting: its standing, the setting of ours that it means, and what is done instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.task_settings.keys import Standing

Sets = Callable[[Any], Mapping[str, Any]]
"""From a value to settings of ours in the endpoint's section, by their names. Raises ValueError for what is none."""


class NotDone(ValueError):
    """A value that this setting has at DMS, and that asks for what is not done."""


@dataclass(frozen=True, slots=True)
class EndpointKey:
    """One setting that DMS has for an endpoint."""

    name: str
    """As the API has it."""
    standing: Standing
    here: str = ""
    """What is done instead, or why nothing is."""
    ours: str = ""
    """The setting of ours that it means."""
    sets: Sets | None = None
    idle: tuple[Any, ...] = ()
    """Of a setting that is refused, the values that ask for nothing."""
    unless: str = ""
    """Of a setting that is refused, the setting of ours that does its work: where that is stated, it is not."""
    says_empty: bool = False
    """Whether an empty text is a value, and not what DMS shows where nothing has been chosen."""

    def states(self, value: Any) -> bool:
        """Tell whether a value says something: DMS shows nulls and empty texts where nothing has been chosen."""
        return value not in (None, {}, []) and (value != "" or self.says_empty)

    def refuses(self, value: Any, section: Mapping[str, Any] | None = None) -> bool:
        """Tell whether a value asks for what is not done, beside what the section says itself."""
        if self.standing is not Standing.REFUSED or (self.unless and _says(section or {}, self.unless)):
            return False
        return plain(value) not in [plain(idle) for idle in self.idle]


def plain(value: Any) -> Any:
    """Return a value as it compares: texts of flags, as extra connection attributes have them, are flags."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    return {"true": True, "y": True, "yes": True, "false": False, "n": False, "no": False}.get(text, text)


def _says(section: Mapping[str, Any], path: str) -> bool:
    """Tell whether a section says something at a path: a setting, one of a group, or a client's property."""
    group, _, name = path.partition(".")
    inner = section.get(group)
    return (inner.get(name) if name and isinstance(inner, Mapping) else inner) not in (None, "")


def same(value: Any) -> Any:
    """Return a value as it is."""
    return value


def word(value: Any) -> str:
    """Return a word of a list, as ours are written: small letters and hyphens."""
    return str(value).lower().replace("_", "-")


def large(value: Any) -> str:
    """Return a word of a list whose words are written in capitals."""
    return str(value).upper()


def seconds(value: Any) -> float:
    """Return milliseconds as seconds."""
    return float(value) / 1000


def unescaped(value: Any) -> str:
    """Return a delimiter: documents often have a line end as a backslash and a letter."""
    return str(value).replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")


def honoured(
    name: str, ours: str, convert: Callable[[Any], Any] = same, *, here: str = "", says_empty: bool = False
) -> EndpointKey:
    """Return a setting that does what it does at DMS."""
    return EndpointKey(name, Standing.HONOURED, here, ours, lambda value: {ours: convert(value)}, says_empty=says_empty)


def differently(name: str, here: str, ours: str = "", sets: Sets | None = None) -> EndpointKey:
    """Return a setting whose purpose is served in another way."""
    return EndpointKey(name, Standing.DIFFERENTLY, here, ours, sets)


def meaningless(name: str, here: str) -> EndpointKey:
    """Return a setting that has nothing to act on."""
    return EndpointKey(name, Standing.MEANINGLESS, here)


def refused(name: str, here: str, *idle: Any, unless: str = "") -> EndpointKey:
    """Return a setting that is only accepted with values that ask for nothing: False, or those that are named."""
    return EndpointKey(name, Standing.REFUSED, here, idle=idle or (False,), unless=unless)
