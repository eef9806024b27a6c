# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Values of records, Avro and JSON, written as the texts that `load data` of MySQL and MariaDB takes.

The same as `fields`, for another reader: a value stands in `m` from `p` to `q`, as `readings` has found it. Its text is
written to `out` at `o`, where there must be room for twice the value's length and 64 bytes. Each function returns where
it ended. What is unusual raises `Odd`, or what Python raises for it: the careful way has the record then.

Forms: "LOAD DATA", Field and Line Handling; see `apply.sinks.mysql.types` for what is sent.
"""

from __future__ import annotations

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.libc.string import memmove
    from cython.cimports.schemas.twin.readings import (
        base64_bytes,
        instant,
        integer,
        long_of,
        see_utf8,
        truth,
        twos_complement,
        unescaped,
        varint_end,
    )
    from cython.cimports.schemas.twin.values import copy, digits, number, zoned
    from cython.cimports.schemas.twin.words import plain_end
else:
    from schemas.twin.readings import (
        base64_bytes,
        instant,
        integer,
        long_of,
        see_utf8,
        truth,
        twos_complement,
        unescaped,
        varint_end,
    )
    from schemas.twin.values import copy, digits, number, zoned
    from schemas.twin.words import plain_end

BOOLEAN = cython.declare(cython.int, kinds.BOOLEAN)
DATE = cython.declare(cython.int, kinds.DATE)
TIME = cython.declare(cython.int, kinds.TIME)
TIMESTAMP = cython.declare(cython.int, kinds.TIMESTAMP)
ZONED = cython.declare(cython.int, kinds.ZONED)
DECIMAL = cython.declare(cython.int, kinds.DECIMAL)
UUID = cython.declare(cython.int, kinds.UUID)
BYTES = cython.declare(cython.int, kinds.BYTES)

# Numbers of more than 31 bits are C's only if they are declared.
DAY_US = cython.declare(cython.longlong, 86_400_000_000)
NEAR_DAYS = cython.declare(cython.longlong, 1 << 22)
"""Within this bound days are microseconds that 64 bits hold; `zoned` knows the years that there are."""

DAY_BYTES = cython.declare(cython.Py_ssize_t, 10)
STAMP_BYTES = cython.declare(cython.Py_ssize_t, 26)
CLOCK_BYTES = cython.declare(cython.Py_ssize_t, 15)
"""Of `2026-11-29`, `2026-11-29 12:34:56.123456`, and what stands behind its blank."""
UUID_BYTES = cython.declare(cython.Py_ssize_t, 36)
SCRATCH = cython.declare(cython.Py_ssize_t, 24)
"""Where, behind `o`, what a text is made of may stand."""

HEX = cython.declare(bytes, b"0123456789abcdef")
ESCAPES = cython.declare(bytes, bytes([{0: 48, 9: 116, 10: 110, 92: 92}.get(c, 0) for c in range(256)]))
"""What stands behind a backslash for a byte that cannot stand for itself; 0: it can."""

SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(-1)
def _number(out: cython.p_uchar, o: cython.Py_ssize_t, kind: cython.int, n: cython.longlong) -> cython.Py_ssize_t:
    """Write a canonical number as its kind's text."""
    if kind in (TIMESTAMP, ZONED):
        zoned(out, o, n)
        out[o + DAY_BYTES] = 32
        return o + STAMP_BYTES
    if kind == DATE:
        if not -NEAR_DAYS < n < NEAR_DAYS:
            raise Odd
        zoned(out, o, n * DAY_US)
        return o + DAY_BYTES
    if kind == TIME:
        # The day's end is a time, too.
        if not 0 <= n < DAY_US:
            raise Odd
        zoned(out, o + SCRATCH, n)
        return copy(out, o, out, o + SCRATCH + DAY_BYTES + 1, CLOCK_BYTES)
    return number(out, o, n)


