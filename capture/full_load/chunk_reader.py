"""Reads tables in chunks, each in one consistent snapshot: what the snapshot readers of all engines share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from struct import error as struct_error
from typing import Any, Generic, TypeVar

from capture.source import Chunk
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.filters import RowFilter
from schemas.table import TableSchema

BATCH_BYTES_MAX = 1 << 20
"""A batch ends with the row that reaches so many bytes, as the source sends them: of large rows it has few."""

C = TypeVar("C")
S = TypeVar("S")


class ChunkReader(ABC, Generic[C, S]):
    """Implements `capture.source.SnapshotReader` over a connection `C` of its own, whose snapshots are `S`."""

    def __init__(self) -> None:
        self._connection: C | None = None
        self._snapshot: S | None = None
        """Of the read under way or just ended."""

    # What an engine does

    @abstractmethod
    def _connect(self) -> C:
        """Open a connection."""

    @abstractmethod
    def _is_closed(self, connection: C) -> bool:
        """Tell whether a connection can no longer be used."""

    @abstractmethod
    def _bounds(self, connection: C, table: TableSchema, chunk_rows: int) -> list[tuple[str, ...]]:
        """Return the keys that cut a table into chunks of so many rows, each the last of its chunk, in order."""

    @abstractmethod
    def _begin(
        self, connection: C, table: TableSchema, chunk: Chunk, where: RowFilter | None
    ) -> tuple[Callable[[Any], Row], Iterable[Any]]:
        """Take the snapshot, and ask for a chunk's rows; return their decoder, and what it is to decode.

        Raises SOURCE_SCHEMA when the table no longer is as its version says.
        """

    @abstractmethod
    def _end(self, connection: C) -> None:
        """Give up the snapshot after all rows have been read."""

    # The frame

    def plan(self, table: TableSchema, chunk_rows: int) -> list[Chunk]:
        """Cut a table by its key; see `SnapshotReader.plan`. Walks the key's index once."""
        uppers = self._bounds(self._connected(), table, chunk_rows) if table.key else []
        edges = [None, *uppers, None]
        return [Chunk(i, low, high) for i, (low, high) in enumerate(pairwise(edges))]

    def read(
        self, table: TableSchema, chunk: Chunk, batch_rows: int, where: RowFilter | None = None
    ) -> Iterator[list[Row]]:
        """Read a chunk; see `SnapshotReader.read`."""
        self._snapshot = None
        ended = False
        try:
            connection = self._connected()
            decode, packets = self._begin(connection, table, chunk, where)
            batch: list[Row] = []
            size = 0
            try:
                for packet in packets:
                    batch.append(decode(packet))
                    size += len(packet)
                    if len(batch) >= batch_rows or size >= BATCH_BYTES_MAX:
                        full, batch, size = [batch], [], 0
                        # Nothing of it is held here while others work on it: it may be one row of very many bytes.
                        del packet
                        yield full.pop()
            except (struct_error, IndexError, ValueError, KeyError, OverflowError, ArithmeticError) as error:
                raise TailraceError(
                    ErrorKind.DECODE, f"a row that was read cannot be decoded ({type(error).__name__})"
                ) from error
            if batch:
                yield batch
            self._end(connection)
            ended = True
        except TailraceError as error:
            error.table = str(table.name)
            raise
        finally:
            # Whoever stops in the middle, or failed, leaves a connection that nothing else can be asked of.
            if not ended:
                self.close()

    def snapshot(self) -> S:
        """Return the snapshot of the read under way or just ended."""
        if self._snapshot is None:
            raise TailraceError(ErrorKind.INVARIANT, "no chunk has been read")
        return self._snapshot

    def close(self) -> None:
        """Close the connection. May be called twice; reading again connects again."""
        connection: Any = self._connection
        self._connection = None
        if connection is not None:
            connection.close()

    def _connected(self) -> C:
        if self._connection is None or self._is_closed(self._connection):
            self._connection = self._connect()
        return self._connection
