"""The only place that reads a clock: everything else takes a time or a clock as an argument."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
"""Nanoseconds on a core and in its queue, and turns. Linux's documentation, `scheduler/sched-stats`."""


def now_us() -> int:
    """Return microseconds since 1970-01-01 UTC by this machine's clock. May jump."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Return seconds of a clock that never goes back: for durations and deadlines."""
    return time.monotonic()


def cpu_s() -> float:
    """Return the CPU time that all threads of this process have used."""
    return time.process_time()


def queued_s() -> float:
    """Return how long the calling thread was ready to run and had no core; 0 where the system does not tell (Linux)."""
    try:
        with _SCHEDSTAT.open("rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def sleep(seconds: float) -> None:
    """Block for `seconds`. A service waits with `StopRequest.wait` instead, so that a stop is not kept waiting."""
    time.sleep(seconds)
