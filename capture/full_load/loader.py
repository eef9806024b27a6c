"""Hands chunks to loader processes and collects what they read, in bounded memory.

The service calls `pump` in its loop; it never waits. What comes back is kept per chunk until the log has been read up
to the chunk's high watermark. A chunk with a key goes out whole, in one Kafka transaction, so that a crash never leaves
a half that would be repeated; if it is larger than the buffer, it goes out while it is still being read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from capture.full_load.cuts import fit
from capture.full_load.state import LoadState, TableLoad
from capture.full_load.window import Horizon
from capture.full_load.worker import (
    Answer,
    Ended,
    Failed,
    Looked,
    LookRequest,
    Opened,
    Planned,
    PlanRequest,
    ReadRequest,
    Request,
    Rows,
)
from capture.source import Chunk, Snapshot
from runtime.logging import get_logger
from schemas.codecs import SchemaIds
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.policies import TableErrorPolicy
from schemas.settings import CaptureSettings
from schemas.table import TableName

log = get_logger(__name__)

BUFFER_BYTES_MAX = 32 << 20
"""Memory of the rows of chunks that wait for the log. Beyond, loaders wait in their pipes. The chunk that is going out
may take as much again, since the others wait for it.
"""

CHUNKS_PER_TABLE = 5_000
"""A larger table gets larger chunks: the plan is one Kafka record (1 MB by default), whatever the table's size."""

RETRY_PAUSE_S = 0.5

LOOK_INTERVAL_S = 5.0
"""How often a snapshot is taken, while changes of tables go on whose loads all stand still: it tells which of them
every later one sees."""

_OF_ONE_TABLE = frozenset({ErrorKind.CONFIGURATION, ErrorKind.PREREQUISITE})
"""What an operator mends for one table: the others are loaded meanwhile."""


