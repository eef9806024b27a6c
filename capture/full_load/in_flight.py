"""Chunks that loaders were asked for and that are not published yet, in bounded memory, and which of them may go out.

A chunk with a key goes out whole, in one Kafka transaction, so that a crash never leaves a half that would be repeated;
if it is larger than the buffer, it goes out while it is still being read. Rows without a key go out as they come.
"""

from __future__ import annotations

from collections.abc import Iterator

from capture.full_load.reading import Reading
from capture.full_load.window import Horizon
from capture.full_load.worker import Rows
from capture.source import Snapshot
from schemas.table import TableName

BUFFER_BYTES_MAX = 32 << 20
"""Memory of the rows of chunks that wait for the log. Beyond, loaders wait in their pipes. The chunk that is going out
may take as much again, since the others wait for it.
"""


class InFlight:
    """These chunks, in the order in which they were asked for. The horizon is told of each."""

    def __init__(self, horizon: Horizon) -> None:
        self._horizon = horizon
        self._readings: list[Reading] = []
        self._head: Reading | None = None
        """The chunk with a key that is going out."""

    def __iter__(self) -> Iterator[Reading]:
        return iter(self._readings)

    def __bool__(self) -> bool:
        return bool(self._readings)

    @property
    def busy(self) -> set[tuple[TableName, int]]:
        """The tables and numbers of the chunks."""
        return {(r.load.name, r.chunk.number) for r in self._readings if r.chunk is not None}

    @property
    def has_keyed(self) -> bool:
        """Whether some chunk has a key."""
        return any(reading.is_keyed for reading in self._readings)

    @property
    def has_begun(self) -> bool:
        """Whether a chunk with a key has gone out in part."""
        return self._head is not None and self._head.begun

    @property
    def high_max(self) -> int:
        """The highest position that some chunk with a key waits for; 0 if none does."""
        return max((r.snapshot.high for r in self._readings if r.snapshot is not None and r.is_keyed), default=0)

    def has_room(self, reading: Reading) -> bool:
        """Tell whether more rows of a chunk may be taken from its loader."""
        if reading.snapshot is None or reading.cancelled:
            return True
        return (reading.buffered_bytes if reading is self._head else self._buffered_bytes()) < BUFFER_BYTES_MAX

    def add(self, reading: Reading) -> None:
        """A chunk is asked for: its snapshot is yet to be taken."""
        self._readings.append(reading)
        self._horizon.dispatched(reading, reading.load.name)

    def opened(self, reading: Reading, snapshot: Snapshot) -> bool:
        """A chunk is being read, in this snapshot. Return False where that is of no use (`Horizon.opened`)."""
        is_usable = self._horizon.opened(reading, snapshot)
        reading.snapshot = snapshot if is_usable else None
        return is_usable

    def take(self, reading: Reading, rows: Rows) -> None:
        """Rows of a chunk have come."""
        reading.batches.append(rows)
        reading.buffered_bytes += rows.size_bytes

    def drop(self, reading: Reading) -> None:
        """Have nothing of a chunk: what still comes is for nobody. It need not be among these."""
        reading.cancelled = True
        self._close(reading)

    def finish(self, reading: Reading) -> None:
        """The last row of a chunk is in the open Kafka transaction."""
        self._close(reading)

    def ready(self, reached: int) -> Iterator[Reading]:
        """Yield the chunks whose rows may go out now, the log being read up to `reached`: all those without a key; then
        those with a key, each when the one before is finished or dropped.
        """
        for reading in [r for r in self._readings if not r.is_keyed and r.snapshot is not None]:
            if not reading.cancelled:
                yield reading
        while self._head is not None or self._next_head(reached):
            head = self._head
            assert head is not None
            yield head
            if self._head is head:
                # More of it is to come.
                return

    def clear(self) -> None:
        """Forget all of them: their loaders are gone, and so is what the horizon is for."""
        self._readings.clear()
        self._head = None

    def _next_head(self, reached: int) -> bool:
        full = self._buffered_bytes() >= BUFFER_BYTES_MAX
        for reading in self._readings:
            if (
                reading.is_keyed
                and reading.snapshot is not None
                and reading.snapshot.high <= reached
                and (reading.ended or full)
            ):
                self._head = reading
                return True
        return False

    def _close(self, reading: Reading) -> None:
        self._horizon.closed(reading)
        reading.batches.clear()
        reading.buffered_bytes = 0
        if self._head is reading:
            self._head = None
        if reading in self._readings:
            self._readings.remove(reading)

    def _buffered_bytes(self) -> int:
        return sum(reading.buffered_bytes for reading in self._readings)
