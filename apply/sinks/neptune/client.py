"""The connection to Neptune: Gremlin as text over HTTP, the loader's API, and what answers mean.

A request is one transaction: all of its statements are carried out, or none (Neptune user guide, "Transaction semantics
in Neptune"). The form of requests and answers: "Using the HTTP REST endpoint to connect to a Neptune DB instance".
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import orjson

from apply import aws
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError

SERVICE = "neptune-db"
"""What requests are signed for."""

UNTYPED = "application/vnd.gremlin-v3.0+json;types=false"
"""Answers in plain JSON: both Neptune and Gremlin Server know this form."""

BUSY = frozenset(
    {
        "ConcurrentModificationException",
        "MemoryLimitExceededException",
        "QueryLimitExceededException",
        "ThrottlingException",
        "TimeLimitExceededException",
        "TooManyRequestsException",
    }
)
"""Codes of errors after which the same request may succeed. Neptune user guide, "Neptune engine errors"."""

CONFLICT = "org.apache.tinkerpop.gremlin.structure.util.TransactionException"
"""What TinkerPop's own graph says when two transactions change the same."""

READER = "ReadOnlyViolationException"


class Client:
    """One connection. Connects when it is first used."""

    def __init__(self, target: NeptuneTarget) -> None:
        self._target = target
        self._made: httpx.Client | None = None
        self._signer: aws.Signer | None = None

    def send(self, statements: list[str], doing: str) -> list[Any]:
        """Carry out statements in one transaction; return what the last one yields. Raises what an answer means."""
        document = {"gremlin": ";".join(statements)}
        if self._target.language is not None:
            document["language"] = self._target.language
        headers = {"Content-Type": "application/json", "Accept": UNTYPED}
        answer = self._answer("POST", "/gremlin", orjson.dumps(document), headers, doing)
        found: list[Any] = orjson.loads(answer.content)["result"]["data"]
        return found

    def load(self, document: dict[str, Any], doing: str) -> str:
        """Ask the loader for a load; return its id. Raises what an answer means."""
        headers = {"Content-Type": "application/json"}
        answer = self._answer("POST", "/loader", orjson.dumps(document), headers, doing)
        return str(orjson.loads(answer.content)["payload"]["loadId"])

    def loads(self, path: str, doing: str) -> dict[str, Any] | None:
        """Ask the loader for a load, or for a list (`?…`); return its payload, or None for a load it does not know."""
        answer = self._answer("GET", f"/loader{path}", b"", {}, doing, missing=not path.startswith("?"))
        if answer.status_code != httpx.codes.OK:
            return None
        found: dict[str, Any] = orjson.loads(answer.content)["payload"]
        return found

    def _answer(
        self, method: str, path: str, body: bytes, headers: dict[str, str], doing: str, *, missing: bool = False
    ) -> httpx.Response:
        """Return the answer to a request, one that says what is not there if that may be `missing`."""
        url = f"{self._target.url}{path}"
        if self._target.iam_auth_enabled:
            headers |= self._signed_by().headers(method, url, body)
        try:
            answer = self._connection().request(method, url, content=body, headers=headers)
        except httpx.TransportError as error:
            message = f"{doing}: Neptune cannot be reached ({type(error).__name__})"
            raise TailraceError(ErrorKind.TARGET_CONNECTION, message) from error
        if answer.status_code == httpx.codes.OK or (missing and answer.status_code in (400, 404)):
            # One page of the guide has it that an unknown load is a bad request, another one that it is not found.
            return answer
        raise _refusal(answer, doing)

    def close(self) -> None:
        """Close the connection. May be called twice."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _signed_by(self) -> aws.Signer:
        if self._signer is None:
            self._signer = aws.Signer(self._target, SERVICE)
        return self._signer

    def _connection(self) -> httpx.Client:
        if self._made is None:
            ca, is_plain = self._target.ca, self._target.url.startswith("http:")
            try:
                trust = False if is_plain else ssl.create_default_context(cafile=ca)
            except OSError as error:
                raise TailraceError(ErrorKind.CONFIGURATION, f"`ca` cannot be read ({type(error).__name__})") from error
            self._made = httpx.Client(verify=trust, timeout=self._target.timeout_s)
        return self._made


def _refusal(answer: httpx.Response, doing: str) -> TailraceError:
    """Return what an error means. Its text is left out: it may quote a statement."""
    status = answer.status_code
    try:
        said = orjson.loads(answer.content)
        code = str(said.get("code") or said.get("Exception-Class") or "")
    except (ValueError, AttributeError):
        code = ""
    if code in BUSY or code == CONFLICT or status in (429, 503):
        return TailraceError(ErrorKind.TARGET_THROTTLED, f"{doing}: Neptune is busy ({code or status})")
    if status in (401, 403):
        remedy = "`tailrace plan` shows what the role needs; see `iam_auth_enabled`"
        return aws.refusal(f"{doing}: Neptune refuses ({code or status})", answer.text, remedy)
    if code == READER:
        # After a failover too: the endpoint's name then leads to the new writer soon.
        return TailraceError(
            ErrorKind.TARGET_CONNECTION, f"{doing}: the instance takes no writes", remedy="name the writer endpoint"
        )
    if status in (400, 413) or "Parser" in code:
        return TailraceError(ErrorKind.INVARIANT, f"{doing}: Neptune does not understand ({code or status})")
    return TailraceError(ErrorKind.TARGET_CONNECTION, f"{doing}: Neptune failed ({code or status})")
