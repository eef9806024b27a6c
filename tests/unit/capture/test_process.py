"""A loader is one process; its rows come as they were sent, however the pipe cuts them, and none when it is gone."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from capture.full_load import process, worker
from capture.full_load.process import ProcessWorker, received
from capture.full_load.worker import Coming, Ended, Failed, LookRequest, PlanRequest, Rows, send_rows
from schemas.bundles import Bundle
from schemas.mappings.segments import Partition, Segment
from schemas.settings import parse
from schemas.table import TableName, TableSchema

KEYS = [b"key", b"", None]
NOTHING_TO_READ = parse(
    {
        "name": "shop",
        "kafka": {"bootstrap.servers": "127.0.0.1:9"},
        "source": {"engine": "debezium", "connector": "mysql", "topics": ["shop.*"]},
    }
)


def test_a_loader_is_one_process_that_has_the_services_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the service was started, and whatever lies there."""
    (tmp_path / "capture.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    before = psutil.Process().children(recursive=True)
    with closing(ProcessWorker(NOTHING_TO_READ, "mysql")) as loader:
        loader.send(LookRequest())
        answer = received(loader._channel)
        assert isinstance(answer, Failed)
        assert "nothing to capture" in answer.message
        (running,) = set(psutil.Process().children(recursive=True)) - {*before}
    assert not running.is_running()


@pytest.mark.parametrize("at_once", [7, process.TAKEN_BYTES_MAX])
def test_rows_come_as_they_were_sent(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(process, "TAKEN_BYTES_MAX", at_once)
    ours, theirs = Pipe()
    bundles = [Bundle.of([], []), Bundle.of(KEYS, [b"", b"body", b"x" * 50_000]), Bundle.of([b"k"], [b""])]

    def send() -> None:
        for bundle in bundles:
            send_rows(theirs, bundle)
            theirs.send(Ended())

    sender = Thread(target=send)
    sender.start()
    for bundle in bundles:
        assert received(ours) == Rows(bundle)
        assert received(ours) == Ended()
    sender.join()


def test_rows_of_which_the_pipe_holds_a_part_are_waited_for() -> None:
    ours, theirs = Pipe()
    bundle = Bundle.of([b"k"] * 40, [b"x" * 100_000] * 40)
    # More than any system holds.
    sender = Thread(target=send_rows, args=(theirs, bundle))
    sender.start()
    assert received(ours) == Rows(bundle)
    sender.join()


@pytest.mark.parametrize("sent", [0, 9])
def test_a_loader_that_is_gone_within_rows_is_told(sent: int) -> None:
    ours, theirs = Pipe()
    theirs.send(Coming(1, 10, ()))
    os.write(theirs.fileno(), b"x" * sent)
    theirs.close()
    with pytest.raises(EOFError):
        received(ours)


def test_a_pipe_is_widened_where_the_system_allows_it() -> None:
    _, theirs = Pipe()

    def size() -> int:
        with socket.socket(fileno=os.dup(theirs.fileno())) as same:
            return same.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    before = size()
    process._widen(theirs)
    assert size() >= before
    # What is no socket has no such buffer.
    process._widen(Pipe(duplex=False)[1])


@pytest.mark.parametrize(
    ("parts", "asked"),
    [
        ((), [()]),
        ((3, 2), [(Segment("b", "2"), Segment("c", "3"))]),
        # It may be gone, or what has its number be none of this table.
        ((3, 4), [(Segment("c", "3"),)]),
        ((4,), []),
        # A role may be allowed to read the table alone.
        ((1, 2), [()]),
        # They would not fit in a checkpoint.
        (tuple(range(2, 1003)), [()]),
    ],
)
def test_parts_that_are_still_there_and_can_be_read_by_themselves_are_cut_alone(
    parts: tuple[int, ...], asked: list[tuple[Segment, ...]]
) -> None:
    made: list[tuple[Segment, ...]] = []

    def plan(_table: TableSchema, _rows: int, segments: Any = ()) -> list[str]:
        made.append(tuple(segments))
        return ["chunk"]

    present = [Partition("a", "", "1", "grant"), Partition("b", "", "2"), Partition("c", "b", "3")]
    reader: Any = SimpleNamespace(plan=plan, partitions=lambda _: present)
    request = PlanRequest(TableSchema(TableName("s", "t"), (), (0,)), 100, parts)
    found: list[Any] = worker._plan(reader, request)
    assert (made, found) == (asked, ["chunk"] * len(asked))
