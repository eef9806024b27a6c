# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Values of records, Avro and JSON, as they are read: where they end, and what numbers and bytes they are.

A value stands in `m` from `p` on; `avro_end` and `json_end` say where it ends, and see that this is before `n`. All
others read what stands from `p` to `q`. What is unusual raises `Odd`, or what Python raises for it.

Forms: Avro 1.12 specification, "Binary encoding"; RFC 8259.
"""

from __future__ import annotations

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.libc.string import memcmp
    from cython.cimports.schemas.twin.values import copy
    from cython.cimports.schemas.twin.words import has_high_bits, plain_end
else:
    from schemas.twin.values import copy
    from schemas.twin.words import has_high_bits, plain_end

BOOLEAN = cython.declare(cython.int, kinds.BOOLEAN)
FLOAT32 = cython.declare(cython.int, kinds.FLOAT32)
FLOAT64 = cython.declare(cython.int, kinds.FLOAT64)
ZONED = cython.declare(cython.int, kinds.ZONED)

# Numbers of more than 31 bits are C's only if they are declared.
INT64_END = cython.declare(cython.ulonglong, 1 << 63)
SECOND_US = cython.declare(cython.longlong, 1_000_000)

ZONED_BYTES = cython.declare(cython.Py_ssize_t, 27)
DIGITS_MAX = cython.declare(cython.Py_ssize_t, 19)
"""Digits that 64 bits without a sign hold, whatever they are."""

MONTHS = cython.declare(bytes, bytes((31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)))
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
SEXTETS = cython.declare(bytes, bytes([BASE64.find(c) & 255 for c in range(256)]))
"""What a sign of base64 stands for; 255: it is none."""
ESCAPED = cython.declare(
    bytes, bytes([{34: 34, 92: 92, 47: 47, 98: 8, 102: 12, 110: 10, 114: 13, 116: 9}.get(c, 0) for c in range(256)])
)
"""What a sign behind a backslash stands for; 0: nothing, or it begins a number."""

SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(check=False)
def same(
    m: cython.p_const_uchar, p: cython.Py_ssize_t, text: cython.p_const_uchar, n: cython.Py_ssize_t
) -> cython.bint:
    """Tell whether the first `n` bytes of a text stand at `p`."""
    return memcmp(m + p, text, n) == 0 if cython.compiled else m[p : p + n] == text[:n]


@cython.cfunc
@cython.exceptval(-1)
def varint_end(m: cython.p_const_uchar, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
    end: cython.Py_ssize_t = min(n, p + 10)
    while p < end:
        if m[p] < 128:
            return p + 1
        p += 1
    raise Odd


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def long_of(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    """Read an Avro long that ends at `q`."""
    z: cython.ulonglong = 0
    part: cython.ulonglong
    shift: cython.int = 0
    if q - p == 10 and m[q - 1] > 1:
        raise Odd
    while p < q:
        part = m[p] & 127
        z |= part << shift
        shift += 7
        p += 1
    n: cython.longlong = z >> 1
    return ~n if z & 1 else n


@cython.cfunc
@cython.exceptval(-1)
def avro_end(
    kind: cython.int, m: cython.p_const_uchar, p: cython.Py_ssize_t, n: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Return where a value ends, before `n`."""
    size: cython.longlong
    q: cython.Py_ssize_t
    if kind == BOOLEAN:
        q = p + 1
    elif kind == FLOAT32:
        q = p + 4
    elif kind == FLOAT64:
        q = p + 8
    else:
        q = varint_end(m, p, n)
        if kind >= ZONED:
            size = long_of(m, p, q)
            if not 0 <= size < n - q:
                raise Odd
            q += size
    if q >= n:
        raise Odd
    return q


