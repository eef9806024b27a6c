"""A token service (STS) on 127.0.0.1 that lets a role be assumed: each time with a new key, which a checker is told."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from deploy.local.signatures import Key, SignatureChecker
from tests.kit.http_service import HttpService, content_of, respond

_GIVEN = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>
<Expiration>{:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
_REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>{}</Message></Error></ErrorResponse>"""


class TokenService(HttpService):
    """Gives keys for `role` to whoever signs rightly; what it gave stands in `given`, and in the checker's keys."""

    def __init__(self, role: str, checker: SignatureChecker) -> None:
        self.role = role
        self.lifetime = timedelta(hours=1)
        self.given: list[str] = []
        self._checker = checker
        self._signatures = SignatureChecker("sts")
        super().__init__()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Give a key, or refuse it."""
        status, text = self._answer(request, content_of(request))
        respond(request, status, "text/xml", text)

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        refusal = self._signatures.refusal("POST", f"{self.url}{request.path}", dict(request.headers.items()), body)
        asked = parse_qs(body.decode())
        if refusal is not None or asked["RoleArn"] != [self.role]:
            message = "not authorized to perform: sts:AssumeRole" if refusal is None else refusal.message
            return 403, _REFUSED.format(escape(message)).encode()
        key, expires = Key(secrets.token_hex(20), secrets.token_hex(40)), datetime.now(UTC) + self.lifetime
        self.given.append(f"ASIA{secrets.token_hex(8).upper()}")
        self._checker.keys[self.given[-1]] = key._replace(expires=expires)
        return 200, _GIVEN.format(self.given[-1], key.secret, key.token, expires).encode()
