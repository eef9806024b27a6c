# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""MySQL's binary JSON to the text that the server prints of it.

The compiled twin of the engine's reader of documents (`binary_json.py`): it writes what is usual, within a bound, and
raises `Odd` for the rest, dates and numbers of many digits among it. No offset is trusted: reads are checked against
the document's end, writes against `limit`.

Form: `json_binary.h`.
"""

from __future__ import annotations

from struct import unpack

import cython

from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.libc.string import memcpy
    from cython.cimports.schemas.twin.packed import decimal_end, grouped, little
    from cython.cimports.schemas.twin.values import copy, escaped, number
else:
    from schemas.twin.packed import decimal_end, grouped, little
    from schemas.twin.values import copy, escaped, number

LARGE_OBJECT = cython.declare(cython.int, 1)
SMALL_ARRAY = cython.declare(cython.int, 2)
LARGE_ARRAY = cython.declare(cython.int, 3)
LITERAL = cython.declare(cython.int, 4)
INT16 = cython.declare(cython.int, 5)
UINT16 = cython.declare(cython.int, 6)
INT32 = cython.declare(cython.int, 7)
UINT32 = cython.declare(cython.int, 8)
INT64 = cython.declare(cython.int, 9)
UINT64 = cython.declare(cython.int, 10)
DOUBLE = cython.declare(cython.int, 11)
STRING = cython.declare(cython.int, 12)
OPAQUE = cython.declare(cython.int, 15)

DEPTH_MAX = cython.declare(cython.int, 100)
"""The server's own bound."""
SCALAR_BYTES = cython.declare(cython.Py_ssize_t, 64)
"""No number or literal is longer as a text."""
PLAIN_END = cython.declare(cython.double, 1e15)
"""Smaller doubles have no exponent, unless Python prints one."""

SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(-1)
def document(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    limit: cython.Py_ssize_t,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write the text of the document from `p` to `q`; return where it ends, which is not behind `limit`."""
    if p == q or limit - o < SCALAR_BYTES:
        raise Odd
    return _value(out, o, limit, m, p + 1, q, m[p], 0)


@cython.cfunc
@cython.exceptval(-1)
def _value(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    limit: cython.Py_ssize_t,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
    kind: cython.int,
    depth: cython.int,
) -> cython.Py_ssize_t:
    """Write a value of a type, which begins at `p`."""
    start: cython.Py_ssize_t
    size: cython.Py_ssize_t
    if o + SCALAR_BYTES > limit or p >= q:
        raise Odd
    if kind <= LARGE_ARRAY:
        return _container(out, o, limit, m, p, q, kind, depth)
    if kind == STRING:
        start = _length_end(m, p, q)
        size = _length(m, p, start)
        if size > q - start:
            raise Odd
        return _quoted(out, o, limit, m, start, start + size)
    if kind == LITERAL:
        if m[p] == 0:
            return copy(out, o, b"null", 0, 4)
        if m[p] > 2:
            raise Odd
        return copy(out, o, b"true", 0, 4) if m[p] == 1 else copy(out, o, b"false", 0, 5)
    if kind == OPAQUE:
        return _decimal(out, o, m, p, q)
    if kind == DOUBLE:
        if q - p < 8:
            raise Odd
        return _double(out, o, m, p)
    return _integer(out, o, m, p, q, kind)


@cython.cfunc
@cython.exceptval(-1)
def _integer(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
    kind: cython.int,
) -> cython.Py_ssize_t:
    if not INT16 <= kind <= UINT64:
        raise Odd
    size: cython.Py_ssize_t = 2 if kind <= UINT16 else 4 if kind <= UINT32 else 8
    if size > q - p:
        raise Odd
    n: cython.longlong = little(m, p, p + size)
    if kind == UINT64 and n < 0:
        raise Odd
    if kind in (INT16, INT32) and m[p + size - 1] > 127:
        n -= cython.cast(cython.longlong, 1) << 8 * size
    return number(out, o, n)


@cython.cfunc
@cython.exceptval(-1)
def _container(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    limit: cython.Py_ssize_t,
    m: cython.p_const_uchar,
    base: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
    kind: cython.int,
    depth: cython.int,
) -> cython.Py_ssize_t:
    is_large: cython.bint = kind in (LARGE_OBJECT, LARGE_ARRAY)
    is_object: cython.bint = kind < SMALL_ARRAY
    width: cython.Py_ssize_t = 4 if is_large else 2
    start: cython.Py_ssize_t
    size: cython.Py_ssize_t
    i: cython.Py_ssize_t
    if depth == DEPTH_MAX or q - base < 2 * width:
        raise Odd
    count: cython.Py_ssize_t = little(m, base, base + width)
    key: cython.Py_ssize_t = base + 2 * width
    entry: cython.Py_ssize_t = key + count * (width + 2) if is_object else key
    if q - entry < count * (width + 1):
        raise Odd
    out[o] = 123 if is_object else 91
    o += 1
    for i in range(count):
        if o + SCALAR_BYTES > limit:
            raise Odd
        if i:
            o = copy(out, o, b", ", 0, 2)
        if is_object:
            start = base + little(m, key, key + width)
            size = little(m, key + width, key + width + 2)
            if start + size > q:
                raise Odd
            o = copy(out, _quoted(out, o, limit, m, start, start + size), b": ", 0, 2)
            key += width + 2
        kind = m[entry]
        if LITERAL <= kind <= (UINT32 if is_large else UINT16):
            o = _value(out, o, limit, m, entry + 1, entry + 1 + width, kind, depth)
        else:
            o = _value(out, o, limit, m, base + little(m, entry + 1, entry + 1 + width), q, kind, depth + 1)
        entry += 1 + width
    # Values leave room for what ends the one that they are in, not for all that end there.
    if o + SCALAR_BYTES > limit:
        raise Odd
    out[o] = 125 if is_object else 93
    return o + 1


@cython.cfunc
@cython.exceptval(-1)
def _quoted(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    limit: cython.Py_ssize_t,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write a string, which may become six times as long."""
    if o + 6 * (q - p) + SCALAR_BYTES > limit:
        raise Odd
    return escaped(out, o, m, p, q)


@cython.cfunc
@cython.exceptval(-1)
def _length_end(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Return where a length of seven bits a byte ends that begins at `p`; it has five bytes at most."""
    q = min(q, p + 5)
    while p < q and m[p] > 127:
        p += 1
    if p >= q:
        raise Odd
    return p + 1


@cython.cfunc
@cython.exceptval(check=False)
def _length(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Read such a length, from `p` to `q`."""
    size: cython.Py_ssize_t = 0
    while q > p:
        q -= 1
        size = size << 7 | (m[q] & 127)
    return size


@cython.cfunc
@cython.exceptval(-1)
def _double(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    value: cython.double = 0
    if cython.compiled:
        memcpy(cython.address(value), m + p, 8)
    else:
        (value,) = unpack("<d", m[p : p + 8])
    if not -PLAIN_END < value < PLAIN_END:
        raise Odd
    text: bytes = repr(value).encode()
    if b"e" in text:
        raise Odd
    return copy(out, o, text, 0, len(text))


@cython.cfunc
@cython.exceptval(-1)
def _decimal(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write a DECIMAL within a document: its type, a length, its digits and how many are behind the point."""
    size: cython.Py_ssize_t
    i: cython.Py_ssize_t
    _: cython.int
    if m[p] != 246:
        raise Odd
    start: cython.Py_ssize_t = p + 1
    p = _length_end(m, start, q)
    size = _length(m, start, p)
    if size < 3 or size > q - p:
        raise Odd
    whole: cython.int = m[p] - m[p + 1]
    scale: cython.int = m[p + 1]
    if whole < 0 or m[p] > 18 or decimal_end(p + 2, whole, scale) != p + size:
        raise Odd
    n: cython.longlong = grouped(m, p + 2, whole, scale)
    if n < 0:
        out[o] = 45
        o += 1
        n = -n
    unit: cython.longlong = 1
    for _ in range(scale):
        unit *= 10
    o = number(out, o, n // unit)
    if scale:
        out[o] = 46
        n %= unit
        for i in range(scale):
            out[o + scale - i] = 48 + n % 10
            n //= 10
        o += 1 + scale
    return o