@cython.cfunc
@cython.exceptval(check=False)
def _decimal(out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.longlong, scale: cython.int) -> cython.Py_ssize_t:
    """Write an unscaled number with its decimals."""
    size: cython.ulonglong = n
    unit: cython.ulonglong = 1
    _: cython.int
    if not scale:
        return number(out, o, n)
    if n < 0:
        size = -size
        out[o] = 45
        o += 1
    for _ in range(scale):
        unit *= 10
    o = number(out, o, size // unit)
    out[o] = 46
    return digits(out, o + 1, size % unit, scale)


@cython.cfunc
@cython.exceptval(check=False)
def escaped(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write a text with escapes; it may stand in `out` itself, its length or more behind `o`."""
    escapes: cython.p_const_uchar = ESCAPES
    end: cython.Py_ssize_t = p
    c: cython.uchar
    while p < q:
        if p >= end:
            # Quotes are looked at here, too: they are what this search stops at, and stand for themselves.
            end = plain_end(m, p, q)
            if cython.compiled:
                memmove(out + o, m + p, end - p)
            else:
                out[o : o + end - p] = m[p:end]
            o += end - p
            p = end
            end = p + 8
            if p == q:
                break
        c = m[p]
        p += 1
        if escapes[c]:
            out[o] = 92
            o += 1
            c = escapes[c]
        out[o] = c
        o += 1
    return o


@cython.cfunc
@cython.exceptval(check=False)
def _hexadecimal(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write two digits for each byte; these may stand in `out` itself, their length or more behind `o`."""
    hexadecimal: cython.p_const_uchar = HEX
    c: cython.uchar
    while p < q:
        c = m[p]
        out[o] = hexadecimal[c >> 4]
        out[o + 1] = hexadecimal[c & 15]
        o += 2
        p += 1
    return o


@cython.cfunc
@cython.exceptval(-1)
def _uuid(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    i: cython.Py_ssize_t
    if q - p != UUID_BYTES:
        raise Odd
    for i in range(p, q):
        if not (48 <= m[i] <= 57 or 97 <= m[i] <= 102 or m[i] == 45):
            raise Odd
    return copy(out, o, m, p, UUID_BYTES)


@cython.cfunc
@cython.exceptval(-1)
def avro_text(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    kind: cython.int,
    scale: cython.int,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write the text of a value that stands from `p` to `q` (`avro_end`)."""
    if kind == BOOLEAN:
        if m[p] > 1:
            raise Odd
        out[o] = 48 + m[p]
        return o + 1
    if kind < ZONED:
        return _number(out, o, kind, long_of(m, p, q))
    p = varint_end(m, p, q)
    if kind == ZONED:
        return _number(out, o, kind, instant(m, p, q))
    if kind == DECIMAL:
        return _decimal(out, o, twos_complement(m, p, q), scale)
    if kind == UUID:
        return _uuid(out, o, m, p, q)
    if kind == BYTES:
        return _hexadecimal(out, o, m, p, q)
    see_utf8(m, p, q)
    return escaped(out, o, m, p, q)


@cython.cfunc
@cython.exceptval(-1)
def json_text(
    out: cython.p_uchar,
    o: cython.Py_ssize_t,
    kind: cython.int,
    scale: cython.int,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write the text of a value that stands from `p` to `q` (`json_end`)."""
    at: cython.Py_ssize_t
    if kind == BOOLEAN:
        out[o] = 48 + truth(m, p, q)
        return o + 1
    if kind < ZONED:
        return _number(out, o, kind, integer(m, p, q))
    if q - p < 2 or m[p] != 34 or m[q - 1] != 34:
        raise Odd
    p += 1
    q -= 1
    if kind == ZONED:
        return _number(out, o, kind, instant(m, p, q))
    if kind == UUID:
        return _uuid(out, o, m, p, q)
    if kind == DECIMAL:
        # More than eight bytes are no number here, and might not have room.
        if q - p > 12:
            raise Odd
        at = o + SCRATCH
        return _decimal(out, o, twos_complement(out, at, base64_bytes(out, at, m, p, q)), scale)
    at = o + q - p
    if kind == BYTES:
        return _hexadecimal(out, o, out, at, base64_bytes(out, at, m, p, q))
    return escaped(out, o, out, at, unescaped(out, at, m, p, q))
