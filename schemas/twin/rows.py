# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From PostgreSQL's rows to records, by a plan of the table's columns: rows of its log, and of its binary COPY.

The compiled twin of the functions that encoders generate. Each column has a kind, one byte, by which its value is
written at once. Whatever is neither null nor in the usual form raises: the caller's careful way has the row then, as
in the generated functions.

Bounds: reads are checked against the message's end, column by column; the output is made large enough before a message
is read, for twice what it can become: rows, and the key behind them. That is many times the message's length, and each
table has an output of its own: large messages go the careful way, and no more than a little of the output is kept.

Wire forms: PostgreSQL documentation, "Logical Replication Message Formats", each message with its header (see
`pgoutput.py` of the engine), and COPY, "Binary Format".
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import cython

from schemas.twin import kinds
from schemas.twin.odd import Odd

if cython.compiled:
    from cython.cimports.schemas.twin.readings import see_utf8
    from cython.cimports.schemas.twin.values import avro_value, copy, json_value, number, u32, unsigned
else:
    from schemas.twin.readings import see_utf8
    from schemas.twin.values import avro_value, copy, json_value, number, u32, unsigned

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

MESSAGE_BYTES_MAX = cython.declare(cython.Py_ssize_t, 1 << 18)
KEPT_BYTES_MAX = cython.declare(cython.Py_ssize_t, 1 << 16)

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""

Pair = tuple[bytes | None, bytes | None]


