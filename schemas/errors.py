"""The one exception of Tailrace, its closed set of kinds, and the table from kind to action.

Adapters classify their driver's errors by code at the border and raise `TailraceError`; only the two services
look at the kind, and they look it up in `ACTIONS`. Retry knowledge never stands at a call site.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorKind(StrEnum):
    """What went wrong, in terms that decide what to do about it."""

    CONFIGURATION = "configuration"
    PREREQUISITE = "prerequisite"
    SOURCE_CONNECTION = "source-connection"
    SOURCE_LOG_LOST = "source-log-lost"
    SOURCE_SCHEMA = "source-schema"
    DECODE = "decode"
    TRANSPORT = "transport"
    TARGET_CONNECTION = "target-connection"
    TARGET_THROTTLED = "target-throttled"
    TARGET_SCHEMA = "target-schema"
    ROW_REJECTED = "row-rejected"
    ROW_CONFLICT = "row-conflict"
    INVARIANT = "invariant"


class Action(StrEnum):
    """What a service does with an error of some kind."""

    RETRY = "retry"
    """Again, after a back-off with jitter, within a bound; then STOP."""
    PARK = "park"
    """The row's key is parked with its later changes; everything else goes on."""
    SUSPEND = "suspend"
    """The table is suspended; every other table goes on."""
    STOP = "stop"
    """The service ends with the error; an operator must act."""


ACTIONS: dict[ErrorKind, Action] = {
    ErrorKind.CONFIGURATION: Action.STOP,
    ErrorKind.PREREQUISITE: Action.STOP,
    ErrorKind.SOURCE_CONNECTION: Action.RETRY,
    ErrorKind.SOURCE_LOG_LOST: Action.STOP,
    ErrorKind.SOURCE_SCHEMA: Action.STOP,
    ErrorKind.DECODE: Action.STOP,
    ErrorKind.TRANSPORT: Action.RETRY,
    ErrorKind.TARGET_CONNECTION: Action.RETRY,
    ErrorKind.TARGET_THROTTLED: Action.RETRY,
    ErrorKind.TARGET_SCHEMA: Action.SUSPEND,
    ErrorKind.ROW_REJECTED: Action.PARK,
    ErrorKind.ROW_CONFLICT: Action.RETRY,
    ErrorKind.INVARIANT: Action.STOP,
}
"""The default action of each kind. Complete by construction: a test walks `ErrorKind`."""


class TailraceError(Exception):
    """A failure that says what is wrong, where, and what to do.

    `message` never holds a cell value or a secret. `remedy` is a sentence for the operator, or the exact
    statement that repairs it. `table` and `position` are printable names, given where they are known. `pause_s` is what
    the other side wants to be left alone for, before it is asked again.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        remedy: str | None = None,
        table: str | None = None,
        position: str | None = None,
        pause_s: float = 0,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.remedy = remedy
        self.table = table
        self.position = position
        self.pause_s = pause_s

    def __str__(self) -> str:
        where = "".join(
            f" [{name} {value}]" for name, value in (("table", self.table), ("position", self.position)) if value
        )
        remedy = f" Remedy: {self.remedy}" if self.remedy else ""
        return f"{self.kind}: {self.message}{where}{remedy}"

    @property
    def within(self) -> str:
        """What another error says of it, which has a remedy of its own."""
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    def to_document(self) -> dict[str, str | None]:
        """Return it as documents on the status topic have it."""
        return {"kind": str(self.kind), "message": self.message, "table": self.table, "remedy": self.remedy}

    @property
    def action(self) -> Action:
        """The default action for this kind of error."""
        return ACTIONS[self.kind]
