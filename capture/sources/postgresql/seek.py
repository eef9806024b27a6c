"""Finding the place in a slot's log where the transactions of a moment begin.

PostgreSQL cannot seek by time, and does not tell when a slot was made: the log is read from where the slot stands,
without confirming anything, up to the first transaction that was committed then or later. Times come in the order of
commits but for moments. That the log reaches back far enough is believed only if it holds a transaction from before the
moment.
"""

from __future__ import annotations

from datetime import UTC, datetime

from capture.sources.postgresql import pgoutput
from capture.sources.postgresql.position import format_lsn
from capture.sources.postgresql.replication import LogStream
from capture.sources.postgresql.status_updates import ASK_INTERVAL_S, StatusUpdates, read_keepalive
from runtime.clock import monotonic
from runtime.logging import get_logger
from runtime.waiting import wait_for
from schemas.errors import ErrorKind, TailraceError

TELL_INTERVAL_S = 10.0

_LOOKED_AT_BYTES = 256
"""Of a message that may be very large; those that are read are shorter."""

log = get_logger(__name__)


def find_time(stream: LogStream, begin_lsn: int, end_lsn: int, committed_from_us: int) -> int:
    """Return the LSN behind which the first transaction stands that was committed at a moment or later.

    Reads from `begin_lsn`, and to `end_lsn` where there is no such transaction. Leaves the stream open. Raises
    SOURCE_LOG_LOST unless the log is known to reach back to the moment.
    """
    return _Search(stream, begin_lsn, committed_from_us).run(end_lsn)


class _Search:
    def __init__(self, stream: LogStream, begin_lsn: int, committed_from_us: int) -> None:
        self._stream = stream
        self._begin_lsn = self._passed_lsn = begin_lsn
        self._committed_from_us = committed_from_us
        self._is_inside = False
        """Whether a transaction has begun and not ended."""
        self._has_earlier = False
        """Whether a transaction from before the moment was seen."""
        self._told_at = monotonic()
        self._updates = StatusUpdates(stream, begin_lsn)
        """Nothing is flushed: all of it is read again."""

    def run(self, end_lsn: int) -> int:
        try:
            return self._read(end_lsn, binary=True)
        except pgoutput.TextNeeded:
            self._passed_lsn, self._is_inside, self._has_earlier = self._begin_lsn, False, False
            return self._read(end_lsn, binary=False)

    def _read(self, end_lsn: int, *, binary: bool) -> int:
        self._stream.start(self._begin_lsn, binary=binary)
        self._updates.send(self._passed_lsn, ask=True)
        while self._is_inside or self._passed_lsn < end_lsn:
            length, data = self._stream.raw.get_copy_data(1)
            if length < 0:
                self._stream.fail()
            if length == 0:
                self._wait()
            elif self._is_found(bytes(data[:_LOOKED_AT_BYTES])):
                return self._passed_lsn
        if not self._has_earlier:
            raise self._unknown("it holds no transaction of the captured tables")
        return self._passed_lsn

    def _is_found(self, m: bytes) -> bool:
        if m[:1] == b"k":
            lsn, wants_reply = read_keepalive(m)
            if not self._is_inside:
                self._passed_lsn = max(self._passed_lsn, lsn)
            if wants_reply:
                self._updates.send(self._passed_lsn)
        elif m[pgoutput.HEADER_BYTES] == pgoutput.BEGIN:
            committed_us = pgoutput.parse_begin(m).commit_ts_us
            if committed_us >= self._committed_from_us:
                if committed_us > self._committed_from_us and not self._has_earlier:
                    raise self._unknown(f"its first transaction of the captured tables is from {_text(committed_us)}")
                return True
            self._is_inside = self._has_earlier = True
        elif m[pgoutput.HEADER_BYTES] == pgoutput.COMMIT:
            self._passed_lsn = pgoutput.parse_commit(m)
            self._is_inside = False
        return False

    def _wait(self) -> None:
        now = monotonic()
        self._updates.keep_alive(self._passed_lsn, now, is_idle=True)
        if now - self._told_at >= TELL_INTERVAL_S:
            self._told_at = now
            log.info("looks for the start position in the log", passed=format_lsn(self._passed_lsn))
        wait_for(self._stream.socket, ASK_INTERVAL_S)
        self._stream.receive()
        self._stream.check_warnings()

    def _unknown(self, reason: str) -> TailraceError:
        return TailraceError(
            ErrorKind.SOURCE_LOG_LOST,
            f"the log may not reach back to {_text(self._committed_from_us)}: {reason}",
            position=format_lsn(self._begin_lsn),
            remedy="set start_position to a time from then on, or to `now` for all that the slot holds",
        )


def _text(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="microseconds")
