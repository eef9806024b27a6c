"""When a server counts as gone, and what of it is not heard."""

from __future__ import annotations

import socket
import ssl
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


def test_what_comes_before_tls_is_not_taken_for_what_comes_within() -> None:
    """Whoever is in between may put packets behind the greeting: that the log-in went well, and rows."""
    ours, theirs = socket.socketpair()
    peer = Channel(ours)
    with ours, theirs:
        theirs.sendall(b"\x01\0\0\0a" + b"\x01\0\0\x01\0")
        assert peer.receive() == b"a"
        with pytest.raises(TailraceError, match="before TLS") as caught:
            peer.encrypt(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "localhost")
    assert caught.value.kind is ErrorKind.SOURCE_CONNECTION
    assert peer.is_closed
