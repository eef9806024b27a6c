"""Counts what is published: between marks, and for each source transaction. Makes the transactions topic's records.

Every Kafka transaction ends with the marks for all that it holds, so a capture that starts has nothing to restore but
the counts of a source transaction that was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.changes import Transaction
from schemas.transactions import Mark, Record, begin_record, end_record, mark_record

MARK_RECORDS = 10_000
"""After so many records a mark is due, in the midst of a transaction too: what an applier must hold until it knows
that it has everything."""


@dataclass(slots=True)
class Open:
    """The source transaction whose changes are being published."""

    id: str
    commit: int
    total: int = 0
    by_table: dict[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"id": self.id, "commit": self.commit, "tables": self.by_table}


class Transactions:
    """`began` → `counted`… → `ended`; `marks` before each commit to Kafka."""

    def __init__(self, sequence: int, *, metadata: bool, is_cut: bool, cut: Mapping[str, Any] | None) -> None:
        """`sequence` is that of the last mark. `is_cut`: a source transaction is published in part; `cut`: its
        counts, as `open_document` gave them.
        """
        self.metadata = metadata
        """Whether BEGIN, END and the envelope's `transaction` are written."""
        self.pending: list[Record] = []
        """BEGIN and END records that are not handed to the producer yet."""
        self._marked = sequence
        self._whole: dict[str, int] = {}
        self._whole_seq = sequence
        self._part: dict[str, int] = {}
        self._in_part = 0
        self._is_open = self._is_cut = is_cut
        self._cut_ended = False
        self._current: int | None = None
        self._open: Open | None = None
        if cut is not None and metadata:
            counts = {str(table): int(count) for table, count in cut["tables"].items()}
            self._open = Open(cut["id"], cut["commit"], sum(counts.values()), counts)

    def began(self, txn: Transaction) -> None:
        """The changes of a source transaction follow."""
        self._is_open = True
        self._current = txn.commit
        if self._open is not None and self._open.commit != txn.commit:
            self._open = None

    def counted(self, topic: str, count: int) -> None:
        """Take note of records with a value."""
        self._part[topic] = self._part.get(topic, 0) + count
        self._in_part += count

    def ended(self, txn: Transaction, sequence: int) -> None:
        """A source transaction is published whole; `sequence` is the last one used."""
        self._is_open = False
        self._current = None
        self._cut_ended = self._is_cut
        self._close(sequence)
        if self._open is not None:
            self.pending.append(end_record(self._open.id, txn.commit_ts_us, self._open.by_table, sequence))
            self._open = None

    def place(self, txn: Transaction, table: str, count: int) -> tuple[str, int, int] | None:
        """Count `count` events of a transaction's table; return its id, and the orders of the event before them.

        None for changes that were held back until their transaction was long over.
        """
        if txn.commit != self._current:
            return None
        if self._open is None:
            self._open = Open(f"{txn.id}:{txn.commit}", txn.commit)
            self.pending.append(begin_record(self._open.id, txn.commit_ts_us))
        found = self._open
        total, order = found.total, found.by_table.get(table, 0)
        found.total += count
        found.by_table[table] = order + count
        return found.id, total, order

    @property
    def is_mark_due(self) -> bool:
        """Whether enough records are published since the last mark."""
        return self._in_part >= MARK_RECORDS or sum(self._whole.values()) >= MARK_RECORDS

    @property
    def owes_mark(self) -> bool:
        """Whether a transaction ended of which the last mark says that it is cut."""
        return self._cut_ended

    def marks(self, sequence: int, now_us: int) -> list[Record]:
        """Return the marks of all that was published since the last ones; `sequence` is the last one used."""
        if not self._is_open:
            self._close(sequence)
        records = []
        if self._whole_seq > self._marked or self._cut_ended:
            records.append(mark_record(Mark(self._marked, self._whole_seq, True, self._whole), now_us))
            self._marked, self._whole = self._whole_seq, {}
            self._is_cut = self._cut_ended = False
        if sequence > self._marked:
            records.append(mark_record(Mark(self._marked, sequence, False, self._part), now_us))
            self._marked = self._whole_seq = sequence
            self._is_cut = True
            self._part, self._in_part = {}, 0
        return records

    def open_document(self) -> dict[str, Any] | None:
        """Return what a checkpoint must keep of a transaction that is cut."""
        return self._open.document() if self._open is not None else None

    def _close(self, sequence: int) -> None:
        self._whole_seq = sequence
        if self._part:
            whole = self._whole
            for topic, count in self._part.items():
                whole[topic] = whole.get(topic, 0) + count
            self._part, self._in_part = {}, 0
