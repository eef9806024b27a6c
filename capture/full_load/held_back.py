"""Changes of a table without a key, held back in a temporary file while the table is being loaded.

Rows without a key cannot be compared with a chunk's rows one by one. So the table is read whole, under one snapshot,
and the log's changes of it wait here: when the rows are out, those that the snapshot saw are skipped and the others
follow in order. The file has no name: it goes with the process, and the load begins anew after a crash.
"""

from __future__ import annotations

import pickle
import tempfile
from struct import Struct

from capture.source import Snapshot
from schemas.changes import RowChanges, Transaction, Truncate
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema

MEMORY_BYTES_MAX = 4 << 20
"""Held in memory up to here, in the file beyond."""

_LENGTH = Struct(">I")


class HeldBack:
    """A queue of one table's changes on disk: `add` at the end, `take` from the front."""

    def __init__(self, table: TableSchema, directory: str | None = None) -> None:
        self._table = table
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX, dir=directory)  # noqa: SIM115 (closed by close)
        self._read_at = 0
        self._write_at = 0
        self._txn: Transaction | None = None

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are not taken yet."""
        return self._write_at - self._read_at

    def add(self, change: RowChanges | Truncate) -> None:
        """Append a change. Raises PREREQUISITE when the disk is full."""
        txn = change.txn
        facts = (txn.id, txn.xid, txn.commit, txn.commit_ts_us)
        rows = (change.ops, change.before, change.after) if isinstance(change, RowChanges) else None
        data = pickle.dumps((facts, rows), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            self._file.seek(self._write_at)
            self._file.write(_LENGTH.pack(len(data)))
            self._file.write(data)
        except OSError as error:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"changes of a table that is being loaded could not be held back on disk: errno {error.errno}",
                remedy="make room, or set `capture.state_directory` to a directory that has some",
                table=str(self._table.name),
            ) from error
        self._write_at += _LENGTH.size + len(data)

    def take(self, snapshot: Snapshot, rows_max: int, bytes_max: int) -> list[RowChanges | Truncate]:
        """Remove changes, some `rows_max` rows or some `bytes_max` bytes; return those that `snapshot` did not see."""
        taken: list[RowChanges | Truncate] = []
        row_count = 0
        end = min(self._write_at, self._read_at + bytes_max)
        while self._read_at < end and row_count < rows_max:
            self._file.seek(self._read_at)
            (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
            facts, rows = pickle.loads(self._file.read(length))  # noqa: S301 (our own file, written by this process)
            self._read_at += _LENGTH.size + length
            txn = self._transaction(facts)
            if snapshot.sees(txn):
                continue
            if rows is None:
                taken.append(Truncate([self._table], txn))
                row_count += 1
            else:
                taken.append(RowChanges(self._table, txn, *rows))
                row_count += len(rows[0])
        return taken

    def close(self) -> None:
        """Give the file up."""
        self._file.close()

    def _transaction(self, facts: tuple[str, int, int, int]) -> Transaction:
        # One object per transaction: the publisher keeps what a transaction's rows share by its identity.
        if self._txn is None or (self._txn.xid, self._txn.commit) != facts[1:3]:
            self._txn = Transaction(*facts)
        return self._txn
