"""What every local server has: a directory with data and a log, a port of 127.0.0.1, one process, and how it ends."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from deploy.local.cache import LocalServerError
from deploy.local.process import ServerProcess, free_port, log_tail

START_ATTEMPTS = 3
"""How often a server that ends while it starts is tried, each time on another port: somebody may have taken the one."""


class LocalServer(ABC):
    """One server with its data in `directory`. Restarts keep port and data.

    A kind of server says by `_command` how its process is started, and by `_ready` when it is of use.
    """

    title: ClassVar[str]
    """The server's name in messages."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """What asks the server to end in an orderly way."""
    kill_signal: ClassVar[signal.Signals] = signal.SIGKILL
    """What ends it at once."""
    start_timeout_s: ClassVar[float] = 120.0

    def __init__(self, directory: Path, *, port: int | None = None, detached: bool = False) -> None:
        self.directory = directory.resolve()
        self.log = self.directory / "server.log"
        self._port = port
        self._detached = detached
        self._process: ServerProcess | None = None

    @property
    def port(self) -> int:
        """Where it listens. Known once it was started, unless it was given."""
        return self._port or 0

    @property
    def pid(self) -> int:
        """The server's process id. LocalServerError when it is not running."""
        if self._process is None:
            raise LocalServerError(f"{self.title} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server, with its data made before if there is none, and wait until it is of use."""
        self.directory.mkdir(parents=True, exist_ok=True)
        fixed_port = self._port is not None
        self._prepare()
        for _ in range(START_ATTEMPTS):
            if not fixed_port:
                self._port = free_port()
            if self._start_once():
                return
        raise LocalServerError(f"{self.title} ended while it started; its log ends:\n{log_tail(self.log)}")

    def stop(self) -> None:
        """Stop the server in an orderly way. Nothing happens if it is not running."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        self._forget()

    def kill(self) -> None:
        """End the server at once, as by a crash."""
        if self._process is not None:
            self._process.signal(self.kill_signal)
            self._process = None

    def restart(self) -> None:
        """Stop (unless it was killed) and start with the same port and data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that serves on `self.port`; called before each attempt."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether the server answers as itself."""

    def _prepare(self) -> None:  # noqa: B027 (most kinds have something to prepare, one has not)
        """Download and initialise what is not there yet."""

    def _forget(self) -> None:  # noqa: B027 (most kinds leave nothing)
        """Remove what a stopped server leaves outside of its directory."""

    def _environment(self) -> Mapping[str, str]:
        return {}

    def _user(self) -> int | None:
        """Return the id of the user to run as; None for our own."""
        return None

    def _start_once(self) -> bool:
        process = ServerProcess(
            self._command(),
            self.log,
            stop_signal=self.stop_signal,
            environment=self._environment(),
            user=self._user(),
            detached=self._detached,
        )
        try:
            ready = process.wait_until(self._ready, self.start_timeout_s)
        except BaseException:
            process.signal(self.kill_signal)
            raise
        self._process = process if ready else None
        return ready
