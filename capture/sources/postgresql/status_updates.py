"""What the server and a reader of its log tell each other beside changes: how far the one goes, how far the other is.

Protocol: PostgreSQL documentation, "Streaming Replication Protocol". The server's patience is `wal_sender_timeout`.
"""

from __future__ import annotations

from struct import Struct

from capture.sources.postgresql.replication import LogStream
from capture.sources.postgresql.temporals import EPOCH_US
from runtime.clock import monotonic, now_us

STATUS_INTERVAL_S = 5.0
"""How often the server hears of us at least."""
ASK_INTERVAL_S = 0.2
"""How often an idle log is asked how far it goes."""

_keepalive = Struct(">qqB").unpack_from
_status = Struct(">cqqqqB").pack


def read_keepalive(m: bytes) -> tuple[int, bool]:
    """Return where the log ends by a message of the server, and whether it wants to hear of us at once."""
    end_lsn, _, wants_reply = _keepalive(m, 1)
    return end_lsn, bool(wants_reply)


class StatusUpdates:
    """Tells the server how far we are."""

    def __init__(self, stream: LogStream, flushed: int) -> None:
        self.flushed = flushed
        """What we shall never ask for again: the server may discard it."""
        self._stream = stream
        self._sent_at = self._asked_at = monotonic()

    def keep_alive(self, read: int, now: float, *, is_idle: bool) -> None:
        """Tell it now and then; ask how far the log goes while nothing comes."""
        if is_idle and now - self._asked_at >= ASK_INTERVAL_S:
            self._asked_at = now
            self.send(read, ask=True)
        elif now - self._sent_at >= STATUS_INTERVAL_S:
            self.send(read)

    def send(self, read: int, *, ask: bool = False) -> None:
        """Tell it that we have read so far. `ask`: it is to answer at once."""
        # Written, flushed, applied, clock.
        self._sent_at = monotonic()
        written = max(read, self.flushed)
        self._stream.send(_status(b"r", written, self.flushed, self.flushed, now_us() - EPOCH_US, int(ask)))
