"""Latency as a user of the target sees it: from the commit at the source until the row is visible there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.demo.engines import Client

POLL_S = 0.002
LOST_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles over a number of markers, in milliseconds."""

    samples: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class LostMarkerError(Exception):
    """A marker did not arrive in time."""


def measure(
    source: Client, target: Client, first: int, samples: int, seconds_max: float, on_sample: Callable[[int], None]
) -> Latency:
    """Write markers one after the other, each with an id from `first` on, and wait for each at the target.

    Ends after `samples` markers or `seconds_max`, whichever comes first, but not before ten. Raises LostMarkerError.
    """
    taken: list[float] = []
    end = time.monotonic() + seconds_max
    for marker in range(first, first + samples):
        if time.monotonic() > end and len(taken) >= 10:
            break
        source.add_marker(marker)
        committed = time.monotonic()
        while not target.has_marker(marker):
            if time.monotonic() - committed > LOST_AFTER_S:
                raise LostMarkerError(f"a marker did not arrive at the target within {LOST_AFTER_S:.0f} s")
            time.sleep(POLL_S)
        taken.append((time.monotonic() - committed) * 1000)
        on_sample(len(taken))
    taken.sort()
    return Latency(len(taken), _percentile(taken, 50), _percentile(taken, 99), taken[-1])


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
