"""Reading the binary log of MySQL and MariaDB after a set of GTIDs.

Which changes count for `Position.row`: each row change of a selected table, each truncate of one, and each statement
that is told, in the order in which they are returned. Transactions without such changes are not returned at all, they
only move the position on.

The server sends heartbeats while nothing happens; `poll` never waits for anything but the socket: there is no thread.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from capture.source import DDL_PREFIX, RELOAD
from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import Gtid
from capture.sources.mysql.compression import payload_events
from capture.sources.mysql.files import FileOffset
from capture.sources.mysql.gtid import MariadbGtids
from capture.sources.mysql.packets import Packet
from capture.sources.mysql.position import Place, format_position, position_of, since_of
from capture.sources.mysql.prepared import Prepared, PreparedTransactions, Xid
from capture.sources.mysql.refusals import end_of_stream, lost_transaction, read_errors, refused
from capture.sources.mysql.replication import LogStream
from capture.sources.mysql.row_events import OPS, Maps, make_whole, read_rows
from capture.sources.mysql.sessions import Sessions
from capture.sources.mysql.statements import Effect, Statement, ddl_document, read_statement, read_xid
from capture.sources.mysql.versions import Versions
from capture.sources.mysql.walking import checksum_bytes, read_gtid, read_query
from runtime.clock import monotonic, now_us
from schemas.changes import (
    Begin,
    Change,
    Commit,
    Heartbeat,
    LogMessage,
    RowChanges,
    SchemaChange,
    Transaction,
    Truncate,
)
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position

POLL_ROWS_MAX = 5_000
POLL_BYTES_MAX = 8 << 20
WAIT_S = 0.2
"""How long `poll` sleeps at most before it looks whether a heartbeat of ours is due."""
MOVED_INTERVAL_S = 0.2
HEARTBEAT_INTERVAL_S = 5.0
"""How often an idle log yields a heartbeat although its position is the same."""

_GTIDS = (binlog.GTID, binlog.TAGGED_GTID, binlog.MARIADB_GTID)
_BODY = 1 + binlog.HEADER_BYTES
"""Where an event's body begins, behind the packet's status byte and the header."""


class MysqlLog:
    """The log from a position on. Implements `capture.source.LogReader`."""

    def __init__(
        self,
        stream: LogStream,
        versions: Versions,
        place: Place,
        position: Position,
        complete: Callable[[RowChanges], None],
        read_place: Callable[[str], Place],
        *,
        sessions: Sessions | None = None,
        skips_applied: bool = False,
        first: Sequence[SchemaChange] = (),
    ) -> None:
        """`read_place` reads what a place prints; an empty text stands for the log's beginning. `first` is returned
        before anything that is read.
        """
        self._first = list(first)
        self._stream = stream
        self._versions, self._sessions = versions, sessions or Sessions(0, 0)
        self._place = place
        self._file = place if isinstance(place, FileOffset) else None
        self._read_place = read_place
        self._prepared = PreparedTransactions(since_of(position))
        self._replayed: Prepared | None = None
        """A transaction of XA that was prepared earlier, and goes out now."""
        self._search: Generator[int, None, None] | None = None
        """Looks for one that is decided and not known."""
        self._decided: tuple[Xid, bool] | None = None
        """Which one that is, and whether it commits."""
        self._is_elsewhere = False
        """Whether the stream has gone back for it."""
        self._has_found = False
        """Whether it is there."""
        self._skip = position.row
        """Changes of the next transaction that are behind us too."""
        self._skipped_in = position.txn
        self._complete = complete
        self._ended = position_of(place, self._prepared.since)
        self._before = place.text()
        self._seconds = 0
        """When the open transaction was written, since 1970."""
        self._gtid: Gtid | None = None
        self._txn: Transaction | None = None
        self._in_group = self._is_begun = False
        """Whether the open transaction's Begin has been returned."""
        self._returned = 0
        """Changes of the open transaction that were returned or skipped."""
        self._checksum_bytes = 0
        self._maps = Maps(versions, is_mariadb=isinstance(place, MariadbGtids), skips_applied=skips_applied)
        self._nested: Iterator[Packet] | None = None
        """The events of a compressed transaction that are still to come."""
        self._reported = self._ended
        self._heartbeat_at = monotonic()
        stream.start(place)

    def poll(self, timeout_s: float) -> Sequence[Change]:
        """Return the next changes; see `LogReader.poll`. Raises SOURCE_CONNECTION, SOURCE_LOG_LOST, DECODE and more."""
        out: list[Change] = [*self._first]
        self._first.clear()
        deadline = monotonic() + timeout_s
        while True:
            with read_errors(lambda: format_position(self._ended)):
                self._drain(out)
            now = monotonic()
            self._beat(out, now)
            wait_s = min(deadline - now, WAIT_S)
            if out or wait_s <= 0:
                return out
            self._stream.connection.wait(wait_s)

    def acknowledge(self, position: Position) -> None:
        """Nothing: the server keeps its log by its own rules, see `source.MysqlServer.findings`."""

    def close(self) -> None:
        """End the stream. May be called twice."""
        self._stream.close()

    def _drain(self, out: list[Change]) -> None:
        """Read what has arrived, up to a bound."""
        rows = size = 0
        while rows < POLL_ROWS_MAX and size < POLL_BYTES_MAX:
            if self._nested is not None:
                nested = next(self._nested, None)
                if nested is None:
                    self._nested = None
                    continue
                size += len(nested)
                rows += self._on_event(nested[5], nested, len(nested), out)
                continue
            if self._search is not None:
                found = self._go_on_searching(self._search, out)
                if not found:
                    return
                size += found
                continue
            m = self._stream.poll()
            if m is None:
                return
            if m[0]:
                raise end_of_stream(bytes(m))
            size += len(m)
            end = len(m) - self._checksum_bytes
            if self._is_elsewhere:
                rows += self._on_earlier_event(m[5], m, end, out)
                continue
            if self._file is not None:
                self._file.see(m, end)
            rows += self._on_event(m[5], m, end, out)

    def _on_event(self, kind: int, m: Packet, end: int, out: list[Change]) -> int:
        """Handle one event; return how many rows it brought."""
        if self._prepared.open is not None and (kind in OPS or kind == binlog.TABLE_MAP):
            self._prepared.keep(m[:end] if isinstance(m, bytes) else m)
        elif kind in OPS:
            return self._on_rows(kind, m, end, out)
        elif kind == binlog.TABLE_MAP:
            self._announce(self._maps.read(m[_BODY:end]), out)
        elif kind == binlog.XID:
            self._end(out)
        elif kind in (binlog.QUERY, binlog.QUERY_COMPRESSED, binlog.EXECUTE_LOAD_QUERY):
            self._on_query(kind, m[:end], out)
        elif kind in _GTIDS or (kind == binlog.ANONYMOUS_GTID and self._file is not None):
            self._start(read_gtid(kind, m, end), bytes(m))
        elif kind == binlog.FORMAT_DESCRIPTION:
            self._checksum_bytes = checksum_bytes(m)
            if self._seconds and any(m[_BODY + 52 : _BODY + 56]):
                self._sessions.forget()
        elif kind == binlog.TRANSACTION_PAYLOAD:
            self._nested = payload_events(m, _BODY, end, self._stream.directory)
        elif kind == binlog.XA_PREPARE:
            self._on_prepared(m[:end], out)
        elif (refusal := refused(kind, m)) is not None:
            raise refusal
        return 0

    # Transactions.

    def _start(self, gtid: Gtid | None, m: bytes) -> None:
        if self._txn is not None or gtid is None:
            raise ValueError("a transaction within a transaction")
        self._seconds, self._before = binlog.header(m, 1)[0], self._place.text()
        name = self._place.begin(gtid)
        if self._skip and self._skipped_in not in ("", name):
            raise TailraceError(
                ErrorKind.SOURCE_LOG_LOST,
                f"{self._skip} changes of transaction {self._skipped_in} are published already, and the log goes on "
                f"with {name}: this server lacks that one, or has its transactions in another order",
                remedy=f"go back to the server that the position came from; or {RELOAD}",
            )
        self._gtid = gtid
        # Its number is known before it is read: it orders what is published of it.
        self._txn = Transaction(name, 0, self._place.size, gtid.commit_ts_us or self._seconds * 1_000_000)
        self._in_group = self._is_begun = False
        self._returned = 0
        self._maps.begin()
        if gtid.flags & binlog.PREPARED_XA:
            self._prepared.begin(self._before, name, self._seconds)

    def _begin(self, out: list[Change]) -> Transaction:
        """Return the open transaction; make sure that its Begin has been returned."""
        if self._txn is None:
            raise ValueError("a change outside a transaction")
        if not self._is_begun:
            self._is_begun = True
            if self._ended.commit > self._reported.commit:
                # Changes are counted from here on, not from before transactions that brought none.
                out.append(Heartbeat(self._ended))
                self._reported = self._ended
            out.append(Begin(self._txn))
        return self._txn

    def _end(self, out: list[Change]) -> None:
        if self._txn is None:
            raise ValueError("an end outside a transaction")
        if self._prepared.open is not None:
            # What follows would be kept with it, and never go out.
            raise ValueError("a transaction of XA ends that was not prepared")
        if self._skip:
            raise TailraceError(
                ErrorKind.INVARIANT,
                f"the transaction after the position has {self._returned} changes, the position says that "
                f"{self._returned + self._skip} are behind it",
                remedy=f"`source.tables` or `loopback_prevention` changed within a transaction: undo that; or {RELOAD}",
            )
        if self._file is not None:
            self._file.end()
        self._ended = position_of(self._place, self._prepared.since)
        if self._returned:
            # All of it may have been behind us, but its end was not.
            self._begin(out)
        if self._is_begun:
            out.append(Commit(self._txn, self._ended))
            self._reported = self._ended
        self._txn = self._gtid = None
        self._in_group = False

    # Transactions of XA.

    def _on_prepared(self, m: bytes, out: list[Change]) -> None:
        """A group of XA ends: a transaction is prepared, or was before and has now been read, or commits at once."""
        if self._replayed is not None:
            self._end_replay(out)
            return
        xid = binlog.parse_xid(m, _BODY)
        self._prepared.end(xid, m)
        if not m[_BODY]:
            self._end(out)
        elif (prepared := self._prepared.take(xid)) is not None:
            self._replay(prepared)

    def _on_decision(self, xid: Xid, out: list[Change], *, commits: bool) -> None:
        """A transaction that was prepared is committed or rolled back. What is not known may be prepared before this
        began to read, where the log must have it.
        """
        assert self._txn is not None
        prepared = self._prepared.take(xid)
        places = self._prepared.unread(everything=commits) if prepared is None else []
        if places:
            self._decided = xid, commits
            self._search = self._prepared.look_back(xid, places, self._stream, self._read_place, self._txn.id)
        else:
            self._decide(prepared, out, commits=commits)

    def _go_on_searching(self, search: Generator[int, None, None], out: list[Change]) -> int:
        """Look on; return how many bytes were read, 0 if there is nothing more to read yet."""
        read = next(search, None)
        if read is not None:
            return read
        assert self._decided is not None
        xid, commits = self._decided
        self._search = self._decided = None
        prepared = self._prepared.take(xid)
        if prepared is None or not commits:
            self._go_to(self._place)
        self._decide(prepared, out, commits=commits)
        return 1

    def _decide(self, prepared: Prepared | None, out: list[Change], *, commits: bool) -> None:
        if not commits:
            self._end(out)
        elif prepared is not None:
            self._replay(prepared)
        else:
            raise lost_transaction()

    def _replay(self, prepared: Prepared) -> None:
        """Return its changes as those of the open transaction."""
        self._replayed = prepared
        if prepared.events is not None:
            self._nested = iter(prepared.events)
            return
        self._is_elsewhere, self._has_found = True, False
        self._go_to(self._read_place(prepared.before))

    def _on_earlier_event(self, kind: int, m: Packet, end: int, out: list[Change]) -> int:
        """Handle an event of the part of the log that the stream has gone back to."""
        if kind in _GTIDS or kind == binlog.ANONYMOUS_GTID:
            gtid = read_gtid(kind, m, end)
            assert gtid is not None
            assert self._replayed is not None
            # A file's offset has the group itself behind it; behind a set, another one may come first.
            self._has_found = self._file is not None or gtid.text == self._replayed.transaction
            if self._gtid is not None and gtid.parts == self._gtid.parts and not self._has_found:
                raise lost_transaction()
        elif self._has_found or kind == binlog.FORMAT_DESCRIPTION:
            return self._on_event(kind, m, end, out)
        return 0

    def _go_to(self, place: Place) -> None:
        self._checksum_bytes = 0
        self._stream.start(place)

    def _end_replay(self, out: list[Change]) -> None:
        self._replayed = None
        self._end(out)
        if self._is_elsewhere:
            self._is_elsewhere = False
            self._go_to(self._place)

    # Rows.

    def _announce(self, changes: list[SchemaChange], out: list[Change]) -> None:
        if changes:
            self._begin(out)
            out += changes
            self._maps.forget(changes)

    def _on_rows(self, kind: int, m: Packet, end: int, out: list[Change]) -> int:
        resolved = self._maps.find(m[_BODY : _BODY + 6])
        table, txn = resolved.table, self._txn
        if table is None:
            if resolved.left_out is not None and txn is not None:
                resolved.left_out.check(txn.commit)
            return 0
        if txn is None:
            raise ValueError("a change outside a transaction")
        every = 0
        for run in read_rows(resolved, table, kind, m, end, txn, self._stream.directory):
            count = run.count
            every += count
            self._returned += count
            if self._skip:
                skipped = min(self._skip, count)
                self._skip -= skipped
                run.drop(skipped)
            if run.count:
                self._begin(out)
                make_whole(run, self._complete)
                last = out[-1] if out else None
                if not (isinstance(last, RowChanges) and last.table is table and last.txn is txn and last.join(run)):
                    out.append(run)
        return every

    # Statements.

    def _on_query(self, kind: int, m: bytes, out: list[Change]) -> None:
        query = read_query(kind, m)
        text = query.text(self._charset_of)
        statement = read_statement(text, query.database, query.sql_mode)
        if query.is_of_session or statement.effect in (Effect.HIDE, Effect.UNHIDE):
            statement = self._sessions.told(statement, query.session)
        effect = statement.effect
        if effect is Effect.BEGIN:
            self._in_group = True
        elif effect is Effect.COMMIT:
            self._end(out)
        elif effect is Effect.ROLLBACK:
            if self._returned:
                raise ValueError("a transaction that was returned in part and is rolled back")
            self._end(out)
        elif effect is Effect.XA_START:
            if self._replayed is None and self._txn is not None:
                self._prepared.begin(self._before, self._txn.id, self._seconds)
        elif effect is Effect.WRITE and self._prepared.open is not None:
            self._prepared.keep(m)
        elif effect in (Effect.XA_COMMIT, Effect.XA_ROLLBACK):
            self._on_decision(read_xid(text), out, commits=effect is Effect.XA_COMMIT)
        elif self._txn is not None and effect is not Effect.CONTROL:
            self._follow(statement, text, out)
            gtid = self._gtid
            is_group = gtid is not None and len(gtid.parts) == 3 and not gtid.flags & binlog.STANDALONE
            if not (is_group or self._in_group or self._replayed is not None):
                self._end(out)

    def _charset_of(self, collation: int) -> str:
        return self._versions.charset(collation)

    def _follow(self, statement: Statement, text: str, out: list[Change]) -> None:
        """Do what a statement means for the tables that it names."""
        names = self._versions.concerned(statement)
        if not names:
            return
        if statement.effect in (Effect.WRITE, Effect.MAY_TRUNCATE) and self._txn is not None:
            self._announce(self._versions.rewritten(statement.effect, names, self._txn), out)
            return
        if statement.effect in (Effect.FILL, Effect.TIGHTEN) and self._txn is not None:
            # What is looked up now decides: no row behind it tells what was overlooked.
            self._versions.wait_for(self._txn)
        self._maps.clear()
        is_applied = self._maps.leaves_out(statement)
        effect, tables = statement.effect, self._versions.in_force(names)
        if effect is Effect.TRUNCATE and tables and not is_applied and not self._is_behind():
            out.append(Truncate(tables, self._begin(out)))
        changes = [c for name in names for c in self._versions.follow(effect, name, is_applied=is_applied)]
        if statement.tag and not is_applied and not self._is_behind():
            document = ddl_document(statement, text, [*tables, *changes])
            out.append(LogMessage(DDL_PREFIX, document, self._begin(out)))
        self._announce(changes, out)

    def _is_behind(self) -> bool:
        """Count one change of the open transaction; tell whether it was returned before."""
        self._returned += 1
        is_behind = self._skip > 0
        self._skip -= is_behind
        return is_behind

    def _beat(self, out: list[Change], now: float) -> None:
        if self._txn is not None:
            return
        self._prepared.warn(now_us() // 1_000_000)
        if self._file is not None:
            # Files end, and others begin, between transactions.
            self._ended = position_of(self._place, self._prepared.since)
        has_moved = self._ended.commit > self._reported.commit
        if (has_moved and (not out or now - self._heartbeat_at >= MOVED_INTERVAL_S)) or (
            not out and now - self._heartbeat_at >= HEARTBEAT_INTERVAL_S
        ):
            self._heartbeat_at = now
            self._reported = self._ended
            out.append(Heartbeat(self._ended))
