"""The driver's connection, with `load data local` reading from memory.

A server that is asked to load a local file sends the name of the file that it wants, and nothing in the protocol makes
it the one that the statement named. So the name is not even looked at: what goes out is the data that was laid ready
for this very statement, and where none was, the connection ends.
"""

from __future__ import annotations

from typing import Any

from pymysql import connections, err
from pymysql.constants import CR

_PACKET_BYTES = 1 << 20


class MemoryConnection(connections.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection whose `load data local` statements read what `load` was given."""

    _ready: bytes | None = None
    warning_count = 0
    """Of the last statement."""

    def load(self, statement: str, data: bytes) -> int:
        """Run a `load data local infile` over `data`; return the number of rows that were loaded."""
        self._ready = data
        try:
            return int(self.query(statement) or 0)
        finally:
            self._ready = None

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
        data, self._ready = self._ready, None
        if data is None:
            self._force_close()
            raise err.OperationalError(CR.CR_SERVER_LOST, "the server asks for a file that no statement named")
        view = memoryview(data)
        for start in range(0, len(view), _PACKET_BYTES):
            self.write_packet(bytes(view[start : start + _PACKET_BYTES]))
        self.write_packet(b"")


class _Result(connections.MySQLResult):  # type: ignore[misc]  # the driver has no types
    def _read_load_local_packet(self, first_packet: Any) -> None:
        connection = self.connection
        connection.send_ready()
        self._read_ok_packet(connection._read_packet())
