"""Waiting for a connection, of any number: `select.select` refuses descriptors from 1,024 on."""

from __future__ import annotations

import select
from math import ceil


def wait_for(descriptor: int, timeout_s: float | None = None, *, reading: bool = True, writing: bool = False) -> bool:
    """Wait until a descriptor can be read or written, or has broken, or for a time; tell whether it can be read.

    What broke can be read: whoever does learns what is the matter. Raises OSError or ValueError if it is closed.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN * reading | select.POLLOUT * writing)
    found = poll.poll(None if timeout_s is None else ceil(max(timeout_s, 0) * 1000))
    events = found[0][1] if found else 0
    if events & select.POLLNVAL:
        raise OSError("a descriptor that is closed")
    return bool(events & ~select.POLLOUT)
