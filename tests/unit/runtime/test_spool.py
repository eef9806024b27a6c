"""Messages in files are what they would be in memory; waiting knows no number of a descriptor that is too high."""

from __future__ import annotations

import os
import resource
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import spool as spools
from runtime.spool import Spool, SpooledMessage, spooled
from runtime.waiting import wait_for
from schemas.errors import ErrorKind, TailraceError
from tests.kit.descriptors import few_descriptors


@given(
    st.binary(max_size=60),
    st.binary(max_size=3),
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(-2, 65), st.integers(-2, 65)), max_size=8),
)
def test_a_message_in_a_file_reads_as_in_memory(
    content: bytes, head: bytes, window: int, slices: list[tuple[int, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spools, "_WINDOW_BYTES", window)
        file = Spool.make()
        file.write([b"before", content, b"behind"])
        message = SpooledMessage(file, 6, len(content), head)
        whole = head + content
        assert (len(message), bytes(message)) == (len(whole), whole)
        for begin, end in slices:
            assert message[begin:end] == whole[begin:end]
            if -len(whole) <= begin < len(whole):
                assert message[begin] == whole[begin]
            else:
                with pytest.raises(IndexError):
                    message[begin]
            at, size = max(begin, 0), max(min(end, len(whole)) - max(begin, 0), 0)
            assert b"".join(message.pieces(at, size)) == whole[at : at + size]
        assert bytes(message.part(len(head), len(whole), b"I")) == b"I" + content
        file.close()


def test_a_process_without_descriptors_says_so() -> None:
    with few_descriptors(), pytest.raises(TailraceError, match="no file descriptor left") as caught:
        spooled(b"content", None)
    assert caught.value.kind is ErrorKind.PREREQUISITE
    assert "ulimit" in (caught.value.remedy or "")


def test_a_high_descriptor_is_waited_for() -> None:
    """`select.select` refuses it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ours, theirs = socket.socketpair()
    high = 1_500
    try:
        os.dup2(ours.fileno(), high)
        assert not wait_for(high, 0)
        assert not wait_for(high, writing=True), "it can be written, and there is nothing to read"
        theirs.send(b"x")
        assert wait_for(high, 10)
        assert wait_for(high, writing=True)
        assert not wait_for(high, 10, reading=False, writing=True)
    finally:
        os.close(high)
        ours.close()
        theirs.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    with pytest.raises(OSError, match="closed"):
        wait_for(high, 0)
