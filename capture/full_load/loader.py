"""Hands chunks to loader processes and collects what they read.

The service calls `pump` in its loop; it never waits. A loader gets one chunk at a time, or many small tables, whose
chunks come one behind the other. What comes back is kept per chunk (`in_flight`) until the log has been read up to the
chunk's high watermark. What a failure means for the next try is `retries`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from capture.full_load.cuts import fit
from capture.full_load.in_flight import InFlight
from capture.full_load.reading import GROUP_TABLES, GROUPS_PER_PROCESS, Reading, what_next
from capture.full_load.retries import Retries
from capture.full_load.state import LoadState, TableLoad
from capture.full_load.window import Horizon
from capture.full_load.worker import (
    Answer,
    Ended,
    Failed,
    GroupRequest,
    Held,
    Looked,
    LookRequest,
    Opened,
    Planned,
    PlanRequest,
    ReadRequest,
    Request,
    Rows,
    Worker,
)
from capture.source import WHOLE, Chunk, Snapshot
from runtime.logging import get_logger
from schemas.codecs import SchemaIds
from schemas.errors import ErrorKind, TailraceError
from schemas.service_settings import CaptureSettings
from schemas.table import TableName

log = get_logger(__name__)

CHUNKS_PER_TABLE = 5_000
"""A larger table gets larger chunks: the plan is one Kafka record (1 MB by default), whatever the table's size."""

LOOK_INTERVAL_S = 5.0
"""How often a snapshot is taken, while changes of tables go on whose loads all stand still: it tells which of them
every later one sees."""


