"""The connection to OpenSearch, and what its answers mean.

The library's own retries are off: a request that was lost is repeated by the service, with what came before it.
"""

from __future__ import annotations

import gzip
import logging
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from opensearchpy import OpenSearch, Urllib3AWSV4SignerAuth
from opensearchpy.exceptions import ConnectionError as LostConnection
from opensearchpy.exceptions import ConnectionTimeout, OpenSearchException, SSLError, TransportError

from apply import aws
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError

# What a request came to is told by the service, once; the library would write each answer of 404, which are none.
logging.getLogger("opensearch").setLevel(logging.CRITICAL)

BUSY = frozenset({429, 502, 503, 504})
"""OpenSearch rejects with 429 what its queues and its memory breakers do not take; the others come from in between."""

UNKNOWN_USER = 401
REFUSALS = frozenset({UNKNOWN_USER, 403})

GZIP_LEVEL = 1
"""Of bulk requests. The library would take 9: several times the time, for some percent of the bytes."""

_PACKED = {"content-encoding": "gzip", "content-type": "application/x-ndjson"}
_ASKED = "errors,items.*.status,items.*.error.type"
"""OpenSearch's documentation, "Common REST parameters": `filter_path`."""


class Client:
    """One connection. Connects when it is first used; answers are parsed JSON."""

    def __init__(self, target: OpensearchTarget) -> None:
        self._target = target
        self._made: OpenSearch | None = None

    def request(
        self, method: str, path: str, body: Any = None, *, absent: int | None = None, **parameters: str
    ) -> dict[str, Any]:
        """Send one request; return the answer, empty where it has the status `absent`. Raises what it means."""
        return self._send(method, path, body, {}, parameters, absent)

    def bulk(self, operations: Sequence[bytes]) -> list[dict[str, Any]] | None:
        """Send operations, each of one or two lines; return what each came to, or None if all went well.

        Of an answer only that is asked for: what OpenSearch tells of a document that it has taken is as long as many a
        document.
        """
        body = gzip.compress(b"".join(operations), GZIP_LEVEL)
        answer = self._send("POST", "/_bulk", body, _PACKED, {"filter_path": _ASKED}, None)
        items = answer.get("items", [])
        if len(items) != len(operations):
            raise TailraceError(
                ErrorKind.TARGET_CONNECTION,
                f"OpenSearch tells of {len(items)} operations, of {len(operations)} that were sent",
            )
        return [next(iter(item.values())) for item in items] if answer.get("errors") is not False else None

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        parameters: Mapping[str, str],
        absent: int | None,
    ) -> dict[str, Any]:
        transport = self._connection().transport
        try:
            answer = transport.perform_request(method, path, headers=headers, params=parameters or None, body=body)
        except OpenSearchException as error:
            if isinstance(error, TransportError) and absent is not None and error.status_code == absent:
                return {}
            raise classify(error, f"{method} {path}") from error
        return answer if isinstance(answer, dict) else {}

    def close(self) -> None:
        """Close the connection. May be called twice."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _connection(self) -> OpenSearch:
        if self._made is None:
            target = self._target
            login: Any = None
            headers = {"accept-encoding": "gzip,deflate"}
            if target.authentication == "basic":
                assert target.user is not None
                assert target.password is not None
                # The library would write Latin-1; OpenSearch reads UTF-8.
                pair = f"{target.user}:{target.password.get_secret_value()}".encode()
                headers["authorization"] = f"Basic {b64encode(pair).decode()}"
            elif target.authentication == "aws":
                login = Urllib3AWSV4SignerAuth(aws.credentials(target), aws.region(target), target.service)
            self._made = OpenSearch(
                [target.url],
                http_auth=login,
                ca_certs=target.ca,
                verify_certs=True,
                timeout=target.timeout_s,
                max_retries=0,
                # Bulk requests, which are the large ones, are compressed here, faster.
                headers=headers,
            )
        return self._made


def classify(error: OpenSearchException, doing: str) -> TailraceError:
    """Return what an error means. Its text is left out: it may quote a document."""
    if isinstance(error, SSLError):
        return TailraceError(ErrorKind.PREREQUISITE, f"{doing}: TLS failed", remedy="see `ca` of the target")
    if isinstance(error, LostConnection) and isinstance(error.info, aws.AwsError):
        # A role's credentials are got when a request is signed.
        return aws.classify(error.info, f"{doing}: signing")
    if isinstance(error, LostConnection | ConnectionTimeout) or not isinstance(error, TransportError):
        return TailraceError(
            ErrorKind.TARGET_CONNECTION, f"{doing}: OpenSearch cannot be reached ({type(error).__name__})"
        )
    status = error.status_code
    if status in BUSY:
        return TailraceError(ErrorKind.TARGET_THROTTLED, f"{doing}: OpenSearch is busy (status {status})")
    if status in REFUSALS:
        return refused(doing, status, str(error.error), f"{error.error} {error.info}")
    kind = ErrorKind.TARGET_SCHEMA if status in (400, 404, 409) else ErrorKind.TARGET_CONNECTION
    return TailraceError(kind, f"{doing}: OpenSearch says {error.error} (status {status})")


def refused(doing: str, status: int, kind: str, said: str = "") -> TailraceError:
    """Return what a refusal means."""
    if kind == "cluster_block_exception":
        return TailraceError(
            ErrorKind.TARGET_THROTTLED,
            f"{doing}: OpenSearch blocks writes",
            remedy="lift the block, or free disk space",
        )
    remedy = "`tailrace plan` shows what the role needs"
    if status == UNKNOWN_USER:
        remedy = "see `authentication`, `user` and `password` of the target"
    return aws.refusal(f"{doing}: OpenSearch refuses (status {status})", said, remedy)


def line(document: Any) -> bytes:
    """Return a line of a bulk request, with its end."""
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
