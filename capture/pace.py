"""When a Kafka transaction is committed: at once where the log has no more, in large transactions where it has."""

from __future__ import annotations

INTERVAL_MIN_S = 0.005
INTERVAL_SHARE = 4
"""While the log has more, a transaction stays open so many times as long as the last commit took."""


class Pace:
    """Knows how long commits take. Times are of the caller's clock."""

    def __init__(self, limit_s: float, now_s: float) -> None:
        """No transaction is to stay open for longer than `limit_s`."""
        self._limit_s = limit_s
        self._opened_s: float | None = None
        self._committed_s = now_s
        self._rest_s = INTERVAL_MIN_S
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

    def since_s(self, now_s: float) -> float:
        """Return how long ago the last commit was."""
        return now_s - self._committed_s

    def due_s(self, now_s: float, *, is_drained: bool) -> float:
        """Return when the open transaction is to be committed. `is_drained`: if the log has nothing more until then."""
        late_s = self.opened(now_s) + self.interval_s
        return min(late_s, self._committed_s + self._rest_s) if is_drained else late_s
