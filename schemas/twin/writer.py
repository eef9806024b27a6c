# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What all writers of rows share: the output, keys, what stands around rows, and the way from messages to records.

A writer goes by a plan of the table's columns (`schemas.codecs.row_twin`). Each column has a kind, one byte, by which
its value is written at once. Whatever is not in the usual form raises: the caller's careful way has the row then, as in
the generated functions.

Bounds: the output is made large enough before a message is read, for twice what it can become: rows, and the key behind
them. That is many times the message's length, and each table has an output of its own: large messages go the careful
way, and no more than a little of the output is kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import cython

if cython.compiled:
    from cython.cimports.schemas.twin.bundles import put_word, sequence
    from cython.cimports.schemas.twin.readings import see_utf8
    from cython.cimports.schemas.twin.values import base64, copy, escaped, varint
else:
    from schemas.twin.bundles import put_word, sequence
    from schemas.twin.readings import see_utf8
    from schemas.twin.values import base64, copy, escaped, varint

KEPT_BYTES_MAX = cython.declare(cython.Py_ssize_t, 1 << 16)

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""

Pair = tuple[bytes | None, bytes | None]

HEAD_BYTES = cython.declare(cython.Py_ssize_t, 16)
"""Before each row of a bundle stand two lengths."""
BEGUN_BYTES_MAX = cython.declare(cython.Py_ssize_t, 3 << 20)
SLACK_BYTES = cython.declare(cython.Py_ssize_t, 1 << 14)
"""More than what is wanted behind the last one of an ordinary table."""


@cython.cfunc
def room_of(size: cython.Py_ssize_t) -> bytearray:
    """Return so many bytes, whatever they are: only what is written is ever touched."""
    if cython.compiled:
        return PyByteArray_FromStringAndSize(cython.NULL, size)  # noqa: F821 - C's, see the .pxd
    return bytearray(size)


