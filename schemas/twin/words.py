# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Texts, many bytes at a time: of long ones most bytes stand for themselves.

What is looked at stands in `m` from `p` to `q`. In Python there are no words: whoever asks goes on byte by byte.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy

# A bit of each byte, or a sign in each.
ONES = cython.declare(cython.ulonglong, 0x0101010101010101)
HIGHS = cython.declare(cython.ulonglong, 0x8080808080808080)
BLANKS = cython.declare(cython.ulonglong, 0x2020202020202020)
QUOTES = cython.declare(cython.ulonglong, 0x2222222222222222)
SLASHES = cython.declare(cython.ulonglong, 0x5C5C5C5C5C5C5C5C)

SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(check=False)
def plain_end(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Return where the next eight bytes, or fewer, stand that may not all stand for themselves in a JSON string."""
    word: cython.ulonglong = 0
    quote: cython.ulonglong
    slash: cython.ulonglong
    i: cython.int
    odd: cython.uchar
    if cython.compiled:
        # Compilers make vectors of a loop that has a fixed length and no way out.
        while p + 64 <= q:
            odd = 0
            for i in range(64):
                odd |= (m[p + i] < 32) | (m[p + i] == 34) | (m[p + i] == 92)
            if odd:
                break
            p += 64
        while p + 8 <= q:
            memcpy(cython.address(word), m + p, 8)
            quote = word ^ QUOTES
            slash = word ^ SLASHES
            # A byte that is less than another takes from the next one; the first such is told for certain.
            if ((word - BLANKS) & ~word | (quote - ONES) & ~quote | (slash - ONES) & ~slash) & HIGHS:
                break
            p += 8
    return p


@cython.cfunc
@cython.exceptval(check=False)
def has_high_bits(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.bint:
    """Tell whether some byte is not ASCII."""
    every: cython.ulonglong = 0
    word: cython.ulonglong = 0
    if cython.compiled:
        while p + 8 <= q:
            memcpy(cython.address(word), m + p, 8)
            every |= word
            p += 8
    while p < q:
        every |= m[p]
        p += 1
    return every & HIGHS != 0
