"""Transactions of XA: prepared in one group of the log, committed or rolled back by a later one that names them.

Their changes go out with the commit, as a part of *its* transaction: it is then that they can be seen. Until then they
are kept in memory as the log has them, if they are small; larger ones, and those of before a restart, are read once
more from the log: so a position says from where on it must be kept (`position.py`).
"""

from __future__ import annotations

from capture.sources.mysql import binlog
from capture.sources.mysql.position import Place
from capture.sources.mysql.replication import LogStream
from capture.sources.mysql.statements import Effect, read_statement, read_xid
from capture.sources.mysql.walking import read_query, walk

KEPT_BYTES_MAX = 8 << 20
"""Of the events that are kept in memory, of all prepared transactions together."""

Xid = tuple[int, bytes, bytes]

_ENDS = (Effect.XA_COMMIT, Effect.XA_ROLLBACK)
_BODY = 1 + binlog.HEADER_BYTES


class Prepared:
    """One prepared transaction."""

    def __init__(self, before: str, transaction: str) -> None:
        self.before = before
        """The place before its group."""
        self.transaction = transaction
        """The group's name."""
        self.events: list[bytes] | None = []
        """What it changes; None: to be read from the log."""
        self.byte_count = 0


class PreparedTransactions:
    """Those that are prepared and not ended, in the log's order."""

    def __init__(self, since: str) -> None:
        """`since`: from where on the log was kept for those of before."""
        self._since = since
        self._knows_all = False
        self._by_xid: dict[Xid, Prepared] = {}
        self._byte_count = 0
        self.open: Prepared | None = None
        """The one whose group is being read."""

    @property
    def since(self) -> str:
        """From where on the log must be kept; empty: there are none."""
        if self._since:
            return self._since
        return next((each.before for each in self._by_xid.values()), "")

    def begin(self, before: str, transaction: str) -> None:
        """A group begins that will be prepared."""
        self.open = Prepared(before, transaction)

    def keep(self, event: bytes) -> None:
        """Keep an event of the open group, if there is room."""
        assert self.open is not None
        if self.open.events is None:
            return
        if self._byte_count + len(event) > KEPT_BYTES_MAX:
            self._byte_count -= self.open.byte_count
            self.open.events, self.open.byte_count = None, 0
            return
        self.open.events.append(event)
        self.open.byte_count += len(event)
        self._byte_count += len(event)

    def end(self, xid: Xid, event: bytes) -> None:
        """The open group has ended: the transaction is prepared."""
        assert self.open is not None
        if self.open.events is not None:
            self.open.events.append(event)
        self._by_xid[xid] = self.open
        self.open = None

    def take(self, xid: Xid) -> Prepared | None:
        """Return a transaction that ends now, if it is known."""
        found = self._by_xid.pop(xid, None)
        if found is not None:
            self._byte_count -= found.byte_count
        return found

    def unread(self, *, everything: bool) -> list[str]:
        """Return the places to look back from, in turn, for a transaction that is not known; "" is the log's beginning.

        A position says of no transaction that was prepared before the first one ever: `everything` looks for it, too.
        """
        places = [self._since] if self._since else []
        return [*places, ""] if everything and not self._knows_all else places

    def look_back(self, stream: LogStream, begin: Place, end: int, *, is_beginning: bool) -> None:
        """Find those that were prepared before this began to read. Ends the stream."""
        self._by_xid = {**find_prepared(stream, begin, end), **self._by_xid}
        self._since = ""
        self._knows_all = self._knows_all or is_beginning


def find_prepared(stream: LogStream, begin: Place, end: int) -> dict[Xid, Prepared]:
    """Return the transactions that are prepared after `begin` and not ended before `end`. Reads the log between."""
    found: dict[Xid, Prepared] = {}
    for event in walk(stream, begin, end):
        if event.kind == binlog.XA_PREPARE and not event.content[_BODY]:
            prepared = Prepared(event.before, event.transaction)
            prepared.events = None
            found[binlog.parse_xid(event.content, _BODY)] = prepared
        elif event.kind in (binlog.QUERY, binlog.QUERY_COMPRESSED):
            text = read_query(event.kind, event.content).text
            if text[:3].upper() == "XA " and read_statement(text, "").effect in _ENDS:
                found.pop(read_xid(text), None)
    return found
