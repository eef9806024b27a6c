"""Stopping in order: a signal becomes a flag that the service's loop looks at.

The flag is a plain attribute and the wake-up is a byte in a pipe, since `threading.Event.set` in a signal handler can
deadlock with a main thread that is inside the event's own lock.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from types import FrameType
from typing import Any, Self

from runtime import clock
from schemas.errors import ErrorKind, TailraceError

WATCH_S = 0.2
"""For so long at most a thread is left that watches over a call which has ended."""


class StoppedError(TailraceError):
    """A service was told to end while it waited for something that it cannot go on without: no failure of its own."""

    def __init__(self, what: str) -> None:
        super().__init__(ErrorKind.TRANSPORT, f"told to end while {what}")


_Handler = Callable[[int, FrameType | None], Any] | int | None


class StopRequest:
    """Whether this process should drain and end. Any thread may ask, set or wait.

    As a context manager it takes SIGTERM and SIGINT (main thread only) and gives them back at the end. A second signal
    ends the process at once with the signal's default action: whoever sends it twice does not want to wait.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.reason: str | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._previous: dict[int, _Handler] = {}

    def request(self, reason: str) -> None:
        """Ask for the stop. Repeating it changes nothing."""
        if self.stopping:
            return
        self.reason = reason
        self.stopping = True
        # Never read: the pipe stays readable, and so every waiter, now and later, returns at once.
        os.write(self._wake_write, b"x")

    def wait(self, seconds: float) -> bool:
        """Sleep until the stop is requested, at most `seconds`; tell whether it is."""
        if not self.stopping:
            poller = select.poll()
            poller.register(self._wake_read, select.POLLIN)
            poller.poll(max(0.0, seconds) * 1000)
        return self.stopping

    def __enter__(self) -> Self:
        _requests.append(self)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        _requests.remove(self)

    def __del__(self) -> None:
        for descriptor in (self._wake_read, self._wake_write):
            try:
                os.close(descriptor)
            except OSError:
                continue

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.stopping:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            # Still here: the first process of a container has no default actions.
            os._exit(128 + number)
        self.request(signal.Signals(number).name)


_requests: list[StopRequest] = []
"""Those that take this process's signals: one at most, but in tests."""


def pause(seconds: float, what: str) -> None:
    """Wait in the midst of a call for something that comes by itself. Raises StoppedError as soon as the process is
    told to end: what is not durable by then is done again by the next start.
    """
    if not _requests:
        clock.sleep(seconds)
    elif _requests[-1].wait(seconds):
        raise StoppedError(what)


@contextmanager
def cancelling(cancel: Callable[[], object], what: str) -> Iterator[None]:
    """Call `cancel`, in another thread, as soon as the process is told to end in the midst of a call that does not hear
    of it. Then StoppedError is raised, whatever has become of that call.
    """
    if not _requests:
        yield
        return
    request, is_over, lock = _requests[-1], False, Lock()

    def watch() -> None:
        while not is_over:
            if request.wait(WATCH_S):
                with lock:
                    if not is_over:
                        cancel()
                return

    Thread(target=watch, daemon=True).start()
    try:
        yield
    except TailraceError as error:
        if not request.stopping:
            raise
        raise StoppedError(what) from error
    finally:
        with lock:
            # What is called from here on is not to be cancelled.
            is_over = True
    if request.stopping:
        raise StoppedError(what)
