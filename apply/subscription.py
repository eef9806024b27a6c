"""The tables that an applier knows of: which topics it consumes, and which tables are written before which."""

from __future__ import annotations

from typing import Protocol

from apply.batching.versions import Versions
from apply.completion import ranks
from runtime.logging import get_logger
from schemas.table import TableName

log = get_logger(__name__)


class Subscriber(Protocol):
    """What of a consumer is used here."""

    def subscribe(self, topics: list[str]) -> None: ...


class Subscription:
    """Follows the catalogue."""

    def __init__(self, versions: Versions) -> None:
        self.topics: list[str] = []
        """Those of all tables that are known, in order."""
        self._versions = versions
        self._revision = 0
        self._ranks: dict[object, int] = {}

    def rank(self, name: TableName) -> int:
        """Return a table's place: those that others refer to come first, those that are not known yet last."""
        return self._ranks.get(name, len(self._ranks))

    def refresh(self, consumer: Subscriber) -> None:
        """Take in new tables and versions."""
        catalog = self._versions.catalog
        catalog.refresh()
        if catalog.revision == self._revision:
            return
        self._revision = catalog.revision
        self._ranks = ranks(self._versions)
        topics = sorted(topic for topic, known in catalog.topics.items() if known.versions)
        if topics and topics != self.topics:
            log.info("tables found", tables=len(topics))
            consumer.subscribe(topics)
            self.topics = topics
