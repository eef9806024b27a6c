"""Packets to and from a server over one socket: read whole, waited for or not. Large messages can go to files."""

from __future__ import annotations

import socket
import ssl
from struct import Struct
from typing import NoReturn

from capture.sources.mysql.packets import PACKET_MAX, LargeMessage, Packet, error_of
from runtime.clock import monotonic
from runtime.spool import Spool
from runtime.waiting import wait_for
from schemas.errors import ErrorKind, TailraceError
from schemas.twin import built

RECEIVE_BYTES = 256 << 10
RECEIVE_LARGE_BYTES = 4 << 20
STALL_S = 600.0
"""How long the server may take to send anything at all of an answer."""

_header = Struct("<I").unpack_from


class Channel:
    """One socket. Errors of the network are raised as SOURCE_CONNECTION, after which it is closed."""

    def __init__(self, peer: socket.socket) -> None:
        self.is_closed = False
        self.heard_at = monotonic()
        """When something came, if only a part of a packet."""
        self._socket = peer
        self._directory: str | None = None
        self._files_large = False
        self._large: LargeMessage | None = None
        self._buffer = b""
        self._at = self._sequence = 0

    def file_large(self, directory: str | None) -> None:
        """From now on leave large messages in files there: rows, and events of the log."""
        self._directory, self._files_large = directory, True

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Go on within TLS. Raises ssl.SSLError, OSError; SOURCE_CONNECTION where something came before it unasked."""
        if self._at < len(self._buffer):
            # Whoever put it there: it would be read as if it had come within TLS.
            self.close()
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, "the server sent more than its greeting before TLS")
        self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def send(self, payload: bytes) -> None:
        """Send a command."""
        self._sequence = 0
        self.answer(payload)

    def answer(self, payload: bytes) -> None:
        """Send what the server's last packet asks for."""
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

    def receive(self) -> bytes:
        """Wait for the next packet; raise the error that it tells of."""
        packet = bytes(self.next())
        if packet[:1] == b"\xff":
            raise error_of(packet, "the server refused a statement")
        return packet

    def next(self) -> Packet:
        """Wait for the next packet, whatever it says."""
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

    def take(self, out: list[bytes], count_max: int, bytes_max: int) -> None:
        """Append the rows of an answer that have come to `out`, at most `count_max`, until they are `bytes_max` bytes:
        those that are nothing out of the ordinary, and none without the compiled twin. `next` has what follows.
        """
        module = built("cells")
        if module is not None:
            self._at = module.take(self._buffer, self._at, out, count_max, bytes_max)

    def set_blocking(self, *, blocking: bool) -> None:
        """Choose whether to wait: `next` needs it, `poll` must not."""
        self._socket.settimeout(STALL_S if blocking else 0)

    def wait(self, timeout_s: float) -> None:
        """Wait until something has arrived, or for a time."""
        wait_for(self._socket.fileno(), timeout_s)

    def poll(self) -> Packet | None:
        """Return a packet if one is there, without waiting; None otherwise. For a channel that is not blocking."""
        buffer, at = self._buffer, self._at
        if len(buffer) - at >= 4 and self._large is None:
            size = _header(buffer, at)[0] & PACKET_MAX
            if size < PACKET_MAX and len(buffer) - at >= size + 4:
                self._at = at + 4 + size
                return buffer[at + 4 : at + 4 + size]
        return self._poll_slowly()

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self.is_closed = True
        self._large = None
        self._socket.close()

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

    def _require(self, size: int) -> None:
        missing = size - (len(self._buffer) - self._at)
        if missing > 0 and not self._receive_more(missing):
            self._broken(None)

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
            self.heard_at = monotonic()
            self._buffer, self._at = b"".join(parts), 0
        return bool(got)

    def _broken(self, error: OSError | None) -> NoReturn:
        self.close()
        why = f": {error.strerror or type(error).__name__}" if error is not None else ""
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"the connection to the server broke{why}") from error