@cython.cclass
class Writer:
    """Writes rows, and the keys of rows. Made for a table version, a format, and a form of rows."""

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan`: see `schemas.codecs.row_twin`."""
        self.is_json = plan["is_json"]
        self.is_whole = plan["is_whole"]
        self.kinds = plan["kinds"]
        self.scales = plan["scales"]
        self.key_columns = plan["key_columns"]
        self.count = len(self.kinds)
        self.calls = plan["calls"]
        self.names = b"".join(plan["names"])
        self.name_places = array("q", accumulate(map(len, plan["names"]), initial=0))
        self.key_names = plan["key_names"]
        self.null = plan["null"]
        self.key_head = plan["key_head"]
        self.key_end = plan["key_end"]
        self.heads = plan["heads"]
        self.between = plan["between"]
        self.after_delete = plan["after_delete"]
        # Two rows and the key, each of all columns.
        self.margin = 3 * (64 * self.count + sum(map(len, (self.names, *self.key_names))))
        self.margin += len(self.key_head) + len(self.key_end) + 64
        self.margin += sum(map(len, (*self.heads.values(), self.between, self.after_delete)))
        self.keys = bytes(i in self.key_columns for i in range(self.count))
        self.starts = array("q", bytes(8 * self.count))
        self.ends = array("q", bytes(8 * self.count))
        self.buffer = bytearray()
        self.o = self.size = self.reserved = self.each = 0

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
            self.o = 0
            try:
                key = self._record(message, plain, tail, last)
            except Exception:  # noqa: BLE001 - as in generated code: any exception means an unusual message
                last = rare(message, last, pairs)
            else:
                pairs.append((key, bytes(self.out[: self.o])))
                if tombstones and key is not None and self._is_delete(message):
                    pairs.append((key, None))
        self._give_back()
        return pairs, last

    def bundle_rows(self, packets: list[bytes], careful: Callable[[bytes], tuple[bytes | None, bytes]]) -> bytearray:
        """Return the keys and the bodies of rows in a bundle (`schemas.bundles`); `careful(packet)` has what is odd."""
        packet: bytes
        key: bytes | None
        body: bytes
        first: cython.Py_ssize_t
        self._begin(len(packets))
        for packet in packets:
            first = self.o
            try:
                self.o = first + HEAD_BYTES
                key = self._body(packet)
            except Exception:  # noqa: BLE001 - as above
                self.o = first
                key, body = careful(packet)
                self._reserve(first + HEAD_BYTES + len(body))
                self.o = copy(self.out, first + HEAD_BYTES, body, 0, len(body))
                self._end(first, key)
            else:
                self._end(first, key)
        return self._handed_over(len(packets))

    @cython.cfunc
    @cython.exceptval(-1)
    def _begin(self, count: cython.Py_ssize_t) -> cython.int:
        """Begin a bundle, in an output that is as large as others of so many were."""
        self.o = 0
        self._reserve(HEAD_BYTES + (SLACK_BYTES + min(count * self.each, BEGUN_BYTES_MAX)) // 2)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _end(self, first: cython.Py_ssize_t, key: bytes | None) -> cython.int:
        """Put the key behind what is written, and the lengths at `first`, before it."""
        size: cython.Py_ssize_t = self.o - first - HEAD_BYTES
        # There is room for the next head, too.
        self._reserve(self.o + (0 if key is None else len(key)) + HEAD_BYTES)
        put_word(self.out, put_word(self.out, first, -1 if key is None else len(key)), size)
        if key is not None:
            self.o = copy(self.out, self.o, key, 0, len(key))
        return 0

    @cython.cfunc
    def _handed_over(self, count: cython.Py_ssize_t) -> bytearray:
        """Return the bundle; the output is made anew."""
        made: bytearray = self.buffer
        if count:
            self.each = 9 * self.o // 8 // count
        self.buffer = bytearray()
        self.size = 0
        del made[self.o :]
        self._give_back()
        return made

    @cython.cfunc
    def _record(self, message: bytes, plain: bytes, tail: bytes, seq: cython.longlong) -> object:
        """Write the record of one message behind what is written; return its key."""
        raise NotImplementedError

    @cython.cfunc
    def _is_delete(self, message: bytes) -> cython.bint:
        return False

    @cython.cfunc
    def _body(self, packet: bytes) -> object:
        """Write one row behind what is written; return its key."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1)
    def _reserve(self, size: cython.Py_ssize_t) -> cython.int:
        """Make the output large enough; what is written so far stays."""
        self.reserved = size
        if size > self.size:
            written: bytes = bytes(self.out[: self.o]) if self.size else b""
            # It raises where there is no memory, and nothing may have changed then.
            buffer: bytearray = room_of(2 * size)
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
    def _write(self, content: bytes) -> cython.int:
        self.o = copy(self.out, self.o, content, 0, len(content))
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _name(self, i: cython.Py_ssize_t) -> cython.int:
        """Write what precedes the value of a column."""
        place: cython.Py_ssize_t
        if self.is_json:
            place = self.name_places[i]
            self.o = copy(self.out, self.o, self.names, place, self.name_places[i + 1] - place)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _call(self, i: cython.Py_ssize_t, message: bytes, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.int:
        """Write the value of a column as its function makes it."""
        content: bytes = self.calls[i](message, p, q)
        # Once more where it is of the key.
        self._reserve(self.reserved + 2 * len(content))
        return self._write(content)

    @cython.cfunc
    @cython.exceptval(-1)
    def _text(self, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.int:
        """Write a text that is UTF-8, or raise."""
        if self.is_json:
            self.o = escaped(self.out, self.o, m, p, q)
            return 0
        see_utf8(m, p, q)
        return self._octets(m, p, q)

    @cython.cfunc
    @cython.exceptval(-1)
    def _octets(self, m: cython.p_const_uchar, p: cython.Py_ssize_t, q: cython.Py_ssize_t) -> cython.int:
        """Write bytes."""
        if self.is_json:
            self.out[self.o] = 34
            self.o = base64(self.out, self.o + 1, m, p, q)
            self.out[self.o] = 34
            self.o += 1
        else:
            self.out[self.o] = 2
            self.o = copy(self.out, varint(self.out, self.o + 1, q - p), m, p, q - p)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _end_row(self) -> cython.int:
        if self.is_json:
            self.out[self.o] = 125
            self.o += 1
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

    @cython.cfunc
    @cython.exceptval(-1)
    def _close(self, plain: bytes, tail: bytes, seq: cython.longlong) -> cython.int:
        """Write what follows the rows."""
        out: cython.p_uchar = self.out
        o: cython.Py_ssize_t = copy(out, self.o, plain, 0, len(plain))
        o = sequence(out, o, seq, self.is_json)
        self.o = copy(out, o, tail, 0, len(tail))
        return 0
