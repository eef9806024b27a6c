"""The command line within the process of a test."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from control import cli


@contextmanager
def process_restored() -> Iterator[None]:
    """Set back what a command sets for its whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        yield
    finally:
        gc.enable()  # a service that is refused ends before it does
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()


def run(*arguments: str) -> int:
    """Run a command; return its exit code. See `process_restored`."""
    return cli.guarded(lambda: cli.app(list(arguments), standalone_mode=False))
