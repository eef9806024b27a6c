"""Looking at the publication while the log is read: nothing in the log tells that a table was taken out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from capture.source import LockedError
from runtime.logging import get_logger
from schemas.table import TableName

INTERVAL_S = 10.0
LOCKED_INTERVAL_S = 60.0
"""The same where somebody's lock is in the way: each look waits for it, and so does the log."""

log = get_logger(__name__)


class PublicationWatch:
    """Looks now and then."""

    def __init__(self, check: Callable[[Mapping[TableName, int]], None], now_s: float) -> None:
        """`check` raises unless the publication has these tables, as long as they exist under these oids."""
        self._check = check
        self._next_at_s = now_s + INTERVAL_S

    def look(self, now_s: float, oids: Callable[[], Mapping[TableName, int]]) -> None:
        """Look if it is time. Raises PREREQUISITE."""
        if now_s < self._next_at_s:
            return
        self._next_at_s = now_s + INTERVAL_S
        try:
            self._check(oids())
        except LockedError as error:
            self._next_at_s = now_s + LOCKED_INTERVAL_S
            log.info("the publication is looked at later", reason=str(error))
