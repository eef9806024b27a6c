"""What an operator should know about a source or a target before a run: the result of preflight checks."""

from __future__ import annotations

from collections.abc import Sequence
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


def blocks(code: str, message: str, remedy: str | None = None, table: TableName | None = None) -> Finding:
    """Return a finding that prevents a run."""
    return Finding(Severity.BLOCKS, code, message, table, remedy)


def warns(code: str, message: str, remedy: str | None = None, table: TableName | None = None) -> Finding:
    """Return a finding that will be regretted."""
    return Finding(Severity.WARNS, code, message, table, remedy)


def note(code: str, message: str, remedy: str | None = None, table: TableName | None = None) -> Finding:
    """Return a finding that is good to know."""
    return Finding(Severity.NOTE, code, message, table, remedy)


def listed(names: Sequence[TableName]) -> str:
    """Return the first of several names, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def of_error(error: TailraceError, code: str | None = None, table: TableName | None = None) -> Finding:
    """Return the finding that an error of a check amounts to, under the name of its kind unless it has another."""
    return blocks(code or str(error.kind), error.message, error.remedy, table)
