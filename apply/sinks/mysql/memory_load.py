"""The driver's connection, with `load data local` reading from memory.

A server that is asked to load a local file sends the name of the file that it wants, and nothing in the protocol makes
it the one that the statement named. So the name is not even looked at: what goes out is the data that was laid ready
for this very statement, and where none was, the connection ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pymysql import connections, err
from pymysql.constants import CR

from schemas.large_values import Buffer, LargeValue

PACKET_BYTES_MAX = 1 << 20
_COUNTS = re.compile(rb"(\d+)\D+\d+\D+(\d+)\D+\d+\D*\Z")
"""Records, and those skipped, in what a server says of a load, in whatever language: of four numbers two."""


class MemoryConnection(connections.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection whose `load data local` statements read what `load` was given."""

    packet_bytes = PACKET_BYTES_MAX
    """How much of a load goes into a packet."""
    _ready: Iterable[Buffer] | None = None
    warning_count = 0
    """Of the last statement."""

    def load(self, statement: str, pieces: Iterable[Buffer]) -> int:
        """Run a `load data local infile` over what the pieces are; return the number of rows that were loaded."""
        self._ready = pieces
        try:
            affected = int(self.query(statement) or 0)
        finally:
            self._ready = None
        found = _COUNTS.search(self._result.message or b"") if self._result else None
        # Those that replaced others count twice among the affected.
        return affected if found is None else int(found[1]) - int(found[2])

    def _read_query_result(self, unbuffered: bool = False) -> int:
        self._result = None
        result = _Result(self)
        result.read()
        self._result = result
        self.warning_count = result.warning_count or 0
        if result.server_status is not None:
            self.server_status = result.server_status
        return int(result.affected_rows or 0)

    def send_ready(self) -> None:
        """Send the data that was laid ready, in packets, and the empty packet that ends it."""
        pieces, self._ready = self._ready, None
        if pieces is None:
            self._force_close()
            raise err.OperationalError(CR.CR_SERVER_LOST, "the server asks for a file that no statement named")
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), self.packet_bytes):
                self.write_packet(bytes(view[start : start + self.packet_bytes]))
        self.write_packet(b"")


def streamed(data: bytes, values: Sequence[LargeValue]) -> Iterator[Buffer]:
    """Yield lines with the values in the place of their stand-ins; see `apply.sinks.mysql.types.Wire.streams`."""
    marked = [(value, value.stand_in if value.is_text else value.stand_in.hex().encode()) for value in values]
    places = sorted(
        (found.start(), found.end(), value) for value, mark in marked for found in re.finditer(re.escape(mark), data)
    )
    at = 0
    for begin, end, value in places:
        yield data[at:begin]
        for piece in value.pieces():
            yield _escaped(bytes(piece)) if value.is_text else bytes(piece).hex().encode()
        at = end
    yield memoryview(data)[at:]


def _escaped(text: bytes) -> bytes:
    """Escape a text for `load data`: none of these is a part of another character in UTF-8."""
    return text.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n").replace(b"\0", b"\\0")


class _Result(connections.MySQLResult):  # type: ignore[misc]  # the driver has no types
    def _read_load_local_packet(self, first_packet: Any) -> None:
        connection = self.connection
        connection.send_ready()
        self._read_ok_packet(connection._read_packet())
