"""Back-off and retries, by a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest

from runtime.lifecycle import StopRequest
from runtime.retry import Backoff, call
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import RetrySettings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pauses(backoff: Backoff, clock: Clock) -> list[float]:
    found = []
    while (pause := backoff.next_s()) is not None:
        found.append(pause)
        clock.now += pause
    return found


def test_pauses_grow_to_their_maximum_and_the_series_ends_in_time() -> None:
    clock = Clock()
    found = pauses(Backoff(600, initial_s=0.2, pause_s_max=15, monotonic=clock), clock)
    assert 0.1 <= found[0] <= 0.2
    assert max(found) <= 15
    assert all(later > earlier / 2.1 for earlier, later in pairwise(found[:-1]))
    assert clock.now == pytest.approx(600)


def test_a_series_can_be_bounded_by_its_attempts_or_by_its_longest_pause() -> None:
    """As RecoverableErrorCount, …Interval, …Throttling, …ThrottlingMax and …StopRetryAfterThrottlingMax say."""
    clock = Clock()
    assert pauses(Backoff.of(RetrySettings(attempts_max=0), 600), clock) == []
    even = Backoff.of(RetrySettings(attempts_max=7, interval_s=5, grows=False), 1e6)
    found = pauses(even, clock)
    assert len(found) == 7
    assert all(2.5 <= pause <= 5 for pause in found)
    growing = Backoff.of(RetrySettings(interval_s=5, interval_max_s=60, ends_at_longest=True), 1e6)
    found = pauses(growing, clock)
    # 5, 10, 20, 40, 60: and no attempt after the one that follows.
    assert len(found) == 5
    assert 30 <= found[-1] <= 60
    growing.reset()
    assert len(pauses(growing, clock)) == 5


def test_a_reset_begins_a_new_series() -> None:
    clock = Clock()
    backoff = Backoff(60, monotonic=clock)
    pauses(backoff, clock)
    assert backoff.next_s() is None
    backoff.reset()
    assert backoff.attempts == 0
    first = backoff.next_s()
    assert first is not None
    assert first <= 0.2


def test_a_very_long_series_does_not_overflow() -> None:
    clock = Clock()
    backoff = Backoff(1e9, monotonic=clock)
    for _ in range(5000):
        assert backoff.next_s() is not None


def test_a_pause_that_was_asked_for_is_kept_within_the_bound() -> None:
    clock = Clock()
    backoff = Backoff(60, monotonic=clock)
    assert backoff.next_s(40) == 40
    clock.now += 40
    assert backoff.next_s(40) == 20


def test_no_time_means_no_second_attempt() -> None:
    assert Backoff(0, monotonic=Clock()).next_s() is None


def test_an_action_is_repeated_after_errors_that_are_worth_it() -> None:
    errors = [TailraceError(ErrorKind.TRANSPORT, "away")] * 3
    told: list[str] = []

    def action() -> str:
        if errors:
            raise errors.pop()
        return "done"

    backoff = Backoff(60, initial_s=0.0)
    assert call(action, backoff, StopRequest(), lambda e, _: told.append(e.message)) == "done"
    assert told == ["away"] * 3
    assert backoff.attempts == 0


@pytest.mark.parametrize("kind", [ErrorKind.CONFIGURATION, ErrorKind.DECODE, ErrorKind.ROW_REJECTED])
def test_other_errors_are_raised_at_once(kind: ErrorKind) -> None:
    attempts = []

    def action() -> None:
        attempts.append(1)
        raise TailraceError(kind, "no")

    with pytest.raises(TailraceError, match="no"):
        call(action, Backoff(60), StopRequest())
    assert attempts == [1]


def test_a_stop_ends_the_attempts_with_the_last_error() -> None:
    stop = StopRequest()
    attempts = []

    def action() -> None:
        attempts.append(1)
        stop.request("test")
        raise TailraceError(ErrorKind.TRANSPORT, "away")

    with pytest.raises(TailraceError, match="away"):
        call(action, Backoff(60), stop)
    assert attempts == [1]
