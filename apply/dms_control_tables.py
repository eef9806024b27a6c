"""What an applier tells in the control tables of AWS DMS: exceptions, status, suspended tables, history.

It is written in a thread of its own, over a connection of its own: a target that is slow with it, or refuses it, keeps
no row from its way. What could not be written is tried again, within a bound.
"""

from __future__ import annotations

import resource
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol

from apply.applier import Applier
from apply.batching.batch import Record
from apply.outcome import Outcome
from apply.report import Report
from runtime import clock
from runtime.logging import get_logger
from schemas.control_tables import (
    APPLY_EXCEPTIONS,
    FULL_LOAD_EXCEPTIONS,
    HISTORY,
    STATUS,
    SUSPENDED,
    ControlTableSettings,
)
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.table import TableName
from schemas.types.calendar import moment

log = get_logger(__name__)

INTERVAL_S = 10.0
KEPT_MAX = 10_000
"""Exceptions that wait to be written; more are only logged."""
LOADING, CHANGES, STOPPED = "FULL LOAD", "CHANGE PROCESSING", "NOT RUNNING"


class Tables(Protocol):
    """What of `apply.sink_kinds.relational.dms_tables.DmsTables` is used here."""

    def add(self, table: str, rows: list[Any]) -> None: ...
    def replace(self, table: str, owner: tuple[str, ...], rows: list[Any]) -> None: ...
    def close(self) -> None: ...


class DmsControlTables:
    """Keeps the control tables of one applier. Stands between it and its report."""

    def __init__(
        self,
        settings: ControlTableSettings,
        task: str,
        server: str | None,
        tables: Tables,
        applier: Applier,
        report: Report,
        is_loaded: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._task = task
        self._server = server or socket.gethostname()
        self._tables = tables
        self._applier = applier
        self._report = report
        self._is_loaded = is_loaded
        applier.on_written, applier.on_trouble = self.on_written, self.on_trouble
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="control-tables")
        self._job: Future[None] | None = None
        self._next = 0.0
        self._exceptions: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._suspended_since: dict[str, datetime] = {}
        self._history: deque[tuple[Any, ...]] = deque(maxlen=KEPT_MAX)
        self._slot_until = clock.monotonic() + settings.history_minutes * 60
        self._slot: dict[str, list[int]] = {}

    def on_written(self, outcome: Outcome) -> None:
        """Take in what a durable batch says."""
        self._report.written(outcome)
        for record, error, place in outcome.exceptions:
            operation = self._operation(record)
            is_of_load = operation == "r" if operation is not None else not self._is_loaded()
            self._exception(record.topic(), error, place, is_of_load=is_of_load)
        count, size = self._slot.setdefault(self._phase, [0, 0])
        self._slot[self._phase] = [count + outcome.batch.row_count, size + outcome.batch.byte_count]

    def on_trouble(self, error: TailraceError) -> None:
        """Take in an error that suspends a table."""
        self._report.trouble(error)
        topic = getattr(error, "topic", None) or self._applier.catalog.topic_of(error.table)
        if error.action is Action.SUSPEND and topic is not None:
            self._exception(topic, error.message, error.position or "", is_of_load=not self._is_loaded())

    def attend(self) -> None:
        """Have written what there is, if it is time, and the last writing has come to its end."""
        at = clock.monotonic()
        if at >= self._slot_until:
            self._slot_until = at + self._settings.history_minutes * 60
            self._end_slot()
        if self._job is not None and self._job.done():
            if (error := self._job.exception()) is not None:
                # None of the target's, and no reason to keep rows from their way.
                log.error("control tables not written", reason=type(error).__name__)
            self._job = None
        if self._job is None and at >= self._next:
            self._next = at + INTERVAL_S
            self._job = self._executor.submit(self._write, self._phase, self._suspended())

    def close(self) -> None:
        """Write for the last time: that the task does not run."""
        self._end_slot()
        self._executor.submit(self._write, STOPPED, self._suspended())
        self._executor.shutdown()
        self._tables.close()

    @property
    def _phase(self) -> str:
        return CHANGES if self._is_loaded() else LOADING

    def _operation(self, record: Record) -> str | None:
        """Return what a record tells of its row. It is asked for only where there is a table for either answer."""
        return self._applier.catalog.operation(record.topic(), record) if self._settings.full_load_exceptions else "?"

    def _exception(self, topic: str, error: str, place: str, *, is_of_load: bool) -> None:
        is_load = self._settings.full_load_exceptions and is_of_load
        if not is_load and not self._settings.exceptions:
            return
        name = self._name(topic)
        row = (self._task, name.schema, name.table, _now(), place, error)
        if len(self._exceptions) >= KEPT_MAX:
            log.warning("exception not recorded: the control tables are behind", table=str(name))
            return
        self._exceptions.append((FULL_LOAD_EXCEPTIONS if is_load else APPLY_EXCEPTIONS, row))

    def _suspended(self) -> list[tuple[Any, ...]]:
        found = self._applier.holds.suspended()
        self._suspended_since = {topic: self._suspended_since.get(topic, _now()) for topic in found}
        return [
            (self._server, self._task, *self._name(topic), error.message, self._suspended_since[topic])
            for topic, error in sorted(found.items())
        ]

    def _end_slot(self) -> None:
        lag_ms = self._report.lag_ms
        for phase, (count, size) in sorted(self._slot.items()):
            latency = lag_ms // 1000 if phase == CHANGES and lag_ms is not None else None
            slot = (phase, _now(), self._settings.history_minutes, latency, count, size >> 20)
            self._history.append((self._server, self._task, *slot))
        self._slot = {}

    def _write(self, phase: str, suspended: list[tuple[Any, ...]]) -> None:
        """Write all. Runs in the thread of the control tables."""
        settings, tables = self._settings, self._tables
        try:
            while self._exceptions:
                table, row = self._exceptions[0]
                _unless_refused(tables.add, table, [row])
                self._exceptions.popleft()
            if settings.suspended:
                _unless_refused(tables.replace, SUSPENDED, (self._server, self._task), suspended)
            while settings.history and self._history:
                _unless_refused(tables.add, HISTORY, [self._history[0]])
                self._history.popleft()
            if settings.status:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
                applied = None if self._report.applied_us is None else moment(self._report.applied_us)
                figures = (self._report.lag_records, 0, memory, None, applied, None, applied, applied)
                row = (self._server, self._task, phase, _now(), *figures)
                tables.replace(STATUS, (self._server, self._task), [row])
        except TailraceError as error:
            log.warning("control tables not written", reason=error.message)

    def _name(self, topic: str) -> TableName:
        known = self._applier.catalog.topics.get(topic)
        return known.name if known is not None else TableName("", topic)


def _unless_refused(write: Callable[..., None], table: str, *arguments: Any) -> None:
    """Write rows. What the target will never take, as a name that is too long, keeps nothing else from its way."""
    try:
        write(table, *arguments)
    except TailraceError as error:
        if error.kind is not ErrorKind.ROW_REJECTED:
            raise
        log.warning("row of a control table refused", control_table=table, reason=error.message)


def _now() -> datetime:
    return moment(clock.now_us())
