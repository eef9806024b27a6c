# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Plain forms: the texts of numbers and times, and rows as objects of plain values, or as lines of CSV.

The compiled twin of the functions that `schemas.codecs.plain_rows` generates, by a plan of the columns. What costs
there are the texts of times and decimals. A value that has no usual one is left to its column's function, as there.

Forms: see `schemas.types.plain`.
"""

from __future__ import annotations

from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.schemas.twin.values import copy, digits, number, zoned
else:
    from schemas.twin.values import copy, digits, number, zoned

SAME = cython.declare(cython.int, 0)
"""The kind of a column whose values stay what they are."""
DATE = cython.declare(cython.int, kinds.DATE)
TIME = cython.declare(cython.int, kinds.TIME)
TIMESTAMP = cython.declare(cython.int, kinds.TIMESTAMP)
ZONED = cython.declare(cython.int, kinds.ZONED)
DECIMAL = cython.declare(cython.int, kinds.DECIMAL)
STAMP = cython.declare(cython.int, kinds.STAMP)
CALLED = cython.declare(cython.int, kinds.CALLED)

# Numbers of more than 31 bits are C's only if they are declared.
DAY_US = cython.declare(cython.longlong, 86_400_000_000)
NEAR_DAYS = cython.declare(cython.longlong, 1 << 22)
"""Within this bound days are microseconds that 64 bits hold; `zoned` knows the years that there are."""

DAY_BYTES = cython.declare(cython.Py_ssize_t, 10)
STAMP_BYTES = cython.declare(cython.Py_ssize_t, 26)
CLOCK_BYTES = cython.declare(cython.Py_ssize_t, 15)
"""Of `2026-11-29`, `2026-11-29T12:34:56.123456`, and what stands behind its `T`."""
SCRATCH = cython.declare(cython.Py_ssize_t, 24)
"""Where, behind `o`, the text may stand that a time is taken of."""
TEXT_BYTES = cython.declare(cython.Py_ssize_t, 64)

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cfunc
@cython.exceptval(-1)
def plain_text(
    out: cython.p_uchar, o: cython.Py_ssize_t, kind: cython.int, scale: cython.int, n: cython.longlong
) -> cython.Py_ssize_t:
    """Write a canonical number as its kind's text, of 64 bytes at most; return where it ends."""
    if kind == ZONED:
        return zoned(out, o, n)
    if kind in (TIMESTAMP, STAMP):
        zoned(out, o, n)
        if kind == STAMP:
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
    return _decimal(out, o, n, scale) if kind == DECIMAL else number(out, o, n)


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


@cython.cclass
class PlainObjects:
    """Makes objects of rows that have the same columns."""

    names: list
    forms: list
    kinds: bytes
    scales: bytes
    unchanged: object
    buffer: bytearray
    out: cython.p_uchar
    count: cython.Py_ssize_t

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.plain_rows`."""
        self.names = plan["names"]
        self.forms = plan["forms"]
        self.kinds = plan["kinds"]
        self.scales = plan["scales"]
        self.unchanged = plan["unchanged"]
        self.buffer = bytearray(TEXT_BYTES)
        self.out = self.buffer
        self.count = len(self.names)

    def fields(self, row: Any) -> dict:
        """Return the object of a row: what is unchanged is left out, and None stays None."""
        kinds: cython.p_const_uchar = self.kinds
        values: tuple = tuple(row)
        made: dict = {}
        value: object
        i: cython.Py_ssize_t
        if len(values) != self.count:
            raise ValueError
        for i in range(self.count):
            value = values[i]
            if value is self.unchanged:
                continue
            if value is not None and kinds[i] != SAME:
                value = self._plain(i, kinds[i], value)
            made[self.names[i]] = value
        return made

    @cython.cfunc
    def _plain(self, i: cython.Py_ssize_t, kind: cython.int, value: object) -> object:
        scales: cython.p_const_uchar = self.scales
        n: cython.longlong
        end: cython.Py_ssize_t
        if kind != CALLED and type(value) is int:
            try:
                n = value
                end = plain_text(self.out, 0, kind, scales[i], n)
            except (Odd, OverflowError):
                pass
            else:
                return self.out[:end].decode("ascii")
        return self.forms[i](value)


@cython.cclass
class CsvLines(PlainObjects):
    """Makes lines of CSV of such rows."""

    null: str
    unknown: str
    delimiter: str
    end: str
    special: bytes
    other: frozenset

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `apply.sink_kinds.row_files.formats`. `special`: the characters that make a text be quoted."""
        PlainObjects.__init__(self, plan)
        self.null = plan["null"]
        self.unknown = plan["unknown"]
        self.delimiter = plan["delimiter"]
        self.end = plan["end"]
        self.other = frozenset(plan["special"])
        self.special = bytes(chr(c) in self.other for c in range(128))

    def line(self, row: Any) -> bytes:
        """Return the line of a row."""
        kinds: cython.p_const_uchar = self.kinds
        values: tuple = tuple(row)
        texts: list = []
        value: object
        i: cython.Py_ssize_t
        if len(values) != self.count:
            raise ValueError
        for i in range(self.count):
            value = values[i]
            if value is None:
                texts.append(self.null)
            elif value is self.unchanged:
                texts.append(self.unknown)
            else:
                if kinds[i] != SAME:
                    value = self._plain(i, kinds[i], value)
                texts.append(self._quoted(str(value)))
        return (self.delimiter.join(texts) + self.end).encode()

    @cython.cfunc
    def _quoted(self, text: str) -> object:
        special: cython.p_const_uchar = self.special
        character: cython.Py_UCS4
        code: cython.uint
        is_special: cython.bint = text in (self.null, self.unknown)
        if not is_special:
            for character in text:
                code = ord(character)
                if special[code] if code < 128 else character in self.other:
                    is_special = True
                    break
        if is_special:
            doubled = text.replace('"', '""')
            return f'"{doubled}"'
        return text
