"""When a Kafka transaction is committed: at once where the log has no more, in large transactions where it has.

A transaction costs the broker and the client some milliseconds of CPU, whatever it holds. So a capture that is behind
commits less and less often: each transaction stays open for as long as the log has had more without a break.
"""

from __future__ import annotations

INTERVAL_MIN_S = 0.005
INTERVAL_SHARE = 4
"""While the log has more, a transaction stays open so many times as long as the last commit took."""
BULK_ROWS = 250
"""Of a log that has brought so many rows since the last commit, one look that brings none says nothing: whoever reads
as fast as the server sends looks often between two messages. It must have brought none for `INTERVAL_MIN_S`."""


class CommitPacing:
    """Knows how long commits take. Times are of the caller's clock."""

    def __init__(self, limit_s: float, now_s: float) -> None:
        """No transaction is to stay open for longer than `limit_s`."""
        self._limit_s = limit_s
        self._opened_s: float | None = None
        self._committed_s = now_s
        self._rest_s = INTERVAL_MIN_S
        self._behind_s = self._brought_s = now_s
        self._had_end = True
        self._is_bulk = False
        self.interval_s = INTERVAL_MIN_S
        """How long a transaction stays open while the log has more."""

    def opened(self, now_s: float) -> float:
        """Note that a transaction is open; return since when it is known to be."""
        if self._opened_s is None:
            self._opened_s = now_s
        return self._opened_s

    def committed(self, began_s: float, now_s: float) -> None:
        """Note that a commit has taken from `began_s` until now."""
        commit_s = now_s - began_s
        self._opened_s, self._committed_s = None, now_s
        # No more than half of the time goes into commits of little. The broker writes their markers meanwhile: a
        # transaction that begins before that is refused, and librdkafka asks again only after 20 ms.
        self._rest_s = min(self._limit_s, max(INTERVAL_MIN_S, commit_s))
        self.interval_s = min(self._limit_s, max(INTERVAL_MIN_S, INTERVAL_SHARE * commit_s))

    def looked(self, now_s: float, *, row_count: int, is_drained: bool) -> None:
        """Note whether a look at the log brought no row, and how many rows the open transaction has."""
        self._is_bulk = row_count >= BULK_ROWS
        if is_drained:
            self._had_end = self._had_end or now_s >= self._quiet_s
            return
        if self._had_end:
            self._behind_s, self._had_end = now_s, False
        self._brought_s = now_s

    def since_s(self, now_s: float) -> float:
        """Return how long ago the last commit was."""
        return now_s - self._committed_s

    def due_s(self, now_s: float, *, is_drained: bool) -> float:
        """Return when the open transaction is to be committed. `is_drained`: if the log has nothing more until then."""
        opened_s = self.opened(now_s)
        late_s = opened_s + min(self._limit_s, max(self.interval_s, opened_s - self._behind_s))
        return min(late_s, max(self._committed_s + self._rest_s, self._quiet_s)) if is_drained else late_s

    @property
    def _quiet_s(self) -> float:
        """When the log is known to have no more, if it brings no row until then."""
        return self._brought_s + INTERVAL_MIN_S if self._is_bulk else self._brought_s
