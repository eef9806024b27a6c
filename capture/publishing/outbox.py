"""Outboxes: tables whose new rows are messages, made as Debezium's outbox event router makes them.

(Debezium's documentation, "Outbox Event Router".) A message is in the Kafka transaction of its row's commit, so it is
there exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from capture.publishing.shapes import Origin, Reshaper, Shaped
from runtime.kafka.producer import Headers
from runtime.logging import get_logger
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.routing import Route, key_indexes
from schemas.table import TableSchema
from schemas.topics import NAME_LENGTH_MAX, legal

log = get_logger(__name__)

TOPICS_MAX = 1000
"""More topics than this are made of no column that names kinds of things."""


class OutboxMessages(Reshaper):
    """The messages that rows of an outbox are."""

    def __init__(self, table: TableSchema, way: Route, origin: Origin, make_topic: Callable[[str], None]) -> None:
        """`make_topic` sees to it that a topic is there."""
        super().__init__(table, way, origin)
        assert way.outbox is not None
        self._outbox = way.outbox
        self._make_topic = make_topic
        self._topics: set[str] = set()
        places = key_indexes(table.column_names, way.outbox.columns, table.name)
        self._id, self._type, self._aggregate, self._payload = places[:4]
        self._headers = list(zip(places[4:], way.outbox.headers.values(), strict=True))
        self._has_warned = False

    @property
    def topics(self) -> set[str]:
        """The topics that messages went to."""
        return self._topics

    def _value_text(self) -> str | None:
        return None

    def _change(self, op: str, row: Row, value: bytes, out: list[Shaped]) -> None:
        if op == "d":
            return
        if op == "u" or UNCHANGED in row:
            # (Of a row that is new all is known: one that lacks values has another key, and is gone.)
            self._updated()
        else:
            out.append(self._message(row))

    def _message(self, row: Row) -> Shaped:
        kind = _text(row[self._type])
        if not kind:
            raise self._refusal(f"a row's {self._outbox.aggregate_type} is empty: it names no topic")
        topic = self._outbox.topic.replace("{aggregate_type}", legal(kind))
        if topic not in self._topics:
            if len(self._topics) >= TOPICS_MAX or len(topic) > NAME_LENGTH_MAX:
                raise self._refusal(
                    f"{self._outbox.aggregate_type} names too many topics, or one with too long a name (at most "
                    f"{TOPICS_MAX} topics, {NAME_LENGTH_MAX} characters)"
                )
            self._make_topic(topic)
            self._topics.add(topic)
        headers: Headers = [("id", (_text(row[self._id]) or "").encode())]
        headers += [(name, text.encode()) for i, name in self._headers if (text := _text(row[i])) is not None]
        aggregate, payload = _text(row[self._aggregate]), row[self._payload]
        content: bytes | None = payload if isinstance(payload, bytes) else (_text(payload) or "").encode()
        if payload is None and self._outbox.tombstones:
            content = None
        return Shaped(topic, None if aggregate is None else aggregate.encode(), content, headers)

    def _updated(self) -> None:
        if self._outbox.updates == "stop":
            raise self._refusal("a row of it was updated, and `updates` is `stop`")
        if not self._has_warned:
            self._has_warned = True
            log.warning("a row of an outbox was updated: it stays the message that it was", table=str(self.table.name))

    def _refusal(self, why: str) -> TailraceError:
        return TailraceError(
            ErrorKind.SOURCE_SCHEMA,
            f"an outbox cannot be published: {why}",
            remedy="see `outbox` in `topics.overrides`, and what the application writes to the table",
            table=str(self.table.name),
        )


def _text(value: Any) -> str | None:
    if value is None or value is UNCHANGED:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
