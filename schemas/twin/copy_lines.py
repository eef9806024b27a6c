# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From records to the lines of PostgreSQL's binary COPY: of each column its field, the length in front.

Forms: the `*_recv` functions under src/backend/utils/adt; see `apply.sinks.postgresql.types` for what is sent.
"""

from __future__ import annotations

from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.schemas.twin.records import LineWriter
    from cython.cimports.schemas.twin.values import copy
else:
    from schemas.twin.records import LineWriter
    from schemas.twin.values import copy

INT16 = cython.declare(cython.int, kinds.INT16)
INT32 = cython.declare(cython.int, kinds.INT32)
UINT32 = cython.declare(cython.int, kinds.UINT32)
FLOAT32 = cython.declare(cython.int, kinds.FLOAT32)
FLOAT64 = cython.declare(cython.int, kinds.FLOAT64)
DATE = cython.declare(cython.int, kinds.DATE)
TIMESTAMP = cython.declare(cython.int, kinds.TIMESTAMP)
ZONED = cython.declare(cython.int, kinds.ZONED)
DECIMAL = cython.declare(cython.int, kinds.DECIMAL)
UUID = cython.declare(cython.int, kinds.UUID)
VERSIONED = cython.declare(cython.int, kinds.VERSIONED)

# Numbers of more than 31 bits are C's only if they are declared.
WORD = cython.declare(cython.longlong, 1 << 32)
HALF_WORD = cython.declare(cython.longlong, 1 << 31)
NEAR_DAYS = cython.declare(cython.longlong, 1 << 30)
EPOCH_DAYS = cython.declare(cython.longlong, 10_957)
NEAR_US = cython.declare(cython.longlong, 1 << 62)
"""Within these bounds a date or timestamp is neither infinite nor one that wraps."""
EPOCH_US = cython.declare(cython.longlong, 946_684_800_000_000)

UUID_BYTES = cython.declare(cython.Py_ssize_t, 36)
FIXED_ENDS = cython.declare(tuple, (10**12, 10**9, 10**10, 10**11, 10**12))
"""By scale, the size of unscaled numbers from which on the shape of three digits does not hold them (`numeric.py`)."""

NULL = cython.declare(bytes, b"\xff\xff\xff\xff")

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cclass
class CopyLines(LineWriter):
    """Writes the fields of each row. Made for a table version, a format, and a form of a sink."""

    sizes: cython.p_const_uchar

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.record_twin`. Its `sizes` are the lengths of fields; 0: any."""
        LineWriter.__init__(self, plan, 1)
        sizes: bytes = plan["sizes"]
        self.sizes = sizes

    @cython.cfunc
    @cython.exceptval(-1)
    def _null(self, i: cython.Py_ssize_t) -> cython.int:
        return self._put(NULL)

    @cython.cfunc
    @cython.exceptval(-1)
    def _number(self, i: cython.Py_ssize_t, kind: cython.int, n: cython.longlong) -> cython.int:
        if kind == DECIMAL:
            self.o = _numeric(self.out, self.o, n, self.scales[i])
        else:
            self.o = _integer(self.out, self.o, kind, self.sizes[i], n)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _octets(
        self,
        i: cython.Py_ssize_t,
        kind: cython.int,
        m: cython.p_const_uchar,
        p: cython.Py_ssize_t,
        q: cython.Py_ssize_t,
    ) -> cython.int:
        out: cython.p_uchar = self.out
        o: cython.Py_ssize_t = self.o
        if kind in (FLOAT32, FLOAT64):
            self.o = _float(out, o, self.sizes[i], m, p)
        elif kind == UUID:
            self.o = _uuid(out, o, m, p, q)
        elif kind == VERSIONED:
            o = _big_endian(out, o, q - p + 1, 4)
            out[o] = 1
            self.o = copy(out, o + 1, m, p, q - p)
        else:
            self.o = copy(out, _big_endian(out, o, q - p, 4), m, p, q - p)
        return 0


