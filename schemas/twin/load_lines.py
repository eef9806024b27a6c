# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From records to the lines that `load data` of MySQL and MariaDB takes: of each column a text, with tabs between them.

Forms: "LOAD DATA", Field and Line Handling; see `apply.sinks.mysql.types` for what is sent.
"""

from __future__ import annotations

from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.schemas.twin.plain import plain_text
    from cython.cimports.schemas.twin.records import LineWriter
    from cython.cimports.schemas.twin.values import copy
    from cython.cimports.schemas.twin.words import plain_end
else:
    from schemas.twin.plain import plain_text
    from schemas.twin.records import LineWriter
    from schemas.twin.values import copy
    from schemas.twin.words import plain_end

TIMESTAMP = cython.declare(cython.int, kinds.TIMESTAMP)
ZONED = cython.declare(cython.int, kinds.ZONED)
UUID = cython.declare(cython.int, kinds.UUID)
STAMP = cython.declare(cython.int, kinds.STAMP)
BYTES = cython.declare(cython.int, kinds.BYTES)

UUID_BYTES = cython.declare(cython.Py_ssize_t, 36)

HEX = cython.declare(bytes, b"0123456789abcdef")
ESCAPES = cython.declare(bytes, bytes([{0: 48, 9: 116, 10: 110, 92: 92}.get(c, 0) for c in range(256)]))
"""What stands behind a backslash for a byte that cannot stand for itself; 0: it can."""

NULL = cython.declare(bytes, b"\\N")

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cclass
class LoadLines(LineWriter):
    """Writes the texts of each row. Made for a table version, a format, and a form of a sink."""

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.record_twin`. Of a byte may come an escape, or two digits."""
        LineWriter.__init__(self, plan, 2)

    @cython.cfunc
    @cython.exceptval(-1)
    def _null(self, i: cython.Py_ssize_t) -> cython.int:
        return self._put(NULL)

    @cython.cfunc
    @cython.exceptval(-1)
    def _number(self, i: cython.Py_ssize_t, kind: cython.int, n: cython.longlong) -> cython.int:
        if kind in (TIMESTAMP, ZONED):
            kind = STAMP
        return self._end_text(plain_text(self.out, self.o, kind, self.scales[i], n))

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
        if kind == UUID:
            return self._end_text(_uuid(self.out, self.o, m, p, q))
        if kind == BYTES:
            return self._end_text(_hexadecimal(self.out, self.o, m, p, q))
        return self._end_text(_escaped(self.out, self.o, m, p, q))

    @cython.cfunc
    @cython.exceptval(-1)
    def _put(self, content: bytes) -> cython.int:
        return self._end_text(copy(self.out, self.o, content, 0, len(content)))

    @cython.cfunc
    @cython.exceptval(-1)
    def _end_text(self, o: cython.Py_ssize_t) -> cython.int:
        self.out[o] = 9
        self.o = o + 1
        return 0

    @cython.cfunc
    def _row_made(self) -> object:
        # The line's end stands in the place of the last tab.
        self.out[self.o - 1] = 10
        return bytes(self.out[: self.o])


@cython.cfunc
@cython.exceptval(check=False)
def _escaped(
    out: cython.p_uchar, o: cython.Py_ssize_t, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """Write a text with escapes."""
    escapes: cython.p_const_uchar = ESCAPES
    end: cython.Py_ssize_t = p
    c: cython.uchar
    while p < q:
        if p >= end:
            # Quotes are looked at here, too: they are what this search stops at, and stand for themselves.
            end = plain_end(m, p, q)
            o = copy(out, o, m, p, end - p)
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
    """Write two digits for each byte."""
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
