"""The bounds and pauses of one applier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from apply.errors import FinalError
from schemas.errors import ErrorKind
from schemas.policies import DdlPolicy, TableErrorPolicy
from schemas.settings import Settings

if TYPE_CHECKING:
    from apply.batching.batch import Batch
    from apply.error_handling.parking import ParkingLot


@dataclass(frozen=True, slots=True)
class Limits:
    """See `schemas.service_settings.ApplySettings`."""

    batch_rows: int = 20_000
    batch_bytes: int = 10 << 20
    linger_s: float = 0.001
    suspended_retry_s: float = 30.0
    conflict_wait_s: float = 60.0
    parked_keys_max: int = 10_000
    early_keys_max: int = 100_000
    linger_rows: int = 1_000_000
    table_errors_stop: bool = False
    table_attempts_max: int = 0
    drops: bool = True
    """Tables that the source drops are dropped here, too."""


DEFAULT_LIMITS = Limits()


def limits_of(settings: Settings) -> Limits:
    """Return what the settings say."""
    apply = settings.apply
    return Limits(
        batch_rows=apply.batch_rows,
        batch_bytes=apply.batch_bytes,
        linger_s=apply.linger_ms / 1000,
        suspended_retry_s=apply.suspended_retry_s,
        conflict_wait_s=apply.conflict_wait_s,
        parked_keys_max=apply.parked_keys_max,
        early_keys_max=apply.early_keys_max,
        linger_rows=apply.linger_rows,
        table_errors_stop=apply.errors.table is TableErrorPolicy.STOP,
        table_attempts_max=apply.errors.table_attempts,
        drops=settings.ddl.dropped is DdlPolicy.APPLY,
    )


def check_parked(lot: ParkingLot, limits: Limits, *, ends_early: bool) -> None:
    """Raise if more keys are parked than the settings allow.

    What only waits for the changes since a load counts by itself, and only where more of it may come (`ends_early`):
    no row is wrong, and who goes on with the changes makes an end of it.
    """
    if len(lot) <= min(limits.parked_keys_max, limits.early_keys_max):
        return
    early = lot.early_count
    refused = len(lot) - early
    if refused > limits.parked_keys_max:
        raise FinalError(
            ErrorKind.ROW_REJECTED,
            f"{refused} keys are parked; `apply.parked_keys_max` is {limits.parked_keys_max}",
            remedy="see `tailrace parked list`; repair the target, and `retry` or `skip` them",
        )
    if ends_early and early > limits.early_keys_max:
        raise FinalError(
            ErrorKind.ROW_CONFLICT,
            f"{early} keys wait for the changes since their load; `apply.early_keys_max` is {limits.early_keys_max}",
            remedy="set `apply.stop_before_changes: false` to go on with the changes, or raise it",
        )


class Room:
    """How much more a batch may take in."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._record_bytes = 256.0

    def learn(self, batch: Batch) -> None:
        """Take note of how large a batch's records are; their moving average bounds how many are asked for at once."""
        if batch.row_count:
            self._record_bytes = max(64.0, 0.7 * self._record_bytes + 0.3 * batch.byte_count / batch.row_count)

    def bytes_left(self, batch: Batch) -> int:
        """Return after how many bytes of values no more is to be asked for; at least one record may come."""
        return max(1, self._limits.batch_bytes - batch.byte_count)

    def left(self, batch: Batch) -> int:
        """Return how many records more a batch may take in, by estimate; at most 0 if it is full."""
        rows_left = self._limits.batch_rows - batch.row_count
        bytes_left = self._limits.batch_bytes - batch.byte_count
        return min(rows_left, int(bytes_left / self._record_bytes) + 1) if bytes_left > 0 else 0
