"""A loader process from its service's side: an interpreter of its own, spoken to through a pipe."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

from capture.full_load.worker import Answer, Coming, Request, Rows, Taken
from runtime.spool import Spool, no_descriptor
from schemas.bundles import Bundle
from schemas.settings import Settings

AHEAD_BYTES = 1 << 20
"""What a loader may have sent before its service takes it, as far as the system allows (Linux: twice
`net.core.wmem_max`): a message of rows fits in, so that the next is made meanwhile."""

TAKEN_BYTES_MAX = 1 << 30
"""What is asked of the system at once: macOS refuses to read more than 2 GiB."""

END_TIMEOUT_S = 2.0
"""A loader in the middle of a read does not look at its pipe: after this it is killed."""

PROGRAM = (
    "import gc, sys; gc.disable(); sys.path[:] = sys.argv[2:];"
    " from capture.full_load import worker; worker.main(int(sys.argv[1]))"
)
"""Modules are looked for where the service finds them. `main` lets the collector of cycles work again."""


class ProcessWorker:
    """One loader process. A `worker.Worker`."""

    def __init__(self, settings: Settings, connector: str) -> None:
        # Not a fork, which would share sockets and threads of librdkafka and libpq with the service. Nor a process of
        # `multiprocessing`, which imports the command line once more and starts another one, to watch over semaphores:
        # a fifth of what the first one costs.
        self._channel, theirs = Pipe()
        # Only the child may hold that end: its death must read as the end of the stream.
        with theirs:
            _widen(theirs)
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(number), *sys.path], pass_fds=[number], stdin=subprocess.PIPE
            )
        # If it is gone already, the first request will tell.
        with suppress(OSError):
            self._channel.send((settings, connector))

    def send(self, request: Request) -> None:
        """Hand over the next request. Raises OSError if the process is gone."""
        self._channel.send(request)

    def receive(self) -> Answer | None:
        """Return the next answer, or None if there is none yet. Raises EOFError or OSError if the process is gone."""
        return received(self._channel) if self._channel.poll() else None

    def close(self) -> None:
        """End the process. It reads only, so nothing is lost by a kill."""
        self._channel.close()
        self._process.terminate()
        try:
            self._process.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def received(channel: Connection) -> Answer:
    """Wait for an answer. Raises EOFError or OSError if the process is gone."""
    answer: Answer | Coming = channel.recv()
    if not isinstance(answer, Coming):
        return answer
    bundle = Bundle(_bytes(channel.fileno(), answer.size_bytes), answer.row_count)
    if not answer.kept:
        return Rows(bundle)
    # The file follows at once.
    try:
        spool = Spool(recv_handle(channel))
    except (RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        # (The kernel drops what it has no number for: then what was to come with the file lacks it.)
        raise no_descriptor("a loader's large values could not be taken over") from error
    channel.send(Taken())
    return Rows(bundle, answer.kept, spool)


def _bytes(descriptor: int, size: int) -> bytearray:
    content = bytearray(size)
    with memoryview(content) as room:
        at = 0
        while at < size:
            count = os.readv(descriptor, [room[at : at + TAKEN_BYTES_MAX]])
            if not count:
                raise EOFError
            at += count
    return content


def _widen(channel: Connection) -> None:
    # Linux takes the most that it allows; macOS refuses what is more (`kern.ipc.maxsockbuf`), and all goes on without.
    with suppress(OSError), socket.socket(fileno=os.dup(channel.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, AHEAD_BYTES)
