"""A TCP proxy between a client and a server, to do to connections what networks do.

It listens on 127.0.0.1, and must run before the client is configured. What it reads of a protocol is one thing: a
query that commits (PostgreSQL's "Message Formats": "Q" with the text `commit`; MySQL's "Protocol::Packet" and
"COM_QUERY": a length of three bytes, the number 0, 3 and the text).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_BLOCK_BYTES = 64 << 10
_COMMITS = (
    b"Q" + struct.pack(">i", 4 + len(b"commit\0")) + b"commit\0",
    struct.pack("<i", 1 + len(b"commit")) + b"\x03commit",
)
ANSWER_S = 0.5
"""How long the server gets to carry out a commit whose answer nobody will hear."""
LATE_S = 2.0
"""How long after its client has come back a commit is let through that was on its way when the client gave up."""


class Proxy:
    """Forwards connections to `host:port`. All methods may be called from any thread, at any time."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._delay_s = 0.0
        self._cut_after_bytes: int | None = None
        self._loses_commit = self._delays_commit = False
        self._accepted = 0
        self._is_barred: Callable[[int], bool] | None = None
        self.acted = threading.Event()
        """Set once a fault that waits for its moment has come."""
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the proxy and every connection."""
        self._closed = True
        self._listener.close()
        self._open.set()
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._reset(pair)

    def bar(self, is_barred: Callable[[int], bool] | None) -> None:
        """Reset the connections that come from certain ports, and take none of them on, until `bar(None)`."""
        self._is_barred = is_barred
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            if self._bars(pair[0]):
                self._reset(pair)

    def cut_in_answer(self, after_bytes: int) -> None:
        """Reset the connection on which the server's next so many bytes arrive, in the middle of what it says."""
        self.acted.clear()
        self._cut_after_bytes = after_bytes

    def lose_commit(self) -> None:
        """Let the next commit reach the server, and reset the connection without its answer."""
        self.acted.clear()
        self._loses_commit = True

    def delay_commit(self) -> None:
        """Reset the connection of the next commit, and let the server have it after the client has connected anew."""
        self.acted.clear()
        self._delays_commit = True

    def stall(self) -> None:
        """Forward nothing, close nothing, until `resume`."""
        self._open.clear()

    def resume(self) -> None:
        """End a stall."""
        self._open.set()

    def lead_to(self, port: int) -> None:
        """Reset every connection, and make new ones to another port of the same host."""
        self._upstream = (self._upstream[0], port)
        self.cut()

    def delay(self, seconds: float) -> None:
        """Keep every block for so long on each way; 0 ends it."""
        self._delay_s = seconds

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._bars(client):
                client.close()
                continue
            try:
                server = socket.create_connection(self._upstream, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._accepted += 1
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for pump in (self._pump_requests, self._pump_answers):
                threading.Thread(target=self._guarded, args=(pump, pair), daemon=True).start()

    def _bars(self, client: socket.socket) -> bool:
        is_barred = self._is_barred
        if is_barred is None:
            return False
        try:
            return is_barred(client.getpeername()[1])
        except OSError:
            # It has gone by itself.
            return True

    def _guarded(
        self, pump: Callable[[tuple[socket.socket, socket.socket]], None], pair: tuple[socket.socket, socket.socket]
    ) -> None:
        with contextlib.suppress(OSError):
            pump(pair)
        self._reset(pair)

    def _pump_requests(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        while block := client.recv(_BLOCK_BYTES):
            self._hold()
            if (self._loses_commit or self._delays_commit) and block.endswith(_COMMITS):
                self._commit_alone(client, server, block)
                return
            server.sendall(block)

    def _commit_alone(self, client: socket.socket, server: socket.socket, block: bytes) -> None:
        """Let the server have a commit whose answer the client will not hear: now, or late."""
        is_late, before = self._delays_commit, self._accepted
        self._loses_commit = self._delays_commit = False
        # First this side of the connection: the other thread may have the answer at once.
        client.shutdown(socket.SHUT_RDWR)
        while is_late and self._accepted == before and not self._closed:
            time.sleep(0.05)
        time.sleep(LATE_S if is_late else 0)
        server.sendall(block)
        time.sleep(ANSWER_S)
        self.acted.set()

    def _pump_answers(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        while block := server.recv(_BLOCK_BYTES):
            self._hold()
            limit = self._cut_after_bytes
            if limit is not None:
                if len(block) >= limit:
                    self._cut_after_bytes = None
                    client.sendall(block[: limit // 2])
                    self.acted.set()
                    return
                self._cut_after_bytes = limit - len(block)
            client.sendall(block)

    def _hold(self) -> None:
        self._open.wait()
        if self._delay_s:
            time.sleep(self._delay_s)

    def _reset(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # A thread that waits in `recv` does not notice a close: it is woken first.
                end.shutdown(socket.SHUT_RDWR)
            end.close()
