"""When a load that has met an error is tried again: soon, now and then, or not at all."""

from __future__ import annotations

from collections.abc import Callable

from capture.full_load.state import TableLoad
from runtime.logging import get_logger
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.policies import TableErrorPolicy
from schemas.service_settings import CaptureSettings

log = get_logger(__name__)

RETRY_PAUSE_S = 0.5
REJECTED_PAUSE_MAX_S = 16.0
"""Between two snapshots of which the first did not see some transaction: it may be waited for as long as it likes."""
LOCKED_PAUSE_S = 2.0
"""Between two waits for a lock: others that a loader has to read come in between."""

_OF_ONE_TABLE = frozenset({ErrorKind.CONFIGURATION, ErrorKind.PREREQUISITE, ErrorKind.DECODE})
"""What an operator mends for one table: the others are loaded meanwhile."""


class Retries:
    """Decides it by the error, and by how often there was one."""

    def __init__(self, settings: CaptureSettings, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self.on_stale: Callable[[TableLoad], None] = lambda _: None
        """Called with a load whose table no longer has the columns that it should."""
        self.on_suspended: Callable[[TableLoad], None] = lambda _: None
        """Called with a load that stands still from now on."""

    def rejected(self, load: TableLoad) -> None:
        """Try a load again after a while, since a snapshot was too old: nothing is wrong with it."""
        pause_s = min(RETRY_PAUSE_S * 2 ** min(load.rejections, 6), REJECTED_PAUSE_MAX_S)
        load.rejections += 1
        load.not_before_s = self._monotonic() + pause_s

    def locked(self, load: TableLoad, error: TailraceError) -> None:
        """Wait for whoever has locked a table, however long that takes; the others are loaded meanwhile."""
        load.not_before_s = self._monotonic() + LOCKED_PAUSE_S
        if load.waits_for is None:
            log.warning("load of a table waits for a lock", table=str(load.name), reason=str(error))
        load.waits_for = error.message

    def failed(self, load: TableLoad, error: TailraceError, *, is_of_all: bool) -> None:
        """Note that a load has met an error. Raises it if it is not to be tried again, or was often enough.

        `is_of_all`: it is no matter of this table.
        """
        load.waits_for = None
        if self.suspends(error, is_of_all=is_of_all):
            self._suspend(load, error)
            return
        load.attempts += 1
        # A table whose columns are no longer the known ones waits for the log, which tells the new ones at their place.
        is_stale = error.kind is ErrorKind.SOURCE_SCHEMA
        if not (is_stale or error.action is Action.RETRY) or load.attempts >= self._settings.load_attempts:
            if is_stale and self._suspends and not is_of_all:
                self._suspend(load, error)
                return
            raise error
        load.not_before_s = self._monotonic() + RETRY_PAUSE_S * 2 ** min(load.attempts, 6)
        if is_stale:
            self.on_stale(load)
        log.warning("chunk will be read again", table=str(load.name), attempts=load.attempts, reason=str(error))

    def suspends(self, error: TailraceError, *, is_of_all: bool) -> bool:
        """Tell whether a load stands still for an error, whatever came before it."""
        return error.kind in _OF_ONE_TABLE and self._suspends and not is_of_all

    @property
    def _suspends(self) -> bool:
        return self._settings.table_errors is TableErrorPolicy.SUSPEND

    def _suspend(self, load: TableLoad, error: TailraceError) -> None:
        load.suspension = error
        load.not_before_s = self._monotonic() + self._settings.suspended_retry_s
        log.error("load of a table suspended", table=str(load.name), reason=str(error))
        self.on_suspended(load)
