"""A process that freezes in the middle of its work, as one does whose machine does."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

DEADLINE_S = 480.0


def freeze() -> None:
    """Stop this process until it is told to go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


@contextlib.contextmanager
def frozen(work: Callable[..., None], *arguments: Any) -> Iterator[BaseProcess]:
    """Run a function of a module in a process of its own until it freezes. What is left of it in the end is killed."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    try:
        deadline = time.monotonic() + DEADLINE_S
        while _state(process) != "T":
            assert process.is_alive(), f"it ended with {process.exitcode} before it froze"
            assert time.monotonic() < deadline, "it did not freeze in time"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.join()


def _state(process: BaseProcess) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
