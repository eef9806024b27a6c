"""Tailrace's commands as processes that are forked off one that has imported them.

To import what a service needs takes a second of a processor, and tests start services by the hundred. From `main` on a
forked process does what one does that a shell has started: it has its own environment, files and signals, it is killed
as any other, and its exit code is kept. Tests of the command line itself start interpreters.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from control import cli

_ROOT = Path(__file__).resolve().parents[2]
_IMPORTED = (
    *("capture.service", "capture.sources.mysql.source", "capture.sources.postgresql.source"),
    *("apply.service", "apply.sinks.kafka.target", "apply.sinks.mysql.target", "apply.sinks.postgresql.target"),
    *("control.parked", "control.plan", "control.render", "control.status", "control.verify"),
)
"""Beside the command line, which imports these when it needs them."""
_NUMBER = struct.Struct("=i")


class Command:
    """A command's process, with as much of `subprocess.Popen` as tests use."""

    def __init__(
        self,
        words: list[str],
        *,
        stdout: IO[bytes],
        stderr: IO[bytes],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._words = words
        self._report, theirs = socket.socketpair()
        place = {"words": words, "directory": str(Path.cwd()), "environment": dict(os.environ if env is None else env)}
        with theirs:
            _forker().ask(place, [theirs.fileno(), stdout.fileno(), stderr.fileno()])
        self.pid = _number(self._report)

    def poll(self) -> int | None:
        """Return the exit code, or None while the process lives."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended; return the exit code. Raises `TimeoutExpired`."""
        if self.returncode is None:
            self._report.settimeout(timeout)
            try:
                self.returncode = _number(self._report)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self._words, timeout or 0) from None
            self._report.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(words: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; return what it wrote. Raises `TimeoutExpired`, and then it is killed."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        command = Command(words, stdout=stdout, stderr=stderr)
        try:
            code = command.wait(timeout)
        finally:
            command.kill()
            command.wait()
        written = []
        for file in (stdout, stderr):
            file.seek(0)
            written.append(file.read().decode())
        return subprocess.CompletedProcess(words, code, *written)


class _Forker:
    """The process that all are forked off. It ends when this one does."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._turn = threading.Lock()
        with theirs:
            number = theirs.fileno()
            program = [sys.executable, "-m", __name__, str(number)]
            self._process = subprocess.Popen(program, pass_fds=[number], stdin=subprocess.DEVNULL, cwd=_ROOT)

    def ask(self, request: Mapping[str, Any], files: list[int]) -> None:
        """Have a process forked with these files: where it reports, its standard output and its standard error."""
        content = json.dumps(request).encode()
        with self._turn:
            socket.send_fds(self._socket, [_NUMBER.pack(len(content))], files)
            self._socket.sendall(content)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def _forker() -> _Forker:
    found = _Forker()
    atexit.register(found.close)
    return found


def _number(report: socket.socket) -> int:
    content = report.recv(_NUMBER.size, socket.MSG_WAITALL)
    assert content, "what forks processes, or waits for one, has ended"
    (number,) = _NUMBER.unpack(content)
    return int(number)


def _fork_on_request(requests: socket.socket) -> list[str]:
    """Fork a process for each request. Returns in these alone, with the words of the command."""
    # An interruption of the tests is for the commands.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        head, files, *_ = socket.recv_fds(requests, _NUMBER.size, 3)
        if not head:
            os._exit(0)
        (length,) = _NUMBER.unpack(head)
        content = requests.recv(length, socket.MSG_WAITALL)
        if os.fork() == 0:
            requests.close()
            _attend(*files)
            request = json.loads(content)
            os.chdir(request["directory"])
            os.environ.clear()
            os.environ.update(request["environment"])
            return list(request["words"])
        for number in files:
            os.close(number)
        # Those of commands that have ended.
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _attend(report: int, stdout: int, stderr: int) -> None:
    """Fork the process of a command, in which alone this returns; report its number, and its exit code at its end."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
    for number in (stdout, stderr):
        os.close(number)
    if pid == 0:
        os.close(report)
        return
    # Whoever asked may be gone.
    with suppress(OSError):
        os.write(report, _NUMBER.pack(pid))
        _, status = os.waitpid(pid, 0)
        os.write(report, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


if __name__ == "__main__":
    for imported in _IMPORTED:
        import_module(imported)
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        sys.argv = [str(cli.__file__), *_fork_on_request(asked)]
    cli.main()
