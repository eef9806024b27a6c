# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From the rows of MySQL's query results, in text form, to keys and bodies of records.

The compiled twin of the functions that the engine generates to read such rows, and encoders to write them. A row is the
texts of its values, each behind its length. Reads are checked against the packet's end, column by column.

Form: MySQL internals manual, "Text Resultset".
"""

from __future__ import annotations

import cython

from schemas.twin import kinds
from schemas.twin.odd import LARGE_BYTES, Odd

if cython.compiled:
    from cython.cimports.schemas.twin.packed import days, little
    from cython.cimports.schemas.twin.values import avro_number, json_number
    from cython.cimports.schemas.twin.words import has_high_bits
    from cython.cimports.schemas.twin.writer import Writer
else:
    from schemas.twin.packed import days, little
    from schemas.twin.values import avro_number, json_number
    from schemas.twin.words import has_high_bits
    from schemas.twin.writer import Writer

BOOLEAN = cython.declare(cython.int, kinds.BOOLEAN)
DATE = cython.declare(cython.int, kinds.DATE)
TIMESTAMP = cython.declare(cython.int, kinds.TIMESTAMP)
ZONED = cython.declare(cython.int, kinds.ZONED)
DECIMAL = cython.declare(cython.int, kinds.DECIMAL)
BYTES = cython.declare(cython.int, kinds.BYTES)
TEXT = cython.declare(cython.int, kinds.TEXT)
CALLED = cython.declare(cython.int, kinds.CALLED)
NARROW = cython.declare(cython.int, kinds.NARROW)
PACKET_BYTES_MAX = cython.declare(cython.Py_ssize_t, LARGE_BYTES)

# Numbers of more than 31 bits are C's only if they are declared.
SECOND_US = cython.declare(cython.longlong, 1_000_000)
DAY_US = cython.declare(cython.longlong, 86_400_000_000)

NULL = cython.declare(cython.int, 0xFB)
LARGEST = cython.declare(cython.int, 0xFD)
"""What stands before a length of three bytes; a longer one is not read here."""
SPLIT_BYTES = cython.declare(cython.Py_ssize_t, 0xFFFFFF)
"""A packet of so many bytes is not all of its message."""
DECIMAL_DIGITS_MAX = cython.declare(cython.Py_ssize_t, kinds.DIGITS_MAX)
DIGITS_MAX = cython.declare(cython.Py_ssize_t, 19)
"""Digits that 64 bits without a sign hold, whatever they are."""
INT64_END = cython.declare(cython.ulonglong, 1 << 63)

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(-1)
def _digits(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    """Read digits, of which there is one at least and which 63 bits hold."""
    n: cython.ulonglong = 0
    if not 0 < q - p <= DIGITS_MAX:
        raise Odd
    while p < q:
        if not 48 <= m[p] <= 57:
            raise Odd
        n = 10 * n + (m[p] - 48)
        p += 1
    if n >= INT64_END:
        raise Odd
    return n


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _whole(
    m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t, scale: cython.Py_ssize_t
) -> cython.longlong:
    """Read a number with so many digits behind its point as an unscaled one."""
    is_negative: cython.bint = p < q and m[p] == 45
    n: cython.longlong = 0
    unit: cython.longlong = 1
    _: cython.Py_ssize_t
    p += is_negative
    if scale:
        if q - p < scale + 2 or q - p > DECIMAL_DIGITS_MAX + 1 or m[q - scale - 1] != 46:
            raise Odd
        n = _digits(m, q - scale, q)
        for _ in range(scale):
            unit *= 10
        q -= scale + 1
    n += unit * _digits(m, p, q)
    return -n if is_negative else n


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _day(m: cython.p_const_uchar, p: cython.Py_ssize_t) -> cython.longlong:
    if m[p + 4] != 45 or m[p + 7] != 45:
        raise Odd
    return days(_digits(m, p, p + 4), _digits(m, p + 5, p + 7), _digits(m, p + 8, p + 10))


@cython.cfunc
@cython.exceptval(-9223372036854775807, check=True)
def _moment(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.longlong:
    """Read `2024-02-29 12:00:00.5`, in microseconds since 1970."""
    if q - p < 19 or q - p > 26 or m[p + 10] != 32 or m[p + 13] != 58 or m[p + 16] != 58:
        raise Odd
    clock: cython.longlong = _digits(m, p + 11, p + 13) * 3600 + _digits(m, p + 14, p + 16) * 60
    us: cython.longlong = _day(m, p) * DAY_US + (clock + _digits(m, p + 17, p + 19)) * SECOND_US
    n: cython.longlong
    _: cython.Py_ssize_t
    if q - p > 19:
        if m[p + 19] != 46:
            raise Odd
        n = _digits(m, p + 20, q)
        for _ in range(26 - (q - p)):
            n *= 10
        us += n
    return us


def take(
    buffer: bytes,
    at: cython.Py_ssize_t,
    out: list[bytes],
    count_max: cython.Py_ssize_t,
    bytes_max: cython.Py_ssize_t,
) -> int:
    """Append the rows that stand in `buffer`, each behind the header of its packet, from `at` on; return where the
    first stands that is not taken: there are `count_max`, or `bytes_max` bytes, or it is not whole, or may be no row.
    """
    m: cython.p_const_uchar = buffer
    n: cython.Py_ssize_t = len(buffer)
    size: cython.Py_ssize_t
    while count_max > 0 and bytes_max > 0 and at + 5 <= n:
        size = little(m, at, at + 3)
        # The end of all, an error, or a value of 16 MiB.
        if not 0 < size < SPLIT_BYTES or at + 4 + size > n or m[at + 4] > LARGEST:
            break
        at += 4
        out.append(bytes(m[at : at + size]))
        at += size
        count_max -= 1
        bytes_max -= size
    return at


@cython.cclass
class CellWriter(Writer):
    """Writes keys and bodies of one table's rows."""

    @cython.cfunc
    def _body(self, packet: bytes) -> object:
        """Write one row; return its key."""
        keys: cython.p_const_uchar = self.keys
        m: cython.p_const_uchar = packet
        n: cython.Py_ssize_t = len(packet)
        p: cython.Py_ssize_t = 0
        q: cython.Py_ssize_t
        i: cython.Py_ssize_t
        if n > PACKET_BYTES_MAX:
            raise Odd
        self._reserve(self.o + 12 * n + self.margin)
        for i in range(self.count):
            self._name(i)
            if p >= n:
                raise Odd
            if m[p] == NULL:
                if keys[i]:
                    raise Odd
                self._write(self.null)
                p += 1
                continue
            q = p + 1
            if m[p] > NULL:
                if m[p] > LARGEST or p + m[p] - NULL + 2 > n:
                    raise Odd
                q += m[p] - NULL + 1
                p = q + little(m, p + 1, q)
            else:
                p = q + m[p]
            if p > n:
                raise Odd
            self.starts[i] = self.o
            self._value(i, packet, q, p)
            self.ends[i] = self.o
        if p != n:
            raise Odd
        self._end_row()
        return self._key()

    @cython.cfunc
    @cython.exceptval(-1)
    def _value(self, i: cython.Py_ssize_t, packet: bytes, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.int:
        """Write the value of a column, whose text stands from `p` to `q`."""
        kinds: cython.p_const_uchar = self.kinds
        m: cython.p_const_uchar = packet
        kind: cython.int = kinds[i]
        if kind == NARROW:
            kind = CALLED if has_high_bits(m, p, q) else TEXT
        if kind == CALLED:
            self._call(i, packet, p, q)
        elif kind == TEXT:
            self._text(m, p, q)
        elif kind == BYTES:
            self._octets(m, p, q)
        else:
            self._number(i, kind, m, p, q)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _number(
        self,
        i: cython.Py_ssize_t,
        kind: cython.int,
        m: cython.p_const_uchar,
        p: cython.Py_ssize_t,
        q: cython.Py_ssize_t,
    ) -> cython.int:
        scales: cython.p_const_uchar = self.scales
        n: cython.longlong
        if kind in (TIMESTAMP, ZONED):
            n = _moment(m, p, q)
        elif kind == DATE:
            if q - p != 10:
                raise Odd
            n = _day(m, p)
        elif kind == BOOLEAN:
            if q - p != 1:
                raise Odd
            n = m[p] == 1
        else:
            n = _whole(m, p, q, scales[i] if kind == DECIMAL else 0)
        if self.is_json:
            self.o = json_number(self.out, self.o, kind, n)
        else:
            self.out[self.o] = 2
            self.o = avro_number(self.out, self.o + 1, kind, n)
        return 0
