# cython: language_level=3
"""Messages of COPY out of libpq's buffer, many in one call.

The compiled twin of a loop over the driver's `get_copy_data`, which makes a view for each message, of which bytes are
made then. It touches no socket: libpq's `PQgetlineAsync` hands out what has been received, out of its own buffer, where
`PQgetCopyData` makes a copy of the whole message first. It is called by its address: that of the very library that the
driver has loaded.

Unlike the others, this module does nothing unless it is built: Python calls no addresses.

Functions: PostgreSQL documentation, libpq, "Functions Associated with the COPY Command".
"""

from __future__ import annotations

from collections.abc import Callable

import cython

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


def alike(messages: list[bytes], first: cython.Py_ssize_t, heads: frozenset[bytes]) -> int:
    """Return how many messages, from `first` on and one behind the other, have one of `heads` as bytes 25 to 30."""
    at: cython.Py_ssize_t = first
    message: bytes
    m: cython.p_const_uchar
    # Of the message before: most are of its kind.
    head: cython.p_const_uchar = cython.NULL
    while at < len(messages):
        message = messages[at]
        if len(message) < 31:
            break
        m = message
        if head == cython.NULL or memcmp(m + 25, head, 6):  # noqa: F821
            if message[25:31] not in heads:
                break
            head = m + 25
        at += 1
    return at - first


@cython.cclass
class Frames:
    """Takes the messages of connections."""

    line: GetLine  # noqa: F821 - C's, see the .pxd
    room: bytearray

    def __init__(self, line: cython.size_t) -> None:
        """`line` is the address of `PQgetlineAsync`."""
        self.line = cython.cast(GetLine, line)  # noqa: F821
        self.room = bytearray()

    def take(
        self,
        connection: cython.size_t,
        out: list[bytes],
        count_max: cython.longlong,
        bytes_max: cython.longlong,
        held_max: cython.int,
        put: Callable[[memoryview], None],
    ) -> int:
        """Append the messages that have arrived to `out`, at most `count_max`, until they are `bytes_max` bytes, or one
        of more than `held_max` has come: `put` is given that many and one more of it, and asks for the rest by `more`.

        `connection` is the address of a `PGconn`. Return what libpq said last: a length, if there may be more; 0, if
        nothing more has arrived; -1 where the copy has ended, or for an error.
        """
        if len(self.room) != held_max + 1:
            self.room = PyByteArray_FromStringAndSize(cython.NULL, held_max + 1)  # noqa: F821
        room: cython.p_char = self.room
        size: cython.int = 1
        while count_max > 0 and bytes_max > 0:
            size = self.line(cython.cast(cython.p_void, connection), room, held_max + 1)
            if size <= 0:
                break
            if size > held_max:
                put(memoryview(self.room))
                break
            out.append(room[:size])
            count_max -= 1
            bytes_max -= size
        return size

    def more(self, connection: cython.size_t, count: cython.int) -> memoryview:
        """Return up to so many bytes of what follows, until the next call: no more than `put` was given at once."""
        room: cython.p_char = self.room
        size: cython.int = self.line(cython.cast(cython.p_void, connection), room, min(count, len(self.room)))
        return memoryview(self.room)[: max(0, size)]
