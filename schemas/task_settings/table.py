"""Every documented key, by its path."""

from __future__ import annotations

from schemas.task_settings import changes, errors, full_load, operation
from schemas.task_settings.keys import Key

KEYS: dict[str, Key] = {key.path: key for group in (full_load, changes, errors, operation) for key in group.KEYS}
GROUPS: frozenset[str] = frozenset(
    ".".join(steps[:count]) for steps in (path.split(".") for path in KEYS) for count in range(1, len(steps))
)
LISTS: frozenset[str] = frozenset({"Logging.LogComponents", "CharacterSetSettings.CharacterReplacements"})
"""Groups that stand in a list, any number of times."""
