"""Errors whose action does not follow from their kind: a policy or a bound says what is to be done."""

from __future__ import annotations

from typing import Any

from schemas.errors import Action, TailraceError


class FinalError(TailraceError):
    """Ends the service."""

    @property
    def action(self) -> Action:
        """Always to stop."""
        return Action.STOP


class SuspendingError(TailraceError):
    """Suspends the table of a topic."""

    def __init__(self, topic: str, error: TailraceError, **more: Any) -> None:
        super().__init__(error.kind, error.message, remedy=error.remedy, table=error.table, **more)
        self.topic = topic

    @property
    def action(self) -> Action:
        """Always to suspend."""
        return Action.SUSPEND


class Suspensions:
    """Decides, by policy and by number, whether a table that cannot go on is suspended or ends the service."""

    def __init__(self, *, stops: bool, attempts_max: int) -> None:
        """`attempts_max`: how often one table may be suspended; 0: for ever."""
        self._stops = stops
        self._attempts_max = attempts_max
        self._counts: dict[str, int] = {}

    def may(self, topic: str) -> bool:
        """Count one more error of a table; tell whether it is to be suspended."""
        count = self._counts[topic] = self._counts.get(topic, 0) + 1
        return not self._stops and not (self._attempts_max and count > self._attempts_max)
