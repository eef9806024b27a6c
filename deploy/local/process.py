"""A server's process: started with its output in a file, stopped by its id, never outliving its owner.

A guardian (a shell that waits for the end of a pipe from us) signals the server when we are gone, however we went:
SIGKILL included. Detached servers, of `tailrace dev up`, have none.
"""

from __future__ import annotations

import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.local.cache import LocalServerError

PORTS = range(20_000, 32_000)
"""Below the range that Linux takes ports of outgoing connections from, so that none is taken while a server starts."""

_GUARDIAN = 'trap "" INT TERM HUP; cat >/dev/null; kill -s "$1" "$2" 2>/dev/null'

_DETACHED: list[subprocess.Popen[bytes]] = []
"""Kept, because subprocess complains when a process outlives the object that stands for it."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now. Another process may take it: start again with another."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LocalServerError(f"no free port between {PORTS.start} and {PORTS.stop}")


class ServerProcess:
    """One running server process."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        *,
        stop_signal: signal.Signals,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        detached: bool = False,
    ) -> None:
        self._log = log
        self._stop_signal = stop_signal
        self._guardian: subprocess.Popen[bytes] | None = None
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=log.parent,
                env={**os.environ, **(environment or {})},
                user=user,
                group=None if user is None else user_group(user),
                extra_groups=None if user is None else [],
            )
        if detached:
            _DETACHED.append(self._process)
        else:
            self._guardian = subprocess.Popen(
                ["sh", "-c", _GUARDIAN, "guardian", stop_signal.name.removeprefix("SIG"), str(self.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    @property
    def return_code(self) -> int | None:
        """How the process ended: its exit code, minus a signal's number, or None while it runs."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `ready()`; return False if the process ends before. LocalServerError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.running:
            if ready():
                return True
            if time.monotonic() > deadline:
                raise LocalServerError(f"not ready after {timeout_s:.0f} s; its log ends:\n{log_tail(self._log)}")
            time.sleep(0.05)
        return False

    def stop(self, timeout_s: float = 60.0) -> None:
        """Ask the process to end; kill it if it has not after `timeout_s`. Nothing happens if it has ended."""
        self._dismiss_guardian()
        if self.running:
            self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send the signal, which must end the process, and wait until it has ended."""
        self._dismiss_guardian()
        self._process.send_signal(number)
        self._process.wait()

    def _dismiss_guardian(self) -> None:
        if self._guardian is not None:
            self._guardian.kill()
            self._guardian.communicate()
            self._guardian = None


def log_tail(path: Path, lines: int = 40) -> str:
    """Return the last lines of a log, or a word about its absence."""
    if not path.is_file():
        return f"(no log at {path})"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64 * 1024))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def user_group(user: int) -> int:
    """Return the primary group of a user id."""
    return pwd.getpwuid(user).pw_gid
