"""What small HTTP services of tests have in common: a server on 127.0.0.1, its thread, and how answers are written."""

from __future__ import annotations

import ssl
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class HttpService(ABC):
    """Answers requests from when it is made until it is closed: what `serve` needs must be there before."""

    server: type[ThreadingHTTPServer] = ThreadingHTTPServer

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        """`certificate`: PEM files of one, and of its key, to speak TLS as `localhost`."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def __getattr__(self, name: str) -> object:
                # `do_GET` and its like: whatever the method.
                if name.startswith("do_"):
                    return lambda: service.serve(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                return

        self._server = self.server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request, in a thread of its own."""

    def close(self) -> None:
        """End the service."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def content_of(request: BaseHTTPRequestHandler) -> bytes:
    """Return a request's content."""
    return request.rfile.read(int(request.headers.get("Content-Length") or 0))


def respond(request: BaseHTTPRequestHandler, status: int, kind: str, body: bytes) -> None:
    """Write an answer with a content of this type."""
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
