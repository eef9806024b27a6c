"""Rows of a query come in runs, as they come one by one; those in files alone, and nothing behind the last."""

from __future__ import annotations

import socket
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.sources.mysql import channel, connection
from capture.sources.mysql.channel import Channel
from capture.sources.mysql.connection import Connection
from runtime.spool import SpooledMessage
from schemas.errors import ErrorKind, TailraceError
from schemas.twin import built
from tests.kit.twin import unbuilt

MODULES = [
    pytest.param(None, id="none"),
    pytest.param(unbuilt("cells"), id="unbuilt"),
    pytest.param(built("cells"), id="built"),
]

END = b"\xfe\0\0\2\0"
LARGE = 1023
"""A mask that is also the size of a full packet."""


def _packet(message: bytes) -> bytes:
    pieces = [message[at : at + LARGE] for at in range(0, len(message) + 1, LARGE)]
    return b"".join(len(piece).to_bytes(3, "little") + b"\7" + piece for piece in pieces)


def _connection(answer: list[bytes]) -> tuple[Connection, socket.socket]:
    """Return a connection to a server that has answered already."""
    ours, theirs = socket.socketpair()
    made = Connection.__new__(Connection)
    Channel.__init__(made, ours)
    made.file_large(None)
    made.set_blocking(blocking=True)
    theirs.sendall(b"".join(map(_packet, [b"\1", b"a column", END, *answer])))
    return made, theirs


@pytest.mark.parametrize("module", MODULES)
@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=250).map(lambda text: bytes([len(text)]) + text), max_size=40),
    st.integers(1, 12),
    st.integers(1, 600),
)
def test_runs_hold_the_rows_of_an_answer(
    module: ModuleType | None, rows: list[bytes], rows_max: int, bytes_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "built", lambda _: module)
        patch.setattr(connection, "RUN_ROWS_MAX", rows_max)
        patch.setattr(connection, "RUN_BYTES_MAX", bytes_max)
        peer, theirs = _connection([*rows, END])
        runs = [run for run in peer.runs("select") if isinstance(run, list)]
        # The connection is where the next answer begins.
        theirs.sendall(_packet(b"\0"))
        assert peer.receive() == b"\0"
        peer.close()
        theirs.close()
    assert [row for run in runs for row in run] == rows
    for run in runs:
        assert 0 < len(run) <= rows_max
        assert sum(map(len, run[:-1])) < bytes_max
    for run in runs[:-1]:
        assert len(run) == rows_max or sum(map(len, run)) >= bytes_max


def test_a_row_in_a_file_comes_alone_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "built", lambda _: None)
    monkeypatch.setattr(channel, "PACKET_MAX", LARGE)
    large = b"\xfc" + b"x" * 5000
    peer, theirs = _connection([b"\1a", b"\1b", large, large, b"\1c", END])
    runs = [bytes(run) if isinstance(run, SpooledMessage) else run for run in peer.runs("select")]
    assert runs == [[b"\1a", b"\1b"], large, large, [b"\1c"]]
    peer.close()
    theirs.close()


@pytest.mark.parametrize("module", MODULES)
def test_an_error_behind_rows_is_raised(module: ModuleType | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "built", lambda _: module)
    peer, theirs = _connection([b"\1a", b"\1b", b"\xff\x15\4#28000no"])
    with pytest.raises(TailraceError) as caught:
        list(peer.runs("select"))
    assert caught.value.kind is not ErrorKind.DECODE
    peer.close()
    theirs.close()
