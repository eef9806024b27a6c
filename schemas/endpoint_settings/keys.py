"""What is known of one endpoint setting: its standing, the setting of ours that it means, and what is done instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.task_settings.keys import Standing

Sets = Callable[[Any], Mapping[str, Any]]
"""From a value to settings of ours in the target's section, by their names. Raises ValueError for what is none."""


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

    def refuses(self, value: Any) -> bool:
        """Tell whether a value asks for what is not done."""
        return self.standing is Standing.REFUSED and value not in self.idle


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


def honoured(name: str, ours: str, convert: Callable[[Any], Any] = same, *, here: str = "") -> EndpointKey:
    """Return a setting that does what it does at DMS."""
    return EndpointKey(name, Standing.HONOURED, here, ours, lambda value: {ours: convert(value)})


def differently(name: str, here: str, ours: str = "", sets: Sets | None = None) -> EndpointKey:
    """Return a setting whose purpose is served in another way."""
    return EndpointKey(name, Standing.DIFFERENTLY, here, ours, sets)


def meaningless(name: str, here: str) -> EndpointKey:
    """Return a setting that has nothing to act on."""
    return EndpointKey(name, Standing.MEANINGLESS, here)


def refused(name: str, here: str, *idle: Any) -> EndpointKey:
    """Return a setting that is only accepted with values that ask for nothing: False, or those that are named."""
    return EndpointKey(name, Standing.REFUSED, here, idle=idle or (False,))
