"""The C library's heap, set up for services that move rows.

Records of a Kafka transaction are made, copied into librdkafka's queue, compressed into requests, and freed together,
many times a second. By default glibc gives such memory back to the kernel each time, which has to clear its pages
before they are used again: some 150 to 200 page faults for 1,000 records. What is kept is less than a service needs at
its peak anyway.
"""

from __future__ import annotations

import ctypes
import os

KEPT_BYTES = 32 << 20
"""So much free memory at the end of a heap is kept. (Threads may have heaps of their own.)"""
APART_BYTES = 4 << 20
"""From this size on an allocation is a mapping of its own, which is given back when it is freed. A request to Kafka is
smaller. (glibc's own bound moves with what is freed, up to 32 MiB, unless one of the two is set.)"""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's <malloc.h>


def keep() -> None:
    """Keep freed memory for what comes next. Does nothing where the C library is another one."""
    if not is_glibc():
        return
    library = ctypes.CDLL(None)
    library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    library.mallopt(_M_MMAP_THRESHOLD, APART_BYTES)


def is_glibc() -> bool:
    """Tell whether the C library is glibc."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):
        # Another system knows no such name; musl knows the name, and refuses it.
        return False
