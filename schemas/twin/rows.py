# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From PostgreSQL's rows to records: rows of its log, and of its binary COPY.

The compiled twin of the functions that encoders generate. One flag tells the two forms of headers before values apart.
Reads are checked against the message's end, column by column.

Wire forms: PostgreSQL documentation, "Logical Replication Message Formats", each message with its header (see
`pgoutput.py` of the engine), and COPY, "Binary Format".
"""

from __future__ import annotations

from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import LARGE_BYTES, Odd

if cython.compiled:
    from cython.cimports.schemas.twin.readings import see_utf8
    from cython.cimports.schemas.twin.values import avro_value, json_value, u32
    from cython.cimports.schemas.twin.writer import Writer
else:
    from schemas.twin.readings import see_utf8
    from schemas.twin.values import avro_value, json_value, u32
    from schemas.twin.writer import Writer

TEXT = cython.declare(cython.int, kinds.TEXT)
CALLED = cython.declare(cython.int, kinds.CALLED)
SIZES = cython.declare(bytes, kinds.SIZES)
INSERT = cython.declare(cython.int, ord("I"))
UPDATE = cython.declare(cython.int, ord("U"))
DELETE = cython.declare(cython.int, ord("D"))
NEW = cython.declare(cython.int, ord("N"))
OLD = cython.declare(cython.int, ord("O"))
KEY = cython.declare(cython.int, ord("K"))
NULL = cython.declare(cython.int, ord("n"))
BINARY = cython.declare(cython.int, ord("b"))
NO_VALUE = cython.declare(cython.longlong, 0xFFFFFFFF)
"""COPY's length of a null."""

MESSAGE_BYTES_MAX = cython.declare(cython.Py_ssize_t, LARGE_BYTES)

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cclass
class RowWriter(Writer):
    """Writes rows, and the keys of rows. Made for a table version, a format, and a form of rows."""

    is_logged: cython.bint

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.row_twin`."""
        Writer.__init__(self, plan)
        self.is_logged = plan["is_logged"]

    @cython.cfunc
    @cython.exceptval(-1)
    def _row(
        self, message: bytes, p: cython.Py_ssize_t, n: cython.Py_ssize_t, only_key: cython.bint
    ) -> cython.Py_ssize_t:
        """Write a row, behind whose count `p` is; return where it ended. `only_key`: all other columns must be null."""
        kinds: cython.p_const_uchar = self.kinds
        sizes: cython.p_const_uchar = SIZES
        keys: cython.p_const_uchar = self.keys
        i: cython.Py_ssize_t
        q: cython.Py_ssize_t
        start: cython.Py_ssize_t
        m: cython.p_const_uchar = message
        if (m[p - 2] << 8 | m[p - 1]) != self.count:
            raise Odd
        for i in range(self.count):
            self._name(i)
            q = self._null_end(m, p, n)
            if q and not keys[i]:
                self._write(self.null)
                p = q
                continue
            if q or (only_key and not keys[i]):
                raise Odd
            p += 5 if self.is_logged else 4
            q = p + u32(m, p - 4)
            if q > n or (sizes[kinds[i]] and sizes[kinds[i]] != q - p):
                raise Odd
            start = self.o
            self._value(i, message, p, q)
            if keys[i]:
                self.starts[i] = start
                self.ends[i] = self.o
            p = q
        self._end_row()
        return p

    @cython.cfunc
    @cython.exceptval(-1)
    def _null_end(self, m: cython.p_const_uchar, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return where a null ends; 0 where a value's length stands. Raises Odd if neither does."""
        if self.is_logged:
            if p < n and m[p] == NULL:
                return p + 1
            if p + 5 > n or m[p] != BINARY:
                raise Odd
            return 0
        if p + 4 > n:
            raise Odd
        return p + 4 if u32(m, p) == NO_VALUE else 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _value(self, i: cython.Py_ssize_t, message: bytes, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.int:
        """Write the value of column `i`, which stands from `p` to `q`."""
        kinds: cython.p_const_uchar = self.kinds
        scales: cython.p_const_uchar = self.scales
        kind: cython.int = kinds[i]
        m: cython.p_const_uchar = message
        if kind == CALLED:
            self._call(i, message, p, q)
        elif self.is_json:
            self.o = json_value(self.out, self.o, kind, scales[i], m, p, q)
        else:
            if kind >= TEXT and not self.is_logged:
                see_utf8(m, p, q)
            self.o = avro_value(self.out, self.o, kind, scales[i], m, p, q)
        return 0


@cython.cclass
class LogWriter(RowWriter):
    """Writes the records of one relation's messages in the log."""

    @cython.cfunc
    def _record(self, message: bytes, plain: bytes, tail: bytes, seq: cython.longlong) -> object:
        """Write the record of one message behind what is written; return its key."""
        n: cython.Py_ssize_t = len(message)
        head: bytes
        key: object
        m: cython.p_const_uchar = message
        if not 33 <= n <= MESSAGE_BYTES_MAX:
            raise Odd
        op: cython.int = m[25]
        row: cython.int = m[30]
        # An update without an old row is a whole row's only where the key is all that old rows hold.
        if row != (NEW if op == INSERT else OLD if self.is_whole else KEY if op == DELETE else NEW):
            raise Odd
        self._reserve(self.o + 12 * n + self.margin + len(plain) + len(tail))
        head = self.heads[op]
        self._write(head)
        p: cython.Py_ssize_t = self._row(message, 33, n, row == KEY)
        key = self._key()
        if op == UPDATE and row == OLD:
            if p + 3 > n or m[p] != NEW:
                raise Odd
            self._write(self.between)
            p = self._row(message, p + 3, n, False)
            if key != self._key():
                raise Odd
        if p != n:
            raise Odd
        if op == DELETE:
            self._write(self.after_delete)
        self._close(plain, tail, seq)
        return key

    @cython.cfunc
    def _is_delete(self, message: bytes) -> cython.bint:
        m: cython.p_const_uchar = message
        return m[25] == DELETE


@cython.cclass
class CopyWriter(RowWriter):
    """Writes keys and bodies of the rows of a binary COPY."""

    @cython.cfunc
    def _body(self, packet: bytes) -> object:
        """Write one row; return its key."""
        n: cython.Py_ssize_t = len(packet)
        if not 2 <= n <= MESSAGE_BYTES_MAX:
            raise Odd
        self._reserve(self.o + 12 * n + self.margin)
        if self._row(packet, 2, n, False) != n:
            raise Odd
        return self._key()
