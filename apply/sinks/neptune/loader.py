"""Neptune's bulk loader: begins loads, waits for them, and says what failed by its codes.

Neptune user guide, "Neptune loader reference". A cluster carries out one load after the other, in the order in which
they were asked for; a load goes on whatever becomes of whoever asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apply import aws
from apply.sinks.neptune.client import Client
from runtime import clock
from runtime.logging import get_logger
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

RUNNING = frozenset({"LOAD_NOT_STARTED", "LOAD_IN_PROGRESS", "LOAD_IN_QUEUE"})
COMPLETED = "LOAD_COMPLETED"

# "Neptune loader error and feed messages" and "Get-Status responses": codes of loads, of feeds and of errors.
CONTENT = frozenset(
    {
        "PARSING_ERROR",
        "FROM_OR_TO_VERTEX_ARE_MISSING",
        "ID_ASSIGNED_TO_MULTIPLE_EDGES",
        "SINGLE_CARDINALITY_VIOLATION",
    }
)
"""The files are at fault: they would be the next time, too."""
DENIED = frozenset({"LOAD_S3_ACCESS_DENIED_ERROR", "S3_ACCESS_DENIED_ERROR"})
STOPPED = frozenset(
    {
        "LOAD_CANCELLED_BY_USER",
        "LOAD_DATA_FAILED_DUE_TO_FEED_MODIFIED_OR_DELETED",
        "FILE_MODIFICATION_OR_DELETION_ERROR",
    }
)
"""Somebody has taken over, or an operator has stopped it: rows are read from Kafka again."""
PASSING = frozenset(
    {
        "LOAD_COMMITTED_W_WRITE_CONFLICTS",
        "LOAD_DATA_DEADLOCK",
        "LOAD_S3_READ_ERROR",
        "LOAD_UNEXPECTED_ERROR",
        "INTERNAL_ERROR",
        "OUT_OF_MEMORY_ERROR",
    }
)
"""The same load may succeed."""
COUNTS = ("parsingErrors", "datatypeMismatchErrors", "insertErrors")

POLL_S, POLL_MAX_S = 0.05, 5.0
"""Between two questions: at first, and at most."""
LISTED_MAX = 100
"""Loads that a list has at most. "Neptune loader Get-Status requests"."""
ERRORS_ASKED_FOR = 20
CODES_MAX = 10

_BUCKET = "let the role `load_role_arn` read the bucket, attach it to the cluster, and give the VPC an endpoint of S3"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Files that the loader does not take: it would not the next time either."""

    codes: tuple[str, ...]
    """The codes of what it found, the first few."""
    files: frozenset[str]
    """Where: `s3://…`. Empty if it does not say."""


class Loader:
    """The loader of one cluster, as one applier uses it."""

    def __init__(self, client: Client, target: NeptuneTarget) -> None:
        self._client = client
        self._target = target

    def run(self, source: str) -> Refusal | None:
        """Load all files below `s3://BUCKET/FOLDER/`, over what is there; return why their content is refused.

        Raises TARGET_CONNECTION for what may pass, once it was tried again as often as the settings say, and
        PREREQUISITE where Neptune may not read the bucket.
        """
        left = self._target.max_retry_count
        while True:
            found = self._wait(self._begin(source))
            status, codes = _status(found), _codes(found)
            if status == COMPLETED:
                return None
            if DENIED.intersection(codes):
                message = f"Neptune may not read the files ({', '.join(codes)})"
                raise TailraceError(ErrorKind.PREREQUISITE, message, remedy=_BUCKET)
            if STOPPED.intersection(codes):
                raise TailraceError(ErrorKind.TARGET_CONNECTION, f"a load was stopped ({', '.join(codes)})")
            if _is_of_content(found, codes):
                return Refusal(codes, frozenset(_files(found)))
            if not left or not PASSING.intersection(codes):
                message = f"a load failed ({', '.join(codes)})"
                remedy = "see the loader's status and Neptune's log; `max_retry_count` says how often it is tried"
                raise TailraceError(ErrorKind.TARGET_CONNECTION, message, remedy=remedy)
            left -= 1
            log.warning("load begun again", codes=list(codes), left=left)
            clock.sleep(self._target.error_retry_duration / 1000)

    def wait_for_others(self, folder: str) -> None:
        """Return when no load of files below a folder is going on, whoever has asked for it."""
        listed = self._client.loads(f"?limit={LISTED_MAX}", "listing loads") or {}
        for load in listed.get("loadIds", ()):
            found = self._client.loads(f"/{load}", "looking at a load")
            if found is None or _status(found) not in RUNNING:
                continue
            # Whether a folder's slash is told back is not documented.
            if f"{found.get('overallStatus', {}).get('fullUri', '')}/".startswith(folder):
                self._wait(str(load))

    def _begin(self, source: str) -> str:
        target = self._target
        document = {
            "source": source,
            "format": "csv",
            "iamRoleArn": target.loader_role,
            "region": aws.region(target),
            "mode": "NEW",
            "failOnError": "TRUE",
            "parallelism": target.load_parallelism,
            # What a load has left that did not end is written over.
            "updateSingleCardinalityProperties": "TRUE",
            "queueRequest": "TRUE",
        }
        try:
            return self._client.load(document, "asking for a load")
        except TailraceError as error:
            if error.kind is not ErrorKind.INVARIANT:
                raise
            # A role or a bucket that it does not know, or a queue that is full: the codes do not tell these apart.
            remedy = f"{_BUCKET}; or wait: no more than 64 loads may be queued"
            raise TailraceError(ErrorKind.TARGET_CONNECTION, error.message, remedy=remedy) from error

    def _wait(self, load: str) -> Mapping[str, Any]:
        """Return what is told of a load that has ended."""
        deadline, pause_s = clock.monotonic() + self._target.load_timeout_s, POLL_S
        while True:
            path = f"/{load}?details=true&errors=true&page=1&errorsPerPage={ERRORS_ASKED_FOR}"
            found = self._client.loads(path, "waiting for a load")
            if found is None:
                raise TailraceError(ErrorKind.TARGET_CONNECTION, "Neptune has forgotten a load that was going on")
            if _status(found) not in RUNNING:
                return found
            if clock.monotonic() > deadline:
                message = f"a load takes longer than {self._target.load_timeout_s} s"
                raise TailraceError(ErrorKind.TARGET_CONNECTION, message, remedy="see `load_timeout_s`")
            clock.sleep(pause_s)
            pause_s = min(pause_s * 2, POLL_MAX_S)


def _status(found: Mapping[str, Any]) -> str:
    return str(found.get("overallStatus", {}).get("status", ""))


def _codes(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the first codes, without what is said beside them: it may quote a value."""
    feeds = (str(feed.get("status", "")) for feed in found.get("failedFeeds", ()))
    codes = dict.fromkeys([_status(found), *feeds, *(str(each.get("errorCode", "")) for each in _errors(found))])
    return tuple(code for code in codes if code)[:CODES_MAX]


def _errors(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((found.get("errors") or {}).get("errorLogs") or ())


def _files(found: Mapping[str, Any]) -> Iterator[str]:
    for each in _errors(found):
        if each.get("fileName"):
            yield str(each["fileName"])


def _is_of_content(found: Mapping[str, Any], codes: tuple[str, ...]) -> bool:
    counted = any(int(found.get("overallStatus", {}).get(name) or 0) for name in COUNTS)
    return bool(CONTENT.intersection(codes)) or (counted and not PASSING.intersection(codes))
