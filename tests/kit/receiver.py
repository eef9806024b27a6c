"""An HTTP service on 127.0.0.1 that takes changes, and fails in the ways that it is told to."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

WAIT_S = 60


class Post(NamedTuple):
    """A request as it was taken."""

    headers: Mapping[str, str]
    documents: list[dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """What is done to one request. Taken: its changes are carried out, whatever is said of it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    taken: bool | None = None
    """None: where the status says so."""
    cut: str = ""
    """When the connection is reset: in the midst of the `request`, or of the `answer`, or `before` the answer."""
    hangs: bool = False
    """No answer comes before the receiver ends, or `go_on` is set."""
    body: bytes = b"said: "
    endless: bool = False
    """The body goes on for as long as somebody listens."""


class Receiver:
    """Answers each request as the next of `script` says, and by 200 when there is none."""

    def __init__(self) -> None:
        self.script: deque[Reply] = deque()
        self.posts: list[Post] = []
        self.request_count = 0
        """Requests that came, taken or not."""
        self.arrived = threading.Event()
        self.go_on = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._serve(self)

            def do_GET(self) -> None:
                receiver._serve(self)

            def log_message(self, *args: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            def shutdown_request(self, request: Any) -> None:
                # Without saying goodbye, so that what lingers for no time is reset.
                self.close_request(request)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def documents(self) -> list[dict[str, Any]]:
        """All changes that were taken, as they came."""
        return [document for post in self.posts for document in post.documents]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        reply = self.script.popleft() if self.script else Reply()
        self.request_count += 1
        length = int(handler.headers.get("Content-Length", 0))
        if reply.cut == "request":
            handler.rfile.read(length // 2)
            _reset(handler.connection)
            return
        body = handler.rfile.read(length)
        if reply.taken if reply.taken is not None else reply.status < 300:
            self.posts.append(Post(dict(handler.headers), json.loads(body)))
        self.arrived.set()
        if reply.hangs:
            self.go_on.wait()
        if reply.cut == "before":
            _reset(handler.connection)
            return
        with contextlib.suppress(OSError):
            # A careless service quotes what it was sent.
            said = reply.body + body
            handler.send_response(reply.status)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            if not reply.endless:
                handler.send_header("Content-Length", str(len(said)))
            handler.end_headers()
            if reply.cut == "answer":
                handler.wfile.write(said[: len(said) // 2])
                _reset(handler.connection)
                return
            handler.wfile.write(said)
            while reply.endless:
                handler.wfile.write(said)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
