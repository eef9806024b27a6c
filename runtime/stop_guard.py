"""The end of a service that was told to end and cannot, because nobody answers it.

Some calls into librdkafka wait for as long as it takes, a synchronous commit of offsets for one; meanwhile Python runs
no signal handler. And what has a bound of its own may follow other things that have one. So a thread that needs nobody
hears the signal as well, and ends the process as a kill would: what a service has not committed by then is done again
by the next one, which begins where Kafka, or the target, says (Invariant 10).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Self

from runtime import exit_codes
from runtime.logging import get_logger

log = get_logger(__name__)

PATIENCE_S = 5.0
"""For so long a service drains before it is asked whether that has a chance."""

PROBES = 2
"""So many times in a row there must be none: one that took too long may be the machine's fault."""


class StopGuard:
    """Ends the process with STOPPED when it goes on after SIGTERM or SIGINT, and `hopeless` says why it will not end.

    A context manager of the main thread; `lifecycle.StopRequest` has the handlers of the signals. `hopeless` returns
    None as long as there is a chance; it runs in another thread, and must have a bound of its own.
    """

    def __init__(self, hopeless: Callable[[], str | None], *, patience_s: float = PATIENCE_S) -> None:
        self._hopeless = hopeless
        self._patience_s = patience_s
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        # The interpreter writes a signal's number there at once, whatever the main thread is doing.
        self._previous = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="stop guard", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._previous)
        self._over.set()
        os.write(self._write, b"\0")
        self._thread.join()
        os.close(self._write)
        os.close(self._read)

    def _watch(self) -> None:
        while not self._over.is_set():
            if os.read(self._read, 1)[0] in (signal.SIGTERM, signal.SIGINT):
                break
        failed = 0
        while not self._over.wait(0.0 if failed else self._patience_s):
            reason = self._hopeless()
            failed = 0 if reason is None else failed + 1
            if failed == PROBES and not self._over.is_set():
                log.error("ends without draining; the next start goes on where this one had committed", reason=reason)
                os._exit(exit_codes.STOPPED)
