"""The reference page of endpoint settings, made from the table."""

from __future__ import annotations

from schemas.endpoint_settings.keys import EndpointKey
from schemas.endpoint_settings.table import GROUPS

_HEAD = """\
# Endpoint settings of AWS DMS

Made from `schemas/endpoint_settings/`; do not edit.

`endpoint_settings` of a target takes a document of DMS's own (`${file:s3-settings.json}`, or the settings themselves),
with or without the name of its group around them. What the target's section says itself stands. What a document leaves
out is as Tailrace has it: see [settings](settings.md).

* **honoured**: does what it does at DMS, by the setting beside it.
* **honoured differently**: its purpose is served in another way, which `tailrace plan` tells.
* **meaningless here**: there is nothing for it to act on; `tailrace plan` tells it.
* **refused**: a value that asks for something is an error that names the setting.

DMS's words for some values (`SSE_KMS`, `GZIP`) may have any capitals.
"""


def markdown() -> str:
    """Return the page."""
    lines = _HEAD.splitlines()
    for engine, group in GROUPS.items():
        lines += ["", f"## {engine}", "", f"`{group.name}`", ""]
        lines += ["| DMS | standing | setting | here |", "|---|---|---|---|"]
        lines += [_line(key) for key in group.keys.values()]
    return "\n".join(lines) + "\n"


def _line(key: EndpointKey) -> str:
    here = key.here
    if key.refuses(True) and (idle := [value for value in key.idle if value not in ("", False)]):
        here = f"{here} (accepted: {', '.join(f'`{str(value).lower()}`' for value in idle)})"
    ours = f"`{key.ours}`" if key.ours else ""
    return f"| `{key.name}` | {key.standing} | {ours} | {here} |"
