"""A bound on calls into librdkafka that have none of their own.

A synchronous commit waits for the group's coordinator for as long as it takes: while the cluster is away, for ever, and
no signal is heard meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import Any

from schemas.errors import ErrorKind, TailraceError


class BoundedCall:
    """Makes one call at a time in a thread of its own, and leaves it behind when it takes too long."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._left_behind: Future[Any] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a call that was left behind has yet to end."""
        return self._left_behind is not None and not self._left_behind.done()

    def __call__(self, doing: str, call: Callable[[], Any]) -> Any:
        """Return what `call` returns, or raise what it raises.

        Raises TRANSPORT after `timeout_s`, and at once while a call that was left behind has yet to end: so an older
        one can never follow a newer one.
        """
        if self.is_busy:
            raise TailraceError(ErrorKind.TRANSPORT, f"{doing}: the cluster has not answered yet")
        self._left_behind = None
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                future.set_exception(error)

        # Not one of a pool: the interpreter would wait for it at its end.
        threading.Thread(target=run, name="bounded call", daemon=True).start()
        try:
            return future.result(self._timeout_s)
        except Late:
            if future.done():
                raise
            self._left_behind = future
            raise TailraceError(
                ErrorKind.TRANSPORT, f"{doing}: no answer from the cluster within {self._timeout_s:g} s"
            ) from None
