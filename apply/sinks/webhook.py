"""An HTTP service that takes changes: posts of JSON arrays, in order, each with a key by which a repetition shows."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from hashlib import sha256

from apply.documents import Documents
from apply.history import HistorySink
from apply.sink import Capabilities, Origin, Rejection, TableBatch
from schemas.errors import ErrorKind, TailraceError
from schemas.file_targets import WebhookTarget
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema

BUSY = frozenset({429, 503})


def open_sink(settings: Settings, target: str) -> WebhookSink:
    """Return the sink of a target. Connects when it is first used."""
    section = settings.target(target)
    assert isinstance(section, WebhookTarget)
    return WebhookSink(section)


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

    capabilities = Capabilities(
        stores_offsets=False,
        truncates=True,
        alters=True,
        keyless=True,
        history=True,
        origins=True,
        exactly_once=False,
    )

    def __init__(self, target: WebhookTarget) -> None:
        self._target = target
        self._documents = Documents()
        self._pending: list[tuple[bytes, Origin]] = []

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
        places = "".join(f"{o.partition.topic}/{o.partition.partition}@{o.offset};" for _, o in changes)
        headers = {name: value.get_secret_value() for name, value in self._target.headers.items()}
        headers |= {"Content-Type": "application/json", "Idempotency-Key": sha256(places.encode()).hexdigest()}
        body = b"[" + b",".join(document for document, _ in changes) + b"]"
        request = urllib.request.Request(self._target.url, body, headers, method="POST")  # noqa: S310 - see settings
        try:
            with urllib.request.urlopen(request, timeout=self._target.timeout_s) as answer:  # noqa: S310 - as above
                answer.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise _refusal(error.code, self._target.place) from error
        except (OSError, http.client.HTTPException) as error:
            raise TailraceError(
                ErrorKind.TARGET_CONNECTION, f"{self._target.place} cannot be reached ({type(error).__name__})"
            ) from error


def _refusal(status: int, place: str) -> TailraceError:
    if status in BUSY:
        return TailraceError(ErrorKind.TARGET_THROTTLED, f"{place} is busy (status {status})")
    if 400 <= status < 500 and status not in (408, 409, 425):
        return TailraceError(
            ErrorKind.PREREQUISITE, f"{place} refuses the changes (status {status})", remedy="see the service's log"
        )
    return TailraceError(ErrorKind.TARGET_CONNECTION, f"{place} fails (status {status})")
