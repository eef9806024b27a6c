"""Schemas taken out of records that bring them: most of each such record is the same text as in the one before.

`topics.format: json-with-schema` puts Kafka Connect's schema before each envelope, three to four times as long as the
envelope itself. As soon as a record is received, a stand-in takes the schema's place: a batch holds as many rows then
as one of plain JSON, in the same memory, and what is read of a record once more is short. A value with a stand-in is
JSON of the same form, so whoever reads envelopes need not know; only who hands a record on asks for the whole value.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Protocol

HEAD = b'{"schema":'
PAYLOAD = b',"payload":'
ENVELOPE = PAYLOAD + b'{"op":"'
"""Where a schema ends and an envelope of ours begins. Within a schema these bytes cannot stand: quotes in strings are
escaped, and no member of a schema is called so."""
RANDOM_BYTES = 16
STAND_IN_BYTES = len(HEAD) + 2 * RANDOM_BYTES + len('""') + len(PAYLOAD)
SCHEMA_BYTES_MAX = 16 << 20
"""Schemas that are remembered, for as long as the process lives. Records with further ones stay as they are."""


class Received(Protocol):
    """A record as the Kafka client gives it, which may be given another value."""

    def topic(self) -> Any: ...
    def value(self) -> Any: ...
    def set_value(self, value: bytes, /) -> None: ...


class SchemaStandIns:
    """The schemas that were taken out so far, and what stands for them."""

    def __init__(self, *, bytes_max: int = SCHEMA_BYTES_MAX) -> None:
        self._bytes_left = bytes_max
        self._pairs: dict[bytes, tuple[bytes, bytes]] = {}
        """What precedes the envelope in a record, and its stand-in, by the former."""
        self._heads: dict[bytes, bytes] = {}
        """The former by the latter."""
        self._last = b"", b""
        """The pair of the record before: most often, it is that of the next one."""
        self._latest: dict[str, tuple[bytes, bytes]] = {}
        """The same by topic."""

    def shorten(self, records: Iterable[Received]) -> None:
        """Let stand-ins take the place of schemas."""
        head, stand_in = self._last
        for record in records:
            value = record.value()
            if value is None:
                continue
            rest = value.removeprefix(head)
            if len(rest) == len(value):
                pair = self._pair(record.topic(), value)
                if pair is None:
                    continue
                head, stand_in = self._last = pair
                rest = value.removeprefix(head)
            record.set_value(stand_in + rest)

    def whole(self, value: bytes | None) -> bytes | None:
        """Return a record's value as it stands on its topic."""
        if value is None:
            return None
        head = self._heads.get(value[:STAND_IN_BYTES])
        return value if head is None else head + value[STAND_IN_BYTES:]

    def _pair(self, topic: str, value: bytes) -> tuple[bytes, bytes] | None:
        """Return what precedes the envelope in a record, and its stand-in; None where it is to stay."""
        pair = self._latest.get(topic)
        if pair is not None and value.startswith(pair[0]):
            return pair
        end = value.find(ENVELOPE) if value.startswith(HEAD) else -1
        if end < 0:
            return None
        head = value[: end + len(PAYLOAD)]
        pair = self._pairs.get(head)
        if pair is None:
            if self._bytes_left < len(head):
                return None
            self._bytes_left -= len(head)
            # Random: no record holds it by chance.
            stand_in = b'%b"%b"%b' % (HEAD, secrets.token_hex(RANDOM_BYTES).encode(), PAYLOAD)
            pair = self._pairs[head] = head, stand_in
            self._heads[stand_in] = head
        self._latest[topic] = pair
        return pair
