"""A process that may open few more files, or none."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def few_descriptors(left: int = 0) -> Iterator[None]:
    """Leave the process that many descriptors.

    What earlier tests have left in cycles (a caught error has its frame, and that the error) holds pipes and files.
    Were they closed in here, there would be more.
    """
    gc.collect()
    gc.disable()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        gc.enable()
