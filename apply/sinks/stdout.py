"""Standard output: one line of JSON for each change, written when the batch is. For looking and for pipes."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence

from apply.sink import Rejection, TableBatch
from apply.sink_kinds.documents import Documents
from apply.sink_kinds.history import AT_LEAST_ONCE, HistorySink
from schemas.before_image import BeforeImageSettings
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> StdoutSink:
    """Return the sink of a target. Raises PREREQUISITE if the process has no standard output."""
    # Where it was closed from the start, its number may belong to some connection by now.
    if sys.stdout is None:
        raise TailraceError(ErrorKind.PREREQUISITE, "standard output is closed")
    return StdoutSink(sys.stdout.fileno(), settings.apply.before_image)


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """See `apply.sinks`. There is nothing to check."""
    return []


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """See `apply.sinks`. There is nothing to grant."""
    return []


class StdoutSink(HistorySink):
    """At least once: after a crash the last lines come again, with the same `commit-sequence`."""

    capabilities = AT_LEAST_ONCE

    def __init__(self, descriptor: int, image: BeforeImageSettings | None = None) -> None:
        self._descriptor = descriptor
        self._documents = Documents(image)
        self._lines: list[bytes] = []

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Take in changes. None is refused."""
        self._lines += self._documents.encode(batch)
        return []

    def flush(self) -> None:
        """Hand over what was taken in to whoever reads; waits for a reader that is slow."""
        lines, self._lines = self._lines, []
        try:
            # Not by Python's own buffer: what failed would be in it still, and come at the end of the process.
            _write(self._descriptor, b"".join(line + b"\n" for line in lines))
        except OSError as error:
            raise TailraceError(
                ErrorKind.PREREQUISITE, f"standard output cannot be written ({error.strerror})"
            ) from error

    def rollback(self) -> None:
        """Forget what was not written."""
        self._lines.clear()


def _write(descriptor: int, content: bytes) -> None:
    """Write all of it, also where whoever shares the descriptor has made it non-blocking."""
    left = memoryview(content)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            ready = select.poll()
            ready.register(descriptor, select.POLLOUT)
            ready.poll()
