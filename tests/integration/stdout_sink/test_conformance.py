"""Standard output passes the conformance suite on a real pipe; and what becomes of it with the readers there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from apply.sink import Sink, TableBatch
from apply.sinks.stdout import StdoutSink
from schemas.errors import Action, TailraceError
from schemas.table import TableSchema
from tests.conformance.changes import Giver, Seen
from tests.conformance.sink_suite import ORDERS, SinkSuite
from tests.kit.documents import history

pytestmark = pytest.mark.integration

WAIT_S = 300


class PipeReader:
    """Reads a pipe in a thread of its own, so that writers never wait for the test."""

    def __init__(self) -> None:
        out, self.into = os.pipe()
        self._lines: list[bytes] = []
        self._marks = 0
        self._read = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(out,))
        self._thread.start()

    def documents(self) -> list[dict[str, Any]]:
        """Return what was written so far: what stands before a mark that is written now."""
        self._marks += 1
        mark = b"mark %d\n" % self._marks
        os.write(self.into, mark)
        with self._read:
            assert self._read.wait_for(lambda: mark in self._lines, WAIT_S)
            return [json.loads(line) for line in self._lines if not line.startswith(b"mark")]

    def close(self) -> None:
        os.close(self.into)
        self._thread.join()

    def _run(self, out: int) -> None:
        with os.fdopen(out, "rb") as pipe:
            for line in pipe:
                with self._read:
                    self._lines.append(line)
                    self._read.notify_all()


class TestStdout(SinkSuite):
    keeps_in_process: ClassVar = True

    @pytest.fixture
    def sink(self) -> Iterator[Sink]:
        self.pipe = PipeReader()
        yield StdoutSink(self.pipe.into)
        self.pipe.close()

    def other_sink(self, sink: Sink) -> Sink:
        return StdoutSink(self.pipe.into)

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        return history(self.pipe.documents(), table)

    def test_only_a_flush_writes(self, sink: Sink) -> None:
        batch = TableBatch(ORDERS, upserts=[(1, "a", None), (2, "b", None)])
        self.give(sink, batch)
        assert self.pipe.documents() == []
        sink.rollback()
        sink.flush()
        assert self.pipe.documents() == []
        self.write(sink, batch)
        assert [d["data"]["status"] for d in self.pipe.documents()] == ["a", "b"]
        self.give(sink, batch)
        sink.close()
        assert len(self.pipe.documents()) == 2


def big_batch() -> TableBatch:
    """Return changes that are many times what a pipe holds."""
    rows = [(n, "cell-value" * 20, None) for n in range(3000)]
    return Giver().given(TableBatch(ORDERS, upserts=rows), StdoutSink.capabilities)


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_pipe_that_is_full_is_waited_for(is_blocking: bool) -> None:
    pipe = PipeReader()
    os.set_blocking(pipe.into, is_blocking)
    sink = StdoutSink(pipe.into)
    sink.apply(big_batch())
    sink.flush()
    os.set_blocking(pipe.into, True)
    assert [document["data"]["id"] for document in pipe.documents()] == list(range(3000))
    pipe.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_a_clear_error() -> None:
    with Path("/dev/full").open("wb") as full:
        sink = StdoutSink(full.fileno())
        sink.apply(big_batch())
        with pytest.raises(TailraceError, match="No space left on device") as caught:
            sink.flush()
    assert caught.value.action is Action.STOP


PROGRAM = """
import sys
from types import SimpleNamespace
from apply.sink import Origin, TableBatch, TopicPartition
from apply.sinks import stdout
from schemas.errors import TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

table = TableSchema(TableName("public", "t"), (Column("id", LogicalType(Family.INT64), "bigint"),), (0,))
origin = Origin(TopicPartition("t", 0), 0, 1, 0, None)
try:
    sink = stdout.open_sink(SimpleNamespace(apply=SimpleNamespace(before_image=None)), "look")
    for _ in range(100):
        sink.apply(TableBatch(table, sequence=[("c", None, (1,))] * 100, origins={"sequence": [origin] * 100}))
        sink.flush()
except TailraceError as error:
    sys.exit(str(error))
"""


def started(out: int, *through: str) -> subprocess.Popen[bytes]:
    """Start a process that writes many times what a pipe holds to its standard output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*through, sys.executable, "-c", PROGRAM]
    return subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, env=environment)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, said = process.communicate(timeout=WAIT_S)
    return process.returncode, said.decode()


def test_a_reader_that_leaves_ends_the_process_with_a_clear_error() -> None:
    out, into = os.pipe()
    process = started(into)
    os.close(into)
    with os.fdopen(out, "rb", buffering=0) as pipe:
        assert pipe.read(1) == b"{"
    assert ended(process) == (1, "prerequisite: standard output cannot be written (Broken pipe)\n")


def test_a_process_without_standard_output_is_told() -> None:
    process = started(subprocess.DEVNULL, "sh", "-c", 'exec "$@" >&-', "sh")
    assert ended(process) == (1, "prerequisite: standard output is closed\n")
