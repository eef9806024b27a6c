"""Messages of COPY as libpq has received them: many at once where the compiled twin is, and the driver is C, too."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import psycopg
from psycopg import pq

from capture.sources.postgresql.connection import classified
from schemas.twin import built


def take(connection: pq.abc.PGconn, out: list[bytes], count_max: int, bytes_max: int) -> int:
    """Append the messages that have arrived to `out`, at most `count_max`, until they are `bytes_max` bytes.

    Return a number greater than 0, if there may be more; 0, if nothing more has arrived; -1 where the copy has ended.
    Raises SOURCE_CONNECTION: no memory for a message, or no copy.
    """
    frames = _frames()
    # A closed connection has no address: then the driver raises what it has to say.
    is_ours = frames is not None and isinstance(connection, pq.PGconn)
    address = connection.pgconn_ptr if is_ours else None  # type: ignore[attr-defined]  # psycopg's protocol lacks it
    size: int
    with classified("taking the server's messages"):
        if frames is None or address is None:
            size = _take(connection, out, count_max, bytes_max)
        else:
            size = frames.take(address, out, count_max, bytes_max)
        if size < -1:
            raise psycopg.OperationalError(connection.get_error_message())
    return size


def _take(connection: pq.abc.PGconn, out: list[bytes], count_max: int, bytes_max: int) -> int:
    size = 1
    while count_max > 0 and bytes_max > 0:
        size, data = connection.get_copy_data(1)
        if size <= 0:
            break
        out.append(bytes(data))
        count_max -= 1
        bytes_max -= size
    return size


@cache
def _frames() -> Any:
    """Return the twin, with the functions of the libpq that the driver is linked with; None: there is none such."""
    module = built("frames")
    if module is None or pq.__impl__ == "python":
        return None
    try:
        # What a library is linked with is found by its name, too.
        driver = ctypes.CDLL(sys.modules[pq.PGconn.__module__].__file__)
        # But for one that was loaded before all others: the driver would call that.
        if driver.PQlibVersion() != pq.version():
            return None
        found = [ctypes.cast(function, ctypes.c_void_p).value for function in (driver.PQgetCopyData, driver.PQfreemem)]
    except (OSError, AttributeError):
        return None
    return module.Frames(*found)
