# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Numbers and times as MySQL's row images hold them, read as canonical numbers.

A value stands in `m` from `p` to `q`, of the length that its type has. What is unusual raises `Odd`: dates that no
calendar has among it, for which there is a policy.

Forms: `decimal2bin` in `decimal.cc`, `my_datetime_packed_to_binary` and its neighbours in `my_time.cc`.
"""

from __future__ import annotations

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

SIGNED = cython.declare(cython.int, kinds.SIGNED)
UNSIGNED = cython.declare(cython.int, kinds.UNSIGNED)
YEAR = cython.declare(cython.int, kinds.YEAR)
BITS = cython.declare(cython.int, kinds.BITS)
GROUPS = cython.declare(cython.int, kinds.GROUPS)
DAY = cython.declare(cython.int, kinds.DAY)
MOMENT = cython.declare(cython.int, kinds.MOMENT)

# Numbers of more than 31 bits are C's only if they are declared.
NO_SIGN = cython.declare(cython.longlong, 0x7FFFFFFFFF)
SECOND_US = cython.declare(cython.longlong, 1_000_000)
DAY_US = cython.declare(cython.longlong, 86_400_000_000)

GROUP_BYTES = cython.declare(bytes, bytes((0, 1, 1, 2, 2, 3, 3, 4, 4, 4)))
"""Bytes of so many digits."""
MONTH_DAYS = cython.declare(bytes, bytes((0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)))

SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(check=False)
def little(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    """Read up to eight bytes, the least significant first; eight of them with their sign."""
    n: cython.longlong = 0
    if q - p == 8:
        q -= 1
        n = m[q] - 256 if m[q] > 127 else m[q]
    while q > p:
        q -= 1
        n = n << 8 | m[q]
    return n


@cython.cfunc
@cython.exceptval(check=False)
def _big(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    """Read up to seven bytes, the most significant first."""
    n: cython.longlong = 0
    while p < q:
        n = n << 8 | m[p]
        p += 1
    return n


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _group(
    m: cython.p_const_uchar, p: cython.Py_ssize_t, digits: cython.int, mask: cython.int, first: cython.int
) -> cython.longlong:
    """Read up to nine digits; of the number's first byte, `first` is turned over too."""
    sizes: cython.p_const_uchar = GROUP_BYTES
    q: cython.Py_ssize_t = p + sizes[digits]
    bound: cython.longlong = 1
    n: cython.longlong = (m[p] ^ mask ^ first) & 255
    _: cython.int
    p += 1
    while p < q:
        n = n << 8 | (m[p] ^ mask)
        p += 1
    for _ in range(digits):
        bound *= 10
    if n >= bound:
        raise Odd
    return n


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def grouped(m: cython.p_const_uchar, p: cython.Py_ssize_t, whole: cython.int, scale: cython.int) -> cython.longlong:
    """Read a DECIMAL of up to 18 digits, `whole` of them before the point, as an unscaled number."""
    sizes: cython.p_const_uchar = GROUP_BYTES
    mask: cython.int = 0 if m[p] > 127 else 255
    first: cython.int = 128
    n: cython.longlong = 0
    part: cython.int
    left: cython.int = whole
    while left > 0:
        # The digits before the point are counted from there, those behind it too.
        part = left % 9 or 9
        n = n * _power(part) + _group(m, p, part, mask, first)
        p += sizes[part]
        left -= part
        first = 0
    left = scale
    while left > 0:
        part = min(left, 9)
        n = n * _power(part) + _group(m, p, part, mask, first)
        p += sizes[part]
        left -= part
        first = 0
    return -n if mask else n


@cython.cfunc
@cython.exceptval(check=False)
def decimal_end(p: cython.Py_ssize_t, whole: cython.int, scale: cython.int) -> cython.Py_ssize_t:
    """Return where such a DECIMAL ends that begins at `p`."""
    sizes: cython.p_const_uchar = GROUP_BYTES
    return p + 4 * (whole // 9 + scale // 9) + sizes[whole % 9] + sizes[scale % 9]


@cython.cfunc
@cython.exceptval(check=False)
def _power(digits: cython.int) -> cython.longlong:
    n: cython.longlong = 1
    _: cython.int
    for _ in range(digits):
        n *= 10
    return n


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def days(year: cython.longlong, month: cython.longlong, day: cython.longlong) -> cython.longlong:
    """Return the days since 1970."""
    lengths: cython.p_const_uchar = MONTH_DAYS
    if not 1 <= year <= 9999 or not 1 <= month <= 12 or not 1 <= day <= lengths[month]:
        raise Odd
    if month == 2 and day == 29 and (year % 4 or (year % 100 == 0 and year % 400)):
        raise Odd
    # The year begins in March: see `schemas.types.calendar`.
    if month < 3:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _fraction(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    """Read the microseconds of a fraction of two, four or six digits."""
    if p == q:
        return 0
    return _big(m, p, q) * (10_000 if q - p == 1 else 100 if q - p == 2 else 1)


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _moment(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    n: cython.longlong = _big(m, p, p + 5)
    if n <= NO_SIGN:
        raise Odd
    n -= NO_SIGN + 1
    # Year and month are one number, base 13.
    day: cython.longlong = days((n >> 22) // 13, (n >> 22) % 13, n >> 17 & 31)
    clock: cython.longlong = (n >> 12 & 31) * 3600 + (n >> 6 & 63) * 60 + (n & 63)
    return day * DAY_US + clock * SECOND_US + _fraction(m, p + 5, q)


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def packed(
    reading: cython.int,
    detail: cython.int,
    scale: cython.int,
    m: cython.p_const_uchar,
    p: cython.Py_ssize_t,
    q: cython.Py_ssize_t,
) -> cython.longlong:
    """Read a value as its canonical number. `detail`: of a DECIMAL, its digits before the point."""
    n: cython.longlong
    if reading == SIGNED:
        n = little(m, p, q)
        if q - p < 8 and m[q - 1] > 127:
            n -= cython.cast(cython.longlong, 1) << 8 * (q - p)
        return n
    if reading == UNSIGNED:
        return little(m, p, q)
    if reading == GROUPS:
        return grouped(m, p, detail, scale)
    if reading == MOMENT:
        return _moment(m, p, q)
    if reading == DAY:
        n = little(m, p, q)
        return days(n >> 9, n >> 5 & 15, n & 31)
    if reading == YEAR:
        return m[p] + 1900 if m[p] else 0
    if reading == BITS:
        return m[p] == 1
    # A TIMESTAMP. All zeros are no moment.
    n = _big(m, p, p + 4) * SECOND_US + _fraction(m, p + 4, q)
    if n == 0:
        raise Odd
    return n
