"""What follows an error: whether to try again, to leave a table out or to end, and how long to wait before a try."""

from __future__ import annotations

from collections.abc import Callable

from runtime.kafka.errors import SupplantedError
from runtime.logging import get_logger
from runtime.retry import Backoff
from schemas.errors import Action, ErrorKind, TailraceError

log = get_logger(__name__)

FENCES_MAX = 5
"""So many times in a row another applier may take over what the group says is ours; then something is wrong."""


class Recovery:
    """The errors of one applier since it last wrote something."""

    def __init__(self, backoff: Backoff, monotonic: Callable[[], float]) -> None:
        self.error: TailraceError | None = None
        """What is being waited out; None while all is well."""
        self._backoff = backoff
        self._monotonic = monotonic
        self._retry_at = 0.0
        self._fences = 0

    @property
    def is_due(self) -> bool:
        """Whether the pause before the next try is over."""
        return self._monotonic() >= self._retry_at

    def action_for(self, error: TailraceError) -> Action:
        """Return what an error asks for. It is what is wrong from now on."""
        self.error = error
        if error.kind is ErrorKind.INVARIANT and self._fences < FENCES_MAX and not isinstance(error, SupplantedError):
            # Most likely fenced: another applier has claimed what the group is about to tell us that we lost.
            self._fences += 1
            return Action.RETRY
        return error.action

    def pause(self, error: TailraceError) -> None:
        """Begin the pause before the next try. Raises the error where it was tried for long enough."""
        pause_s = self._backoff.next_s(error.pause_s)
        if pause_s is None:
            raise error
        self._retry_at = self._monotonic() + pause_s
        log.warning("tried again after a pause", reason=str(error), pause_s=round(pause_s, 2))

    def answered(self) -> None:
        """Note that the target has answered. Any other error is over when what it kept back is written."""
        if self.error is not None and self.error.kind is ErrorKind.TARGET_CONNECTION:
            self.error = None

    def settle(self) -> None:
        """Note that a batch is durable: the next error is a first one."""
        self._backoff.reset()
        self._fences, self.error = 0, None
