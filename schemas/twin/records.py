# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From records to what a sink is given of them, by a plan of the table's columns: the way through a record.

The compiled twin of functions that decoders generate: rows with all their columns, in an envelope as our encoders write
it. Whatever is otherwise is left to the caller's careful way, as in `rows`. Lines are made of new rows, and pass over
old ones; of a row that goes the values are read.

Here a record is read, Avro or JSON: its envelope, its nulls, where values end, what numbers and bytes they are. What
becomes of a value is a subclass's: one small class for each form that a target takes (`copy_lines`, `load_lines`). Both
meet between a canonical number, or bytes, of a kind: so a form knows nothing of formats, and a format of no form.

Bounds: reads are checked against the record's end, value by value. A field of a line is no longer than its value, or
`growth` times that, and 64 bytes; for what Python makes of a value the room is looked at. Large records go the careful
way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import LARGE_BYTES, Odd

if cython.compiled:
    from cython.cimports.schemas.twin.readings import (
        avro_end,
        base64_bytes,
        instant,
        integer,
        json_end,
        long_of,
        same,
        see_utf8,
        truth,
        twos_complement,
        unescaped,
        varint_end,
    )
    from cython.cimports.schemas.twin.values import copy
else:
    from schemas.twin.readings import (
        avro_end,
        base64_bytes,
        instant,
        integer,
        json_end,
        long_of,
        same,
        see_utf8,
        truth,
        twos_complement,
        unescaped,
        varint_end,
    )
    from schemas.twin.values import copy

BOOLEAN = cython.declare(cython.int, kinds.BOOLEAN)
FLOAT32 = cython.declare(cython.int, kinds.FLOAT32)
FLOAT64 = cython.declare(cython.int, kinds.FLOAT64)
ZONED = cython.declare(cython.int, kinds.ZONED)
DECIMAL = cython.declare(cython.int, kinds.DECIMAL)
UUID = cython.declare(cython.int, kinds.UUID)
BYTES = cython.declare(cython.int, kinds.BYTES)
CALLED = cython.declare(cython.int, kinds.CALLED)
RECORD_BYTES_MAX = cython.declare(cython.Py_ssize_t, LARGE_BYTES)
FIELD_BYTES = cython.declare(cython.Py_ssize_t, 64)
DECIMAL_SIGNS_MAX = cython.declare(cython.Py_ssize_t, 12)
"""Base64 of the eight bytes that a number here has at most."""

