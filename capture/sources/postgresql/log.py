"""Reading PostgreSQL's log through a replication slot: `START_REPLICATION … LOGICAL` with `pgoutput`.

Which changes count for `Position.row`: each row change of a selected table, each truncate that names at least one, and
each message that belongs to the transaction; in the order in which they are returned. Transactions without such changes
are not returned at all, they only move the position on.

Keepalives are answered and the position is confirmed from within `poll` and `acknowledge`: there is no thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import orjson

from capture.sources.postgresql import pgoutput
from capture.sources.postgresql.extents import log_message
from capture.sources.postgresql.frames import Filing, follow, take
from capture.sources.postgresql.joining import join
from capture.sources.postgresql.labels import Labels
from capture.sources.postgresql.position import changes_since_begin, format_lsn, format_position
from capture.sources.postgresql.reading import add, is_read_at_once, read_shaped
from capture.sources.postgresql.replication import LogStream
from capture.sources.postgresql.status_updates import ASK_INTERVAL_S, StatusUpdates, read_keepalive
from capture.sources.postgresql.versions import Resolved, Versions
from runtime.clock import monotonic
from runtime.logging import get_logger
from runtime.spool import SpooledMessage
from runtime.waiting import wait_for
from schemas.changes import (
    Begin,
    Change,
    Commit,
    Heartbeat,
    LogMessage,
    RowChanges,
    SmallTransactions,
    Transaction,
    Truncate,
)
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import PIECE_BYTES
from schemas.loopback import APPLIED_DDL_PREFIX, APPLIED_PREFIX
from schemas.position import Position
from schemas.table import TableName

POLL_ROWS_MAX = 5_000
POLL_BYTES_MAX = 8 << 20
CHECK_INTERVAL_S = 10.0
"""How often the publication is looked at: nothing in the log tells that a table was taken out of it."""
HEARTBEAT_INTERVAL_S = 5.0
"""How often an idle log yields a heartbeat although its position is the same."""

_WAL_DATA, _KEEPALIVE = b"wk"

_Open = tuple[frozenset[bytes], list[bytes]]
"""The run that rows go on in as they come: what their messages begin with, and those that it has."""
_NO_RUN: _Open = frozenset(), []

log = get_logger(__name__)


class PostgresqlLog:
    """The log from a position on. Implements `capture.source.LogReader`."""

    def __init__(
        self,
        stream: LogStream,
        versions: Versions,
        position: Position,
        *,
        binary: bool,
        check: Callable[[Mapping[TableName, int]], None],
        skips_applied: bool = False,
        directory: str | None = None,
    ) -> None:
        """Messages that are too large to be held are kept in `directory` while they are handled."""
        self._stream = stream
        self._filing = Filing(directory, log_message)
        self._versions = versions
        self._labels = Labels(versions.renewed)
        self._has_labels = False
        """Whether there is anything to watch in the tables seen so far."""
        self.joins = False
        """See `JoiningLog`."""
        self._check = check
        """Raises unless the publication has these tables, as long as they exist under these oids."""
        self._binary = binary
        self._relations: dict[bytes, pgoutput.Relation] = {}
        self._resolved: dict[bytes, Resolved] = {}
        self._ended = position.commit
        """Everything before it is behind us."""
        self._updates = StatusUpdates(stream, position.commit)
        self._skip = position.row
        """Changes of the next transaction that are behind us too."""
        self._txn: Transaction | None = None
        self._skips_applied = skips_applied
        """Whether transactions that an applier of Tailrace has marked are left out: the other way's, of two."""
        self._is_applied = False
        """Whether the open transaction is one of these."""
        self._is_begun = False
        """Whether the open transaction's Begin has been returned."""
        self._returned = 0
        """Changes of the open transaction that earlier polls returned, the skipped ones included."""
        self._counted = 0
        """How many elements of the present poll's list are in `_returned` already."""
        self._reported = 0
        self._open = _NO_RUN
        self._heartbeat_at = self._checked_at = monotonic()
        stream.start(position.commit, binary=binary)

    @property
    def is_binary(self) -> bool:
        """Whether values come in binary form."""
        return self._binary

    def poll(self, timeout_s: float) -> Sequence[Change]:
        """Return the next changes; see `LogReader.poll`. Raises SOURCE_CONNECTION, SOURCE_LOG_LOST, DECODE and more."""
        out: list[Change] = []
        self._counted = 0
        deadline = monotonic() + timeout_s
        while True:
            try:
                is_drained = self._drain(out)
            except pgoutput.TextNeeded:
                self._reopen(out)
                continue
            except pgoutput.UNREADABLE as error:
                raise pgoutput.unreadable(error, format_lsn(self._txn.commit if self._txn else self._ended)) from error
            self._stream.check_warnings()
            now = monotonic()
            if now - self._checked_at >= CHECK_INTERVAL_S:
                self._checked_at = now
                self._check(self._versions.oids())
            self._updates.keep_alive(self._ended, now, is_idle=not out and self._txn is None)
            self._beat(out, now)
            if self._filing.is_to_be_renewed(now) and is_drained and not out and self._txn is None:
                self._begin_anew()
            if out or now >= deadline:
                break
            if is_drained:
                # Only then: what libpq has read already does not make the socket readable.
                wait_for(self._stream.socket, min(deadline - now, ASK_INTERVAL_S))
        self._count(out)
        if self._has_labels:
            renewed = self._labels.announce(out)
            for resolved in self._resolved.values() if renewed else ():
                resolved.table = renewed.get(id(resolved.table), resolved.table)
        return out

    def acknowledge(self, position: Position) -> None:
        """Confirm a position to the server; see `LogReader.acknowledge`."""
        if position.commit > self._updates.flushed:
            self._updates.flushed = position.commit
            self._updates.send(self._ended)

    def close(self) -> None:
        """End the stream. May be called twice."""
        self._stream.close()

    def _drain(self, out: list[Change]) -> bool:
        """Read what has arrived, up to a bound; tell whether that was all."""
        rows = size = 0
        asked = False
        self._open = _NO_RUN
        messages: list[bytes] = []
        while rows < POLL_ROWS_MAX and size < POLL_BYTES_MAX:
            messages.clear()
            state = take(self._stream.raw, messages, POLL_ROWS_MAX - rows, POLL_BYTES_MAX - size, self._filing)
            size += sum(map(len, messages))
            rows += self._on_messages(messages, out)
            if (large := self._filing.pop()) is not None:
                # The next row must not be added to the run before this one.
                self._open = _NO_RUN
                size += len(large)
                rows += self._on_large(large, out)
            if state < 0:
                self._stream.fail()
            if state == 0:
                if asked and not messages:
                    return True
                self._stream.receive()
                asked = True
        return False

    def _on_messages(self, messages: list[bytes], out: list[Change]) -> int:
        """Handle messages; return how many rows they brought. The loop of the log: all that is rare is elsewhere."""
        heads, last = self._open
        rest = iter(messages)
        rows = follow(last, messages, rest, heads)
        for m in rest:
            if m[25:31] in heads:
                last.append(m)
                rows += 1
                continue
            if m[0] != _WAL_DATA:
                self._on_keepalive(m)
                continue
            heads = frozenset()
            if (kind := m[25]) not in b"IUD":
                if kind == pgoutput.BEGIN and (small := self._join(messages, rest)) is not None:
                    rows += len(small.messages)
                    out.append(small)
                else:
                    self._on_message(kind, m, out)
            elif (entered := self._enter(m[26:30], out)) is not None:
                run, resolved = entered
                rows += 1
                if resolved.old_form is not None:
                    self._add_shaped(m, resolved, out)
                elif is_read_at_once(m, resolved):
                    add(m, run, resolved, resolved.form)
                else:
                    last = run.messages
                    last.append(m)
                    heads = resolved.heads
                    rows += follow(last, messages, rest, heads)
        self._open = heads, last
        return rows

    def _join(self, messages: list[bytes], rest: Iterator[bytes]) -> SmallTransactions | None:
        """Take the small transactions from the Begin on that `rest` has yielded last, if they may be joined."""
        if not self.joins or self._skip or self._has_labels:
            return None
        small = join(messages, rest, self._resolved)
        if small is not None:
            self._ended = self._reported = small.facts[-1][3]
        return small

    def _enter(self, oid: bytes, out: list[Change]) -> tuple[RowChanges, Resolved] | None:
        """Begin a run of a table's rows. None: the row at hand is not to be returned."""
        if self._is_applied:
            return None
        resolved = self._resolved.get(oid)
        if resolved is None:
            if self._skip and self._versions.takes(self._relations[oid]):
                # Behind us: nothing is said of the table's version here, which may be an older one.
                self._skip -= 1
                self._returned += 1
                return None
            resolved = self._resolve(oid, out)
        if resolved.table is None:
            return None
        if self._skip:
            self._skip -= 1
            self._returned += 1
            return None
        run = RowChanges(resolved.table, self._begin(out))
        run.form = resolved.form
        out.append(run)
        return run, resolved

    def _on_large(self, m: SpooledMessage, out: list[Change]) -> int:
        """Handle a message that is in a file; return how many rows it brought."""
        kind = m[pgoutput.HEADER_BYTES]
        if m[0] != _WAL_DATA or kind not in b"IUD":
            self._on_message(kind, bytes(m), out)
            return 0
        entered = self._enter(m[26:30], out)
        if entered is None:
            return 0
        run, resolved = entered
        if resolved.old_form is not None:
            out.pop()
            is_whole = is_read_at_once(m, resolved)
            # Else only that is read which is not large, or is within a composite: the rest stays where it is.
            part = bytes(m) if is_whole else resolved.form.take_out(m, PIECE_BYTES)[0]
            run, form = read_shaped(part, run, resolved, partial(self._renew, m[26:30], out))
            if not is_whole:
                run = RowChanges(run.table, run.txn)
                run.form, run.filed = form, m
            out.append(run)
        elif is_read_at_once(m, resolved):
            add(bytes(m), run, resolved, resolved.form)
        else:
            run.filed = m
        return 1

    def _add_shaped(self, m: bytes, resolved: Resolved, out: list[Change]) -> None:
        """Add a row with composites to the run before the one that was begun for it, if it can be."""
        run = out.pop()
        assert isinstance(run, RowChanges)
        run, _ = read_shaped(m, run, resolved, partial(self._renew, m[26:30], out))
        last = out[-1] if out else None
        if not (isinstance(last, RowChanges) and last.table is run.table and last.txn is run.txn and last.join(run)):
            out.append(run)

    def _renew(self, oid: bytes, out: list[Change], txn: Transaction) -> Resolved:
        self._versions.renew_types(txn)
        return self._resolve(oid, out)

    def _resolve(self, oid: bytes, out: list[Change]) -> Resolved:
        if self._txn is None:
            raise ValueError("a change outside a transaction")
        resolved, changes = self._versions.resolve(self._relations[oid], self._txn, binary=self._binary)
        if resolved.table is not None:
            resolved.narrow = self._versions.narrow(resolved.table, self._relations.values())
            resolved.heads = resolved.form.heads(oid, whole=not resolved.narrow)
            self._has_labels = self._has_labels or self._labels.watches(resolved.table)
        self._resolved[oid] = resolved
        if changes:
            self._begin(out)
            out += changes
        return resolved

    def _begin(self, out: list[Change]) -> Transaction:
        """Return the open transaction; make sure that its Begin has been returned."""
        if self._txn is None:
            raise ValueError("a change outside a transaction")
        if not self._is_begun:
            self._is_begun = True
            out.append(Begin(self._txn))
        return self._txn

    def _on_message(self, kind: int, m: bytes, out: list[Change]) -> None:
        if kind == pgoutput.BEGIN:
            self._txn = pgoutput.parse_begin(m)
            self._is_applied = False
        elif kind == pgoutput.COMMIT:
            self._on_commit(pgoutput.parse_commit(m), out)
        elif kind == pgoutput.RELATION:
            relation = pgoutput.parse_relation(m)
            self._relations[m[26:30]] = relation
            self._resolved.pop(m[26:30], None)
        elif kind == pgoutput.TRUNCATE:
            self._on_truncate(pgoutput.parse_truncate(m), out)
        elif kind == pgoutput.MESSAGE:
            in_transaction, prefix, content = pgoutput.parse_message(m)
            if not in_transaction:
                out.append(LogMessage(prefix, content, None))
            elif prefix == APPLIED_PREFIX:
                # It stands before all rows of its transaction, at every reading: no position counts it.
                self._is_applied = self._skips_applied
            elif prefix == APPLIED_DDL_PREFIX:
                self._on_definition(content, out)
            elif not self._is_skipped():
                out.append(LogMessage(prefix, content, self._begin(out)))
        elif kind not in (pgoutput.TYPE, pgoutput.ORIGIN):
            raise ValueError("a message of an unknown kind")

    def _on_definition(self, content: bytes, out: list[Change]) -> None:
        """An applier makes, alters or drops a table: no position counts what is to be told of it."""
        if not self._skips_applied or self._txn is None:
            return
        try:
            said = orjson.loads(content)
            event, name = str(said["event"]), TableName(*map(str, said["table"]))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            # Anybody may write messages.
            return
        changes = self._versions.applied(event, name, self._txn)
        if changes:
            self._begin(out)
            out += changes

    def _on_commit(self, end_lsn: int, out: list[Change]) -> None:
        if self._txn is None:
            raise ValueError("a commit outside a transaction")
        if self._skip and self._returned:
            raise TailraceError(
                ErrorKind.INVARIANT,
                f"the transaction after the position has {self._returned} changes, the position says that "
                f"{self._returned + self._skip} are behind it",
                position=format_position(Position(self._ended, self._returned + self._skip)),
                remedy="`source.tables` or the publication was changed in the middle of a transaction: undo it, "
                "let the replication pass that transaction, then do it again; or reload",
            )
        if self._returned:
            # All of it was behind us, but its end was not.
            self._begin(out)
        self._ended = end_lsn
        if self._is_begun:
            out.append(Commit(self._txn, Position(end_lsn)))
            self._reported = end_lsn
        self._txn = None
        self._is_begun = False
        self._returned = 0

    def _on_truncate(self, oids: list[bytes], out: list[Change]) -> None:
        taken = [oid for oid in oids if oid in self._relations and self._versions.takes(self._relations[oid])]
        if not taken or self._is_applied or self._is_skipped():
            return
        tables = []
        for oid in taken:
            resolved = self._resolved.get(oid) or self._resolve(oid, out)
            if resolved.table is not None:
                tables.append(resolved.table)
        out.append(Truncate(tables, self._begin(out)))

    def _is_skipped(self) -> bool:
        if self._skip:
            self._skip -= 1
            self._returned += 1
            return True
        return False

    def _on_keepalive(self, m: bytes) -> None:
        if m[0] != _KEEPALIVE:
            raise ValueError("a message of an unknown kind")
        end_lsn, wants_reply = read_keepalive(m)
        if self._txn is None and end_lsn > self._ended:
            self._ended = end_lsn
        if wants_reply:
            self._updates.send(self._ended)

    def _beat(self, out: list[Change], now: float) -> None:
        if self._txn is not None:
            return
        has_moved = self._ended > self._reported
        if (has_moved and (not out or now - self._heartbeat_at >= ASK_INTERVAL_S)) or (
            not out and now - self._heartbeat_at >= HEARTBEAT_INTERVAL_S
        ):
            self._heartbeat_at = now
            self._reported = self._ended
            # A stream that was begun anew, or goes on within a transaction, has yet to come to what is behind us of it.
            out.append(Heartbeat(Position(self._ended, self._skip)))

    def _count(self, out: list[Change]) -> None:
        if self._txn is not None:
            self._returned += changes_since_begin(out[self._counted :])

    def _reopen(self, out: list[Change]) -> None:
        """Go on in text form from where we are: a type has no binary form, or one that cannot be read."""
        self._count(out)
        self._skip += self._returned
        log.info("reading the log in text form", position=format_position(Position(self._ended, self._skip)))
        self._counted = len(out)
        self._returned = 0
        self._txn = None
        self._binary = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Start the stream again behind the last transaction that ended, on another connection."""
        self._filing.clear()
        self._relations.clear()
        self._resolved.clear()
        self._versions.start_stream()
        self._stream.start(self._ended, binary=self._binary)
