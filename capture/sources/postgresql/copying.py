"""Binary `copy … to stdout`: the statement's columns, its tuples, and what reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import psycopg
from psycopg import pq

from capture.cutting import Cutting
from capture.full_load.chunk_reader import RUN_BYTES_MAX, RUN_ROWS_MAX, ReadForm
from capture.sources.postgresql.catalog import ColumnType
from capture.sources.postgresql.connection import error_of, identifier
from capture.sources.postgresql.cutting import cut_tuple, takeable
from capture.sources.postgresql.frames import Filing, take
from capture.sources.postgresql.rows import COPY_BINARY, column_lines, row_expression, twin_kind, value_reader
from capture.sources.postgresql.types import Reader, Types, text_expression
from runtime.spool import SpooledMessage
from runtime.waiting import wait_for
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableSchema
from schemas.types import Family

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
"""What binary COPY begins with (PostgreSQL documentation, COPY, "Binary Format"); flags and an extension follow."""
_HEADER_BYTES = len(_SIGNATURE) + 8
_TRAILER = b"\xff\xff"
_COUNT_BYTES = 2
_STALL_S = 600
"""How long the server may take to send anything at all of a chunk."""


class CopyForm(ReadForm):
    """How the rows of a table come. Implements `schemas.row_forms.CopiedForm`."""

    writer = "CopyWriter"

    def __init__(self, table: TableSchema, readers: Sequence[Reader]) -> None:
        super().__init__(table, lambda: compile_copy_reader(readers))
        self._readers = readers
        self._takeable = takeable(readers, COPY_BINARY)

    def _cut(self, cutting: Cutting) -> None:
        cut_tuple(cutting, _COUNT_BYTES, self._takeable, len(self._readers), has_kind=False)

    def plan(self) -> dict[str, Any]:
        """See `LoggedForm`."""
        return {"is_logged": False}

    def kind(self, column: int) -> int | None:
        """See `LoggedForm`."""
        return twin_kind(self._readers[column], COPY_BINARY)

    def value(self, column: int) -> Callable[[bytes, int, int], Any]:
        """See `LoggedForm`."""
        return value_reader(self._readers[column])


def compile_copy_reader(readers: Sequence[Reader]) -> Callable[[bytes], Row]:
    """Generate the function that reads one COPY tuple: a count of columns, then length and value of each."""
    names: dict[str, Any] = {}
    lines = [
        "def read(m):",
        f" if m[:2] != {len(readers).to_bytes(2, 'big')!r}: bad('a tuple with another count of columns')",
        " p = 2",
        " n = len(m)",
        *column_lines(readers, COPY_BINARY, names),
        " if p != n: bad('a tuple that is longer or shorter than its columns')",
        f" return {row_expression(len(readers))}",
    ]
    names["bad"] = _bad
    exec(compile("\n".join(lines), "<copy row reader>", "exec"), names)
    read: Callable[[bytes], Row] = names["read"]
    return read


def selected_column(types: Types, kind: ColumnType, column: Column) -> str:
    """Return the expression that a binary COPY reads a column by."""
    name = f"t.{identifier(column.name)}"
    return text_expression(types, kind.oid, name) if column.type.family is Family.TEXT else name


def copy_rows(
    connection: psycopg.Connection[tuple[object, ...]], statement: str, filing: Filing
) -> Iterator[list[bytes] | SpooledMessage]:
    """Run a binary `copy … to stdout` and yield its tuples in runs, large ones alone, in `filing`. Raises by kind.

    See `ChunkReader._begin`. The server sends one tuple in each message, the header before the first (`copyto.c`).
    """
    raw = connection.pgconn
    raw.send_query(statement.encode())
    _await(raw)
    result = raw.get_result()
    if result is None or result.status != pq.ExecStatus.COPY_OUT:
        raise _ended(raw, result)
    # Whoever gets rows holds them alone: one may be very large.
    rows: list[list[bytes]] = [[]]
    size, is_first, state = 0, True, 1
    while state >= 0:
        messages = rows[0]
        begin = len(messages)
        state = take(raw, messages, RUN_ROWS_MAX - begin, RUN_BYTES_MAX - size, filing)
        large = filing.pop()
        if is_first and (messages or large is not None):
            is_first = False
            large = _without_header(messages, large)
        if messages and messages[-1] == _TRAILER:
            messages.pop()
        size += sum(map(len, islice(messages, begin, None)))
        is_full = large is not None or state < 0 or len(messages) >= RUN_ROWS_MAX or size >= RUN_BYTES_MAX
        if is_full and messages:
            del messages
            rows.append([])
            size = 0
            yield rows.pop(0)
        if large is not None:
            alone = [large]
            del large
            yield alone.pop()
        if state == 0:
            _receive(raw)
    _await(raw)
    result = raw.get_result()
    if result is None or result.status != pq.ExecStatus.COMMAND_OK:
        raise _ended(raw, result)
    _finish(raw)


def single(runs: Iterable[list[bytes] | SpooledMessage]) -> Iterator[bytes]:
    """Yield each of the tuples."""
    for run in runs:
        yield from run if isinstance(run, list) else [bytes(run)]


def _without_header(messages: list[bytes], large: SpooledMessage | None) -> SpooledMessage | None:
    """Take the header off the first message, which is in the list, or large; return what is large."""
    first = messages[0] if messages else large
    if first is None or first[: len(_SIGNATURE)] != _SIGNATURE:
        raise ValueError("a binary COPY without its signature")
    if not messages:
        return first.part(_HEADER_BYTES, len(first)) if isinstance(first, SpooledMessage) else None
    if rest := messages[0][_HEADER_BYTES:]:
        messages[0] = rest
    else:
        del messages[0]
    return large


def _finish(raw: pq.abc.PGconn) -> None:
    _await(raw)
    while raw.get_result() is not None:
        _await(raw)


def _await(raw: pq.abc.PGconn) -> None:
    raw.flush()
    while raw.is_busy():
        _receive(raw)


def _receive(raw: pq.abc.PGconn) -> None:
    # Not libpq's own wait: it cannot be interrupted, and would keep a reader alive whose parent is gone.
    if not wait_for(raw.socket, _STALL_S):
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"the server sent nothing for {_STALL_S} s while being read")
    try:
        raw.consume_input()
    except psycopg.Error as error:
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, "the connection broke while a table was read") from error


def _ended(raw: pq.abc.PGconn, result: pq.abc.PGresult | None) -> TailraceError:
    if result is None:
        return TailraceError(ErrorKind.SOURCE_CONNECTION, "the connection ended while a table was read")
    with suppress(TailraceError):
        # Whoever asks again on this connection, if it is still there, would be told that it is in use.
        _finish(raw)
    return error_of(result, "reading a table")


def _bad(what: str) -> None:
    raise ValueError(what)
