"""Tables that were suspended until none of their rows counted any more: what is left of them is passed over.

The source has dropped such a table, or begun it anew. Its topic says so further on, where a suspended table never
comes by itself.
"""

from __future__ import annotations

from typing import Protocol

from apply.batching.batch import Record
from apply.schema_catalog import SchemaCatalog
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema

log = get_logger(__name__)


class Stays(Protocol):
    """Tells whether a table's rows are left at the target although it is gone, or begins anew."""

    def __call__(self, table: TableSchema, *, is_gone: bool) -> bool: ...


class Superseded:
    """By topic, the version up to which rows are passed over. Those of later ones stand behind a truncate or a drop."""

    def __init__(self, catalog: SchemaCatalog, stays: Stays, *, drops: bool) -> None:
        """`drops`: tables that the source drops are dropped at the target, too."""
        self._catalog = catalog
        self._drops = drops
        self._stays = stays
        self._versions: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._versions)

    def look(self, topic: str | None) -> None:
        """See whether what a suspended table stands at counts any more."""
        known = self._catalog.topics.get(topic or "")
        if topic is None or known is None or self._stays(known.newest, is_gone=known.is_gone):
            return
        version = known.over(drops=self._drops)
        if version > self._versions.get(topic, 0):
            self._versions[topic] = version
            log.info("passes over rows that will not be left", table=str(known.name), newest=known.newest.version)

    def covers(self, topic: str, version: int) -> bool:
        """Tell whether what a version of a topic's table wrote is passed over."""
        return version <= self._versions.get(topic, 0)

    def left(self, topic: str, records: list[Record], *, truncates: bool) -> list[Record]:
        """Return the records that count. `truncates`: all partitions meet at a truncate, and so it stays."""
        if topic not in self._versions:
            return records
        return [record for record in records if not self._leaves_out(topic, record, truncates=truncates)]

    def _leaves_out(self, topic: str, record: Record, *, truncates: bool) -> bool:
        value, key = record.value(), record.key()
        if value is None:
            return True
        try:
            decoder = self._catalog.decoder(topic, self._catalog.mark_of(topic, value, key))
            if decoder.table.version > self._versions[topic]:
                return False
            return not (truncates and key is None and decoder.decode_many([value])[0][0] == "t")
        except TailraceError as error:
            if error.kind is not ErrorKind.DECODE:
                raise
            # What is to be done about it is known where records are taken in.
            return False
