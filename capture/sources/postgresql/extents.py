"""Where a message ends that comes a piece at a time: libpq says how much it gave, and not whether that was all.

Protocol: PostgreSQL documentation, "Logical Replication Message Formats" and "COPY", "Binary Format".
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.spool import Spool
from schemas.large_values import PIECE_BYTES, Buffer

_XLOGDATA_BYTES = 25
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"


class Arriving:
    """A message on its way into a file. Its reader asks for what must be there, so nothing of the next one is taken."""

    def __init__(self, spool: Spool, more: Callable[[int], Buffer]) -> None:
        """`spool` has its beginning, `more` gives up to so many bytes of what follows."""
        self._spool = spool
        self._more = more
        self.at = 0
        """Where its reader is."""

    def skip(self, count: int) -> None:
        """Pass over bytes. Raises ValueError where they do not come."""
        self.at += count
        while (lacking := self.at - self._spool.size) > 0:
            if not self._spool.write([self._more(min(lacking, PIECE_BYTES))]):
                raise ValueError("a message that ends before its end")

    def skip_text(self) -> None:
        """Pass over what ends with a zero byte, before a length: a prefix can be as long as its message's content."""
        found = b""
        while b"\0" not in found:
            # Of what is not there yet, only the zero and a length behind it are known to come.
            found = self.take(min(PIECE_BYTES, max(5, self._spool.size - self.at)))
        self.at -= len(found) - found.index(b"\0") - 1

    def take(self, count: int) -> bytes:
        """Return the bytes that follow."""
        self.skip(count)
        return self._spool.read(self.at - count, count)

    def number(self, size: int) -> int:
        """Return a signed number."""
        return int.from_bytes(self.take(size), "big", signed=True)


Extent = Callable[[Arriving], None]
"""Goes through a message to its end."""


def log_message(m: Arriving) -> None:
    """Go through a message of the log, of a kind that can be large: a row's change, or a message of somebody's own."""
    m.skip(_XLOGDATA_BYTES)
    kind = m.take(1)
    if kind == b"M":
        m.skip(9)
        m.skip_text()
        m.skip(m.number(4))
        return
    if kind not in (b"I", b"U", b"D"):
        raise ValueError("a large message of an unknown kind")
    m.skip(4)
    is_last = False
    while not is_last:
        is_last = m.take(1) == b"N" or kind == b"D"
        for _ in range(m.number(2)):
            if m.take(1) in (b"t", b"b"):
                m.skip(m.number(4))


def copy_tuple(m: Arriving) -> None:
    """Go through a tuple of a binary COPY, and the header if it stands before it."""
    # No table has so many columns as the signature's first two bytes would say.
    if m.take(2) == _SIGNATURE[:2]:
        m.skip(len(_SIGNATURE) - 2 + 4)
        m.skip(m.number(4))
        m.skip(2)
    m.at -= 2
    for _ in range(m.number(2)):
        m.skip(max(0, m.number(4)))
