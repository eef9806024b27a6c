"""The net effect of a run of changes: each key comes down to its last state, so that a batch is merged set-wise.

Pure logic. Any cut of a list of changes into runs leads to the same rows, and the net changes of a run lead to the
same rows as the run itself: property tests hold it to both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from apply.batching.staged_rows import StagedRows, Staging
from apply.sink import TableBatch
from schemas.changes import UNCHANGED, Row
from schemas.table import TableSchema

Change = tuple[str, Row | None, Any]
"""The operation (`r`, `c`, `u`, `d`), the row before and the row after, or bytes that a sink's form made of it."""

_after = itemgetter(2)


class NetChanges:
    """The net changes of one version of one table, by encoded key.

    A key stands in one of three places: `upserts` (a whole row), `updates` (some values UNCHANGED), `deletes` (the
    values of its key). A table without a key keeps every change, in order; so does any table with `history`.
    """

    __slots__ = (
        "_key_of", "_records", "deletes", "has_reads", "sequence", "sequential", "staging", "table", "updates",
        "upserts",
    )  # fmt: skip

    def __init__(self, table: TableSchema, *, history: bool = False, staging: Staging | None = None) -> None:
        """`staging`: rows after may be bytes; not where every change is kept."""
        self.table = table
        self.staging = staging
        self._records: dict[bytes, bytes] = {}
        """The records that bytes among `upserts` were made of."""
        self.sequential = history or not table.key
        """Whether every change is kept."""
        self.upserts: dict[bytes, Any] = {}
        self.updates: dict[bytes, Row] = {}
        self.deletes: dict[bytes, Row] = {}
        self.sequence: list[Change] = []
        self.has_reads = False
        """Whether any change so far was a row of the full load."""
        self._key_of = _key_getter(table.key)

    def add(
        self, keys: Sequence[bytes | None], changes: Sequence[Change], ops: set[str], values: Sequence[bytes] = ()
    ) -> None:
        """Take in a run of changes; `ops` are the operations that it holds: truncates in a history only. `values` are
        the records' own, needed where rows may be staged.

        The order within one key counts, the order between keys does not: a key's changes all come from one partition.
        """
        if "r" in ops:
            self.has_reads = True
        if self.sequential:
            self.sequence.extend(changes)
        elif ops <= {"r", "c"} and not self.updates and not self.deletes:
            # Rows of a full load, and of a source that only inserts: no look at any one of them.
            self.upserts.update(zip(keys, map(_after, changes), strict=True))  # type: ignore[arg-type]
            self._records.update(zip(keys, values))  # type: ignore[arg-type]  # noqa: B905 - or there are none
        elif self.staging is not None:
            self._add_staged(keys, changes, values)
        else:
            self._add_each(keys, changes)

    def _add_staged(self, keys: Sequence[bytes | None], changes: Sequence[Change], values: Sequence[bytes]) -> None:
        """Take in what is whole at once; all else is compared with what is known, row by row."""
        upserts, updates, deletes, records = self.upserts, self.updates, self.deletes, self._records
        for key, change, value in zip(keys, changes, values, strict=True):
            after = change[2]
            if after.__class__ is bytes:
                assert key is not None, "a table with a key has records with keys"
                upserts[key] = after
                records[key] = value
                if updates:
                    updates.pop(key, None)
                if deletes:
                    deletes.pop(key, None)
            else:
                self._add_each((key,), (change,))

    def _add_each(self, keys: Sequence[bytes | None], changes: Sequence[Change]) -> None:
        upserts, updates, deletes, key_of = self.upserts, self.updates, self.deletes, self._key_of
        for key, (op, before, after) in zip(keys, changes, strict=True):
            assert key is not None, "a table with a key has records with keys"
            if op == "d":
                assert before is not None, "a delete has its key"
                upserts.pop(key, None)
                updates.pop(key, None)
                deletes[key] = key_of(before)
                continue
            assert after is not None, "every other change has a new row"
            if op == "u" and UNCHANGED in after:
                known = upserts.get(key)
                if known is not None:
                    upserts[key] = merge(self._row(key, known), after)
                elif key not in deletes:
                    known = updates.get(key)
                    updates[key] = after if known is None else merge(known, after)
                # else: the row is gone, and an incomplete row cannot bring it back.
                continue
            if updates:
                updates.pop(key, None)
            if deletes:
                deletes.pop(key, None)
            upserts[key] = after

    def batch(self, *, fresh: bool = False) -> TableBatch:
        """Return what there is to write."""
        staging = self.staging
        return TableBatch(
            self.table,
            list(self.upserts.values())
            if staging is None
            else StagedRows(staging.form, self.upserts, self._records, staging.read),
            list(self.updates.values()),
            list(self.deletes.values()),
            self.sequence,
            fresh,
        )

    def keys_of(self, kind: str) -> list[bytes]:
        """Return the encoded keys of a list of `batch`, in its order."""
        keys: dict[bytes, Any] = getattr(self, kind)
        return list(keys)

    def _row(self, key: bytes, row: Row | bytes) -> Row:
        if isinstance(row, bytes):
            assert self.staging is not None, "bytes come of a form"
            return self.staging.read(self._records[key])
        return row

    def __len__(self) -> int:
        return len(self.upserts) + len(self.updates) + len(self.deletes) + len(self.sequence)


def merge(older: Row, newer: Row) -> Row:
    """Return the newer row with the older one's values where the newer has none."""
    return tuple([old if new is UNCHANGED else new for old, new in zip(older, newer, strict=True)])


def _key_getter(key: tuple[int, ...]) -> Callable[[Row], Row]:
    if len(key) == 1:
        only = key[0]
        return lambda row: (row[only],)
    if not key:
        return lambda row: row
    return itemgetter(*key)
