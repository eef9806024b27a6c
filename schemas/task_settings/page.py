"""The reference page of task settings, made from the table."""

from __future__ import annotations

import json
from itertools import groupby

from schemas.task_settings.keys import Key
from schemas.task_settings.table import KEYS

_HEAD = """\
# Task settings of AWS DMS

Made from `schemas/task_settings/`; do not edit. How they are used: [task settings](../task-settings.md).

* **honoured**: does what it does at DMS. The last column says how, where that is worth knowing.
* **honoured differently**: its purpose is served in another way, which `tailrace plan` tells.
* **meaningless here**: there is nothing for it to act on; `tailrace plan` tells it.
* **refused**: a value that asks for something is an error that names the key; others are accepted.

The default is DMS's. What a document does not state is as Tailrace has it: see [settings](settings.md).
"""


def markdown() -> str:
    """Return the page."""
    lines = _HEAD.splitlines()
    for group, keys in groupby(KEYS.values(), key=_group):
        lines += ["", f"## {group or 'The document'}", ""]
        lines += ["| key | values | default | meaning | standing | here |", "|---|---|---|---|---|---|"]
        lines += [_line(key, group) for key in keys]
    return "\n".join(lines) + "\n"


def _group(key: Key) -> str:
    return key.path.partition(".")[0] if "." in key.path else ""


def _line(key: Key, group: str) -> str:
    default = "" if key.default is None else f"`{json.dumps(key.default)}`"
    name = key.path.removeprefix(f"{group}.")
    cells = (f"`{name}`", key.kind.name, default, key.meaning, str(key.standing), key.here)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
