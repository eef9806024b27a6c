# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From records to rows of Python values, in their canonical forms: for targets whose documents are made of values.

What has no value of C's is read by a function of the column, as elsewhere.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.libc.string import memcpy
    from cython.cimports.schemas.twin.records import RecordReader
else:
    from schemas.twin.records import RecordReader

BOOLEAN = cython.declare(cython.int, kinds.BOOLEAN)
INT16 = cython.declare(cython.int, kinds.INT16)
INT32 = cython.declare(cython.int, kinds.INT32)
UINT32 = cython.declare(cython.int, kinds.UINT32)
FLOAT32 = cython.declare(cython.int, kinds.FLOAT32)
FLOAT64 = cython.declare(cython.int, kinds.FLOAT64)
DATE = cython.declare(cython.int, kinds.DATE)
TIME = cython.declare(cython.int, kinds.TIME)
BYTES = cython.declare(cython.int, kinds.BYTES)

# Numbers of more than 31 bits are C's only if they are declared.
WORD = cython.declare(cython.longlong, 1 << 32)
HALF_WORD = cython.declare(cython.longlong, 1 << 31)
DAY_US = cython.declare(cython.longlong, 86_400_000_000)

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cclass
class RowReader(RecordReader):
    """Reads the rows of one table version, in one format."""

    old_columns: tuple
    unchanged: object

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.record_twin`. Its `old_columns` are all that is known of old rows."""
        RecordReader.__init__(self, plan)
        self.old_columns = plan["old_columns"]
        self.unchanged = plan["unchanged"]

    @cython.cfunc
    @cython.exceptval(-1)
    def _null(self, i: cython.Py_ssize_t) -> cython.int:
        self.row[i] = None
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _number(self, i: cython.Py_ssize_t, kind: cython.int, n: cython.longlong) -> cython.int:
        if kind == BOOLEAN:
            self.row[i] = n == 1
            return 0
        if kind == INT16:
            if not -32768 <= n < 32768:
                raise Odd
        elif kind in (INT32, DATE):
            if not -HALF_WORD <= n < HALF_WORD:
                raise Odd
        elif kind == UINT32:
            if not 0 <= n < WORD:
                raise Odd
        elif kind == TIME and not 0 <= n <= DAY_US:
            raise Odd
        self.row[i] = n
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
        if kind in (FLOAT32, FLOAT64):
            self.row[i] = _float(m, p, q)
        elif kind == BYTES:
            self.row[i] = bytes(m[p:q])
        else:
            self.row[i] = m[p:q].decode("utf-8")
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _called(self, i: cython.Py_ssize_t, made: object, left: cython.Py_ssize_t) -> cython.int:
        self.row[i] = made
        return 0

    @cython.cfunc
    def _row_made(self) -> object:
        return tuple(self.row)

    @cython.cfunc
    def _old_row_made(self) -> object:
        i: cython.Py_ssize_t
        if len(self.old_columns) == self.count:
            return tuple(self.row)
        made: list = [self.unchanged] * self.count
        for i in self.old_columns:
            made[i] = self.row[i]
        return tuple(made)


@cython.cfunc
def _float(m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> object:
    single: cython.float = 0
    double: cython.double = 0
    if not cython.compiled:
        return unpack_from("<f" if q - p == 4 else "<d", m, p)[0]
    if q - p == 4:
        memcpy(cython.address(single), m + p, 4)
        return single
    memcpy(cython.address(double), m + p, 8)
    return double
