# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What stands besides the rows of many records: those of one source transaction differ in their sequence only.

The compiled twin of the loop of `schemas.codecs.facts`, which says why what it compares is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.schemas.twin.readings import integer, long_of, same, varint_end
else:
    from schemas.twin.readings import integer, long_of, same, varint_end

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _sequence(
    m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t, is_json: cython.bint
) -> cython.longlong:
    """Read the bytes of a commit sequence; -1: they are something else."""
    try:
        if is_json:
            return integer(m, p, q)
        return long_of(m, p, q) if varint_end(m, p, q) == q else -1
    except Odd:
        return -1


def facts_many(
    values: list[bytes],
    out: list[Any],
    read: Callable[[bytes], tuple],
    places: Callable[[bytes], tuple],
    make: Callable[[tuple], tuple],
    is_json: cython.bint,
) -> None:
    """Append the facts of each value to `out`: of one that is like the one before, what `make` makes of them."""
    value: bytes
    head: bytes = b""
    tail: bytes = b""
    others: tuple = None
    m: cython.p_const_uchar
    size: cython.Py_ssize_t = 0
    source: cython.Py_ssize_t
    begin: cython.Py_ssize_t
    end: cython.Py_ssize_t
    seq: cython.longlong
    for value in values:
        m = value
        end = len(value) - len(tail)
        begin = end - size
        seq = -1
        if others is not None and begin >= 0 and same(m, end, tail, len(tail)) and same(m, begin, head, len(head)):
            seq = _sequence(m, begin + len(head), end, is_json)
        if seq >= 0:
            out.append(make((seq, *others)))
            continue
        facts = read(value)
        out.append(facts)
        others = tuple(facts[1:])
        try:
            source, begin, end = places(value)
        except ValueError:
            others = None
        else:
            head, tail, size = value[source:begin], value[end:], end - source
