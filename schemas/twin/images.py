# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From MySQL's row images to records: rows of the log that have all their columns.

The compiled twin of the functions that the engine generates to read events, and encoders to write records. It has the
messages that `cutting` makes. Reads are checked against the message's end, column by column.
"""

from __future__ import annotations

from array import array
from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import LARGE_BYTES, Odd

if cython.compiled:
    from cython.cimports.schemas.twin.documents import document
    from cython.cimports.schemas.twin.packed import little, packed
    from cython.cimports.schemas.twin.values import avro_number, base64, copy, json_number, uuid
    from cython.cimports.schemas.twin.words import has_high_bits
    from cython.cimports.schemas.twin.writer import Writer
else:
    from schemas.twin.documents import document
    from schemas.twin.packed import little, packed
    from schemas.twin.values import avro_number, base64, copy, json_number, uuid
    from schemas.twin.words import has_high_bits
    from schemas.twin.writer import Writer

FLOAT32 = cython.declare(cython.int, kinds.FLOAT32)
FLOAT64 = cython.declare(cython.int, kinds.FLOAT64)
UUID = cython.declare(cython.int, kinds.UUID)
BYTES = cython.declare(cython.int, kinds.BYTES)
TEXT = cython.declare(cython.int, kinds.TEXT)
CALLED = cython.declare(cython.int, kinds.CALLED)
NARROW = cython.declare(cython.int, kinds.NARROW)
LABEL = cython.declare(cython.int, kinds.LABEL)
DOCUMENT = cython.declare(cython.int, kinds.DOCUMENT)
UNSIGNED = cython.declare(cython.int, kinds.UNSIGNED)
PADDED = cython.declare(cython.int, kinds.PADDED)
SKIPPED = cython.declare(cython.int, kinds.SKIPPED)
UPDATE = cython.declare(cython.int, ord("U"))
DELETE = cython.declare(cython.int, ord("D"))
MESSAGE_BYTES_MAX = cython.declare(cython.Py_ssize_t, LARGE_BYTES)
KEPT_BYTES_MAX = cython.declare(cython.Py_ssize_t, 1 << 16)

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cclass
class ImageWriter(Writer):
    """Writes the records of one table's messages."""

    width: cython.Py_ssize_t
    readings: bytes
    prefixes: bytes
    sizes: bytes
    details: bytes
    labels: dict
    old_starts: cython.longlong[::1]
    old_ends: cython.longlong[::1]
    text: bytearray

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.row_twin`, and `capture.sources.mysql.images`."""
        Writer.__init__(self, plan)
        self.readings = plan["readings"]
        self.prefixes = plan["prefixes"]
        self.sizes = plan["sizes"]
        self.details = plan["details"]
        self.labels = plan["labels"]
        self.width = len(self.readings)
        # What is longer than its value: padding, in base64 at most, and labels. Twice, and once more in the key.
        self.margin += 6 * sum(self.details)
        self.margin += 3 * sum(max(map(len, texts)) for texts in self.labels.values())
        self.old_starts = array("q", bytes(8 * self.count))
        self.old_ends = array("q", bytes(8 * self.count))
        self.text = bytearray()

    @cython.cfunc
    def _record(self, message: bytes, plain: bytes, tail: bytes, seq: cython.longlong) -> object:
        """Write the record of one message behind what is written; return its key."""
        n: cython.Py_ssize_t = len(message)
        m: cython.p_const_uchar = message
        if not 2 <= n <= MESSAGE_BYTES_MAX:
            raise Odd
        op: cython.int = m[0]
        p: cython.Py_ssize_t = 1
        self._reserve(self.o + 12 * n + self.margin + len(plain) + len(tail))
        self._write(self.heads[op])
        if op == UPDATE:
            if self.is_whole:
                p = self._row(message, p, n, False, False)
                self._write(self.between)
            else:
                p = self._passed(m, p, n)
        p = self._row(message, p, n, op == DELETE and not self.is_whole, op == UPDATE)
        if p != n:
            raise Odd
        key = self._key()
        if op == DELETE:
            self._write(self.after_delete)
        self._close(plain, tail, seq)
        return key

    @cython.cfunc
    def _is_delete(self, message: bytes) -> cython.bint:
        m: cython.p_const_uchar = message
        return m[0] == DELETE

    @cython.cfunc
    @cython.exceptval(-1)
    def _give_back(self) -> cython.int:
        """Keep no large text of a document either, whether or not it was written."""
        if len(self.text) > KEPT_BYTES_MAX:
            self.text = bytearray()
        return Writer._give_back(self)

    @cython.cfunc
    @cython.exceptval(-1)
    def _value_at(
        self, m: cython.p_const_uchar, i: cython.Py_ssize_t, p: cython.Py_ssize_t, n: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Return where the value of a column of the log's begins that stands at `p`, and see to it that it ends."""
        prefixes: cython.p_const_uchar = self.prefixes
        sizes: cython.p_const_uchar = self.sizes
        if not prefixes[i]:
            if p + sizes[i] > n:
                raise Odd
            return p
        if p + prefixes[i] > n or p + prefixes[i] + little(m, p, p + prefixes[i]) > n:
            raise Odd
        return p + prefixes[i]

    @cython.cfunc
    @cython.exceptval(check=False)
    def _value_end(self, m: cython.p_const_uchar, i: cython.Py_ssize_t, p: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return where the value ends that begins at `p`."""
        prefixes: cython.p_const_uchar = self.prefixes
        sizes: cython.p_const_uchar = self.sizes
        return p + (little(m, p - prefixes[i], p) if prefixes[i] else sizes[i])

    @cython.cfunc
    @cython.exceptval(-1)
    def _passed(self, m: cython.p_const_uchar, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Go through an old image of which only the key counts; return where it ends."""
        keys: cython.p_const_uchar = self.keys
        readings: cython.p_const_uchar = self.readings
        i: cython.Py_ssize_t
        place: cython.Py_ssize_t = 0
        nulls: cython.Py_ssize_t = p
        p += (self.width + 7) // 8
        if p > n:
            raise Odd
        for i in range(self.width):
            if not m[nulls + (i >> 3)] >> (i & 7) & 1:
                p = self._value_at(m, i, p, n)
                if readings[i] != SKIPPED and keys[place]:
                    self.old_starts[place] = p
                    p = self._value_end(m, i, p)
                    self.old_ends[place] = p
                else:
                    p = self._value_end(m, i, p)
            elif readings[i] != SKIPPED and keys[place]:
                raise Odd
            place += readings[i] != SKIPPED
        return p

    @cython.cfunc
    @cython.exceptval(-1)
    def _row(
        self,
        message: bytes,
        p: cython.Py_ssize_t,
        n: cython.Py_ssize_t,
        only_key: cython.bint,
        is_next: cython.bint,
    ) -> cython.Py_ssize_t:
        """Write a row; return where its image ends.

        `only_key`: all other columns become null. `is_next`: the key must be that of the image before, byte by byte.
        """
        m: cython.p_const_uchar = message
        keys: cython.p_const_uchar = self.keys
        readings: cython.p_const_uchar = self.readings
        i: cython.Py_ssize_t
        q: cython.Py_ssize_t
        place: cython.Py_ssize_t = 0
        is_null: cython.bint
        nulls: cython.Py_ssize_t = p
        p += (self.width + 7) // 8
        if p > n:
            raise Odd
        for i in range(self.width):
            is_null = m[nulls + (i >> 3)] >> (i & 7) & 1
            q = p
            if not is_null:
                p = self._value_at(m, i, p, n)
                q = self._value_end(m, i, p)
            if readings[i] == SKIPPED:
                p = q
                continue
            self._name(place)
            if keys[place]:
                if is_null or (is_next and not self._is_old(m, place, p, q)):
                    raise Odd
                self.old_starts[place] = p
                self.old_ends[place] = q
                self.starts[place] = self.o
                self._value(i, place, message, p, q)
                self.ends[place] = self.o
            elif is_null or only_key:
                self._write(self.null)
            else:
                self._value(i, place, message, p, q)
            place += 1
            p = q
        self._end_row()
        return p

    @cython.cfunc
    @cython.exceptval(check=False)
    def _is_old(
        self, m: cython.p_const_uchar, place: cython.Py_ssize_t, p: cython.Py_ssize_t, q: cython.Py_ssize_t
    ) -> cython.bint:
        """Tell whether a value of the key is the same as in the old image."""
        start: cython.Py_ssize_t = self.old_starts[place]
        n: cython.Py_ssize_t = q - p
        i: cython.Py_ssize_t = 0
        if self.old_ends[place] - start != n:
            return False
        while i < n and m[start + i] == m[p + i]:
            i += 1
        return i == n

    @cython.cfunc
    @cython.exceptval(-1)
    def _value(
        self,
        i: cython.Py_ssize_t,
        place: cython.Py_ssize_t,
        message: bytes,
        p: cython.Py_ssize_t,
        q: cython.Py_ssize_t,
    ) -> cython.int:
        """Write the value of a column, which stands from `p` to `q`."""
        m: cython.p_const_uchar = message
        kinds: cython.p_const_uchar = self.kinds
        readings: cython.p_const_uchar = self.readings
        kind: cython.int = kinds[place]
        if kind == TEXT:
            self._text(m, p, q)
        elif kind == CALLED:
            self._call(place, message, p, q)
        elif kind == NARROW:
            if has_high_bits(m, p, q):
                self._call(place, message, p, q)
            else:
                self._text(m, p, q)
        elif kind == LABEL:
            self._label(place, little(m, p, q))
        elif kind == DOCUMENT:
            self._document(place, message, p, q)
        elif kind in (UUID, BYTES):
            self._bytes(i, kind, message, p, q)
        elif kind in (FLOAT32, FLOAT64):
            # Only Avro's, which has the same form.
            self.out[self.o] = 2
            self.o = copy(self.out, self.o + 1, m, p, q - p)
        elif readings[i] == UNSIGNED and q - p == 8 and m[q - 1] > 127:
            self._large(m, p)
        else:
            self._number(i, place, kind, m, p, q)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _number(
        self,
        i: cython.Py_ssize_t,
        place: cython.Py_ssize_t,
        kind: cython.int,
        m: cython.p_const_uchar,
        p: cython.Py_ssize_t,
        q: cython.Py_ssize_t,
    ) -> cython.int:
        readings: cython.p_const_uchar = self.readings
        details: cython.p_const_uchar = self.details
        scales: cython.p_const_uchar = self.scales
        n: cython.longlong = packed(readings[i], details[i], scales[place], m, p, q)
        if self.is_json:
            self.o = json_number(self.out, self.o, kind, n)
        else:
            self.out[self.o] = 2
            self.o = avro_number(self.out, self.o + 1, kind, n)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _document(
        self, place: cython.Py_ssize_t, message: bytes, p: cython.Py_ssize_t, q: cython.Py_ssize_t
    ) -> cython.int:
        """Write a document's text, which is put down beside the output first."""
        limit: cython.Py_ssize_t = 8 * (q - p) + 128
        end: cython.Py_ssize_t
        if limit > len(self.text):
            self.text = bytearray(2 * limit)
        text: cython.p_uchar = self.text
        try:
            end = document(text, 0, limit, message, p, q)
        except Odd:
            return self._call(place, message, p, q)
        # Quotes get escapes in JSON. Once more where it is of the key.
        self._reserve(self.reserved + 4 * end + 128)
        return self._text(text, 0, end)

    @cython.cfunc
    @cython.exceptval(-1)
    def _label(self, place: cython.Py_ssize_t, number: cython.longlong) -> cython.int:
        texts: list = self.labels[place]
        if not 0 <= number < len(texts):
            raise Odd
        return self._write(texts[number])

    @cython.cfunc
    @cython.exceptval(-1)
    def _bytes(
        self, i: cython.Py_ssize_t, kind: cython.int, message: bytes, p: cython.Py_ssize_t, q: cython.Py_ssize_t
    ) -> cython.int:
        readings: cython.p_const_uchar = self.readings
        details: cython.p_const_uchar = self.details
        content: bytes = message
        out: cython.p_uchar = self.out
        if readings[i] == PADDED:
            if q - p > details[i]:
                raise Odd
            if q - p < details[i]:
                content = message[p:q] + bytes(details[i] - (q - p))
                p, q = 0, details[i]
        m: cython.p_const_uchar = content
        if kind != UUID:
            return self._octets(m, p, q)
        if self.is_json:
            out[self.o] = 34
            self.o = uuid(out, self.o + 1, m, p)
            out[self.o] = 34
            self.o += 1
        else:
            out[self.o] = 2
            out[self.o + 1] = 72
            self.o = uuid(out, self.o + 2, m, p)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def _large(self, m: cython.p_const_uchar, p: cython.Py_ssize_t) -> cython.int:
        """Write an unsigned number beyond 63 bits: nine bytes of a two's complement."""
        out: cython.p_uchar = self.out
        o: cython.Py_ssize_t = self.o
        # JSON's stand behind their text's place first.
        at: cython.Py_ssize_t = o + 16 if self.is_json else o + 2
        i: cython.int
        out[at] = 0
        for i in range(8):
            out[at + 1 + i] = m[p + 7 - i]
        if self.is_json:
            out[o] = 34
            o = base64(out, o + 1, out, at, at + 9)
            out[o] = 34
            self.o = o + 1
        else:
            out[o] = 2
            out[o + 1] = 18
            self.o = at + 9
        return 0
