# cython: language_level=3
"""Messages of COPY out of libpq's buffer, many in one call.

The compiled twin of a loop over the driver's `get_copy_data`, which makes a view for each message, of which bytes are
made then. It touches no socket: asked in its asynchronous way, libpq hands out what has been received. Its functions
are called by their addresses: those of the very library that the driver has loaded.

Unlike the others, this module does nothing unless it is built: Python calls no addresses.

Functions: PostgreSQL documentation, libpq, "Functions Associated with the COPY Command".
"""

from __future__ import annotations

from collections.abc import Callable

import cython

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cclass
class Frames:
    """Takes the messages of connections."""

    get: GetCopyData  # noqa: F821 - C's, see the .pxd
    free: FreeMemory  # noqa: F821

    def __init__(self, get: cython.size_t, free: cython.size_t) -> None:
        """`get` and `free` are the addresses of `PQgetCopyData` and `PQfreemem`."""
        self.get = cython.cast(GetCopyData, get)  # noqa: F821
        self.free = cython.cast(FreeMemory, free)  # noqa: F821

    def take(
        self,
        connection: cython.size_t,
        out: list[bytes],
        count_max: cython.longlong,
        bytes_max: cython.longlong,
        held_max: cython.longlong,
        put: Callable[[memoryview], None],
    ) -> int:
        """Append the messages that have arrived to `out`, at most `count_max`, until they are `bytes_max` bytes, or one
        of more than `held_max` has come, which `put` is given to look at.

        `connection` is the address of a `PGconn`. Return what libpq said last: a length, if there may be more; 0, if
        nothing more has arrived; -1 where the copy has ended, -2 for an error.
        """
        data: cython.p_char = cython.NULL
        size: cython.int = 1
        while count_max > 0 and bytes_max > 0:
            size = self.get(cython.cast(cython.p_void, connection), cython.address(data), 1)
            if size <= 0:
                break
            try:
                if size > held_max:
                    # It is libpq's own copy: nothing makes another one.
                    with PyMemoryView_FromMemory(data, size, PyBUF_READ) as content:  # noqa: F821
                        put(content)
                    break
                out.append(data[:size])
            finally:
                self.free(data)
            count_max -= 1
            bytes_max -= size
        return size
