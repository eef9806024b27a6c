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
from typing import Any, NamedTuple

from tests.kit.http_service import HttpService

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


class _Server(ThreadingHTTPServer):
    def shutdown_request(self, request: Any) -> None:
        # Without saying goodbye, so that what lingers for no time is reset.
        self.close_request(request)


class Receiver(HttpService):
    """Answers each request as the next of `script` says, and by 200 when there is none."""

    server = _Server

    def __init__(self) -> None:
        self.script: deque[Reply] = deque()
        self.posts: list[Post] = []
        self.request_count = 0
        """Requests that came, taken or not."""
        self.arrived = threading.Event()
        self.go_on = threading.Event()
        super().__init__()

    def close(self) -> None:
        """End the receiver, and what hangs."""
        self.go_on.set()
        super().close()

    @property
    def documents(self) -> list[dict[str, Any]]:
        """All changes that were taken, as they came."""
        return [document for post in self.posts for document in post.documents]

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Do what the script says."""
        reply = self.script.popleft() if self.script else Reply()
        self.request_count += 1
        length = int(request.headers.get("Content-Length", 0))
        if reply.cut == "request":
            request.rfile.read(length // 2)
            _reset(request.connection)
            return
        body = request.rfile.read(length)
        if reply.taken if reply.taken is not None else reply.status < 300:
            self.posts.append(Post(dict(request.headers), json.loads(body)))
        self.arrived.set()
        if reply.hangs:
            self.go_on.wait()
        if reply.cut == "before":
            _reset(request.connection)
            return
        with contextlib.suppress(OSError):
            # A careless service quotes what it was sent.
            said = reply.body + body
            request.send_response(reply.status)
            for name, value in reply.headers.items():
                request.send_header(name, value)
            if not reply.endless:
                request.send_header("Content-Length", str(len(said)))
            request.end_headers()
            if reply.cut == "answer":
                request.wfile.write(said[: len(said) // 2])
                _reset(request.connection)
                return
            request.wfile.write(said)
            while reply.endless:
                request.wfile.write(said)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
