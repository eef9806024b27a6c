"""Connections to a MySQL or MariaDB server: handshake, log-in, queries in text form, and packets for the log.

Protocol: MySQL internals manual, "Client/Server Protocol"; MariaDB knowledge base, the page of the same name. Own
code rather than a driver's: rows are decoded by functions that are generated for each table, from the packets
themselves, and the log's stream is the same packets again.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NoReturn

from capture.sources.mysql import authentication
from capture.sources.mysql.packets import LargeMessage, Packet, error_of
from runtime.clock import monotonic
from runtime.spool import Spool
from runtime.waiting import wait_for
from schemas.endpoints.mysql import MysqlSource
from schemas.endpoints.section import TlsMode
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import FiledMessage

LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41 = 1, 4, 8, 0x200
SSL, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH = 0x800, 0x2000, 0x8000, 0x80000
PLUGIN_AUTH_LENENC, DEPRECATE_EOF = 0x200000, 0x1000000

UTF8MB4 = 45
"""Number of the collation utf8mb4_general_ci, which both servers know."""

PACKET_MAX = 0xFFFFFF
RECEIVE_BYTES = 256 << 10
RECEIVE_LARGE_BYTES = 4 << 20
STALL_S = 600.0
"""How long the server may take to send anything at all of an answer."""

COM_QUERY, COM_PING = 3, 14

Cells = list[str | None]

_header = Struct("<I").unpack_from


class Connection:
    """One session. Errors of the server and of the network are raised as `TailraceError` by kind."""

    def __init__(self, settings: MysqlSource) -> None:
        self._settings = settings
        self._directory: str | None = None
        self._files_large = False
        self._large: LargeMessage | None = None
        self._buffer = b""
        self._at = self._sequence = 0
        self._nonce = b""
        self.version_text = ""
        self.version: tuple[int, int, int] = (0, 0, 0)
        self.is_mariadb = self.is_closed = False
        self._socket = self._connect()
        try:
            self._log_in()
            self._socket.settimeout(STALL_S)
        except BaseException:
            self.close()
            raise

    # Queries.

    def run(self, sql: str) -> None:
        """Run a statement; rows are thrown away."""
        for _ in self.packets(sql):
            pass

    def rows(self, sql: str) -> list[Cells]:
        """Run a query and return its rows as text. Bytes that are no UTF-8 raise DECODE."""
        try:
            return [_cells(bytes(packet)) for packet in self.packets(sql)]
        except UnicodeDecodeError as error:
            raise TailraceError(ErrorKind.DECODE, "the server's answer is no UTF-8") from error

    def value(self, sql: str) -> str | None:
        """Return the first value of a query, None where there is no row."""
        rows = self.rows(sql)
        return rows[0][0] if rows else None

    def file_large(self, directory: str | None) -> None:
        """From now on leave large messages in files there: rows, and events of the log."""
        self._directory, self._files_large = directory, True

    def packets(self, sql: str) -> Iterator[Packet]:
        """Run a query and yield its rows as packets: each value a length-encoded string, or 0xFB for null."""
        self.send(bytes([COM_QUERY]) + sql.encode())
        head = self.receive()
        if head[0] == 0:
            return
        if head[0] == 0xFB:
            raise TailraceError(ErrorKind.INVARIANT, "the server asks for a local file")
        count, _ = length_at(head, 0)
        for _ in range(count):
            self.receive()
        self._end_of_part(self.receive())
        while True:
            packet = self._packet()
            if packet[0] >= 0xFE:
                if packet[0] == 0xFF:
                    raise error_of(bytes(packet), "the server refused a statement")
                if len(packet) < 9:
                    return
            yield packet

    # Packets.

    def send(self, payload: bytes) -> None:
        """Send a command."""
        self._sequence = 0
        self._write(payload)

    def receive(self) -> bytes:
        """Return the next packet; raise what the server reports instead."""
        packet = bytes(self._packet())
        if packet[:1] == b"\xff":
            raise error_of(packet, "the server refused a statement")
        return packet

    def set_blocking(self, *, blocking: bool) -> None:
        """Choose whether `poll` waits."""
        self._socket.settimeout(STALL_S if blocking else 0)

    def wait(self, timeout_s: float) -> None:
        """Wait until something has arrived, or for a time."""
        wait_for(self._socket.fileno(), timeout_s)

    def poll(self) -> Packet | None:
        """Return a packet if one is there, without waiting; None otherwise. For a connection that is not blocking."""
        buffer, at = self._buffer, self._at
        if len(buffer) - at >= 4 and self._large is None:
            size = _header(buffer, at)[0] & PACKET_MAX
            if size < PACKET_MAX and len(buffer) - at >= size + 4:
                self._at = at + 4 + size
                return buffer[at + 4 : at + 4 + size]
        return self._poll_slowly()

    def _poll_slowly(self) -> Packet | None:
        while True:
            missing = 0
            if self._large is None and len(self._buffer) - self._at >= 4:
                size = _header(self._buffer, self._at)[0] & PACKET_MAX
                missing = size + 4 - (len(self._buffer) - self._at)
                if size == PACKET_MAX:
                    self._begin_large()
                elif missing <= 0:
                    self._at += 4 + size
                    return self._buffer[self._at - size : self._at]
            if self._large is not None:
                packet = self._go_on(self._large)
                if packet is not None:
                    return packet
                missing = min(self._large.left, RECEIVE_LARGE_BYTES)
            if not self._receive_more(missing):
                return None

    def _begin_large(self) -> None:
        self._large = LargeMessage(Spool.make(self._directory) if self._files_large else None)

    def _go_on(self, large: LargeMessage) -> Packet | None:
        """Take over what has arrived of a large message; return it when it is whole."""
        while large.left or not large.is_last:
            if not large.left:
                if len(self._buffer) - self._at < 4:
                    return None
                header = _header(self._buffer, self._at)[0]
                large.left = header & PACKET_MAX
                large.is_last = large.left < PACKET_MAX
                self._sequence = (header >> 24) + 1 & 0xFF
                self._at += 4
                continue
            content = memoryview(self._buffer)[self._at : self._at + large.left]
            if not content:
                return None
            self._at += len(content)
            large.add(content)
        self._large = None
        return large.whole()

    def _receive_more(self, missing: int) -> bool:
        """Take from the socket what is there, and more if a packet lacks it. False: nothing is there."""
        parts = [self._buffer[self._at :]]
        got = 0
        try:
            while not got or got < missing:
                part = self._socket.recv(max(RECEIVE_BYTES, min(missing, 16 << 20)))
                if not part:
                    self._broken(None)
                parts.append(part)
                got += len(part)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            self._broken(error)
        if got:
            self.heard_at = monotonic()  # If only a part of a packet.
            self._buffer, self._at = b"".join(parts), 0
        return bool(got)

    def _packet(self) -> Packet:
        self._require(4)
        header = _header(self._buffer, self._at)[0]
        size = header & PACKET_MAX
        if size == PACKET_MAX:
            self._begin_large()
            while self._large is not None:
                packet = self._go_on(self._large)
                if packet is not None:
                    return packet
                if not self._receive_more(min(self._large.left, RECEIVE_LARGE_BYTES)):
                    self._broken(None)
        self._sequence = (header >> 24) + 1 & 0xFF
        self._at += 4
        self._require(size)
        self._at += size
        return self._buffer[self._at - size : self._at]

    def _require(self, size: int) -> None:
        missing = size - (len(self._buffer) - self._at)
        if missing > 0 and not self._receive_more(missing):
            self._broken(None)

    def _write(self, payload: bytes) -> None:
        pieces = []
        at = 0
        while True:
            piece = payload[at : at + PACKET_MAX]
            pieces.append(len(piece).to_bytes(3, "little") + bytes([self._sequence & 0xFF]) + piece)
            self._sequence += 1
            at += len(piece)
            if len(piece) < PACKET_MAX:
                break
        try:
            self._socket.sendall(b"".join(pieces))
        except OSError as error:
            self._broken(error)

    def _end_of_part(self, packet: bytes) -> None:
        if packet[0] != 0xFE:
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, "an answer of the server in a form that is not known")

    def _broken(self, error: OSError | None) -> NoReturn:
        self.close()
        why = f": {error.strerror or type(error).__name__}" if error is not None else ""
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"the connection to the server broke{why}") from error

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self.is_closed = True
        self._large = None
        self._socket.close()

    # Log-in.

    def _connect(self) -> socket.socket:
        settings = self._settings
        try:
            if settings.host.startswith("/"):
                found = socket.socket(socket.AF_UNIX)
                found.settimeout(settings.connect_timeout_s)
                found.connect(settings.host)
                return found
            found = socket.create_connection((settings.host, settings.port), settings.connect_timeout_s)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            raise TailraceError(
                ErrorKind.SOURCE_CONNECTION,
                f"no connection to {settings.host}:{settings.port}: {error.strerror or type(error).__name__}",
            ) from error
        return found

    def _log_in(self) -> None:
        settings = self._settings
        plugin, capabilities = self._greeting(self.receive())
        flags = LONG_PASSWORD | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH
        flags |= PLUGIN_AUTH_LENENC
        head = (PACKET_MAX).to_bytes(4, "little") + bytes([UTF8MB4]) + bytes(23)
        is_local = settings.host.startswith("/")
        is_private = is_local
        if settings.tls.mode not in (TlsMode.DISABLE, TlsMode.ALLOW) and not is_local:
            if capabilities & SSL:
                flags |= SSL
                self._write(flags.to_bytes(4, "little") + head)
                self._encrypt()
                is_private = True
            elif settings.tls.mode is not TlsMode.PREFER:
                raise TailraceError(
                    ErrorKind.CONFIGURATION,
                    f"tls.mode is {settings.tls.mode}, and the server offers no encryption",
                    remedy="switch TLS on at the server",
                )
        password = (settings.password.get_secret_value() if settings.password else "").encode()
        first = authentication.answer(plugin, password, self._nonce, is_private=is_private)
        self._write(
            flags.to_bytes(4, "little")
            + head
            + settings.user.encode()
            + b"\0"
            + _length(len(first))
            + first
            + plugin.encode()
            + b"\0"
        )
        self._authenticate(plugin, password, is_private=is_private)

    def _greeting(self, m: bytes) -> tuple[str, int]:
        if m[0] != 10:
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, "this is no server of MySQL's protocol version 10")
        end = m.index(0, 1)
        self.version_text = m[1:end].decode("ascii", "replace").removeprefix("5.5.5-")
        self.is_mariadb = "MariaDB" in m[1:end].decode("ascii", "replace")
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", self.version_text)
        self.version = tuple(map(int, found.groups())) if found else (0, 0, 0)  # type: ignore[assignment]
        at = end + 5
        nonce = m[at : at + 8]
        capabilities = (
            int.from_bytes(m[at + 9 : at + 11], "little") | int.from_bytes(m[at + 14 : at + 16], "little") << 16
        )
        length = max(13, m[at + 16] - 8)
        at += 27
        self._nonce = (nonce + m[at : at + length]).removesuffix(b"\0")
        plugin = m[at + length :].split(b"\0")[0].decode("ascii", "replace")
        return plugin or authentication.NATIVE, capabilities

    def _encrypt(self) -> None:
        tls = self._settings.tls
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = tls.mode is TlsMode.VERIFY_FULL
        if tls.mode not in (TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL):
            context.verify_mode = ssl.CERT_NONE
        elif tls.ca and tls.ca != "system":
            context.load_verify_locations(tls.ca)
        else:
            context.load_default_certs()
        if tls.cert:
            secret = tls.key_password.get_secret_value() if tls.key_password else None
            context.load_cert_chain(Path(tls.cert), tls.key, secret)
        try:
            self._socket = context.wrap_socket(self._socket, server_hostname=self._settings.host)
        except (ssl.SSLError, OSError) as error:
            is_trust = isinstance(error, ssl.SSLCertVerificationError)
            raise TailraceError(
                ErrorKind.CONFIGURATION if is_trust else ErrorKind.SOURCE_CONNECTION,
                f"TLS failed: {getattr(error, 'verify_message', None) or type(error).__name__}",
                remedy="check tls.mode, tls.ca and the host name" if is_trust else None,
            ) from error

    def _authenticate(self, plugin: str, password: bytes, *, is_private: bool) -> None:
        while True:
            packet = bytes(self._packet())
            if packet[0] == 0:
                return
            if packet[0] == 0xFF:
                raise error_of(packet, f"the server refused user {self._settings.user}")
            if packet[0] == 0xFE:
                # Another plug-in: its name and its nonce.
                end = packet.index(0, 1)
                plugin = packet[1:end].decode("ascii", "replace")
                self._nonce = (
                    packet[end + 1 :].removesuffix(b"\0")
                    if plugin != authentication.ED25519
                    else packet[end + 1 : end + 33]
                )
                self._write(authentication.answer(plugin, password, self._nonce, is_private=is_private))
            elif packet[0] == 1 and packet[1:2] == b"\4":
                self._prove_fully(password, is_private=is_private)
            elif packet[0] == 1 and packet[1:2] == b"\3":
                continue
            else:
                raise TailraceError(ErrorKind.SOURCE_CONNECTION, "an unknown step of the server's log-in")

    def _prove_fully(self, password: bytes, *, is_private: bool) -> None:
        """Send the password to a server that has not cached its hash: over TLS as it is, else sealed by its key."""
        if is_private:
            self._write(password + b"\0")
            return
        self._write(b"\2")
        packet = self.receive()
        try:
            content = authentication.sealed(password, self._nonce, packet[1:])
        except (ValueError, IndexError) as error:
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, "the server's RSA key cannot be read") from error
        self._write(content)


def length_at(m: bytes | FiledMessage, at: int) -> tuple[int, int]:
    """Read a length-encoded integer: its value and where it ends."""
    first = m[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(m[at + 1 : at + 1 + size], "little"), at + 1 + size


def identifier(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """Quote a string. Our sessions set NO_BACKSLASH_ESCAPES: only the quote is special."""
    return "'" + text.replace("'", "''") + "'"


SESSION = (
    "set session sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '+00:00', character_set_results = utf8mb4, "
    "character_set_client = utf8mb4, character_set_connection = utf8mb4, autocommit = 1, "
    "net_write_timeout = 3600, wait_timeout = 86400 "
    "/*!80000 , information_schema_stats_expiry = 0*//*!80030 , show_gipk_in_create_table_and_information_schema = 1*/"
)
"""How a session of ours is: the server's texts as UTF-8, its timestamps in UTC, whatever the server's defaults are. Of
MySQL (MariaDB passes such comments over) numbers of rows that are not a day old, and keys that it has made by itself.
"""


def connect(settings: MysqlSource) -> Connection:
    """Connect, and prepare the session. Raises SOURCE_CONNECTION, PREREQUISITE or CONFIGURATION."""
    connection = Connection(settings)
    try:
        connection.run(SESSION)
    except BaseException:
        connection.close()
        raise
    return connection


def _cells(packet: bytes) -> Cells:
    cells: Cells = []
    at, end = 0, len(packet)
    while at < end:
        if packet[at] == 0xFB:
            cells.append(None)
            at += 1
            continue
        size, at = length_at(packet, at)
        cells.append(packet[at : at + size].decode())
        at += size
    return cells


def _length(n: int) -> bytes:
    return bytes([n]) if n < 0xFB else b"\xfc" + n.to_bytes(2, "little")
