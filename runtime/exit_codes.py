"""What the exit codes of every command mean. Documented for operators; they do not change."""

from __future__ import annotations

from schemas.errors import ErrorKind, TailraceError

OK = 0
"""Done, or stopped as asked."""
INTERNAL = 1
"""A defect of Tailrace or of its environment that it has no name for."""
CONFIGURATION = 2
"""The configuration is wrong, a prerequisite is missing, or `plan` found something that blocks."""
STOPPED = 3
"""The service stopped after an error that needs an operator; a mere restart would meet it again."""
DIFFERENT = 4
"""`verify` found differences."""
UNDECIDED = 5
"""`verify` could not decide: it could not look at all rows that may differ, or the target had not caught up."""


def of(error: BaseException) -> int:
    """Return the exit code of a process that ends with `error`."""
    if not isinstance(error, TailraceError):
        return INTERNAL
    if error.kind in {ErrorKind.CONFIGURATION, ErrorKind.PREREQUISITE}:
        return CONFIGURATION
    return STOPPED
