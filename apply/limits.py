"""The bounds and pauses of one applier."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """See `schemas.settings.ApplySettings`."""

    batch_rows: int = 20_000
    batch_bytes: int = 10 << 20
    linger_s: float = 0.005
    suspended_retry_s: float = 30.0
    conflict_wait_s: float = 60.0
    parked_keys_max: int = 10_000
    linger_rows: int = 1_000_000
    table_errors_stop: bool = False
    table_attempts_max: int = 0


DEFAULT_LIMITS = Limits()