@cython.cfunc
@cython.exceptval(check=False)
def _big_endian(
    out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.longlong, size: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    i: cython.Py_ssize_t = o + size
    while i > o:
        i -= 1
        out[i] = n & 255
        n >>= 8
    return o + size


@cython.cfunc
@cython.exceptval(-1)
def _integer(
    out: cython.p_uchar, o: cython.Py_ssize_t, kind: cython.int, size: cython.Py_ssize_t, n: cython.longlong
) -> cython.Py_ssize_t:
    """Write a canonical number as its kind's field."""
    if kind in (TIMESTAMP, ZONED):
        if not -NEAR_US < n < NEAR_US:
            raise Odd
        n -= EPOCH_US
    elif kind == DATE:
        if not -NEAR_DAYS < n < NEAR_DAYS:
            raise Odd
        n -= EPOCH_DAYS
    elif kind == INT16:
        if not -32768 <= n < 32768:
            raise Odd
    elif kind == INT32:
        if not -HALF_WORD <= n < HALF_WORD:
            raise Odd
    elif kind == UINT32 and not 0 <= n < WORD:
        raise Odd
    return _big_endian(out, _big_endian(out, o, size, 4), n, size)


@cython.cfunc
@cython.exceptval(-1)
def _numeric(out: cython.p_uchar, o: cython.Py_ssize_t, n: cython.longlong, scale: cython.int) -> cython.Py_ssize_t:
    """Write an unscaled number as the field that `apply.sinks.postgresql.numeric` makes of it."""
    size: cython.ulonglong = n
    if n < 0:
        size = -size
    decimals: cython.int = scale % 4
    unit: cython.ulonglong = 1
    _: cython.int
    for _ in range(decimals):
        unit *= 10
    whole: cython.ulonglong = size // unit
    left: cython.ulonglong = whole
    count: cython.int = 1 if decimals and size else 0
    while left:
        left //= 10_000
        count += 1
    if scale <= 4 and size < cython.cast(cython.ulonglong, FIXED_ENDS[scale]):
        count = 3
    end: cython.Py_ssize_t = o + 12 + 2 * count
    o = _big_endian(out, o, 8 + 2 * count, 4)
    o = _big_endian(out, o, count, 2)
    o = _big_endian(out, o, count - 1 - (scale + 3) // 4 if count else 0, 2)
    o = _big_endian(out, o, 0x4000 if n < 0 else 0, 2)
    o = _big_endian(out, o, scale, 2)
    at: cython.Py_ssize_t = end
    if decimals and count:
        at -= 2
        _big_endian(out, at, size % unit * (10_000 // unit), 2)
    while at > o:
        at -= 2
        _big_endian(out, at, whole % 10_000, 2)
        whole //= 10_000
    return end


@cython.cfunc
@cython.exceptval(-1)
def _nibble(c: cython.int) -> cython.int:
    if 48 <= c <= 57:
        return c - 48
    if not 97 <= c <= 102:
        raise Odd
    return c - 87


@cython.cfunc
@cython.exceptval(-1)
def _uuid(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    if q - p != UUID_BYTES:
        raise Odd
    o = _big_endian(out, o, 16, 4)
    i: cython.int
    for i in range(16):
        if i in (4, 6, 8, 10):
            if m[p] != 45:
                raise Odd
            p += 1
        out[o] = _nibble(m[p]) << 4 | _nibble(m[p + 1])
        o += 1
        p += 2
    return o


@cython.cfunc
@cython.exceptval(-1)
def _float(
    out: cython.p_uchar, o: cython.Py_ssize_t, size: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    i: cython.Py_ssize_t
    if size == 4 and m[p + 3] & 127 == 127 and m[p + 2] > 127:
        # Python makes a double of it, and may make a NaN another one.
        raise Odd
    o = _big_endian(out, o, size, 4)
    for i in range(size):
        out[o + i] = m[p + size - 1 - i]
    return o + size