class Worker(Protocol):
    """One loader process, as its service sees it."""

    def send(self, request: Request) -> None:
        """Hand over the next request; the last one has been answered. Raises OSError if the process is gone."""
        ...

    def receive(self) -> Answer | None:
        """Return the next answer, or None if there is none yet. Raises EOFError if the process is gone."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


@dataclass(slots=True, eq=False)
class Reading:
    """One chunk on its way from a loader to the topic."""

    load: TableLoad
    chunk: Chunk
    generation: int
    snapshot: Snapshot | None = None
    batches: deque[Rows] = field(default_factory=deque)
    buffered_bytes: int = 0
    ended: bool = False
    begun: bool = False
    """Some of its rows are in the open Kafka transaction."""
    cancelled: bool = False

    @property
    def is_keyed(self) -> bool:
        """Whether its rows have keys."""
        return bool(self.load.table.key)


@dataclass(slots=True, eq=False)
class _Slot:
    worker: Worker | None = None
    planning: TableLoad | None = None
    reading: Reading | None = None
    looking: bool = False

    @property
    def is_free(self) -> bool:
        """Whether no answer is to come."""
        return self.planning is None and self.reading is None and not self.looking


class Loader:
    """The loader processes and the chunks that are in flight."""

    def __init__(
        self,
        spawn: Callable[[], Worker],
        horizon: Horizon,
        settings: CaptureSettings,
        *,
        monotonic: Callable[[], float],
        ids: Callable[[TableName], SchemaIds | None] = lambda _: None,
    ) -> None:
        """`ids` returns those of a table's Avro schemas, where they are none of our own making."""
        self._spawn = spawn
        self._ids = ids
        self._horizon = horizon
        self._slots = [_Slot() for _ in range(settings.load_processes)]
        self._settings = settings
        self._monotonic = monotonic
        self._loads: dict[TableName, TableLoad] = {}
        self._readings: list[Reading] = []
        self._head: Reading | None = None
        self._look_at, self._looked_count = 0.0, 0
        self.row_estimates: dict[TableName, int] = {}
        self.has_answered = False
        """Whether the last `pump` met an answer of some loader."""
        self.on_stale: Callable[[TableLoad], None] = _ignore
        """Called with a load whose table no longer has the columns that it should."""
        self.on_suspended: Callable[[TableLoad], None] = _ignore
        """Called with a load that stands still from now on."""
        self.on_looked: Callable[[Snapshot], None] = _ignore
        """Called with a snapshot that was taken for no chunk."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to load."""
        return not self._loads

    @property
    def load_count(self) -> int:
        """How many tables are left to load."""
        return len(self._loads)

    @property
    def stuck(self) -> TailraceError | None:
        """Why one of the tables that are left stands still, where all of them do."""
        if not self._loads or self._readings or any(slot.planning is not None for slot in self._slots):
            return None
        suspensions = [load.suspension for load in self._loads.values()]
        return suspensions[0] if all(suspensions) else None

    @property
    def is_reading(self) -> bool:
        """Whether some chunk with a key is in flight."""
        return any(reading.is_keyed for reading in self._readings)

    @property
    def holds_transaction(self) -> bool:
        """Whether a chunk with a key has gone out in part: the open Kafka transaction should wait for the rest."""
        return self._head is not None and self._head.begun

    @property
    def high_max(self) -> int:
        """The highest position that some chunk with a key waits for; 0 if none does."""
        return max((r.snapshot.high for r in self._readings if r.snapshot is not None and r.is_keyed), default=0)

    def add(self, load: TableLoad) -> None:
        """Load a table, behind those that were added before."""
        self._loads[load.name] = load
        if self._slots[0].worker is None:
            # It takes a second to be ready, which the service needs for other things when it starts.
            self._slots[0].worker = self._spawn()

    def remove(self, name: TableName) -> None:
        """Stop loading a table: it is complete, or gone."""
        if self._loads.pop(name, None) is not None:
            self.cancel(name)

    def cancel(self, name: TableName) -> None:
        """Give up the chunks of a table that are in flight; they will be read again."""
        for reading in self._readings:
            if reading.load.name == name:
                reading.cancelled = True
                self._close(reading)
        self._readings = [r for r in self._readings if not r.cancelled]
        for slot in self._slots:
            # The answer, when it comes, is for nobody.
            if slot.planning is not None and slot.planning.name == name:
                self._retire(slot)

    def reject(self, reading: Reading) -> None:
        """Read a chunk again, since its snapshot is too old."""
        reading.load.not_before_s = self._monotonic() + RETRY_PAUSE_S
        reading.cancelled = True
        self._close(reading)
        self._readings.remove(reading)

    def pump(self, reached: int) -> list[TableLoad]:
        """Collect answers and hand out requests, without waiting. Return the loads that have just got their chunks.

        `reached` is the position that the log is read up to. Raises what a loader met, if its action is not to retry or
        it was tried often enough.
        """
        planned: list[TableLoad] = []
        self.has_answered = False
        for slot in self._slots:
            try:
                self._receive(slot, planned)
            except (EOFError, OSError):
                self._died(slot)
        for slot in self._slots:
            if slot.is_free:
                self._assign(slot, reached)
        if self.stuck is not None:
            self._look()
        return planned

    def ready(self, reached: int) -> Iterator[Reading]:
        """Yield the chunks whose rows may go out now: all those without a key, and one with a key at a time."""
        for reading in self._readings:
            if not reading.is_keyed and reading.snapshot is not None:
                yield reading
        if self._head is None:
            full = self._buffered_bytes() >= BUFFER_BYTES_MAX
            for reading in self._readings:
                if (
                    reading.is_keyed
                    and reading.snapshot is not None
                    and reading.snapshot.high <= reached
                    and (reading.ended or full)
                ):
                    self._head = reading
                    break
        if self._head is not None:
            yield self._head

    def finished(self, reading: Reading) -> None:
        """The last row of a chunk is in the open Kafka transaction."""
        self._close(reading)
        self._readings.remove(reading)
        reading.load.done.add(reading.chunk.number)
        reading.load.attempts = 0
        reading.load.suspension = None

    def close(self) -> None:
        """End all loader processes."""
        for slot in self._slots:
            self._retire(slot)
        self._readings.clear()
        self._head = None

    def release_idle(self) -> None:
        """End the processes if nothing is left to load: each holds memory and a connection."""
        if not self._loads:
            self.close()

    # Answers.

    def _receive(self, slot: _Slot, planned: list[TableLoad]) -> None:
        while slot.worker is not None and not slot.is_free:
            reading = slot.reading
            if reading is not None and reading.snapshot is not None and not reading.cancelled:
                held = reading.buffered_bytes if reading is self._head else self._buffered_bytes()
                if held >= BUFFER_BYTES_MAX:
                    return
            answer = slot.worker.receive()
            if answer is None:
                return
            self.has_answered = True
            if isinstance(answer, Failed):
                self._failed(slot, answer)
            elif isinstance(answer, Planned):
                self._planned(slot, answer, planned)
            elif isinstance(answer, Looked):
                slot.looking = False
                self.on_looked(answer.snapshot)
            elif reading is not None:
                self._read(slot, reading, answer)

    def _planned(self, slot: _Slot, answer: Planned, planned: list[TableLoad]) -> None:
        load, slot.planning = slot.planning, None
        if load is None:
            return
        load.chunks = list(answer.chunks)
        load.state = LoadState.LOADING
        try:
            fit(load)
        except TailraceError as error:
            load.chunks, load.state = [], LoadState.PLANNED
            self._again(load, error)
            return
        load.attempts = 0
        load.suspension = None
        planned.append(load)
        log.info("table cut into chunks", table=str(load.name), chunks=len(load.chunks))

    def _read(self, slot: _Slot, reading: Reading, answer: Answer) -> None:
        if isinstance(answer, Ended):
            slot.reading = None
            reading.ended = True
        elif reading.cancelled:
            return
        elif isinstance(answer, Opened):
            reading.snapshot = answer.snapshot
            self._horizon.opened(reading, answer.snapshot)
        elif isinstance(answer, Rows):
            reading.batches.append(answer)
            reading.buffered_bytes += answer.size_bytes

    def _failed(self, slot: _Slot, answer: Failed) -> None:
        reading, load = slot.reading, slot.planning
        slot.reading = slot.planning = None
        if slot.looking:
            slot.looking = False
            log.warning("no snapshot while all loads stand still; tried again", reason=answer.message)
        if reading is not None:
            if reading.cancelled:
                return
            load = reading.load
            self._give_up(reading)
        if load is not None:
            error = TailraceError(answer.kind, answer.message, remedy=answer.remedy, table=str(load.name))
            self._again(load, error, is_of_all=answer.is_of_all)

    def _died(self, slot: _Slot) -> None:
        reading, load = slot.reading, slot.planning
        self._retire(slot)
        if reading is not None and not reading.cancelled:
            load = reading.load
            self._give_up(reading)
        if load is not None:
            self._again(load, TailraceError(ErrorKind.SOURCE_CONNECTION, "a loader process died", table=str(load.name)))

    def _again(self, load: TableLoad, error: TailraceError, *, is_of_all: bool = False) -> None:
        suspends = self._settings.table_errors is TableErrorPolicy.SUSPEND
        if error.kind in _OF_ONE_TABLE and suspends and not is_of_all:
            load.suspension = error
            load.not_before_s = self._monotonic() + self._settings.suspended_retry_s
            log.error("load of a table suspended", table=str(load.name), reason=str(error))
            self.on_suspended(load)
            return
        load.attempts += 1
        # A table whose columns are no longer the known ones waits for the log, which tells the new ones at their place.
        retriable = error.action is Action.RETRY or error.kind is ErrorKind.SOURCE_SCHEMA
        if not retriable or load.attempts >= self._settings.load_attempts:
            raise error
        load.not_before_s = self._monotonic() + RETRY_PAUSE_S * 2 ** min(load.attempts, 6)
        if error.kind is ErrorKind.SOURCE_SCHEMA:
            self.on_stale(load)
        log.warning("chunk will be read again", table=str(load.name), attempts=load.attempts, reason=str(error))

    def _give_up(self, reading: Reading) -> None:
        reading.cancelled = True
        begun = reading.begun
        self._close(reading)
        self._readings.remove(reading)
        if begun:
            # Rows of it are out: only an abort takes them back (or, without a key, a truncate at the next start).
            raise TailraceError(
                ErrorKind.SOURCE_CONNECTION,
                "a loader failed in the middle of a chunk that was being published",
                table=str(reading.load.name),
            )

    # Requests.

    def _assign(self, slot: _Slot, reached: int) -> None:
        now = self._monotonic()
        for load in self._loads.values():
            if load.not_before_s > now or load.not_before_commit > reached:
                continue
            if load.state is LoadState.PLANNED:
                if all(other.planning is not load for other in self._slots):
                    slot.planning = load
                    self._send(slot, PlanRequest(load.table, self._rows_per_chunk(load)))
                    return
                continue
            busy = {r.chunk.number for r in self._readings if r.load is load}
            for chunk in load.chunks:
                if chunk.number not in load.done and chunk.number not in busy:
                    reading = Reading(load, chunk, load.generation)
                    slot.reading = reading
                    self._readings.append(reading)
                    self._horizon.dispatched(reading, load.name)
                    self._send(slot, ReadRequest(load.table, chunk, self._ids(load.name)))
                    return

    def _look(self) -> None:
        """Ask for a snapshot, now and then, if more has been published of tables that are not being read."""
        now, slot = self._monotonic(), self._slots[0]
        if slot.is_free and now >= self._look_at and self._horizon.published_count != self._looked_count:
            self._look_at, self._looked_count = now + LOOK_INTERVAL_S, self._horizon.published_count
            slot.looking = True
            self._send(slot, LookRequest())

    def _rows_per_chunk(self, load: TableLoad) -> int:
        return max(self._settings.chunk_rows, self.row_estimates.get(load.name, 0) // CHUNKS_PER_TABLE)

    def _send(self, slot: _Slot, request: Request) -> None:
        if slot.worker is None:
            slot.worker = self._spawn()
        try:
            slot.worker.send(request)
        except OSError:
            self._died(slot)

    def _close(self, reading: Reading) -> None:
        self._horizon.closed(reading)
        reading.batches.clear()
        reading.buffered_bytes = 0
        if self._head is reading:
            self._head = None

    def _buffered_bytes(self) -> int:
        return sum(reading.buffered_bytes for reading in self._readings)

    @staticmethod
    def _retire(slot: _Slot) -> None:
        if slot.worker is not None:
            slot.worker.close()
        slot.worker = slot.planning = slot.reading = None
        slot.looking = False


def _ignore(_: object) -> None:
    return
