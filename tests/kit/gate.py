"""An HTTP gate in front of a server: asks for a login, speaks TLS, and fails when it is told to."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler

import httpx

from deploy.local.signatures import Refusal, SignatureChecker
from tests.kit.http_service import HttpService, content_of, respond


class Gate(HttpService):
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
        super().__init__(certificate)
        self.url += httpx.URL(base).path

    def close(self) -> None:
        """End the gate, and its connections to what is behind it."""
        super().close()
        self._upstream.close()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer or forward a request."""
        content = content_of(request)
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
        respond(request, status, kind, body)

    def _refusal(self, signatures: SignatureChecker, request: BaseHTTPRequestHandler, content: bytes) -> Refusal | None:
        url = f"{self.url.partition('//')[0]}//{request.headers['Host']}{request.path}"
        return signatures.refusal(request.command, url, dict(request.headers.items()), content)
