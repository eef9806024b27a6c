"""Consumed records that travelled in parts, put together again: see `schemas.parts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import Message

from runtime.kafka.client import Properties
from runtime.kafka.ranges import read_ranges
from schemas.parts import HEADER, Reference

READ_TIMEOUT_S = 300.0

WHOLE_BYTES_MAX = 32 << 20
"""So many bytes of whole values are returned at once; a record that alone is larger comes alone."""


class WholeRecord:
    """A record with its whole value; otherwise the message."""

    def __init__(self, message: Message, value: bytes) -> None:
        self._message = message
        self._value = value

    def value(self) -> bytes:
        """Return the whole value."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)


class WholeRecords:
    """Puts records together."""

    def __init__(self, kafka: Properties, topic: str) -> None:
        """`topic` is the one of the parts."""
        self._kafka = kafka
        self._topic = topic

    def whole(self, messages: Sequence[Message]) -> list[Any]:
        """Return messages whose values are whole: the first ones, as far as they fit.

        Raises DECODE for a value whose parts are not there.
        """
        if not any(map(Message.headers, messages)):
            return list(messages)
        found: list[Any] = []
        size = 0
        for message in messages:
            headers = message.headers()
            content: Any = dict(headers).get(HEADER) if headers else None
            if content is not None:
                where = Reference.of_header(content or b"")
                if size and size + where.byte_count > WHOLE_BYTES_MAX:
                    break
                size += where.byte_count
                found.append(WholeRecord(message, self._read(where)))
            else:
                found.append(message)
        return found

    def value(self, header: str) -> bytes:
        """Return the whole value that a header refers to."""
        return self._read(Reference.of_header(header))

    def _read(self, where: Reference) -> bytes:
        place = (self._topic, 0)
        found = read_ranges(
            self._kafka, {place: (where.first, where.first + where.part_count)}, timeout_s=READ_TIMEOUT_S
        )
        return where.joined([record.value or b"" for record in found[place]])
