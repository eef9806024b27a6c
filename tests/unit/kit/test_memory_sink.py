"""The in-memory sink passes the conformance suite: it is the reference."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar, cast

import pytest

from apply.sink import Sink
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from tests.conformance.sink_suite import SinkSuite
from tests.kit.memory_sink import MemorySink, MemoryTarget


class TestMemorySink(SinkSuite):
    keeps_in_process: ClassVar = True

    @pytest.fixture
    def sink(self) -> Sink:
        return MemorySink(MemoryTarget())

    def other_sink(self, sink: Sink) -> Sink:
        return MemorySink(cast("MemorySink", sink).target)

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        return cast("MemorySink", sink).target.read(table.name)

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        target, calls = cast("MemorySink", sink).target, iter(range(1000))
        # A flush fails before or after it is done.
        operation = "flushed" if number % 2 else "flush"

        def fail(name: str) -> None:
            if name == operation and next(calls) == number // 2:
                raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")

        target.fail = fail
        yield
        target.fail = None
