"""The thread that talks to the target, as the applier sees it: one job after the other, never two at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any

from apply.batching.batch import Batch
from apply.outcome import Outcome
from apply.writer import Writer
from schemas.errors import TailraceError


class WriterThread:
    """Runs jobs of a writer. The outcome of one is taken before the next one is started."""

    def __init__(self, writer: Writer, executor: Executor) -> None:
        """`executor` has one thread."""
        self.writer = writer
        self.executor = executor
        self._job: Future[Outcome] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way, or its outcome is not taken yet."""
        return self._job is not None

    @property
    def is_done(self) -> bool:
        """Whether there is an outcome to be taken."""
        return self._job is not None and self._job.done()

    def start(self, work: Callable[..., Outcome], *given: Any) -> None:
        """Let the thread call `work` with what is given. Not while it is busy."""
        assert self._job is None, "one job at a time"
        self._job = self.executor.submit(work, *given)

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of a job that is under way, no longer than this."""
        if self._job is not None:
            wait([self._job], timeout_s)

    def take(self, *, block: bool) -> Outcome | None:
        """Return the outcome of the last job, once; None while there is none. With `block` it is waited for."""
        if self._job is None or not (block or self._job.done()):
            return None
        outcome, self._job = self._job.result(), None
        return outcome

    def fail(self, error: TailraceError) -> None:
        """Let an error be the next outcome, as if a job had ended with it."""
        self._job = Future()
        self._job.set_result(Outcome(Batch(), error=error))
