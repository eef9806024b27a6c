"""Records of keys of which something is parked: they queue behind it, until a record comes from which nothing before
counts.
"""

from __future__ import annotations

from typing import Any

from apply.batching.batch import Batch, Record
from apply.error_handling.parking import ParkingLot
from apply.schema_catalog import SchemaCatalog


class ParkedKeys:
    """What the parking lot says of records, with what the batch in the making has changed of it."""

    def __init__(self, lot: ParkingLot, catalog: SchemaCatalog, *, keeps_history: bool) -> None:
        self.lot = lot
        self._catalog = catalog
        self._keeps_history = keeps_history

    def concern(self, batch: Batch, topic: str) -> bool:
        """Tell whether records of a topic must be looked at one by one."""
        return bool(batch.blocked) or self.lot.holds(topic)

    def queues(self, batch: Batch, record: Record) -> bool:
        """Tell whether a record's key is parked, or is to be: some of what is parked of it counts still."""
        identity = (record.topic(), record.key())
        if identity in batch.blocked:
            return True
        if not self.lot.is_parked(*identity):
            return False
        through = batch.over.get(identity)
        return through is None or self.lot.keys[identity].records[-1].offset > through.offset

    def begins_anew(self, record: Record) -> bool:
        """Tell whether nothing counts of a row that precedes this record: it is deleted, or loaded anew."""
        if self._keeps_history or getattr(record, "lost", None) is not None:
            return False
        return self._catalog.operation(record.topic(), record) in {"r", "d"}

    def end(self, batch: Batch, record: Record) -> None:
        """Let nothing that was refused of a record's key before it count."""
        identity: tuple[str, Any] = (record.topic(), record.key())
        through = self.lot.last_before(identity, record.offset())
        if through is not None:
            batch.over[identity] = through
        batch.forget_refused(lambda other: (other.topic(), other.key()) == identity)
