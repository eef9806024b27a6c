"""Standard output: one line of JSON for each change, written when the batch is. For looking and for pipes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import BinaryIO

from apply.documents import Documents
from apply.history import HistorySink
from apply.sink import Capabilities, Rejection, TableBatch
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> StdoutSink:
    """Return the sink of a target."""
    return StdoutSink(sys.stdout.buffer)


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """See `apply.sinks`. There is nothing to check."""
    return []


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """See `apply.sinks`. There is nothing to grant."""
    return []


class StdoutSink(HistorySink):
    """At least once: after a crash the last lines come again, with the same `commit-sequence`."""

    capabilities = Capabilities(
        stores_offsets=False,
        truncates=True,
        alters=True,
        keyless=True,
        history=True,
        origins=True,
        exactly_once=False,
    )

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._documents = Documents()
        self._lines: list[bytes] = []

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Take in changes. None is refused."""
        self._lines += self._documents.encode(batch)
        return []

    def flush(self) -> None:
        """Write what was taken in, and hand it over to whoever reads."""
        try:
            self._out.writelines(line + b"\n" for line in self._lines)
            self._out.flush()
        except OSError as error:
            raise TailraceError(
                ErrorKind.PREREQUISITE, f"standard output cannot be written ({error.strerror})"
            ) from error
        self._lines.clear()

    def rollback(self) -> None:
        """Forget what was not written."""
        self._lines.clear()