@cython.cfunc
@cython.exceptval(-1)
def _string_end(m: cython.p_const_uchar, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Return where a JSON string ends whose quote is at `p`."""
    p += 1
    end: cython.Py_ssize_t = p
    while p < n:
        if p >= end:
            p = plain_end(m, p, n)
            end = p + 8
            if p == n:
                break
        if m[p] == 34:
            return p + 1
        p += 2 if m[p] == 92 else 1
    raise Odd


@cython.cfunc
@cython.exceptval(-1)
def json_end(m: cython.p_const_uchar, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Return where a value ends, before `n`. What it is made of is not looked at."""
    depth: cython.Py_ssize_t = 0
    while p < n:
        if m[p] == 34:
            p = _string_end(m, p, n)
        elif m[p] in {91, 123}:
            depth += 1
            p += 1
        elif m[p] in {93, 125} and depth:
            depth -= 1
            p += 1
        elif m[p] in {44, 93, 125} and not depth:
            return p
        else:
            p += 1
    raise Odd


@cython.cfunc
@cython.exceptval(-1)
def see_utf8(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.int:
    """Raise UnicodeDecodeError unless the bytes are UTF-8."""
    if has_high_bits(m, p, q):
        m[p:q].decode("utf-8")
    return 0


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def twos_complement(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    if not 1 <= q - p <= 8:
        # Zero bytes are NaN.
        raise Odd
    n: cython.longlong = m[p]
    if n > 127:
        n -= 256
    p += 1
    while p < q:
        n = n * 256 + m[p]
        p += 1
    return n


@cython.cfunc
@cython.exceptval(-1)
def _digits(m: cython.p_const_uchar, p: cython.Py_ssize_t, width: cython.int) -> cython.int:
    """Read up to nine digits."""
    n: cython.int = 0
    q: cython.Py_ssize_t = p + width
    while p < q:
        if not 48 <= m[p] <= 57:
            raise Odd
        n = 10 * n + m[p] - 48
        p += 1
    return n


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def instant(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    """Read `2026-11-29T12:34:56.123456Z` as microseconds since 1970."""
    if q - p != ZONED_BYTES or m[p + 4] != 45 or m[p + 7] != 45 or m[p + 10] != 84 or m[p + 13] != 58:
        raise Odd
    if m[p + 16] != 58 or m[p + 19] != 46 or m[p + 26] != 90:
        raise Odd
    year: cython.int = _digits(m, p, 4)
    month: cython.int = _digits(m, p + 5, 2)
    day: cython.int = _digits(m, p + 8, 2)
    hour: cython.int = _digits(m, p + 11, 2)
    minute: cython.int = _digits(m, p + 14, 2)
    second: cython.int = _digits(m, p + 17, 2)
    months: cython.p_const_uchar = MONTHS
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= months[month - 1] or hour > 23 or minute > 59 or second > 59:
        raise Odd
    if month == 2 and day == 29 and (year % 4 or (year % 100 == 0 and year % 400)):
        raise Odd
    # As `calendar.days_of`: years begin in March, so that leap days come last.
    if month <= 2:
        year -= 1
        month += 12
    days: cython.longlong = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day
    days -= 719_469
    seconds: cython.longlong = days * 86_400 + hour * 3600 + minute * 60 + second
    return seconds * SECOND_US + _digits(m, p + 20, 6)


@cython.cfunc
@cython.exceptval(-1)
def base64_bytes(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write to `out` at `o` the bytes that a padded base64 text stands for; return where they end."""
    sextets: cython.p_const_uchar = SEXTETS
    bits: cython.uint = 0
    sextet: cython.uint
    spare: cython.int = 0
    if (q - p) % 4:
        raise Odd
    if q > p and m[q - 1] == 61:
        spare = 2 if m[q - 2] == 61 else 1
    start: cython.Py_ssize_t = p
    end: cython.Py_ssize_t = q - spare
    while p < q:
        sextet = sextets[m[p]] if p < end else 0
        if sextet > 63:
            raise Odd
        bits = bits << 6 | sextet
        p += 1
        if (p - start) % 4 == 0:
            out[o] = bits >> 16
            out[o + 1] = bits >> 8 & 255
            out[o + 2] = bits & 255
            o += 3
            bits = 0
    # Bits that no byte holds are to be zero.
    if spare and (out[o - 1] or (spare == 2 and out[o - 2])):
        raise Odd
    return o - spare


@cython.cfunc
@cython.exceptval(-1)
def unescaped(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write to `out` at `o` what a JSON string, without its quotes, says; return where it ends.

    Raises UnicodeDecodeError unless it is UTF-8.
    """
    escaped: cython.p_const_uchar = ESCAPED
    start: cython.Py_ssize_t = p
    end: cython.Py_ssize_t = p
    c: cython.uchar
    while p < q:
        if p >= end:
            end = plain_end(m, p, q)
            o = copy(out, o, m, p, end - p)
            p = end
            end = p + 8
            if p == q:
                break
        c = m[p]
        p += 1
        if c == 92:
            # No string ends with one: `json_end` skips what follows.
            c = escaped[m[p]]
            p += 1
            if not c:
                raise Odd
        elif c < 32 or c == 34:
            raise Odd
        out[o] = c
        o += 1
    if has_high_bits(m, start, q):
        m[start:q].decode("utf-8")
    return o


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def integer(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    """Read a JSON number without decimals."""
    negative: cython.bint = m[p] == 45
    n: cython.ulonglong = 0
    if negative:
        p += 1
    # No leading zeros, and no negative zero, which is no int.
    if not 1 <= q - p <= DIGITS_MAX or (m[p] == 48 and (negative or q - p > 1)):
        raise Odd
    while p < q:
        if not 48 <= m[p] <= 57:
            raise Odd
        n = n * 10 + (m[p] - 48)
        p += 1
    if n >= INT64_END:
        raise Odd
    value: cython.longlong = n
    return -value if negative else value


@cython.cfunc
@cython.exceptval(-1)
def truth(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.int:
    """Read JSON's `true` as 1, `false` as 0."""
    if q - p == 4 and same(m, p, b"true", 4):
        return 1
    if q - p == 5 and same(m, p, b"false", 5):
        return 0
    raise Odd
