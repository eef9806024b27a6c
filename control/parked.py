"""`tailrace parked`: what waits on a target's dead-letters topic, and the operator's answers.

The answers are records of the same topic: the appliers carry them out, and the topic is their audit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from apply.error_handling import dead_letters
from apply.error_handling.parking import EDIT, RETRY, SKIP
from apply.error_handling.parking import ParkedKey as Waiting
from control.record_reader import RecordReader
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """One key that waits."""

    identifier: str
    """What the other commands take: topic, partition and offset of the first record."""
    topic: str
    waiting: int
    error: str
    since: str
    command: str | None
    """An answer that is given and not carried out yet."""

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def listing(settings: Settings, target: str) -> list[ParkedKey]:
    """Return what waits, the oldest first."""
    lot = dead_letters.read_lot(settings, target)
    rows = [_row(waiting) for waiting in lot.keys.values()]
    return sorted(rows, key=lambda row: (row.since, row.identifier))


def show(settings: Settings, target: str, identifier: str) -> list[dict[str, Any]]:
    """Return the records of a key, values included. Raises CONFIGURATION for a key that does not wait."""
    found = dead_letters.read_lot(settings, target).find(identifier)
    if found is None:
        raise _unknown(identifier)
    reader = RecordReader(settings)
    documents = []
    for record in found[1].records:
        key, value = dead_letters.read_record(settings, target, record)
        documents.append(
            {
                "identifier": record.reference,
                "error": record.kind,
                "message": record.message,
                "key": reader.read(key),
                "value": reader.read(value),
            }
        )
    return documents


def retry(settings: Settings, target: str, identifier: str) -> str:
    """Ask the appliers to try a key's records again; return what to tell."""
    dead_letters.command(settings, target, identifier, RETRY)
    return f"{identifier}: will be tried again by the next applier that looks"


def skip(settings: Settings, target: str, identifier: str) -> str:
    """Ask the appliers to drop a key's first record and to apply what waits behind it; return what to tell."""
    dead_letters.command(settings, target, identifier, SKIP)
    return f"{identifier}: the refused record will be dropped; what waits behind it is applied in order"


def edit(settings: Settings, target: str, identifier: str, changes: Iterable[str]) -> str:
    """Have the appliers apply a record that waits with other values (`column=JSON`), and what waits with it, in order.

    The topic of the table stays as it is. Raises CONFIGURATION for what cannot be.
    """
    values = dict(map(_assignment, changes))
    found = dead_letters.read_lot(settings, target).find(identifier)
    if found is None:
        raise _unknown(identifier)
    record = next(r for r in found[1].records if r.reference == identifier)
    key, value = dead_letters.read_record(settings, target, record)
    edited = RecordReader(settings).edited(value or b"", key, values)
    dead_letters.command(settings, target, identifier, EDIT, edited)
    return (
        f"{identifier}: will be tried with {', '.join(values)} edited; the source has the old value until you change it"
    )


def audit(settings: Settings, target: str) -> list[dict[str, Any]]:
    """Return all that was parked, answered and released, in order: when, what, and who said so."""
    return [
        {"at": _time(at_ms), "action": action, "identifier": reference, "by": by, "reason": reason}
        for at_ms, action, reference, by, reason in dead_letters.audit(settings, target)
    ]


def _assignment(change: str) -> tuple[str, Any]:
    name, equals, text = change.partition("=")
    try:
        return name, json.loads(text)
    except ValueError:
        if equals and name:
            # What is no JSON is a text: quotes within a shell's quotes are a nuisance.
            return name, text
        raise TailraceError(ErrorKind.CONFIGURATION, f"{change!r} is not column=value") from None


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _row(waiting: Waiting) -> ParkedKey:
    first = waiting.records[0]
    since = _time(first.timestamp_ms)
    error = f"{first.kind}: {first.message}"
    return ParkedKey(first.reference, waiting.topic, len(waiting.records), error, since, waiting.command)


def _unknown(identifier: str) -> TailraceError:
    return TailraceError(
        ErrorKind.CONFIGURATION, f"nothing is parked as {identifier}", remedy="see `tailrace parked list`"
    )
