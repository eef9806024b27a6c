"""Messages of COPY as libpq has received them: many at once where the compiled twin is, and the driver is C, too."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from operator import length_hint
from typing import Any

import psycopg
from psycopg import pq

from capture.sources.postgresql.connection import classified
from capture.sources.postgresql.extents import Arriving, Extent
from runtime.clock import monotonic
from runtime.spool import HELD_BYTES_MAX, Spool, SpooledMessage, spooled
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import Buffer
from schemas.twin import built

SWOLLEN_BYTES = 64 << 20
RENEW_INTERVAL_S = 60.0
"""How long a log's connection is kept at least whose memory could be given back: for another one the server decodes its
log again from where its oldest open transaction began.
"""


class Filing:
    """Where messages go that are too large to be held."""

    def __init__(self, directory: str | None, extent: Extent) -> None:
        """They stand in temporary files there. `extent` tells where one ends."""
        self._directory = directory
        self._extent = extent
        self._message: SpooledMessage | None = None
        self._began_at = monotonic()
        self.is_swollen = False
        """Whether the connection has had a message of so many bytes that the memory for them should be given back."""

    def put(self, content: Buffer) -> None:
        """Keep a message, of which nothing is held."""
        self._keep(spooled(content, self._directory))

    def put_by_pieces(self, first: Buffer, more: Callable[[int], Buffer]) -> None:
        """Keep a message that begins so; `more` gives up to so many bytes of what follows. Raises DECODE."""
        spool = Spool.make(self._directory)
        spool.write([first])
        message = Arriving(spool, more)
        try:
            self._extent(message)
            if message.at != spool.size:
                raise ValueError("a message that goes on behind its end")
        except ValueError as error:
            raise TailraceError(ErrorKind.DECODE, f"the server sent {error}") from None
        self._keep(SpooledMessage.of(spool))

    def _keep(self, message: SpooledMessage) -> None:
        self._message = message
        self.is_swollen = self.is_swollen or len(message) >= SWOLLEN_BYTES

    def pop(self) -> SpooledMessage | None:
        """Return the message that came last, if it is such a one."""
        message, self._message = self._message, None
        return message

    def take_swollen(self) -> bool:
        """Tell whether the connection is to be closed: libpq gives its buffer's memory back only with it."""
        is_swollen, self.is_swollen = self.is_swollen, False
        return is_swollen

    def is_to_be_renewed(self, now: float) -> bool:
        """Tell the same of a log's connection."""
        return self.is_swollen and now - self._began_at >= RENEW_INTERVAL_S

    def clear(self) -> None:
        """Forget what came by a connection that is closed: there is another one."""
        self._message, self.is_swollen, self._began_at = None, False, monotonic()


def take(connection: pq.abc.PGconn, out: list[bytes], count_max: int, bytes_max: int, filing: Filing) -> int:
    """Append the messages that have arrived to `out`, at most `count_max`, until they are `bytes_max` bytes, or a large
    one has come, which is put into `filing`. Libpq has it whole then; without the twin, twice.

    Return a number greater than 0, if there may be more; 0, if nothing more has arrived; -1 where the copy has ended,
    or where no memory was there for a message: `get_result` tells. Raises SOURCE_CONNECTION: no copy.
    """
    frames = _frames()
    # A closed connection has no address: then the driver raises what it has to say.
    is_ours = frames is not None and isinstance(connection, pq.PGconn)
    address = connection.pgconn_ptr if is_ours else None  # type: ignore[attr-defined]  # psycopg's protocol lacks it
    size: int
    with classified("taking the server's messages"):
        if frames is None or address is None:
            size = _take(connection, out, count_max, bytes_max, filing)
        else:
            put = partial(filing.put_by_pieces, more=partial(frames.more, address))
            size = frames.take(address, out, count_max, bytes_max, HELD_BYTES_MAX, put)
        if size < -1:
            raise psycopg.OperationalError(connection.get_error_message())
    return size


def _take(connection: pq.abc.PGconn, out: list[bytes], count_max: int, bytes_max: int, filing: Filing) -> int:
    size = 1
    while count_max > 0 and bytes_max > 0:
        size, data = connection.get_copy_data(1)
        if size <= 0:
            break
        if size > HELD_BYTES_MAX:
            filing.put(data)
            break
        out.append(bytes(data))
        count_max -= 1
        bytes_max -= size
    return size


def follow(last: list[bytes], messages: list[bytes], rest: Iterator[bytes], heads: frozenset[bytes]) -> int:
    """Append to `last` what `rest`, an iterator of `messages`, has next, as long as bytes 25 to 30 are of `heads`.

    Return how many these are; 0 without the compiled twin, since to look at each is then as good.
    """
    module = built("frames")
    if module is None:
        return 0
    count: int = module.alike(messages, len(messages) - length_hint(rest), heads)
    last.extend(islice(rest, count))
    return count


@cache
def _frames() -> Any:
    """Return the twin, with the function of the libpq that the driver is linked with; None: there is none such."""
    module = built("frames")
    if module is None or pq.__impl__ == "python":
        return None
    try:
        # What a library is linked with is found by its name, too.
        driver = ctypes.CDLL(sys.modules[pq.PGconn.__module__].__file__)
        # But for one that was loaded before all others: the driver would call that.
        if driver.PQlibVersion() != pq.version():
            return None
        address = ctypes.cast(driver.PQgetlineAsync, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
    return module.Frames(address)
