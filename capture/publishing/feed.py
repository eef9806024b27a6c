"""What is resolved once for each table that is captured: its encoder, its topic, and what is open of its load."""

from __future__ import annotations

from dataclasses import dataclass, field

from capture.full_load.held_back import HeldBack
from capture.full_load.window import LoadWindow, overlay
from capture.publishing.shapes import Reshaper, Shaped
from schemas.bundles import RecordBundle
from schemas.changes import Row, Transaction
from schemas.codecs import Block, Encoder, Pair
from schemas.table import TableSchema

KEYLESS_PARTITION = 0
"""Rows without a key would be spread at random, and lose their order: they all go to one partition."""


@dataclass(slots=True, eq=False)
class Feed:
    """One table on its way to its topic."""

    table: TableSchema
    """The version that was published."""
    source_table: TableSchema
    """The same as the log has it: the object that its changes carry."""
    encoder: Encoder
    topic: str
    partition_count: int
    shape: Reshaper | None = None
    """What says the envelopes again, where records are no envelopes under the table's key."""
    window: LoadWindow | None = None
    """While a table with a key is being loaded."""
    wants_whole: bool = False
    """Whether changes go out with all values: while a table is loaded by segments that its rows may leave without
    another key. No chunk may bring such a row, so nothing would complete it."""
    held_back: HeldBack | None = None
    """While a table without a key is being loaded."""
    runs: list[list[Pair] | RecordBundle] = field(default_factory=list)
    """Records that are not handed to the producer yet, in order."""
    shaped: list[Shaped] = field(default_factory=list)
    """The same, of another shape."""
    tombstones: bool = False
    """Whether a tombstone follows a delete."""
    compacted: bool = False
    """Whether the topic is compacted."""
    txn: Transaction | None = None
    block: Block | None = None
    """What the rows of `txn` share."""
    row_count: int = 0
    """Records published since they were last counted."""

    def take_row_count(self) -> int:
        """Return the records since the last call."""
        count, self.row_count = self.row_count, 0
        return count

    @property
    def topics(self) -> set[str]:
        """The topics that its records go to."""
        return {self.topic} if self.shape is None else self.shape.topics

    @property
    def partition(self) -> int | None:
        """The partition of all its records, or None where keys decide."""
        return None if self.table.spreads else KEYLESS_PARTITION

    def let_go_held_back(self) -> None:
        """Have no changes held back any more; those that are left are lost."""
        if self.held_back is not None:
            self.held_back.close()
            self.held_back = None

    def merge(self, body: bytes, partial: Row) -> bytes:
        """Lay the known values of a partial row over an encoded row."""
        return self.encoder.body(overlay(self.encoder.unbody(body), partial))
