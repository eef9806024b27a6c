"""Reads tables in chunks, each in one consistent snapshot: what the snapshot readers of all engines share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from struct import error as struct_error
from typing import Any, Generic, TypeVar

from capture.cutting import Cutting
from capture.full_load.cuts import by_turns
from capture.source import WHOLE, Chunk, UnreachableError
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import FiledMessage, LargeValue
from schemas.mappings.filters import RowFilter
from schemas.mappings.segments import Partition, Segment
from schemas.row_forms import CopiedForm, UnreadRows
from schemas.table import TableName, TableSchema

RUN_ROWS_MAX, RUN_BYTES_MAX = 1_000, 1 << 20
"""A run of rows has so many at most, and ends with the one that makes them so many bytes, as the source sends them: of
large rows it has few. One that is larger comes alone."""

C = TypeVar("C")
S = TypeVar("S")


_UNREADABLE = (struct_error, IndexError, ValueError, KeyError, OverflowError, ArithmeticError)
"""What reading a row raises that is not what it should be."""


class ReadForm:
    """Rows that a function reads, one by one. Implements `schemas.row_forms.CopiedForm`, as what the compiled twin does
    not know.
    """

    writer = ""

    def __init__(self, table: TableSchema, compile_: Callable[[], Callable[[Any], Row]]) -> None:
        """`compile_` makes the function when a row is first to be read."""
        self._table = table
        self._compile = compile_

    @cached_property
    def _decode(self) -> Callable[[Any], Row]:
        return self._compile()

    def read(self, packets: Sequence[Any]) -> list[Row]:
        """Return the rows. Raises DECODE."""
        try:
            return list(map(self._decode, packets))
        except _UNREADABLE as error:
            raise _unreadable(error, self._table, self._culprit(packets)) from error
        except TailraceError as error:
            error.table = str(self._table.name)
            error.message = _said_of(self._culprit(packets), error.message)
            raise

    def _culprit(self, _packets: Sequence[Any]) -> str | None:
        """Return the name of a column that holds what cannot be read; None where nothing tells."""
        return None

    def take_out(self, message: bytes | FiledMessage, least: int) -> tuple[bytes, list[LargeValue]]:
        """See `schemas.row_forms.WrittenForm`."""
        cutting = Cutting(message, least)
        try:
            self._cut(cutting)
        except _UNREADABLE as error:
            raise _unreadable(error, self._table) from error
        return cutting.cut()

    def _cut(self, cutting: Cutting) -> None:
        """Take large values out, as far as they stand in the row as they do in records."""

    def kind(self, _column: int) -> int | None:
        """See `schemas.row_forms.WrittenForm`."""
        return None

    def value(self, column: int) -> Callable[[bytes, int, int], Any]:
        """See `schemas.row_forms.WrittenForm`."""
        raise NotImplementedError(f"no value of column {column} is read by itself")

    def plan(self) -> dict[str, Any]:
        """See `schemas.row_forms.WrittenForm`."""
        return {}


class ChunkReader(ABC, Generic[C, S]):
    """Implements `capture.source.SnapshotReader` over a connection `C` of its own, whose snapshots are `S`."""

    def __init__(self) -> None:
        self._connection: C | None = None
        self._snapshot: S | None = None
        """Of the read under way or just ended, or the one that is held."""
        self._held: frozenset[TableName] = frozenset()
        """The tables that it is held for."""

    # What an engine does

    @abstractmethod
    def _connect(self) -> C:
        """Open a connection."""

    @abstractmethod
    def _is_closed(self, connection: C) -> bool:
        """Tell whether a connection can no longer be used."""

    @abstractmethod
    def _bounds(
        self, connection: C, table: TableSchema, chunk_rows: int, segment: Segment | None
    ) -> list[tuple[str, ...]]:
        """Return the keys that cut a segment into chunks of so many rows, each the last of its chunk, in order."""

    def _check_segments(self, connection: C, table: TableSchema, of: Sequence[Segment]) -> None:
        """Raise SOURCE_SCHEMA if the table no longer has these, where `_bounds` does not find out."""

    @abstractmethod
    def _partitions(self, connection: C, table: TableSchema) -> list[Partition]:
        """Return the partitions; see `SnapshotReader.partitions`."""

    @abstractmethod
    def _begin(
        self, connection: C, table: TableSchema, chunk: Chunk, where: RowFilter | None
    ) -> tuple[CopiedForm, Iterable[list[bytes] | FiledMessage]]:
        """Take the snapshot, and ask for a chunk's rows; return what reads them, and what it is to read: runs of rows,
        of `RUN_ROWS_MAX` and `RUN_BYTES_MAX`, and those that are in files. Of what is yielded nothing may be held.

        Raises SOURCE_SCHEMA when the table no longer is as its version says.
        """

    @abstractmethod
    def _look(self, connection: C) -> S:
        """Take a snapshot, and end it."""

    @abstractmethod
    def _end(self, connection: C) -> None:
        """Give up the snapshot after all rows have been read."""

    def _hold(self, _connection: C, _tables: Sequence[TableSchema], _chunk_rows: int) -> list[int]:
        """Take one snapshot for several tables, and what else `_begin` needs of each; see `SnapshotReader.hold`.

        Where none is taken for any, nothing is left begun.
        """
        return []

    # The frame

    def plan(self, table: TableSchema, chunk_rows: int, segments: Sequence[Segment] = ()) -> list[Chunk]:
        """Cut a table by its key; see `SnapshotReader.plan`. Walks the key's index once for each segment."""
        self.release()
        if segments:
            self._check_segments(self._connected(), table, segments)
        cuts = []
        for segment in segments or (None,):
            uppers = self._bounds(self._connected(), table, chunk_rows, segment) if table.key else []
            cuts.append([(low, high, segment) for low, high in pairwise([None, *uppers, None])])
        return by_turns(cuts)

    def partitions(self, table: TableSchema) -> list[Partition]:
        """Return the partitions of a table; see `SnapshotReader.partitions`."""
        self.release()
        return self._partitions(self._connected(), table)

    def read(
        self, table: TableSchema, chunk: Chunk, batch_rows: int, where: RowFilter | None = None
    ) -> Iterator[Sequence[Row]]:
        """Read a chunk; see `SnapshotReader.read`."""
        is_held = table.name in self._held and chunk == WHOLE
        if not is_held:
            self.release()
            self._snapshot = None
        ended = False
        try:
            connection = self._connected()
            form, runs = self._begin(connection, table, chunk, where)
            try:
                yield from _batches(form, runs, batch_rows)
            except _UNREADABLE as error:
                raise _unreadable(error, table) from error
            if not is_held:
                self._end(connection)
            ended = True
        except TailraceError as error:
            error.table = str(table.name)
            raise
        finally:
            # Whoever stops in the middle, or failed, leaves a connection that nothing else can be asked of.
            if not ended:
                self.close()

    def look(self) -> S:
        """Take a snapshot of now; see `SnapshotReader.look`."""
        self.release()
        return self._look(self._connected())

    def hold(self, tables: Sequence[TableSchema], chunk_rows: int) -> list[int]:
        """Take one snapshot for several tables; see `SnapshotReader.hold`."""
        self.release()
        try:
            places = self._hold(self._connected(), tables, chunk_rows)
        except TailraceError:
            self.close()
            raise
        self._held = frozenset(tables[place].name for place in places)
        return places

    def release(self) -> None:
        """Give up the snapshot that is held; see `SnapshotReader.release`."""
        if self._held:
            self._held = frozenset()
            try:
                self._end(self._connected())
            except TailraceError:
                # All that was read in it has come.
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
        self._held = frozenset()
        if connection is not None:
            connection.close()

    def _connected(self) -> C:
        if self._connection is None or self._is_closed(self._connection):
            try:
                self._connection = self._connect()
            except TailraceError as error:
                raise UnreachableError(error.kind, error.message, remedy=error.remedy) from error
        return self._connection


def _batches(form: CopiedForm, runs: Iterable[list[bytes] | FiledMessage], batch_rows: int) -> Iterator[Sequence[Row]]:
    """Yield rows unread; a large one alone: of it nothing is held here while others work on it."""
    for run in runs:
        if isinstance(run, list):
            batches = [UnreadRows(form, run[at : at + batch_rows]) for at in range(0, len(run), batch_rows)]
            if len(run) > 1 and len(run[-1]) > RUN_BYTES_MAX:
                batches[-1:] = [UnreadRows(form, [*batches[-1].packets[:-1]]), UnreadRows(form, [run[-1]])]
        else:
            batches = [UnreadRows(form, [], run)]
        del run
        batches.reverse()
        while batches:
            if len(batches[-1]):
                yield batches.pop()
            else:
                batches.pop()


def _unreadable(error: Exception, table: TableSchema, column: str | None = None) -> TailraceError:
    return TailraceError(
        ErrorKind.DECODE,
        _said_of(column, f"a row that was read cannot be decoded ({type(error).__name__})"),
        remedy="correct the row, or leave the table or the column out; its load goes on by itself then",
        table=str(table.name),
    )


def _said_of(column: str | None, message: str) -> str:
    return message if column is None else f"column {column}: {message}"
