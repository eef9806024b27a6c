"""Waiting for something to become true, with a deadline that a loaded machine keeps."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_S = 300.0


def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Poll until the condition holds; fail when it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s:g} s"
        time.sleep(0.1)