OPERATIONS = cython.declare(dict, {ord(op): op for op in "rcud"})
DELETE = cython.declare(cython.int, ord("d"))
PAYLOAD = cython.declare(bytes, b'"payload":')
OPENING = cython.declare(bytes, b'{"op":"')
BEFORE = cython.declare(bytes, b'","before":')
AFTER = cython.declare(bytes, b',"after":')
NULL = cython.declare(bytes, b"null")
SOURCE = cython.declare(bytes, b',"unavailable":null,"source":{"version":')
"""How envelopes of our encoders go on behind rows of which nothing is missing."""
NO_TRANSACTION = cython.declare(bytes, b"null}")
TRANSACTION = cython.declare(bytes, b"}}")
"""How they end."""

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cclass
class RecordReader:
    """Goes through the records of one table version, in one format. A subclass says what is made of a row."""

    def __init__(self, plan: dict[str, Any], growth: cython.Py_ssize_t = 0) -> None:
        """`plan`: see `schemas.codecs.record_twin`. `growth`: how many bytes of what is written a value's byte can
        become; 0: nothing is written.
        """
        self.plan = plan
        self.rows = plan.get("rows")
        self.growth = growth
        self.is_json = plan["is_json"]
        self.is_wrapped = plan["is_wrapped"]
        found: bytes = plan["kinds"]
        scales: bytes = plan["scales"]
        # They live as long as the plan does.
        self.kinds = found
        self.scales = scales
        self.names = plan["names"]
        self.calls = plan["calls"]
        self.count = len(found)
        self.margin = FIELD_BYTES * (self.count + 1)
        # What stands before the envelope in the record read last: most often, it is the same in the next one.
        self.schema = b""
        self.o = self.end = 0
        self.row: list[Any] = []
        self.is_running = False

    def run(self, values: list[bytes], out: list[Any], careful: Callable[[list[bytes], list[Any]], None]) -> None:
        """Append what is made of each record to `out`; `careful([record], out)` has those that are not usual."""
        if self.is_running:
            # Python runs within a run, so another thread may come: its memory would be taken for this one's.
            careful(values, out)
            return
        longest: cython.Py_ssize_t = min(max(map(len, values), default=0), RECORD_BYTES_MAX)
        scratch: bytearray = bytearray(longest + FIELD_BYTES)
        self.scratch = scratch
        # Once more than `growth` says: what Python makes of a value may be longer than it is.
        self.end = (self.growth + 1) * (longest + self.margin) if self.growth else 0
        buffer: bytearray = bytearray(self.end)
        self.out = buffer
        # Each record that is read to values sets all of them.
        self.row = [None] * self.count
        if self.rows is not None:
            self.rows.scratch = scratch
            self.rows.row = [None] * self.count
        self.is_running = True
        record: bytes
        made: object
        try:
            for record in values:
                try:
                    made = self._record(record)
                except Exception:  # noqa: BLE001 - as in generated code: any exception means an unusual record
                    made = None
                if made is None:
                    careful([record], out)
                else:
                    out.append(made)
        finally:
            # Of the last row, which may be large, nothing is kept: tables may be thousands.
            self.row = []
            if self.rows is not None:
                self.rows.row = []
            self.is_running = False

    @cython.cfunc
    @cython.exceptval(-1)
    def _null(self, i: cython.Py_ssize_t) -> cython.int:
        """Take in that a column is null."""
        raise Odd

    @cython.cfunc
    @cython.exceptval(-1)
    def _number(self, i: cython.Py_ssize_t, kind: cython.int, n: cython.longlong) -> cython.int:
        """Take in a canonical number: of a kind below FLOAT32, of times, a BOOLEAN, an unscaled DECIMAL."""
        raise Odd

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
        """Take in the bytes of all other kinds: texts, which are UTF-8; a UUID's text; a float as Avro has it."""
        raise Odd

    @cython.cfunc
    @cython.exceptval(-1)
    def _called(self, i: cython.Py_ssize_t, made: object, left: cython.Py_ssize_t) -> cython.int:
        """Take in what Python made of a value, behind which `left` bytes of the record are left."""
        raise Odd

    @cython.cfunc
    def _row_made(self) -> object:
        """Return what has become of the row."""
        raise Odd

    @cython.cfunc
    def _old_row_made(self) -> object:
        """Return what has become of an old row, if anything has."""
        return None

    @cython.cfunc
    def _record(self, record: bytes) -> object:
        """Return the operation and what is made of the rows of a record; None if it is unusual."""
        m: cython.p_const_uchar = record
        n: cython.Py_ssize_t = len(record)
        p: cython.Py_ssize_t
        op: cython.int
        old: object
        if n > RECORD_BYTES_MAX:
            return None
        if self.is_json:
            p = self._envelope(record) + len(OPENING)
            op = m[p]
            p += 1 + len(BEFORE)
        else:
            # Behind magic and schema id: a string of one letter.
            if n < 10 or m[5] != 2:
                return None
            p, op = 7, m[6]
        if op == DELETE and self.rows is not None:
            return self.rows._record(record)
        if op not in {99, 100, 114, 117}:
            return None
        p = self._perhaps(record, p, n)
        old = self._old_row_made() if self.has_row else None
        if self.is_json:
            if p + len(AFTER) + len(NULL) > n or not same(m, p, AFTER, len(AFTER)):
                return None
            p += len(AFTER)
        p = self._perhaps(record, p, n)
        if self.is_json:
            if p + len(SOURCE) > n or not same(m, p, SOURCE, len(SOURCE)) or not self._is_whole(m, n):
                return None
        elif m[p]:
            # Columns are unavailable.
            return None
        if op == DELETE:
            return None if self.has_row or old is None else (OPERATIONS[op], old, None)
        return (OPERATIONS[op], old, self._row_made()) if self.has_row else None

    @cython.cfunc
    @cython.exceptval(-1)
    def _perhaps(self, record: bytes, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Take in a row that stands at `p`, or that there is none; return where that ends: Avro's before `n`."""
        m: cython.p_const_uchar = record
        self.o = 0
        if self.is_json:
            self.has_row = not same(m, p, NULL, len(NULL))
            if not self.has_row:
                return p + len(NULL)
            p = self._row(record, p, n)
            if m[p] != 125:
                raise Odd
            return p + 1
        if p + 1 >= n or m[p] not in {0, 2}:
            raise Odd
        self.has_row = m[p] == 2
        return self._row(record, p + 1, n) if self.has_row else p + 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _is_whole(self, m: cython.p_const_uchar, n: cython.Py_ssize_t) -> cython.bint:
        """Tell whether a record, longer than `SOURCE`, ends as envelopes do."""
        if self.is_wrapped:
            n -= 1
            if m[n] != 125:
                return False
        if same(m, n - len(TRANSACTION), TRANSACTION, len(TRANSACTION)):
            return True
        return same(m, n - len(NO_TRANSACTION), NO_TRANSACTION, len(NO_TRANSACTION))

    @cython.cfunc
    @cython.exceptval(-1)
    def _envelope(self, record: bytes) -> cython.Py_ssize_t:
        """Return where the envelope begins; see that it is one of rows, and goes on."""
        m: cython.p_const_uchar = record
        n: cython.Py_ssize_t = len(record)
        p: cython.Py_ssize_t = 0
        if self.is_wrapped:
            p = len(self.schema)
            if not p or n < p or not same(m, 0, self.schema, p):
                p = record.find(PAYLOAD + OPENING) + len(PAYLOAD)
                if p < len(PAYLOAD):
                    raise Odd
                self.schema = record[:p]
        if p + len(OPENING) + 1 + len(BEFORE) + len(NULL) > n or not same(m, p, OPENING, len(OPENING)):
            raise Odd
        if not same(m, p + len(OPENING) + 1, BEFORE, len(BEFORE)):
            raise Odd
        return p

    @cython.cfunc
    @cython.exceptval(-1)
    def _row(self, record: bytes, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Take in the values of a row; return where it ends (JSON: at its brace). That is before `n`."""
        m: cython.p_const_uchar = record
        i: cython.Py_ssize_t
        q: cython.Py_ssize_t
        kind: cython.int
        for i in range(self.count):
            q = self._null_end(record, i, p, n)
            if q:
                self._null(i)
                p = q
                continue
            p += len(self.names[i]) if self.is_json else 1
            kind = self.kinds[i]
            if kind == CALLED:
                p = self._call(i, record, p, json_end(m, p, n) if self.is_json else p, n)
            elif self.is_json:
                q = json_end(m, p, n)
                self._json(i, kind, m, p, q)
                p = q
            else:
                q = avro_end(kind, m, p, n)
                self._avro(i, kind, m, p, q)
                p = q
        return p

    @cython.cfunc
    @cython.exceptval(-1)
    def _null_end(
        self, record: bytes, i: cython.Py_ssize_t, p: cython.Py_ssize_t, n: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Return where a column ends that is null; 0 for one that is not. Raises Odd if it is neither, or another."""
        m: cython.p_const_uchar = record
        name: bytes
        if not self.is_json:
            if m[p] == 2:
                return 0
            if m[p] or p + 1 >= n:
                raise Odd
            return p + 1
        name = self.names[i]
        if p + len(name) + 5 > n or not same(m, p, name, len(name)):
            raise Odd
        p += len(name)
        return p + 4 if same(m, p, b"null", 4) else 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _avro(
        self,
        i: cython.Py_ssize_t,
        kind: cython.int,
        m: cython.p_const_uchar,
        p: cython.Py_ssize_t,
        q: cython.Py_ssize_t,
    ) -> cython.int:
        """Take in a value of Avro that stands from `p` to `q` (`avro_end`)."""
        if kind in (FLOAT32, FLOAT64):
            return self._octets(i, kind, m, p, q)
        if kind == BOOLEAN:
            if m[p] > 1:
                raise Odd
            return self._number(i, kind, m[p])
        if kind < ZONED:
            return self._number(i, kind, long_of(m, p, q))
        p = varint_end(m, p, q)
        if kind == ZONED:
            return self._number(i, kind, instant(m, p, q))
        if kind == DECIMAL:
            return self._number(i, kind, twos_complement(m, p, q))
        if kind > BYTES:
            see_utf8(m, p, q)
        return self._octets(i, kind, m, p, q)

    @cython.cfunc
    @cython.exceptval(-1)
    def _json(
        self,
        i: cython.Py_ssize_t,
        kind: cython.int,
        m: cython.p_const_uchar,
        p: cython.Py_ssize_t,
        q: cython.Py_ssize_t,
    ) -> cython.int:
        """Take in a value of JSON that stands from `p` to `q` (`json_end`)."""
        if kind == BOOLEAN:
            return self._number(i, kind, truth(m, p, q))
        if kind < ZONED:
            return self._number(i, kind, integer(m, p, q))
        if q - p < 2 or m[p] != 34 or m[q - 1] != 34:
            raise Odd
        p += 1
        q -= 1
        if kind == ZONED:
            return self._number(i, kind, instant(m, p, q))
        if kind == UUID:
            return self._octets(i, kind, m, p, q)
        if kind == DECIMAL:
            if q - p > DECIMAL_SIGNS_MAX:
                raise Odd
            return self._number(i, kind, twos_complement(self.scratch, 0, base64_bytes(self.scratch, 0, m, p, q)))
        q = base64_bytes(self.scratch, 0, m, p, q) if kind == BYTES else unescaped(self.scratch, 0, m, p, q)
        return self._octets(i, kind, self.scratch, 0, q)

    @cython.cfunc
    @cython.exceptval(-1)
    def _call(
        self, i: cython.Py_ssize_t, record: bytes, p: cython.Py_ssize_t, q: cython.Py_ssize_t, n: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Let Python make what becomes of a value; return where the value ends. JSON's is known (`q`)."""
        made, end = self.calls[i](record, p, q)
        q = end
        if not p <= q < n:
            raise Odd
        self._called(i, made, n - q)
        return q


@cython.cclass
class LineWriter(RecordReader):
    """Writes a line of bytes for each row: the fields of all its columns, in their order."""

    @cython.cfunc
    @cython.exceptval(-1)
    def _put(self, content: bytes) -> cython.int:
        """Write a field as it is."""
        self.o = copy(self.out, self.o, content, 0, len(content))
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _called(self, i: cython.Py_ssize_t, made: object, left: cython.Py_ssize_t) -> cython.int:
        content: bytes = made
        if self.end - self.o - len(content) - self.margin < self.growth * left:
            raise Odd
        return self._put(content)

    @cython.cfunc
    def _row_made(self) -> object:
        return bytes(self.out[: self.o])
