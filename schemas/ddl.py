"""The records of the ddl topic: what happened to tables, in the order of the source's log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

FORM_VERSION = 1


def ddl_record(
    database: str, event: str, what: Mapping[str, Any], *, position: str, seq: int, ts_us: int
) -> tuple[bytes, bytes]:
    """Return the record of an event: `created`, `altered`, `dropped`, `left` (not captured any more) or `statement`.

    `what` says it; `position` is printed as the source prints it; `seq` is the last commit sequence before.
    """
    document = {
        "version": FORM_VERSION,
        "event": event,
        **what,
        "position": position,
        "seq": seq,
        "ts_ms": ts_us // 1000,
    }
    return orjson.dumps({"database": database}), orjson.dumps(document)
