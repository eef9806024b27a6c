"""Whether a cluster answers at all, asked from beside the clients that may be waiting for it."""

from __future__ import annotations

from runtime.kafka.admin import Topics
from runtime.kafka.client import Properties
from schemas.errors import ErrorKind, TailraceError

PROBE_TIMEOUT_S = 5.0


def outage(kafka: Properties, group: str) -> str | None:
    """Return why the coordinator of a group does not answer, or None: it does, be it with a refusal.

    Takes at most `PROBE_TIMEOUT_S`, but for moments.
    """
    try:
        Topics(kafka, timeout_s=PROBE_TIMEOUT_S).group_members(group)
    except TailraceError as error:
        return error.message if error.kind is ErrorKind.TRANSPORT else None
    return None
