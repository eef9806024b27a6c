"""The reference page of endpoint settings, made from the table."""

from __future__ import annotations

from schemas.endpoint_settings.keys import EndpointKey
from schemas.endpoint_settings.table import GROUPS, SOURCES, Group

_HEAD = """\
# Endpoint settings of AWS DMS

Made from `schemas/endpoint_settings/`; do not edit.

`endpoint_settings` of the source or of a target takes what DMS knows of an endpoint: the path of a document, or the
document. It may be

* the settings alone, with or without the name of their group around them;
* what `aws dms describe-endpoints` prints, or `create-endpoint` takes: `engine` may be left out then. Of several
  endpoints the one source, or the one target, is meant;
* extra connection attributes: `bucketName=lake;dataFormat=parquet`.

What the section says itself stands. Names may have any capitals, numbers and flags may be texts; nulls, empty texts
and empty groups state nothing. What a document leaves out is as Tailrace has it: see [settings](settings.md). AWS
never tells a password: say `password` in the section.

* **honoured**: does what it does at DMS, by the setting beside it.
* **honoured differently**: its purpose is served in another way, which `tailrace plan` tells.
* **meaningless here**: there is nothing for it to act on; `tailrace plan` tells it.
* **refused**: a value that asks for something is an error that names the setting.

DMS's words for some values (`SSE_KMS`, `GZIP`) may have any capitals. Engines of DMS that are none here (Oracle, SQL
Server, Db2, SAP ASE, MongoDB as a source, S3 as a source, Babelfish, Redis, Timestream) are refused by their names.
"""


def markdown() -> str:
    """Return the page."""
    lines = _HEAD.splitlines()
    for engine, group in GROUPS.items():
        lines += ["", f"## {engine}", *_table(group)]
    for engine, group in SOURCES.items():
        lines += ["", f"## {engine} as a source", *_table(group)]
    return "\n".join(lines) + "\n"


def _table(group: Group) -> list[str]:
    beside = [f"`{key.name}`" for key in group.beside.values()]
    told = f"; of the whole endpoint, or extra connection attributes: {', '.join(beside)}" if beside else ""
    head = ["", f"`{group.name}`{told}", "", "| DMS | standing | setting | here |", "|---|---|---|---|"]
    return head + [_line(key) for key in group.all()]


def _line(key: EndpointKey) -> str:
    here = key.here
    if idle := [value for value in key.idle if value not in ("", False)]:
        here = f"{here} (accepted: {', '.join(f'`{str(value).lower()}`' for value in idle)})"
    if key.unless:
        here = f"{here}; accepted where `{key.unless}` is said"
    ours = f"`{key.ours}`" if key.ours else ""
    return f"| `{key.name}` | {key.standing} | {ours} | {here} |"
