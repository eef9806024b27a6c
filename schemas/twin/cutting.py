# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Cutting MySQL's row events into messages, one of each change: a byte for the operation, then its images.

That is all that a log's reader needs to know of rows; what a value is, is looked at when the record is made (`images`).
An image is a bitmap of nulls, then the values: of a fixed size, or behind their length.

Form: `Rows_event` in MySQL's `rows_event.h`; MariaDB's is the same.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
    from cython.cimports.schemas.twin.packed import little
    from cython.cimports.schemas.twin.values import copy
else:
    from schemas.twin.packed import little

UPDATE = cython.declare(cython.int, ord("U"))

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(-1)
def _image_end(
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    n: cython.Py_ssize_t,
    count: cython.Py_ssize_t,
    prefixes: cython.p_const_uchar,
    sizes: cython.p_const_uchar,
) -> cython.Py_ssize_t:
    """Return where the image that begins at `p` ends."""
    i: cython.Py_ssize_t
    nulls: cython.Py_ssize_t = p
    p += (count + 7) // 8
    if p > n:
        raise ValueError("an event that ends within a row")
    for i in range(count):
        if m[nulls + (i >> 3)] >> (i & 7) & 1:
            continue
        if prefixes[i]:
            if p + prefixes[i] > n:
                raise ValueError("an event that ends within a row")
            p += prefixes[i] + little(m, p, p + prefixes[i])
        else:
            p += sizes[i]
    if p > n:
        raise ValueError("an event that ends within a row")
    return p


@cython.cfunc
def _message(op: cython.int, m: bytes, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> bytes:
    if not cython.compiled:
        return bytes((op,)) + m[p:q]
    made: bytes = PyBytes_FromStringAndSize(cython.NULL, q - p + 1)
    out: cython.p_uchar = cython.cast(cython.p_uchar, cython.cast(cython.p_const_uchar, made))
    out[0] = op
    copy(out, 1, m, p, q - p)
    return made


@cython.cclass
class Cutter:
    """Cuts the rows of events. Made for a table as the log has it."""

    count: cython.Py_ssize_t
    prefixes: bytes
    sizes: bytes

    def __init__(self, prefixes: bytes, sizes: bytes) -> None:
        """Of each column of the log's, the bytes of the length before a value, and a value's size where that is 0."""
        self.count = len(sizes)
        self.prefixes = prefixes
        self.sizes = sizes

    def cut(self, op: bytes, event: bytes, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> list[bytes]:
        """Return a message for each change between `p` and `n`. Raises ValueError unless the last row ends there."""
        made: list = []
        q: cython.Py_ssize_t
        first: cython.int = op[0]
        m: cython.p_const_uchar = event
        prefixes: cython.p_const_uchar = self.prefixes
        sizes: cython.p_const_uchar = self.sizes
        if not 0 <= p <= n <= len(event):
            raise ValueError("an event that ends before its rows")
        while p < n:
            q = _image_end(m, p, n, self.count, prefixes, sizes)
            if first == UPDATE:
                q = _image_end(m, q, n, self.count, prefixes, sizes)
            made.append(_message(first, event, p, q))
            p = q
        return made
