"""Checks signatures (SigV4) as services of AWS do: what has come is signed once more, by the AWS library's signer.

What is refused, in which words: AWS user guide, "Troubleshoot Signature Version 4 signed requests for AWS APIs".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from deploy.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from runtime.clock import now_us

SKEW_MAX = timedelta(minutes=5)
_FORM = "%Y%m%dT%H%M%SZ"
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^,/]+)/(?P<day>\d{8})/(?P<region>[^,/]+)/(?P<service>[^,/]+)/aws4_request, "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=(?P<signature>\w+)"
)


class Key(NamedTuple):
    """What belongs to an access key."""

    secret: str
    token: str | None = None
    """Of a session."""
    expires: datetime | None = None


class Refusal(NamedTuple):
    """Why a request is not taken, in the service's words."""

    code: str
    message: str


class SignatureChecker:
    """Knows the keys that may ask one service."""

    def __init__(self, service: str, keys: dict[str, Key] | None = None, *, names_payload: bool = False) -> None:
        """`names_payload`: whether a header must say which payload was signed, as at serverless collections."""
        self.keys = {ACCESS_KEY_ID: Key(SECRET_ACCESS_KEY)} if keys is None else keys
        self.ahead = timedelta()
        """How far the service's clock is ahead of this machine's."""
        self._service = service
        self._names_payload = names_payload

    def refusal(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why a request that has come is not taken; None if it is."""
        given = {name.lower(): value for name, value in headers.items()}
        if "authorization" not in given:
            return Refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        told = _SIGNED.fullmatch(given["authorization"])
        if told is None or not {"host", "x-amz-date"} <= set(told["headers"].split(";")) <= given.keys():
            return Refusal("IncompleteSignatureException", "Authorization header requires more than it has.")
        if told["region"] != REGION:
            return Refusal("InvalidSignatureException", "Credential should be scoped to a valid region.")
        if told["service"] != self._service:
            message = f"Credential should be scoped to correct service: '{self._service}'."
            return Refusal("InvalidSignatureException", message)
        key = self.keys.get(told["id"])
        if key is None or not _same(key.token or "", given.get("x-amz-security-token", "")):
            message = "The security token included in the request is invalid."
            return Refusal("UnrecognizedClientException", message)
        now = datetime.fromtimestamp(now_us() / 1e6, UTC) + self.ahead
        if key.expires is not None and key.expires <= now:
            return Refusal("ExpiredTokenException", "The security token included in the request is expired")
        return self._out_of_time(given["x-amz-date"], now) or self._mismatch(told, key, method, url, given, body)

    def _out_of_time(self, said: str, now: datetime) -> Refusal | None:
        moment = datetime.strptime(said, _FORM).replace(tzinfo=UTC)
        if moment < now - SKEW_MAX:
            words = f"Signature expired: {said} is now earlier than {now - SKEW_MAX:{_FORM}} ({now:{_FORM}} - 5 min.)"
        elif moment > now + SKEW_MAX:
            words = f"Signature not yet current: {said} is still later than {now + SKEW_MAX:{_FORM}}"
        else:
            return None
        return Refusal("InvalidSignatureException", words)

    def _mismatch(
        self, told: re.Match[str], key: Key, method: str, url: str, given: Mapping[str, str], body: bytes
    ) -> Refusal | None:
        names = told["headers"].split(";")
        request = AWSRequest(method, url, {name: given[name] for name in names}, body)
        request.context["timestamp"] = given["x-amz-date"]
        signer = SigV4Auth(Credentials(told["id"], key.secret), self._service, REGION)
        canonical = signer.canonical_request(request)
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        # The signer believes a header that names the payload, and any that begins so has to be signed.
        payload = given.get("x-amz-content-sha256", "" if self._names_payload else hashlib.sha256(body).hexdigest())
        if (
            {name for name in given if name.startswith("x-amz-")} <= set(names)
            and told["day"] == given["x-amz-date"][:8]
            and _same(payload, hashlib.sha256(body).hexdigest())
            and _same(signature, told["signature"])
        ):
            return None
        # As the service does, it tells what it made of the request: a session's token is in it.
        return Refusal(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret"
            " Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for"
            f" this request should have been\n'{canonical}'",
        )


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
