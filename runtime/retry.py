"""Back-off between attempts: exponential with jitter, bounded in time, interrupted by a stop.

What is worth another attempt is not decided here: `TailraceError.action` says it (schemas.errors).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

from runtime import clock
from runtime.lifecycle import StopRequest
from schemas.errors import Action, TailraceError
from schemas.policies import RetrySettings

T = TypeVar("T")


class Backoff:
    """The pauses of one series of failed attempts.

    `retry_for_s` bounds the series from its first failure; `reset` ends it, after a success.
    """

    def __init__(
        self,
        retry_for_s: float,
        *,
        initial_s: float = 0.2,
        pause_s_max: float = 15.0,
        grows: bool = True,
        attempts_max: int | None = None,
        ends_at_longest: bool = False,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        """See `schemas.policies.RetrySettings`."""
        self._retry_for_s = retry_for_s
        self._monotonic = monotonic
        # Half of the pause is fixed and half is chance: a herd that failed together does not return together.
        base = 2 if grows else 1
        self._wait = tenacity.wait_exponential(multiplier=initial_s / 2, max=pause_s_max / 2, exp_base=base)
        self._jitter = tenacity.wait_random_exponential(multiplier=initial_s / 2, max=pause_s_max / 2, exp_base=base)
        self._longest_s = pause_s_max / 2
        self._attempts_max = attempts_max
        self._ends_at_longest = ends_at_longest
        self._was_longest = False
        self._state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        self._began: float | None = None
        self.attempts = 0
        """Failures of this series so far."""

    def reset(self) -> None:
        """End the series: the next failure is a first one."""
        self.attempts = 0
        self._began = None
        self._was_longest = False

    @classmethod
    def of(cls, retry: RetrySettings, retry_for_s: float, *, pause_s_max: float = 15.0) -> Backoff:
        """Return what the settings say; `pause_s_max` is the longest pause where they do not."""
        return cls(
            retry_for_s,
            initial_s=retry.interval_s,
            pause_s_max=max(retry.interval_s, pause_s_max) if retry.interval_max_s is None else retry.interval_max_s,
            grows=retry.grows,
            attempts_max=retry.attempts_max,
            ends_at_longest=retry.ends_at_longest,
        )

    def next_s(self, least_s: float = 0) -> float | None:
        """Count a failure; return the pause before the next attempt, or None when it is the series' last one.

        A pause is not shorter than `least_s`, unless the series ends before.
        """
        now = self._monotonic()
        if self._began is None:
            self._began = now
        left_s = self._began + self._retry_for_s - now
        self.attempts += 1
        # The exponent would overflow a float long before a bounded series ends; the pause has met its maximum by then.
        self._state.attempt_number = min(self.attempts, 60)
        if left_s <= 0 or self._was_longest or (self._attempts_max is not None and self.attempts > self._attempts_max):
            return None
        fixed_s = self._wait(self._state)
        self._was_longest = self._ends_at_longest and fixed_s >= self._longest_s
        return min(max(fixed_s + self._jitter(self._state), least_s), left_s)


def call(
    action: Callable[[], T],
    backoff: Backoff,
    stop: StopRequest,
    on_retry: Callable[[TailraceError, float], None] | None = None,
) -> T:
    """Return what `action` returns, trying again after errors whose action is RETRY.

    Raises the last error when the back-off gives up, the stop is requested, or the error is of another kind.
    """
    while True:
        try:
            result = action()
        except TailraceError as error:
            if error.action is not Action.RETRY or stop.stopping:
                raise
            pause_s = backoff.next_s(error.pause_s)
            if pause_s is None:
                raise
            if on_retry is not None:
                on_retry(error, pause_s)
            if stop.wait(pause_s):
                raise
        else:
            backoff.reset()
            return result
