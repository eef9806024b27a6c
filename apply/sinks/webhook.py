"""An HTTP service that takes changes: posts of JSON arrays, in order, each with a key by which a repetition shows."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from apply.sink import Origin, Rejection, TableBatch
from apply.sink_kinds.documents import Documents
from apply.sink_kinds.history import AT_LEAST_ONCE, HistorySink
from schemas.before_image import BeforeImageSettings
from schemas.endpoints.files import WebhookTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema

BUSY = frozenset({429, 503})
AGAIN = frozenset({408, 409, 425})
"""Statuses below 500 of which another attempt may come to more: timeout, conflict, too early."""
PAUSE_S_MAX = 300
"""Longest pause that a service is granted at a time."""
ANSWER_BYTES_MAX = 65_536
"""How much of an answer is listened to. Its status is all that counts."""


def open_sink(settings: Settings, target: str) -> WebhookSink:
    """Return the sink of a target. Connects when it is first used."""
    return WebhookSink(settings.section(target, WebhookTarget), settings.apply.before_image)


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """See `apply.sinks`. There is nothing to check without sending something."""
    return []


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """See `apply.sinks`. What a service asks for it knows itself."""
    return []


class WebhookSink(HistorySink):
    """At least once. A request that is repeated by itself has the same `Idempotency-Key`; after a crash, changes come
    again in other requests, each with its `commit-sequence`.
    """

    capabilities = AT_LEAST_ONCE

    def __init__(self, target: WebhookTarget, image: BeforeImageSettings | None = None) -> None:
        self._target = target
        self._documents = Documents(image)
        self._pending: list[tuple[bytes, Origin]] = []
        self._opener = urllib.request.build_opener(_NoRedirects)

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Take in changes. None is refused."""
        self._pending += zip(self._documents.encode(batch), batch.origins["sequence"], strict=True)
        return []

    def flush(self) -> None:
        """Post what was taken in; each request waits for the answer to the one before it."""
        size = self._target.request_changes
        while self._pending:
            self._post(self._pending[:size])
            del self._pending[:size]

    def rollback(self) -> None:
        """Forget what was not posted."""
        self._pending.clear()

    def _post(self, changes: list[tuple[bytes, Origin]]) -> None:
        target = self._target
        body = b"[" + b",".join(document for document, _ in changes) + b"]"
        headers = {name: value.get_secret_value() for name, value in target.headers.items()}
        headers |= {"Content-Type": "application/json", "Idempotency-Key": _key(changes, body)}
        request = urllib.request.Request(target.url, body, headers, method="POST")  # noqa: S310 - see settings
        try:
            with self._opener.open(request, timeout=target.timeout_s) as answer:
                answer.read(ANSWER_BYTES_MAX)
        except urllib.error.HTTPError as error:
            error.close()
            raise _refusal(error.code, target.place, error.headers.get("Retry-After")) from None
        except (OSError, http.client.HTTPException) as error:
            # The chain ends here: what the client says may quote what was sent.
            raise _failure(error, target.place) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without the changes, and take its headers to whatever place is named."""

    def redirect_request(self, *_: Any) -> None:
        return


def _key(changes: list[tuple[bytes, Origin]], body: bytes) -> str:
    """Return what is the same for the same changes only: topics that were made anew have the same offsets again."""
    places = "".join(f"{o.partition.topic}/{o.partition.partition}@{o.offset};" for _, o in changes)
    return sha256(places.encode() + body).hexdigest()


def _refusal(status: int, place: str, retry_after: str | None) -> TailraceError:
    if status in BUSY:
        # RFC 9110, "Retry-After": seconds, or a date, which is left to the back-off.
        seconds = (retry_after or "").strip()
        pause_s = min(int(seconds), PAUSE_S_MAX) if seconds.isdecimal() and len(seconds) < 10 else 0
        return TailraceError(ErrorKind.TARGET_THROTTLED, f"{place} is busy (status {status})", pause_s=pause_s)
    if status < 400:
        return TailraceError(
            ErrorKind.PREREQUISITE,
            f"{place} does not take changes (status {status})",
            remedy="give the URL that takes them; redirects are not followed",
        )
    if status < 500 and status not in AGAIN:
        return TailraceError(
            ErrorKind.PREREQUISITE, f"{place} refuses the changes (status {status})", remedy="see the service's log"
        )
    return TailraceError(ErrorKind.TARGET_CONNECTION, f"{place} fails (status {status})")


def _failure(error: Exception, place: str) -> TailraceError:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return TailraceError(ErrorKind.PREREQUISITE, f"the certificate of {place} is not trusted")
    return TailraceError(ErrorKind.TARGET_CONNECTION, f"{place} cannot be reached ({type(reason).__name__})")
