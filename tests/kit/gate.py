"""An HTTP gate in front of a server: asks for a login, speaks TLS, and fails when it is told to."""

from __future__ import annotations

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import httpx

from deploy.local.signatures import Refusal, SignatureChecker


class Gate:
    """Forwards requests to the server at `base`; listens on 127.0.0.1."""

    def __init__(
        self,
        base: str,
        *,
        authorization: str | None = None,
        signatures: SignatureChecker | None = None,
        certificate: tuple[str, str] | None = None,
    ) -> None:
        """`authorization`: what the header of that name must be; `certificate`: PEM files of one, and of its key."""
        self.authorization = authorization
        self.signatures = signatures
        """Who checks each request's, and whose refusals are answered as services of AWS word them."""
        self.is_down = False
        """Whether requests are answered by 503 instead of being forwarded."""
        self.refused = 0
        """Requests answered so."""
        self.passed: list[str] = []
        """Requests that were forwarded: method and path, as they came."""
        self._upstream = httpx.Client(base_url=httpx.URL(base).copy_with(path="/"), timeout=120, trust_env=False)
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def __getattr__(self, name: str) -> object:
                # `do_GET` and its like: whatever the method.
                if name.startswith("do_"):
                    return lambda: gate._serve(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        host = "127.0.0.1" if certificate is None else "localhost"
        self.url = f"http{'s' if certificate else ''}://{host}:{self._server.server_port}{httpx.URL(base).path}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._upstream.close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        content = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if self.is_down:
            self.refused += 1
            status, kind, body = 503, "text/plain", b"down"
        elif self.authorization not in (None, request.headers.get("Authorization")):
            status, kind, body = 401, "text/plain", b"who are you?"
        elif self.signatures is not None and (refusal := self._refusal(self.signatures, request, content)):
            status, kind, body = 403, "application/json", json.dumps({"message": refusal.message}).encode()
        else:
            self.passed.append(f"{request.command} {request.path}")
            headers = {"Content-Type": request.headers.get("Content-Type") or "text/plain"}
            if encoding := request.headers.get("Content-Encoding"):
                headers["Content-Encoding"] = encoding
            answer = self._upstream.request(request.command, request.path, content=content, headers=headers)
            status, kind, body = answer.status_code, answer.headers.get("Content-Type", "text/plain"), answer.content
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _refusal(self, signatures: SignatureChecker, request: BaseHTTPRequestHandler, content: bytes) -> Refusal | None:
        url = f"{self.url.partition('//')[0]}//{request.headers['Host']}{request.path}"
        return signatures.refusal(request.command, url, dict(request.headers.items()), content)
