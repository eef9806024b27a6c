"""Tables that were suspended until none of their rows counted any more: what is left of them is passed over.

The source has dropped such a table, or begun it anew. Its topic says so further on, where a suspended table never
comes by itself.
"""

from __future__ import annotations

from apply.batch import Record
from apply.schema_catalog import SchemaCatalog
from runtime.logging import get_logger

log = get_logger(__name__)


class Superseded:
    """By topic, the life up to which rows are passed over. A later one's begin behind a truncate, or behind a drop."""

    def __init__(self, catalog: SchemaCatalog, *, drops: bool) -> None:
        """`drops`: tables that the source drops are dropped at the target, too."""
        self._catalog = catalog
        self._drops = drops
        self._lives: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._lives)

    def look(self, topic: str | None) -> None:
        """See whether what a suspended table stands at counts any more."""
        known = self._catalog.topics.get(topic or "")
        if topic is None or known is None:
            return
        life = known.over(drops=self._drops)
        if life > self._lives.get(topic, 0):
            self._lives[topic] = life
            log.info("passes over rows that will not be left", table=str(known.name), newest=known.newest.version)

    def covers(self, topic: str, version: int) -> bool:
        """Tell whether what a version of a topic's table wrote is passed over."""
        return topic in self._lives and self._catalog.topics[topic].versions[version].life <= self._lives[topic]

    def left(self, topic: str, records: list[Record], *, truncates: bool) -> list[Record]:
        """Return the records that count. `truncates`: all partitions meet at a truncate, and so it stays."""
        if topic not in self._lives:
            return records
        return [record for record in records if not self._leaves_out(topic, record, truncates=truncates)]

    def _leaves_out(self, topic: str, record: Record, *, truncates: bool) -> bool:
        value, key = record.value(), record.key()
        if value is None:
            return True
        decoder = self._catalog.decoder(topic, self._catalog.mark_of(topic, value, key))
        if decoder.table.life > self._lives[topic]:
            return False
        return not (truncates and key is None and decoder.decode_many([value])[0][0] == "t")
