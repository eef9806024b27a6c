"""How large a Kafka transaction may become: as large as the settings say, unless brokers have aborted one for its age.

A capture that is starved, of the processor or of the network, can need longer for a full transaction than brokers let
one be open. To try the same one again would not help: after each such abort the next may hold half as much, down to
what one poll of the log brings. It grows again with every full transaction that is in good time.
"""

from __future__ import annotations

from typing import Protocol

from schemas.service_settings import CaptureSettings

SHARE_MIN = 2**-16
GROWTH = 1.25
IN_TIME_SHARE = 0.25
"""A transaction that took at most this part of the time-out leaves room for a larger one."""
HOLD_SHARE = 0.5
"""A chunk that is larger than the buffer keeps its transaction open for this part of the time-out at most."""


class OpenTransaction(Protocol):
    """What is in a Kafka transaction: `capture.publishing.publisher.Publisher` knows of the open one."""

    open_rows: int
    open_bytes: int


class TransactionLimits:
    """What one Kafka transaction may hold, and for how long it may stay open for the sake of a chunk."""

    def __init__(self, settings: CaptureSettings) -> None:
        self._settings = settings
        self._share = 1.0
        self.rows = self.bytes = 0
        self.hold_s = 0.0
        self._set(1.0)

    def expired(self, transaction: OpenTransaction) -> None:
        """It was aborted for its age."""
        settings = self._settings
        held = max(transaction.open_rows / settings.commit_rows, transaction.open_bytes / settings.commit_bytes)
        self._set(max(SHARE_MIN, min(self._share, held) / 2))

    def committed(self, transaction: OpenTransaction, seconds: float) -> None:
        """It took so long from the end of the last one to the end of its commit."""
        in_time = seconds <= IN_TIME_SHARE * self._settings.transaction_timeout_s
        if self._share < 1 and in_time and self.met(transaction):
            self._set(min(1.0, self._share * GROWTH))

    def met(self, transaction: OpenTransaction) -> bool:
        """Tell whether it holds all that it may."""
        return transaction.open_rows >= self.rows or transaction.open_bytes >= self.bytes

    def _set(self, share: float) -> None:
        self._share = share
        self.rows = max(1, int(self._settings.commit_rows * share))
        self.bytes = max(1, int(self._settings.commit_bytes * share))
        self.hold_s = HOLD_SHARE * self._settings.transaction_timeout_s * share
