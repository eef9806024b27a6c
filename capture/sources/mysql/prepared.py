"""Transactions of XA: prepared in one group of the log, committed or rolled back by a later one that names them.

Their changes go out with the commit, as a part of *its* transaction: it is then that they can be seen. Until then they
are kept in memory as the log has them, if they are small; larger ones, and those of before a restart, are read once
more from the log: so a position says from where on it must be kept (`position.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

from capture.sources.mysql import binlog
from capture.sources.mysql.packets import Packet
from capture.sources.mysql.position import Place
from capture.sources.mysql.replication import LogStream
from capture.sources.mysql.statements import Effect, read_statement, read_xid
from capture.sources.mysql.walking import read_query, walk
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

KEPT_BYTES_MAX = 8 << 20
"""Of the events that are kept in memory, of all prepared transactions together."""

Xid = tuple[int, bytes, bytes]

UNDECIDED_S = 600
"""After which one that is still prepared is warned of, and again after as long."""

_LOOK = "`xa recover` at the server lists them; decide those that nobody else will"
_ENDS = (Effect.XA_COMMIT, Effect.XA_ROLLBACK)
_BODY = 1 + binlog.HEADER_BYTES


class Prepared:
    """One prepared transaction."""

    def __init__(self, before: str, transaction: str, time_s: int) -> None:
        self.before = before
        """The place before its group."""
        self.transaction = transaction
        """The group's name."""
        self.time_s = time_s
        """When it was prepared, in seconds since 1970."""
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
        self._warned_s = 0
        self.open: Prepared | None = None
        """The one whose group is being read."""

    @property
    def since(self) -> str:
        """From where on the log must be kept; empty: there are none."""
        if self._since:
            return self._since
        return next((each.before for each in self._by_xid.values()), "")

    def begin(self, before: str, transaction: str, time_s: int) -> None:
        """A group begins that will be prepared."""
        self.open = Prepared(before, transaction, time_s)

    def keep(self, event: Packet) -> None:
        """Keep an event of the open group, if there is room."""
        assert self.open is not None
        if self.open.events is None:
            return
        if not isinstance(event, bytes) or self._byte_count + len(event) > KEPT_BYTES_MAX:
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

    def look_back(
        self, xid: Xid, places: list[str], stream: LogStream, read_place: Callable[[str], Place], decision: str
    ) -> Generator[int, None, None]:
        """Find what was prepared before this began to read, until `xid` is among it; `decision` is the transaction that
        ends that one. Ends the stream.

        Yields how many bytes it has read, 0 when nothing more has arrived: whoever asks may wait, or do other things.
        """
        for place in places:
            try:
                found = yield from _find_prepared(stream, read_place(place), decision)
            except TailraceError as error:
                if error.kind is not ErrorKind.SOURCE_LOG_LOST:
                    raise
                # Lost is only one that commits and is nowhere else: see `refusals.lost_transaction`.
                log.warning("the log is purged of what was prepared", since=place, reason=error.message)
                found = {}
            self._by_xid = {**found, **self._by_xid}
            self._since = ""
            self._knows_all = self._knows_all or not place
            if xid in self._by_xid:
                return

    def warn(self, now_s: int) -> None:
        """Warn of the oldest transaction, now and then, if nobody has decided it for long: the log is kept for it."""
        if now_s - self._warned_s < UNDECIDED_S:
            return
        if self._since:
            # Read by an earlier process: which ones they are the log tells when one is decided.
            self._warned_s = now_s
            log.warning("transactions of XA were prepared, and perhaps never decided", since=self._since, remedy=_LOOK)
        if not self._by_xid:
            return
        xid, oldest = next(iter(self._by_xid.items()))
        if now_s - oldest.time_s >= UNDECIDED_S:
            self._warned_s = now_s
            log.warning(
                "a transaction of XA stays prepared: the log must be kept since then",
                xid=print_xid(xid),
                age_s=now_s - oldest.time_s,
                count=len(self._by_xid),
                remedy=f"`xa commit {print_xid(xid)}` or `xa rollback {print_xid(xid)}` at the server",
            )


def print_xid(xid: Xid) -> str:
    """Print a name as statements of XA take it."""
    form, first, second = xid
    return f"X'{first.hex()}',X'{second.hex()}',{form}"


def _find_prepared(stream: LogStream, begin: Place, decision: str) -> Generator[int, None, dict[Xid, Prepared]]:
    """Return the transactions that are prepared after `begin`, and not ended before the transaction `decision`.

    Not up to a number of transactions: a replica that took over may have others before it.
    """
    found: dict[Xid, Prepared] = {}
    with closing(walk(stream, begin)) as events:
        for event in events:
            if event is None:
                yield 0
                continue
            if event.transaction == decision:
                break
            if event.kind == binlog.XA_PREPARE and not event.content[_BODY]:
                prepared = Prepared(event.before, event.transaction, event.time_s)
                prepared.events = None
                found[binlog.parse_xid(event.content, _BODY)] = prepared
            elif event.kind in (binlog.QUERY, binlog.QUERY_COMPRESSED):
                text = read_query(event.kind, event.content).text()
                if text[:3].upper() == "XA " and read_statement(text, "").effect in _ENDS:
                    found.pop(read_xid(text), None)
            yield len(event.content)
    return found
