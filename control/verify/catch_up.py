"""Knows whether a target has applied what the source had committed at a position.

Two steps: capture's last committed position has passed it (its status document says so), and then the target's group
has passed what the topics held at that moment. An idle source still moves capture's position, by heartbeats. Of a
Debezium connector see `control.verify.debezium`.
"""

from __future__ import annotations

from collections.abc import Callable

from control.status import Observer, applied_topics
from runtime import clock
from schemas.settings import Settings

POLL_S = 0.25


class CatchUp:
    """One target, and how far it is behind the source."""

    def __init__(
        self, settings: Settings, target: str, observer: Observer, captured: Callable[[int], bool] | None = None
    ) -> None:
        """`captured` tells whether a position was passed, where no capture of ours says so."""
        self._settings = settings
        self._target = target
        self._observer = observer
        self._captured = captured or self._of_status

    def wait(self, position: int, timeout_s: float) -> bool:
        """Wait until all that the source committed before `position` is applied; False if it takes too long."""
        deadline = clock.monotonic() + timeout_s
        while not self._captured(position):
            if clock.monotonic() > deadline:
                return False
            clock.sleep(POLL_S)
        goals = self._observer.ends(applied_topics(self._settings))
        while self._observer.behind(self._target, goals):
            if clock.monotonic() > deadline:
                return False
            clock.sleep(POLL_S)
        return True

    def _of_status(self, position: int) -> bool:
        document = self._observer.documents().get("capture", {})
        return int(document.get("position_commit") or 0) >= position
