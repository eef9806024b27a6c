"""What the log changed while tables are being read: decides which rows of a chunk may still be published.

Pure logic, no I/O. A chunk is read in one snapshot while the log flows on. When the log has been read up to the
snapshot's high watermark, each of its rows is compared with the last transaction that the log showed for its key
(Invariant 9):

- the snapshot sees that transaction, or there was none: the row is at least as new as what the log published: it goes
  out, and whatever the log changes later follows it in the topic;
- the snapshot does not see it: the log has published something newer already, so the row is dropped; unless all that
  the log published were partial rows (`UNCHANGED` values), which a target without the row cannot use, or updates that
  it is told to leave out: then the row goes out with the newer values laid over it.

A key may be forgotten when every snapshot that is outstanding or still to come sees its last transaction. A transaction
can stand in the log before snapshots see it, for as long as a synchronous standby takes; so the transactions that are
not yet known to be seen are kept in the checkpoint, and after a restart, which has lost the keys, a chunk whose
snapshot does not see one of them is read again (`Horizon.accepts`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from capture.source import Snapshot
from schemas.bundles import Bundle
from schemas.changes import UNCHANGED, Row, Transaction
from schemas.table import TableName

UNSETTLED_MAX = 20_000
"""Transactions that are kept, and named by a checkpoint, as not yet seen by every snapshot: the newest. Those that are
in the log and invisible all belong to connected sessions: `max_connections` bounds them far below this."""

SETTLERS_MAX = 8
"""Snapshots that are kept to tell what is settled: one more than chunks that are opened while another is not."""

Merge = Callable[[bytes, Row], bytes]
"""Lays the known values of a partial row over an encoded row."""


class LoadWindow:
    """The keys of one table that the log changed while the table is being loaded."""

    def __init__(self, *, keeps_updates: bool = False) -> None:
        """`keeps_updates`: a target that lacks a row leaves out its updates, whole ones too."""
        self.keeps_updates = keeps_updates
        self._last: dict[bytes, Transaction] = {}
        self._partial: dict[bytes, Row] = {}
        # Keys for which the log published partial rows only: the target may not have the row at all. All values may
        # be known by now (two updates of different columns): still no whole row was published.
        self._truncated: Transaction | None = None

    def __len__(self) -> int:
        return len(self._last)

    def changed(self, keys: Iterable[bytes], txn: Transaction) -> None:
        """Note rows that the log published whole, or deleted."""
        if self._partial:
            keys = list(keys)
            for key in keys:
                self._partial.pop(key, None)
        self._last.update(dict.fromkeys(keys, txn))

    def changed_in_part(self, key: bytes, row: Row, txn: Transaction) -> None:
        """Note a row that the log published with UNCHANGED values, or of which targets may leave out the update."""
        earlier = self._partial.get(key)
        if earlier is not None:
            self._partial[key] = overlay(earlier, row)
        elif key not in self._last:
            self._partial[key] = row
        # Else a whole row went out before, and the partial one completes it at the target.
        self._last[key] = txn

    def truncated(self, txn: Transaction) -> None:
        """Note that the table was emptied: what was known of its keys is history."""
        self._last.clear()
        self._partial.clear()
        self._truncated = txn

    def admit(self, rows: Bundle, snapshot: Snapshot, merge: Merge) -> Bundle | list[tuple[bytes | None, bytes]]:
        """Return the rows of a chunk, which have keys, that may be published now: as they come without a conflict, else
        as (key, body) pairs.
        """
        if self._truncated is not None and not snapshot.sees(self._truncated):
            return []
        last = self._last
        if not last:
            return rows
        keys, bodies = rows.apart()
        if last.keys().isdisjoint(keys):
            return rows
        admitted: list[tuple[bytes | None, bytes]] = []
        for key, body in zip(keys, bodies, strict=True):
            assert key is not None, "without one there is no window"
            txn = last.get(key)
            if txn is None or snapshot.sees(txn):
                admitted.append((key, body))
            elif (partial := self._partial.get(key)) is not None:
                admitted.append((key, merge(body, partial)))
        return admitted

    def forget(self, seen: Callable[[Transaction], bool]) -> None:
        """Drop what was done by transactions that `seen` tells are in every snapshot that matters."""
        last = self._last
        verdicts: dict[int, bool] = {}
        gone = []
        for key, txn in last.items():
            verdict = verdicts.get(txn.commit)
            if verdict is None:
                verdict = verdicts[txn.commit] = seen(txn)
            if verdict:
                gone.append(key)
        if len(gone) == len(last):
            last.clear()
            self._partial.clear()
        else:
            for key in gone:
                del last[key]
                self._partial.pop(key, None)
        if self._truncated is not None and seen(self._truncated):
            self._truncated = None


class Horizon:
    """Which transactions some snapshot may not see: the outstanding chunks' snapshots, and all that are still to come.

    A chunk is outstanding from `dispatched` until `closed`. `opened` tells its snapshot.
    """

    def __init__(self, earlier: Iterable[Transaction] = ()) -> None:
        self._recent: dict[int, Transaction] = {txn.commit: txn for txn in earlier}
        self._copy: tuple[Transaction, ...] | None = None
        self._barriers: dict[TableName, tuple[Transaction, ...]] = {}
        self._outstanding: dict[Any, _Outstanding] = {}
        self._dispatched_count = 0
        self._settlers: list[tuple[int, Snapshot]] = []
        self._settled: Transaction | None = None
        """The newest that was dropped, since every snapshot that is still to come sees it."""
        self.published_count = 0
        """Counts the calls of `published`: between two of them no window has come to remember more."""

    @property
    def unsettled(self) -> tuple[Transaction, ...]:
        """The newest transactions that a snapshot taken from now on might not see, in log order."""
        if self._copy is None:
            excess = len(self._recent) - UNSETTLED_MAX
            for commit in list(self._recent)[: max(0, excess)]:
                del self._recent[commit]
            self._copy = tuple(self._recent.values())
        return self._copy

    def published(self, txn: Transaction) -> None:
        """Note a transaction that changed a table under load."""
        self.published_count += 1
        if txn.commit not in self._recent:
            self._recent[txn.commit] = txn
            self._copy = None
            if len(self._recent) > 2 * UNSETTLED_MAX:
                assert self.unsettled

    def raise_barrier(self, name: TableName, others: tuple[Transaction, ...] = ()) -> None:
        """No window remembers what was changed of this table so far, as after a restart: its chunks must see it, and
        `others`, which changed it while it was not under load.

        None of its chunks may be outstanding.
        """
        self._barriers[name] = self.unsettled + others

    def lower_barrier(self, name: TableName, others: Collection[Transaction]) -> None:
        """Chunks of a table need not see `others` any more, which `raise_barrier` was told."""
        self._barriers[name] = tuple(txn for txn in self._barriers.get(name, ()) if txn not in others)

    def loaded(self, name: TableName) -> None:
        """No further chunk of a table will be read."""
        self._barriers.pop(name, None)

    def accepts(self, name: TableName, snapshot: Snapshot) -> bool:
        """Tell whether a chunk can be published at all: it sees every transaction before its table's barrier."""
        return all(map(snapshot.sees, self._barriers.get(name, ())))

    def has_outstanding(self, name: TableName) -> bool:
        """Whether some chunk of a table is outstanding."""
        return any(chunk.name == name for chunk in self._outstanding.values())

    def dispatched(self, chunk: Any, name: TableName) -> None:
        """A chunk of a table will be read: its snapshot is yet to be taken."""
        self._dispatched_count += 1
        self._outstanding[chunk] = _Outstanding(name, self._dispatched_count, None, self._settled)

    def opened(self, chunk: Any, snapshot: Snapshot) -> bool:
        """The chunk's snapshot is known. Return False where it does not see what it must: it is one of another server,
        which is behind, and what is remembered is not enough for it.
        """
        asked = self._outstanding[chunk]
        if asked.settled is not None and not snapshot.sees(asked.settled):
            return False
        self._outstanding[chunk] = asked._replace(snapshot=snapshot)
        self.looked(snapshot)
        return True

    def looked(self, snapshot: Snapshot) -> None:
        """A snapshot is known, of a chunk or none."""
        if self._settlers and self._settlers[-1][0] == self._dispatched_count:
            # One is enough for the same chunks, of which there may be many.
            self._settlers.pop()
        self._settlers.append((self._dispatched_count, snapshot))
        del self._settlers[:-SETTLERS_MAX]

    def closed(self, chunk: Any) -> None:
        """The chunk is published or given up."""
        self._outstanding.pop(chunk, None)

    def forget(self, windows: Mapping[TableName, LoadWindow]) -> None:
        """Drop the transactions that every snapshot sees, and the keys in `windows` that only they changed.

        A snapshot that is not known yet was taken after its chunk was dispatched. So a snapshot that was known before
        settles transactions for it, as for all that are still to come.
        """
        unopened = [chunk.number for chunk in self._outstanding.values() if chunk.snapshot is None]
        first_unopened = min(unopened, default=self._dispatched_count + 1)
        settlers = [snapshot for count, snapshot in self._settlers if count < first_unopened]
        if not settlers:
            return
        settled = settlers[-1].settled
        known: dict[TableName, list[Snapshot]] = {}
        for chunk in self._outstanding.values():
            if chunk.snapshot is not None:
                known.setdefault(chunk.name, []).append(chunk.snapshot)
        left = {commit: txn for commit, txn in self._recent.items() if not settled(txn)}
        gone = max(self._recent.keys() - left.keys(), default=None)
        self._settled = self._settled if gone is None else self._recent[gone]
        self._recent = left
        self._copy = None
        pruned: dict[int, tuple[Transaction, ...]] = {}
        for name, barrier in self._barriers.items():
            if name in known:
                continue
            # Many tables share one barrier, as they do after a restart.
            if id(barrier) not in pruned:
                pruned[id(barrier)] = tuple(txn for txn in barrier if not settled(txn))
            self._barriers[name] = pruned[id(barrier)]
        for name, window in windows.items():
            window.forget(_seen_by_all(settled, known.get(name, [])))


class _Outstanding(NamedTuple):
    name: TableName
    number: int
    snapshot: Snapshot | None
    settled: Transaction | None
    """What its snapshot sees, if it is taken where those before it were."""


def _seen_by_all(settled: Callable[[Transaction], bool], known: list[Snapshot]) -> Callable[[Transaction], bool]:
    return lambda txn: settled(txn) and all(snapshot.sees(txn) for snapshot in known)


def overlay(below: Row, above: Row) -> Row:
    """Return a row with the values of `above`, and those of `below` where `above` is UNCHANGED."""
    return tuple(b if a is UNCHANGED else a for a, b in zip(above, below, strict=True))
