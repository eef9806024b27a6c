"""When a server counts as gone."""

from __future__ import annotations

import socket
from typing import cast

import pytest

from capture.sources.mysql import channel, replication
from capture.sources.mysql.channel import Channel
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.replication import SILENCE_S, LogStream
from schemas.errors import ErrorKind, TailraceError


def test_a_server_that_sends_an_event_for_minutes_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No heartbeat comes in the middle of a large row, which took a slow network longer, again and again."""
    now = 0.0
    for module in (channel, replication):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = LogStream.__new__(LogStream)
    stream._connection = cast("Connection", Channel(ours))
    event = b"\0" + b"row" * 100
    message = len(event).to_bytes(3, "little") + b"\0" + event
    with ours, theirs:
        for byte in message[:-1]:
            now += SILENCE_S
            theirs.send(bytes([byte]))
            assert stream.poll() is None
        theirs.send(message[-1:])
        assert stream.poll() == event
        now += SILENCE_S + 1
        with pytest.raises(TailraceError, match="silent") as caught:
            stream.poll()
    assert caught.value.kind is ErrorKind.SOURCE_CONNECTION
