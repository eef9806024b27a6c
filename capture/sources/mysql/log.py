"""Reading the binary log of MySQL and MariaDB after a set of GTIDs.

Which changes count for `Position.row`: each row change of a selected table, and each truncate of one, in the order in
which they are returned. Transactions without such changes are not returned at all, they only move the position on.

The server sends heartbeats while nothing happens; `poll` never waits for anything but the socket: there is no thread.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from struct import error as struct_error

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import Gtid
from capture.sources.mysql.compression import mariadb_unpacked, payload_events
from capture.sources.mysql.connection import error_of, length_at
from capture.sources.mysql.gtid import Gtids
from capture.sources.mysql.position import format_position, position_of
from capture.sources.mysql.refusals import REFUSED, RELOAD, xa_error
from capture.sources.mysql.replication import LogStream
from capture.sources.mysql.statements import Effect, Statement, read_statement
from capture.sources.mysql.versions import Resolved, Versions
from runtime.clock import monotonic
from schemas.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Heartbeat,
    Row,
    RowChanges,
    SchemaChange,
    Transaction,
    Truncate,
)
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position
from schemas.table import TableName

POLL_ROWS_MAX = 5_000
POLL_BYTES_MAX = 8 << 20
WAIT_S = 0.2
"""How long `poll` sleeps at most before it looks whether a heartbeat of ours is due."""
MOVED_INTERVAL_S = 0.2
HEARTBEAT_INTERVAL_S = 5.0
"""How often an idle log yields a heartbeat although its position is the same."""
SILENCE_S = 60.0
"""After which a server that sends not even heartbeats counts as gone."""

_EOF = 0xFE
_BODY = 1 + binlog.HEADER_BYTES
"""Where an event's body begins, behind the packet's status byte and the header."""

_OPS = {
    binlog.WRITE_ROWS_1: "c",
    binlog.UPDATE_ROWS_1: "u",
    binlog.DELETE_ROWS_1: "d",
    binlog.WRITE_ROWS: "c",
    binlog.UPDATE_ROWS: "u",
    binlog.DELETE_ROWS: "d",
    binlog.PARTIAL_UPDATE_ROWS: "u",
    binlog.WRITE_ROWS_COMPRESSED: "c",
    binlog.UPDATE_ROWS_COMPRESSED: "u",
    binlog.DELETE_ROWS_COMPRESSED: "d",
}
_COMPRESSED = frozenset({binlog.WRITE_ROWS_COMPRESSED, binlog.UPDATE_ROWS_COMPRESSED, binlog.DELETE_ROWS_COMPRESSED})
_SECOND_FORM = frozenset({binlog.WRITE_ROWS, binlog.UPDATE_ROWS, binlog.DELETE_ROWS, binlog.PARTIAL_UPDATE_ROWS})


class MysqlLog:
    """The log from a position on. Implements `capture.source.LogReader`."""

    def __init__(
        self,
        stream: LogStream,
        versions: Versions,
        gtids: Gtids,
        position: Position,
        complete: Callable[[RowChanges], None],
        *,
        folds_names: bool,
    ) -> None:
        self._stream = stream
        self._versions = versions
        self._gtids = gtids
        self._skip = position.row
        """Changes of the next transaction that are behind us too."""
        self._skipped_in = position.txn
        self._complete = complete
        self._folds_names = folds_names
        self._ended = position_of(gtids)
        self._gtid: Gtid | None = None
        self._txn: Transaction | None = None
        self._in_group = False
        self._is_begun = False
        """Whether the open transaction's Begin has been returned."""
        self._returned = 0
        """Changes of the open transaction that were returned or skipped."""
        self._checksum_bytes = 0
        self._maps: dict[bytes, Resolved] = {}
        """By the whole map event's body."""
        self._current: dict[bytes, Resolved] = {}
        """By the map's number."""
        self._nested: Iterator[bytes] | None = None
        """The events of a compressed transaction that are still to come."""
        self._reported = self._ended
        self._heartbeat_at = self._heard_at = monotonic()
        stream.start(gtids)

    def poll(self, timeout_s: float) -> Sequence[Change]:
        """Return the next changes; see `LogReader.poll`. Raises SOURCE_CONNECTION, SOURCE_LOG_LOST, DECODE and more."""
        out: list[Change] = []
        deadline = monotonic() + timeout_s
        while True:
            try:
                self._drain(out)
            except (
                struct_error,
                IndexError,
                ValueError,
                KeyError,
                OverflowError,
                ArithmeticError,
                zlib.error,
            ) as error:
                raise TailraceError(
                    ErrorKind.DECODE,
                    f"the log holds an event that cannot be read ({type(error).__name__}: {_said(error)})",
                    position=format_position(self._ended),
                    remedy="this is a fault of Tailrace or of the server: keep the log, and report it",
                ) from error
            except TailraceError as error:
                error.position = error.position or format_position(self._ended)
                raise
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
            m = self._stream.poll()
            if m is None:
                if not out and monotonic() - self._heard_at > SILENCE_S:
                    raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"the server was silent for {SILENCE_S:.0f} s")
                return
            self._heard_at = monotonic()
            if m[0]:
                self._ended_by(m)
            size += len(m)
            rows += self._on_event(m[5], m, len(m) - self._checksum_bytes, out)

    def _ended_by(self, m: bytes) -> None:
        if m[0] == 0xFF:
            error = error_of(m, "reading the log")
            if error.kind is ErrorKind.SOURCE_LOG_LOST:
                error.remedy = RELOAD
            raise error
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, "the server ended the log's stream")

    def _on_event(self, kind: int, m: bytes, end: int, out: list[Change]) -> int:
        """Handle one event; return how many rows it brought."""
        op = _OPS.get(kind)
        if op is not None:
            return self._on_rows(op, kind, m, end, out)
        if kind == binlog.TABLE_MAP:
            self._on_map(m[_BODY:end], out)
        elif kind == binlog.XID:
            self._end(out)
        elif kind in (binlog.QUERY, binlog.QUERY_COMPRESSED):
            self._on_query(kind, m[:end], out)
        elif kind == binlog.GTID:
            self._start(binlog.parse_gtid(m[:end], _BODY), m)
        elif kind == binlog.MARIADB_GTID:
            server = binlog.header(m, 1)[2]
            self._start(binlog.parse_mariadb_gtid(m, _BODY, server), m)
        elif kind == binlog.FORMAT_DESCRIPTION:
            # The last byte before the checksum that this event always has says whether the others have one.
            self._checksum_bytes = 4 if m[-5] == 1 else 0
        elif kind == binlog.TRANSACTION_PAYLOAD:
            self._nested = payload_events(m, _BODY, end)
        elif kind == binlog.XA_PREPARE:
            self._on_prepared(is_one_phase=bool(m[_BODY]), out=out)
        elif kind in REFUSED:
            what, remedy = REFUSED[kind]
            raise TailraceError(ErrorKind.PREREQUISITE, f"the log holds {what}", remedy=remedy)
        return 0

    # Transactions.

    def _start(self, gtid: Gtid, m: bytes) -> None:
        if self._txn is not None:
            raise ValueError("a transaction within a transaction")
        seconds = binlog.header(m, 1)[0]
        if self._skip and self._skipped_in not in ("", gtid.text):
            raise TailraceError(
                ErrorKind.SOURCE_LOG_LOST,
                f"{self._skip} changes of transaction {self._skipped_in} are published already, and the log goes on "
                f"with {gtid.text}: this server has its transactions in another order",
                remedy=f"go back to the server that the position came from; or {RELOAD}",
            )
        self._gtid = gtid
        self._txn = Transaction(gtid.text, 0, 0, gtid.commit_ts_us or seconds * 1_000_000)
        # Known before the transaction is read: it orders what is published of it.
        self._gtids.add(*gtid.parts)
        self._txn.commit = self._gtids.size
        self._in_group = False
        self._is_begun = False
        self._returned = 0

    def _begin(self, out: list[Change]) -> Transaction:
        """Return the open transaction; make sure that its Begin has been returned."""
        if self._txn is None:
            raise ValueError("a change outside a transaction")
        if not self._is_begun:
            self._is_begun = True
            out.append(Begin(self._txn))
        return self._txn

    def _end(self, out: list[Change]) -> None:
        if self._txn is None:
            raise ValueError("an end outside a transaction")
        if self._skip:
            raise TailraceError(
                ErrorKind.INVARIANT,
                f"the transaction after the position has {self._returned} changes, the position says that "
                f"{self._returned + self._skip} are behind it",
                remedy=f"`source.tables` was changed in the middle of a transaction: undo it; or {RELOAD}",
            )
        self._ended = position_of(self._gtids)
        if self._returned:
            # All of it may have been behind us, but its end was not.
            self._begin(out)
        if self._is_begun:
            out.append(Commit(self._txn, self._ended))
            self._reported = self._ended
        self._txn = self._gtid = None
        self._in_group = False

    def _on_prepared(self, *, is_one_phase: bool, out: list[Change]) -> None:
        if not is_one_phase and self._returned:
            raise xa_error()
        self._end(out)

    # Rows.

    def _on_map(self, body: bytes, out: list[Change]) -> None:
        resolved = self._maps.get(body)
        if resolved is None:
            resolved = self._resolve(body, out)
        self._current[body[:6]] = resolved

    def _resolve(self, body: bytes, out: list[Change]) -> Resolved:
        resolved, changes = self._versions.resolve(binlog.parse_table_map(body, 0))
        self._maps[body] = resolved
        if changes:
            self._announce(changes, out)
        return resolved

    def _announce(self, changes: list[SchemaChange], out: list[Change]) -> None:
        self._begin(out)
        out += changes
        # Readers of other maps of the same table stand for the version before.
        names = {change.name for change in changes}
        self._maps = {
            body: resolved
            for body, resolved in self._maps.items()
            if resolved.table is None or resolved.table.name not in names or resolved.table is changes[-1].after
        }

    def _on_rows(self, op: str, kind: int, m: bytes, end: int, out: list[Change]) -> int:
        resolved = self._current.get(m[_BODY : _BODY + 6])
        if resolved is None:
            # MySQL's number of a map that only ends a statement.
            raise ValueError("rows without their table's map")
        if resolved.table is None:
            return 0
        at = _BODY + 8
        if kind in _SECOND_FORM:
            at += int.from_bytes(m[at : at + 2], "little")
        width, at = length_at(m, at)
        size = (width + 7) // 8
        first = m[at : at + size]
        at += size
        old, new = (b"", first) if op == "c" else (first, b"")
        if op == "u":
            new = m[at : at + size]
            at += size
        if kind in _COMPRESSED:
            m, at = mariadb_unpacked(m[at:end]), 0
            end = len(m)
        read = resolved.rows(old, new, is_partial=kind == binlog.PARTIAL_UPDATE_ROWS)
        before, after = read(m, at, end)
        self._add(op, resolved, before, after, out)
        return len(before)

    def _add(
        self, op: str, resolved: Resolved, before: list[Row | None], after: list[Row | None], out: list[Change]
    ) -> None:
        table = resolved.table
        assert table is not None
        if self._gtid is not None and self._gtid.flags & binlog.PREPARED_XA:
            raise xa_error()
        skipped = min(self._skip, len(before))
        self._returned += len(before)
        if skipped:
            self._skip -= skipped
            before, after = before[skipped:], after[skipped:]
        if not before:
            return
        txn = self._begin(out)
        last = out[-1] if out else None
        if isinstance(last, RowChanges) and last.table is table and last.txn is txn:
            run = last
        else:
            run = RowChanges(table, txn)
            out.append(run)
        if table.full_before and op != "c" and any(UNCHANGED in row for row in before if row is not None):
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                "the log does not have the whole old row of a table without a key",
                remedy="set global binlog_row_image = 'FULL', or give the table a key",
                table=str(table.name),
            )
        if op == "c" and any(UNCHANGED in row for row in after if row is not None):
            part = RowChanges(table, txn, ["c"] * len(after), before, after)
            self._complete(part)
            after = part.after
        run.ops.extend([op] * len(before))
        run.before.extend(before)
        run.after.extend(after)

    # Statements.

    def _on_query(self, kind: int, m: bytes, out: list[Change]) -> None:
        query = binlog.parse_query(m, _BODY)
        text = query.text
        if kind == binlog.QUERY_COMPRESSED:
            text = mariadb_unpacked(binlog.query_bytes(m, _BODY)).decode("utf-8", "replace")
        statement = read_statement(text, query.database)
        if statement.effect is Effect.BEGIN:
            self._in_group = True
        elif statement.effect is Effect.COMMIT:
            self._end(out)
        elif statement.effect is Effect.ROLLBACK:
            if self._returned:
                raise ValueError("a transaction that was returned in part and is rolled back")
            self._end(out)
        elif statement.effect in (Effect.XA_COMMIT, Effect.XA_ROLLBACK):
            # Of a transaction whose changes were in none of our tables: others ended the reading when they were met.
            self._end(out)
        elif self._txn is not None and statement.effect is not Effect.CONTROL:
            self._follow(statement, out)
            is_group = self._in_group or (
                self._gtid is not None and len(self._gtid.parts) == 3 and not self._gtid.flags & binlog.STANDALONE
            )
            if not is_group:
                self._end(out)

    def _follow(self, statement: Statement, out: list[Change]) -> None:
        """Do what a statement means for the tables that it names."""
        names = self._wanted(statement)
        if not names:
            return
        self._maps.clear()
        if statement.effect is Effect.TRUNCATE:
            tables = [table for table in map(self._versions.find, names) if table is not None]
            if tables:
                self._returned += 1
                if self._skip:
                    self._skip -= 1
                else:
                    out.append(Truncate(tables, self._begin(out)))
            return
        for name in names:
            if statement.effect in (Effect.REPLACE, Effect.CREATE):
                gone = self._versions.forget(name) if statement.effect is Effect.REPLACE else []
                changes = [*gone, *self._versions.appeared(name)]
                if changes:
                    self._announce(changes, out)
            else:
                self._versions.mentioned(name)

    def _wanted(self, statement: Statement) -> list[TableName]:
        """Return the selected tables that a statement names, as the log's maps spell them."""
        if statement.databases:
            databases = {self._folded(name) for name in statement.databases}
            return [name for name in self._versions.names() if self._folded(name.schema) in databases]
        known = {self._folded(str(name)): name for name in self._versions.names()}
        found: dict[TableName, None] = {}
        for name in statement.names:
            same = known.get(self._folded(str(name)))
            if same is None and self._folds_names:
                name = TableName(name.schema.lower(), name.table.lower())
            if same is not None or self._versions.takes(name):
                found[same or name] = None
        return list(found)

    def _folded(self, text: str) -> str:
        return text.lower() if self._folds_names else text

    def _beat(self, out: list[Change], now: float) -> None:
        if self._txn is not None:
            return
        has_moved = self._ended.commit > self._reported.commit
        if (has_moved and (not out or now - self._heartbeat_at >= MOVED_INTERVAL_S)) or (
            not out and now - self._heartbeat_at >= HEARTBEAT_INTERVAL_S
        ):
            self._heartbeat_at = now
            self._reported = self._ended
            out.append(Heartbeat(self._ended))


def _said(error: BaseException) -> str:
    # Our own ValueErrors say what is wrong; a library's could repeat a value.
    return str(error) if isinstance(error, ValueError) and not isinstance(error, UnicodeError) else "?"
