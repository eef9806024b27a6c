# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From records to the lines that bulk loads take, by a plan of the table's columns: PostgreSQL's binary COPY, or
`load data` of MySQL and MariaDB.

The compiled twin of the function that decoders generate of a `StagedForm`: a new row that comes alone, with all its
columns, in an envelope as our encoders write it. Whatever is otherwise is left to the caller's careful way, as in
`rows`.

Bounds: reads are checked against the record's end, value by value. A field is no longer than its value, or twice that
in a text, and 64 bytes; for what Python makes of a value the room is looked at. Large records go the careful way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import LARGE_BYTES, Odd

if cython.compiled:
    from cython.cimports.schemas.twin.fields import avro_field, json_field
    from cython.cimports.schemas.twin.readings import avro_end, json_end, same
    from cython.cimports.schemas.twin.text_fields import avro_text, json_text
    from cython.cimports.schemas.twin.values import copy
else:
    from schemas.twin.fields import avro_field, json_field
    from schemas.twin.readings import avro_end, json_end, same
    from schemas.twin.text_fields import avro_text, json_text
    from schemas.twin.values import copy

CALLED = cython.declare(cython.int, kinds.CALLED)
RECORD_BYTES_MAX = cython.declare(cython.Py_ssize_t, LARGE_BYTES)
FIELD_BYTES = cython.declare(cython.Py_ssize_t, 64)

OPERATIONS = cython.declare(dict, {ord(op): op for op in "rcu"})
NULL = cython.declare(bytes, b"\xff\xff\xff\xff")
NULL_TEXT = cython.declare(bytes, b"\\N")
PAYLOAD = cython.declare(bytes, b'"payload":')
OPENING = cython.declare(bytes, b'{"op":"')
BEFORE = cython.declare(bytes, b'","before":null,"after":')
SOURCE = cython.declare(bytes, b'},"unavailable":null,"source":{"version":')
"""How envelopes of our encoders go on behind a row of which nothing is missing."""
NO_TRANSACTION = cython.declare(bytes, b"null}")
TRANSACTION = cython.declare(bytes, b"}}")
"""How they end."""

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""


@cython.cclass
class Stager:
    """Makes the lines of one table version, in one format, for one form of a sink."""

    is_json: cython.bint
    is_wrapped: cython.bint
    is_text: cython.bint
    kinds: bytes
    scales: bytes
    sizes: bytes
    names: list
    calls: dict
    count: cython.Py_ssize_t
    margin: cython.Py_ssize_t
    schema: bytes
    out: cython.p_uchar
    o: cython.Py_ssize_t
    end: cython.Py_ssize_t

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.staged_twin`."""
        self.is_json = plan["is_json"]
        self.is_wrapped = plan["is_wrapped"]
        self.is_text = plan["is_text"]
        self.kinds = plan["kinds"]
        self.scales = plan["scales"]
        self.sizes = plan["sizes"]
        self.names = plan["names"]
        self.calls = plan["calls"]
        self.count = len(self.kinds)
        self.margin = FIELD_BYTES * (self.count + 1)
        # What stands before the envelope in the record read last: most often, it is the same in the next one.
        self.schema = b""
        self.o = self.end = 0

    def run(self, values: list[bytes], out: list[Any], careful: Callable[[list[bytes], list[Any]], None]) -> None:
        """Append what is made of each record to `out`; `careful([record], out)` has those that are not usual."""
        longest: cython.Py_ssize_t = min(max(map(len, values), default=0), RECORD_BYTES_MAX)
        self.end = (3 if self.is_text else 2) * (longest + self.margin)
        buffer: bytearray = bytearray(self.end)
        self.out = buffer
        record: bytes
        made: object
        for record in values:
            try:
                made = self._staged(record)
            except Exception:  # noqa: BLE001 - as in generated code: any exception means an unusual record
                made = None
            if made is None:
                careful([record], out)
            else:
                out.append(made)

    @cython.cfunc
    def _staged(self, record: bytes) -> object:
        """Return the operation and the line of a record; None if it is no new row alone."""
        m: cython.p_const_uchar = record
        n: cython.Py_ssize_t = len(record)
        p: cython.Py_ssize_t
        op: cython.int
        if n > RECORD_BYTES_MAX:
            return None
        self.o = 0
        if self.is_json:
            p = self._envelope(record) + len(OPENING)
            op = m[p]
            p += 1 + len(BEFORE)
        else:
            # Behind magic and schema id: a string of one letter, no row before, a row after.
            if n < 10 or m[5] != 2 or m[7] or m[8] != 2:
                return None
            p, op = 9, m[6]
        if op not in {99, 114, 117}:
            return None
        p = self._row(record, p, n)
        if self.is_json:
            if p + len(SOURCE) > n or not same(m, p, SOURCE, len(SOURCE)) or not self._is_whole(m, n):
                return None
        elif m[p]:
            # Columns are unavailable.
            return None
        return OPERATIONS[op], None, bytes(self.out[: self.o])

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
        """Return where the envelope begins; see that it is one of a new row alone, and goes on."""
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
        if p + len(OPENING) + len(BEFORE) + 2 > n or not same(m, p, OPENING, len(OPENING)):
            raise Odd
        if not same(m, p + len(OPENING) + 1, BEFORE, len(BEFORE)):
            raise Odd
        return p

    @cython.cfunc
    @cython.exceptval(-1)
    def _row(self, record: bytes, p: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Write the fields of a row; return where it ends (JSON: at its brace). That is before `n`."""
        m: cython.p_const_uchar = record
        kinds: cython.p_const_uchar = self.kinds
        sizes: cython.p_const_uchar = self.sizes
        scales: cython.p_const_uchar = self.scales
        i: cython.Py_ssize_t
        q: cython.Py_ssize_t
        for i in range(self.count):
            q = self._null(record, i, p, n)
            if i and self.is_text:
                self.out[self.o] = 9
                self.o += 1
            if q:
                self.o = copy(self.out, self.o, NULL_TEXT, 0, 2) if self.is_text else copy(self.out, self.o, NULL, 0, 4)
                p = q
                continue
            p += len(self.names[i]) if self.is_json else 1
            if kinds[i] == CALLED:
                p = self._call(i, record, p, json_end(m, p, n) if self.is_json else p, n)
            elif self.is_json:
                q = json_end(m, p, n)
                if self.is_text:
                    self.o = json_text(self.out, self.o, kinds[i], scales[i], m, p, q)
                else:
                    self.o = json_field(self.out, self.o, kinds[i], scales[i], sizes[i], m, p, q)
                p = q
            else:
                q = avro_end(kinds[i], m, p, n)
                if self.is_text:
                    self.o = avro_text(self.out, self.o, kinds[i], scales[i], m, p, q)
                else:
                    self.o = avro_field(self.out, self.o, kinds[i], scales[i], sizes[i], m, p, q)
                p = q
        if self.is_text:
            self.out[self.o] = 10
            self.o += 1
        return p

    @cython.cfunc
    @cython.exceptval(-1)
    def _null(
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
    def _call(
        self, i: cython.Py_ssize_t, record: bytes, p: cython.Py_ssize_t, q: cython.Py_ssize_t, n: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Let Python make a field; return where the value ends. JSON's is known (`q`)."""
        content: bytes
        room: cython.Py_ssize_t
        content, end = self.calls[i](record, p, q)
        q = end
        room = self.end - self.o - len(content) - self.margin
        if not p <= q < n or room < (2 if self.is_text else 1) * (n - q):
            raise Odd
        self.o = copy(self.out, self.o, content, 0, len(content))
        return q
