"""What an operator should know about a source or a target before a run: the result of preflight checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.errors import TailraceError
from schemas.table import TableName


class Severity(StrEnum):
    """Whether a finding prevents a run."""

    BLOCKS = "blocks"
    WARNS = "warns"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a source or target that an operator should know before a run."""

    severity: Severity
    code: str
    """A stable name in kebab case: `wal-level`, `no-replica-identity`."""
    message: str
    table: TableName | None = None
    remedy: str | None = None
    """The exact statement, or the sentence, that repairs it."""


def of_error(error: TailraceError) -> Finding:
    """Return the finding that an error of a check amounts to."""
    return Finding(Severity.BLOCKS, str(error.kind), error.message, remedy=error.remedy)