@cython.cclass
class RowWriter:
    """Writes rows, and the keys of rows. Made for a table version, a format, and a form of rows."""

    is_json: cython.bint
    is_logged: cython.bint
    kinds: bytes
    scales: bytes
    keys: bytes
    count: cython.Py_ssize_t
    key_columns: tuple
    calls: dict
    names: list
    key_names: list
    null: bytes
    key_head: bytes
    key_end: bytes
    margin: cython.Py_ssize_t
    starts: cython.longlong[::1]
    ends: cython.longlong[::1]
    buffer: bytearray
    out: cython.p_uchar
    o: cython.Py_ssize_t
    size: cython.Py_ssize_t
    reserved: cython.Py_ssize_t

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.row_twin`."""
        self.is_json = plan["is_json"]
        self.is_logged = plan["is_logged"]
        self.kinds = plan["kinds"]
        self.scales = plan["scales"]
        self.key_columns = plan["key_columns"]
        self.count = len(self.kinds)
        self.calls = plan["calls"]
        self.names = plan["names"]
        self.key_names = plan["key_names"]
        self.null = plan["null"]
        self.key_head = plan["key_head"]
        self.key_end = plan["key_end"]
        # Two rows and the key, each of all columns.
        self.margin = 3 * (64 * self.count + sum(map(len, (*self.names, *self.key_names))))
        self.margin += len(self.key_head) + len(self.key_end) + 64
        self.keys = bytes(i in self.key_columns for i in range(self.count))
        self.starts = array("q", bytes(8 * self.count))
        self.ends = array("q", bytes(8 * self.count))
        self.buffer = bytearray()
        self.o = self.size = self.reserved = 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _reserve(self, size: cython.Py_ssize_t) -> cython.int:
        """Make the output large enough; what is written so far stays."""
        self.reserved = size
        if size > self.size:
            written: bytes = bytes(self.out[: self.o]) if self.size else b""
            # It raises where there is no memory, and nothing may have changed then.
            buffer: bytearray = bytearray(2 * size)
            self.buffer = buffer
            self.out = buffer
            self.size = 2 * size
            copy(self.out, 0, written, 0, len(written))
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _give_back(self) -> cython.int:
        """Keep no large output."""
        if self.size > KEPT_BYTES_MAX:
            self.o = self.size = 0
            self.buffer = bytearray()
        return 0

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
        name: bytes
        if (m[p - 2] << 8 | m[p - 1]) != self.count:
            raise Odd
        for i in range(self.count):
            if self.is_json:
                name = self.names[i]
                self.o = copy(self.out, self.o, name, 0, len(name))
            q = self._null_end(m, p, n)
            if q and not keys[i]:
                self.o = copy(self.out, self.o, self.null, 0, len(self.null))
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
        if self.is_json:
            self.out[self.o] = 125
            self.o += 1
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
        content: bytes
        if kind == CALLED:
            content = self.calls[i](message, p, q)
            # Once more where it is of the key.
            self._reserve(self.reserved + 2 * len(content))
            self.o = copy(self.out, self.o, content, 0, len(content))
        elif self.is_json:
            self.o = json_value(self.out, self.o, kind, scales[i], m, p, q)
        else:
            if kind >= TEXT and not self.is_logged:
                see_utf8(m, p, q)
            self.o = avro_value(self.out, self.o, kind, scales[i], m, p, q)
        return 0

    @cython.cfunc
    def _key(self) -> object:
        """Return the key of the row written last; None for a table without one."""
        if not self.key_columns:
            return None
        # It is put together behind what is written, and taken away from there.
        out: cython.p_uchar = self.out
        first: cython.Py_ssize_t = self.o
        o: cython.Py_ssize_t = copy(out, first, self.key_head, 0, len(self.key_head))
        skipped: cython.Py_ssize_t = 0 if self.is_json else 1
        name: bytes
        for place, i in enumerate(self.key_columns):
            if self.is_json:
                name = self.key_names[place]
                o = copy(out, o, name, 0, len(name))
            o = copy(out, o, out, self.starts[i] + skipped, self.ends[i] - self.starts[i] - skipped)
        o = copy(out, o, self.key_end, 0, len(self.key_end))
        return bytes(out[first:o])


@cython.cclass
class LogWriter(RowWriter):
    """Writes the records of one relation's messages in the log."""

    is_whole: cython.bint
    heads: dict
    between: bytes
    after_delete: bytes

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.row_twin`."""
        RowWriter.__init__(self, plan)
        self.is_whole = plan["is_whole"]
        self.heads = plan["heads"]
        self.between = plan["between"]
        self.after_delete = plan["after_delete"]
        self.margin += sum(map(len, (*self.heads.values(), self.between, self.after_delete)))

    def run(
        self,
        messages: list[bytes],
        plain: bytes,
        tail: bytes,
        seq: int,
        tombstones: bool,
        rare: Callable[[bytes, int, list[Pair]], int],
    ) -> tuple[list[Pair], int]:
        """Return the records of messages and the last sequence used; `rare(message, seq, pairs)` has what is odd."""
        pairs: list = []
        message: bytes
        last: cython.longlong = seq
        for message in messages:
            last += 1
            try:
                key = self._record(message, plain, tail, last, pairs)
            except Exception:  # noqa: BLE001 - as in generated code: any exception means an unusual message
                last = rare(message, last, pairs)
            else:
                if tombstones and message[25] == DELETE and key is not None:
                    pairs.append((key, None))
        self._give_back()
        return pairs, last

    @cython.cfunc
    def _record(self, message: bytes, plain: bytes, tail: bytes, seq: cython.longlong, pairs: list) -> object:
        """Append the record of one message; return its key."""
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
        self._reserve(12 * n + self.margin + len(plain) + len(tail))
        head = self.heads[op]
        self.o = copy(self.out, 0, head, 0, len(head))
        p: cython.Py_ssize_t = self._row(message, 33, n, row == KEY)
        key = self._key()
        if op == UPDATE and row == OLD:
            if p + 3 > n or m[p] != NEW:
                raise Odd
            self.o = copy(self.out, self.o, self.between, 0, len(self.between))
            p = self._row(message, p + 3, n, False)
            if key != self._key():
                raise Odd
        if p != n:
            raise Odd
        if op == DELETE:
            self.o = copy(self.out, self.o, self.after_delete, 0, len(self.after_delete))
        self._close(plain, tail, seq)
        pairs.append((key, bytes(self.out[: self.o])))
        return key

    @cython.cfunc
    @cython.exceptval(-1)
    def _close(self, plain: bytes, tail: bytes, seq: cython.longlong) -> cython.int:
        """Write what follows the rows."""
        out: cython.p_uchar = self.out
        o: cython.Py_ssize_t = copy(out, self.o, plain, 0, len(plain))
        if self.is_json:
            o = number(out, o, seq)
        else:
            # Fourteen bits, then the rest: the sequences of an epoch are of one width.
            out[o] = (seq << 1 & 127) | 128
            out[o + 1] = (seq >> 6 & 127) | 128
            o = unsigned(out, o + 2, seq >> 13)
        self.o = copy(out, o, tail, 0, len(tail))
        return 0


@cython.cclass
class CopyWriter(RowWriter):
    """Writes keys and bodies of the rows of a binary COPY."""

    def run(
        self, packets: list[bytes], careful: Callable[[bytes], tuple[bytes | None, bytes]]
    ) -> tuple[list[bytes | None], list[bytes]]:
        """Return the keys and the bodies of rows; `careful(packet)` has those of what is odd."""
        keys: list = []
        bodies: list = []
        packet: bytes
        key: object
        body: bytes
        for packet in packets:
            try:
                key = self._body(packet)
                body = bytes(self.out[: self.o])
            except Exception:  # noqa: BLE001 - as in generated code: any exception means an unusual row
                key, body = careful(packet)
            keys.append(key)
            bodies.append(body)
        self._give_back()
        return keys, bodies

    @cython.cfunc
    def _body(self, packet: bytes) -> object:
        """Write one row; return its key."""
        n: cython.Py_ssize_t = len(packet)
        if not 2 <= n <= MESSAGE_BYTES_MAX:
            raise Odd
        self._reserve(12 * n + self.margin)
        self.o = 0
        if self._row(packet, 2, n, False) != n:
            raise Odd
        return self._key()