@dataclass(slots=True, eq=False)
class _Slot:
    worker: Worker | None = None
    readings: list[Reading] = field(default_factory=list)
    """What it was asked for, the one that is answered now first."""
    looking: bool = False

    @property
    def is_free(self) -> bool:
        """Whether no answer is to come."""
        return not self.readings and not self.looking


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
        self.retries = Retries(settings, monotonic)
        self._loads: dict[TableName, TableLoad] = {}
        self._in_flight = InFlight(horizon)
        self._look_at, self._looked_count = 0.0, 0
        self._alone: set[TableName] = set()
        """Tables that were asked for with others in vain."""
        self.row_estimates: dict[TableName, int] = {}
        self.has_answered = False
        """Whether the last `pump` met an answer of some loader."""
        self.on_looked: Callable[[Snapshot], None] = lambda _: None
        """Called with a snapshot that was taken for no chunk."""
        self.on_broken: Callable[[TableLoad], None] = lambda _: None
        """Called with a load of which a chunk is out in part, and cannot be read to its end: it begins again."""

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
        if not self._loads or self._in_flight or any(slot.readings for slot in self._slots):
            return None
        suspensions = [load.suspension for load in self._loads.values()]
        return suspensions[0] if all(suspensions) else None

    @property
    def is_reading(self) -> bool:
        """Whether some chunk with a key is in flight."""
        return self._in_flight.has_keyed

    @property
    def holds_transaction(self) -> bool:
        """Whether a chunk with a key has gone out in part: the open Kafka transaction should wait for the rest."""
        return self._in_flight.has_begun

    @property
    def high_max(self) -> int:
        """The highest position that some chunk with a key waits for; 0 if none does."""
        return self._in_flight.high_max

    def is_cutting(self, name: TableName) -> bool:
        """Tell whether a table is being cut into chunks now."""
        asked = (reading for slot in self._slots for reading in slot.readings)
        return any(r.load.name == name and r.chunk is None and not r.cancelled for r in asked)

    def add(self, load: TableLoad) -> None:
        """Load a table, behind those that were added before."""
        self._loads[load.name] = load
        self.warm_up()

    def warm_up(self) -> None:
        """Start a process if there is none: it takes half a second to be ready, which others can use. It asks the
        source for nothing.
        """
        if self._slots[0].worker is None:
            self._slots[0].worker = self._spawn()

    def remove(self, name: TableName) -> None:
        """Stop loading a table: it is complete, or gone."""
        if self._loads.pop(name, None) is not None:
            self._alone.discard(name)
            self.cancel(name)

    def cancel(self, name: TableName) -> None:
        """Give up the chunks of a table that are in flight; they will be read again."""
        for reading in [*self._in_flight, *(reading for slot in self._slots for reading in slot.readings)]:
            if reading.load.name == name and not reading.cancelled:
                self._in_flight.drop(reading)
        for slot in self._slots:
            # A table may take long to be cut, and the answer is for nobody.
            if slot.readings and slot.readings[0].chunk is None and all(r.cancelled for r in slot.readings):
                self._retire(slot)

    def reject(self, reading: Reading) -> None:
        """Read a chunk again, since its snapshot is too old."""
        self.retries.rejected(reading.load)
        self._in_flight.drop(reading)

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
        """Yield the chunks whose rows may go out now; see `InFlight.ready`. One that is not `finished` comes again."""
        return self._in_flight.ready(reached)

    def finished(self, reading: Reading) -> None:
        """The last row of a chunk is in the open Kafka transaction."""
        assert reading.chunk is not None
        self._in_flight.finish(reading)
        reading.load.done.add(reading.chunk.number)
        reading.load.attempts = reading.load.rejections = 0
        reading.load.suspension = None

    def close(self) -> None:
        """End all loader processes."""
        for slot in self._slots:
            self._retire(slot)
        self._in_flight.clear()

    def release_idle(self) -> None:
        """End the processes if nothing is left to load: each holds memory and a connection."""
        if not self._loads:
            self.close()

    # Answers.

    def _receive(self, slot: _Slot, planned: list[TableLoad]) -> None:
        while slot.worker is not None and not slot.is_free:
            reading = slot.readings[0] if slot.readings else None
            if reading is not None and not self._in_flight.has_room(reading):
                return
            answer = slot.worker.receive()
            if answer is None:
                return
            self.has_answered = True
            if isinstance(answer, Failed):
                self._failed(slot, answer)
            elif isinstance(answer, Held):
                self._held(slot, answer, planned)
            elif isinstance(answer, Planned):
                slot.readings.clear()
                if reading is not None and not reading.cancelled:
                    self._cut(reading.load, answer.chunks, planned)
            elif isinstance(answer, Looked):
                slot.looking = False
                self.on_looked(answer.snapshot)
            elif reading is not None:
                self._read(slot, reading, answer)

    def _held(self, slot: _Slot, answer: Held, planned: list[TableLoad]) -> None:
        group, slot.readings = slot.readings, []
        for place in answer.places:
            reading = group[place]
            slot.readings.append(reading)
            if not reading.cancelled:
                reading.chunk = WHOLE
                self._cut(reading.load, [WHOLE], planned)
        self._give_back([reading for reading in group if reading not in slot.readings])

    def _cut(self, load: TableLoad, chunks: Sequence[Chunk], planned: list[TableLoad]) -> None:
        load.chunks = list(chunks)
        load.state = LoadState.LOADING
        try:
            fit(load)
        except TailraceError as error:
            load.chunks, load.state = [], LoadState.PLANNED
            self.retries.failed(load, error, is_of_all=False)
            return
        load.attempts = 0
        load.suspension = load.waits_for = None
        planned.append(load)
        log.info("table cut into chunks", table=str(load.name), chunks=len(load.chunks))

    def _read(self, slot: _Slot, reading: Reading, answer: Answer) -> None:
        if isinstance(answer, Ended):
            del slot.readings[0]
            reading.ended = True
        elif reading.cancelled:
            return
        elif isinstance(answer, Opened):
            reading.load.waits_for = None
            if not self._in_flight.opened(reading, answer.snapshot):
                self._give_up([reading], _behind(), is_of_all=True)
        elif isinstance(answer, Rows):
            self._in_flight.take(reading, answer)

    def _failed(self, slot: _Slot, answer: Failed) -> None:
        if slot.looking:
            slot.looking, self._looked_count = False, 0
            log.warning("no snapshot while all loads stand still; tried again", reason=answer.message)
        failed, slot.readings = slot.readings, []
        error = TailraceError(answer.kind, answer.message, remedy=answer.remedy)
        self._give_up(failed, error, is_of_all=answer.is_of_all, is_locked=answer.is_locked)

    def _died(self, slot: _Slot) -> None:
        failed = slot.readings
        self._retire(slot)
        self._give_up(failed, TailraceError(ErrorKind.SOURCE_CONNECTION, "a loader process died"), is_of_all=True)

    def _give_up(
        self, failed: list[Reading], error: TailraceError, *, is_of_all: bool, is_locked: bool = False
    ) -> None:
        """Read chunks again, for what the first of them, or a group, has met."""
        failed = [reading for reading in failed if not reading.cancelled]
        if not failed:
            return
        first = failed[0]
        if first.begun and self.retries.suspends(error, is_of_all=is_of_all):
            self.on_broken(first.load)
            self._alone.add(first.load.name)
        elif first.begun:
            # Rows of it are out: only an abort takes them back (or, without a key, a truncate at the next start).
            raise TailraceError(
                ErrorKind.SOURCE_CONNECTION,
                "a loader failed in the middle of a chunk that was being published",
                table=str(first.load.name),
            )
        if first.is_grouped and not is_of_all:
            # The one to blame shows when each comes alone.
            log.info("reads tables one by one", tables=len(failed), reason=str(error))
            self._give_back(failed)
            return
        for reading in failed:
            self._in_flight.drop(reading)
        error.table = str(first.load.name)
        if is_locked:
            self.retries.locked(first.load, error)
        else:
            self.retries.failed(first.load, error, is_of_all=is_of_all)
        for other in failed[1:]:
            other.load.not_before_s = first.load.not_before_s

    def _give_back(self, readings: Iterable[Reading]) -> None:
        """Ask for each alone next time."""
        for reading in readings:
            if not reading.cancelled:
                self._alone.add(reading.load.name)
                self._in_flight.drop(reading)

    # Requests.

    def _assign(self, slot: _Slot, reached: int) -> None:
        """Ask for what comes first: many small tables, one that is to be cut, or a chunk."""
        group = list(self._group(reached))
        if not group:
            return
        first = group[0]
        if first.chunk is not None:
            request: Request = ReadRequest(first.load.table, first.chunk, self._ids(first.load.name))
        elif first.is_grouped:
            tables = tuple(reading.load.table for reading in group)
            ids = tuple(self._ids(table.name) for table in tables)
            request = GroupRequest(tables, ids, self._settings.chunk_rows)
        else:
            request = PlanRequest(first.load.table, self._rows_per_chunk(first.load), first.load.parts)
        slot.readings = group
        if not isinstance(request, PlanRequest):
            for reading in group:
                self._in_flight.add(reading)
        self._send(slot, request)

    def _group(self, reached: int) -> Iterator[Reading]:
        now = self._monotonic()
        asked = [reading for slot in self._slots for reading in slot.readings if not reading.cancelled]
        # One process is enough to wait for a lock.
        alone = {r.load.name for r in asked if r.chunk is None or r.load.waits_for is not None}
        return what_next(
            (x for x in self._loads.values() if x.not_before_s <= now and x.not_before_commit <= reached),
            alone,
            self._in_flight.busy,
            tables_max=min(GROUP_TABLES, len(self._loads) // (GROUPS_PER_PROCESS * len(self._slots))),
            rows_max=self._settings.chunk_rows,
            rows_of=lambda x: None if x.name in self._alone or x.parts else self.row_estimates.get(x.name),
        )

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

    @staticmethod
    def _retire(slot: _Slot) -> None:
        if slot.worker is not None:
            slot.worker.close()
        slot.worker, slot.readings, slot.looking = None, [], False


def _behind() -> TailraceError:
    return TailraceError(
        ErrorKind.SOURCE_CONNECTION,
        "the snapshot of a chunk does not see what an earlier one saw: it is of another server, which is behind",
        remedy="let the source's host lead to one server, not to several by turns",
    )
