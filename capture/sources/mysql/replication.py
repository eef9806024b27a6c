"""The stream below the log reader: registering as a replica, asking for the log after a place, taking events."""

from __future__ import annotations

import os
import zlib

from capture.sources.mysql.connection import Connection, connect
from capture.sources.mysql.files import FileOffset
from capture.sources.mysql.gtid import MariadbGtids, MysqlGtids
from capture.sources.mysql.packets import RIGHTS, Packet
from capture.sources.mysql.position import Place
from runtime.clock import monotonic
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError

COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID, COM_REGISTER = 0x12, 0x1E, 0x15

HEARTBEAT_S = 1
"""How often the server says that nothing has happened."""

SILENCE_S = 60.0
"""After which a server that sends not even heartbeats counts as gone."""

FIRST_EVENT = 4
"""Where the first event stands in a file of the log."""

_GTIDS_FOLLOW = 4
"""Flag of COM_BINLOG_DUMP_GTID: start by the set, not by file and position."""


class LogStream:
    """The events after a place. Each is returned with its header, without the protocol's status byte."""

    def __init__(self, settings: MysqlSource, server_id: int, directory: str | None = None) -> None:
        """Large events wait in files in `directory`."""
        self.directory = directory
        self._settings = settings
        self._server_id = server_id
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The connection. Raises INVARIANT before `start`."""
        if self._connection is None:
            raise TailraceError(ErrorKind.INVARIANT, "the log's stream is not open")
        return self._connection

    def start(self, after: Place) -> None:
        """Ask for everything after a place. Raises SOURCE_CONNECTION, PREREQUISITE.

        That the log no longer has them the server says with its first packet: `poll` raises it.
        """
        self.close()
        connection = self._connection = connect(self._settings)
        connection.file_large(self.directory)
        names = ("source", "master") if not connection.is_mariadb else ("master",)
        for name in names:
            # That we know of checksums; those that the log has are sent all the same. Both spellings: which one counts
            # is a matter of the version.
            connection.run(
                f"set @{name}_binlog_checksum = 'NONE', @{name}_heartbeat_period = {HEARTBEAT_S * 1_000_000_000}"
            )
        if connection.is_mariadb:
            if not isinstance(after, MariadbGtids):
                raise _other_server("MariaDB")
            # 4: the reader knows GTIDs (`sql_slave_capability`).
            connection.run("set @mariadb_slave_capability = 4, @slave_gtid_strict_mode = 1")
            connection.run(f"set @slave_connect_state = '{after.text()}', @slave_gtid_ignore_duplicates = 0")
            self._register(connection)
            self._ask(connection, FIRST_EVENT, "")
        elif isinstance(after, FileOffset):
            self._register(connection)
            self._ask(connection, after.offset, after.file)
        else:
            if not isinstance(after, MysqlGtids):
                raise _other_server("MySQL")
            self._register(connection)
            encoded = after.encoded()
            connection.send(
                bytes([COM_BINLOG_DUMP_GTID])
                + _GTIDS_FOLLOW.to_bytes(2, "little")
                + self._server_id.to_bytes(4, "little")
                + bytes(4)
                + FIRST_EVENT.to_bytes(8, "little")
                + len(encoded).to_bytes(4, "little")
                + encoded
            )
        connection.set_blocking(blocking=False)

    def poll(self) -> Packet | None:
        """Return the next packet if it is there: a status byte, then an event. Raises SOURCE_CONNECTION where nothing
        comes, not even a part of one.
        """
        packet = self.connection.poll()
        if packet is None and monotonic() - self.connection.heard_at > SILENCE_S:
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"the server was silent for {SILENCE_S:.0f} s")
        return packet

    def close(self) -> None:
        """End the stream. May be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, connection: Connection, offset: int, file: str) -> None:
        """Ask for the log from an offset of a file on; without a file, as the session's variables say."""
        numbers = offset.to_bytes(4, "little") + bytes(2) + self._server_id.to_bytes(4, "little")
        connection.send(bytes([COM_BINLOG_DUMP]) + numbers + file.encode())

    def _register(self, connection: Connection) -> None:
        """Say who reads: shown by `show replicas`, and what ends an earlier reader of the same number."""
        host = b"tailrace"
        connection.send(
            bytes([COM_REGISTER])
            + self._server_id.to_bytes(4, "little")
            + bytes([len(host)])
            + host
            + bytes(2)
            + (os.getpid() & 0xFFFF).to_bytes(2, "little")
            + bytes(8)
        )
        try:
            connection.receive()
        except TailraceError as error:
            if error.kind is ErrorKind.PREREQUISITE:
                # It is logged in: MariaDB answers as to a wrong password where the right is lacking.
                error.remedy = RIGHTS
            raise


def default_server_id(replication: str) -> int:
    """Return the replica's number of a replication that names none: one of two milliard, high above usual numbers."""
    return 0x80000000 | zlib.crc32(replication.encode())


def _other_server(name: str) -> TailraceError:
    return TailraceError(
        ErrorKind.SOURCE_LOG_LOST,
        f"the position is not one of {name}, which the server is",
        remedy="go back to the server that it came from, or `tailrace reset` and load anew",
    )
