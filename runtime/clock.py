"""The only place that reads a clock: everything else takes a time or a clock as an argument."""

from __future__ import annotations

import time


def now_us() -> int:
    """Return microseconds since 1970-01-01 UTC by this machine's clock. May jump."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Return seconds of a clock that never goes back: for durations and deadlines."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Block for `seconds`. A service waits with `StopRequest.wait` instead, so that a stop is not kept waiting."""
    time.sleep(seconds)
