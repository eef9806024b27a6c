# cython: language_level=3
"""Records into librdkafka's queue, many in one call.

The compiled twin of a loop over the client's `produce`, which looks its topic up for each record, and makes something
for each that has to be taken back, one by one and with the interpreter's lock, once the record is acknowledged.
librdkafka's functions are called by their addresses: those of the very library that the client has loaded.

Unlike the others, this module does nothing unless it is built: Python calls no addresses.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.schemas.twin.values import copy, sequence, word
else:
    from schemas.twin.values import copy, sequence, word

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""

AT_ONCE = cython.declare(cython.int, 512)
COPY = cython.declare(cython.int, 2)
"""RD_KAFKA_MSG_F_COPY: key and value remain ours."""
TOGETHER_BYTES = cython.declare(cython.Py_ssize_t, 96 << 10)
"""Records that are put together before they are handed over: they are still in the processor's cache then."""
SEQUENCE_BYTES_MAX = cython.declare(cython.Py_ssize_t, 20)


@cython.cclass
class Queues:
    """Adds records to the queues of clients."""

    topic_new: TopicNew  # noqa: F821 - C's, see the .pxd
    topic_destroy: TopicDestroy  # noqa: F821
    produce_batch: ProduceBatch  # noqa: F821
    room: bytearray
    together: bytearray

    def __init__(self, topic_new: cython.size_t, topic_destroy: cython.size_t, produce_batch: cython.size_t) -> None:
        """They are the addresses of `rd_kafka_topic_new`, `rd_kafka_topic_destroy` and `rd_kafka_produce_batch`."""
        self.topic_new = cython.cast(TopicNew, topic_new)  # noqa: F821
        self.topic_destroy = cython.cast(TopicDestroy, topic_destroy)  # noqa: F821
        self.produce_batch = cython.cast(ProduceBatch, produce_batch)  # noqa: F821
        self.room = PyByteArray_FromStringAndSize(cython.NULL, AT_ONCE * cython.sizeof(Message))  # noqa: F821
        self.together = PyByteArray_FromStringAndSize(cython.NULL, TOGETHER_BYTES)  # noqa: F821

    def add(
        self,
        client: cython.size_t,
        topic: bytes,
        partition: cython.int,
        pairs: list[tuple[bytes | None, bytes | None]],
        first: cython.Py_ssize_t,
        bytes_max: cython.size_t,
    ) -> int:
        """Add the records of `pairs` from `first` on, in order, up to one that is not taken or has more bytes than
        `bytes_max`; return its index, or the number of all. Nobody is told of their delivery.

        `client` is the address of an `rd_kafka_t`, a producer's. A partition of -1 lets keys decide.
        """
        handle: cython.p_void = self.topic_new(cython.cast(cython.p_void, client), topic, cython.NULL)
        if handle == cython.NULL:
            return first
        room: cython.p_char = self.room
        messages: Messages = cython.cast(Messages, room)  # noqa: F821
        end: cython.Py_ssize_t = len(pairs)
        filled: cython.int = 0
        taken: cython.int = 0
        key: bytes | None
        value: bytes | None
        try:
            while taken == filled and first < end:
                filled = 0
                while filled < AT_ONCE and first + filled < end:
                    key, value = pairs[first + filled]
                    messages[filled].key = cython.NULL if key is None else cython.cast(cython.p_char, key)
                    messages[filled].key_size = 0 if key is None else len(key)
                    messages[filled].payload = cython.NULL if value is None else cython.cast(cython.p_char, value)
                    messages[filled].size = 0 if value is None else len(value)
                    messages[filled].opaque = cython.NULL
                    if messages[filled].key_size + messages[filled].size > bytes_max:
                        # The client would refuse it, and take those behind it.
                        end = first + filled
                        break
                    filled += 1
                taken = self._hand_over(handle, partition, filled)
                first += taken
        finally:
            self.topic_destroy(handle)
        return first

    def add_rows(
        self,
        client: cython.size_t,
        topic: bytes,
        partition: cython.int,
        rows: bytearray,
        at: cython.Py_ssize_t,
        around: tuple[bytes, bytes, bytes, bool],
        seq: cython.longlong,
        bytes_max: cython.Py_ssize_t,
    ) -> tuple[int, int]:
        """Do the same with the records of a bundle's rows (`schemas.bundles`) from the place `at` on: put them together
        of what stands `around` them and of the sequences behind `seq`. Return how many were taken, and the place behind
        them.
        """
        handle: cython.p_void = self.topic_new(cython.cast(cython.p_void, client), topic, cython.NULL)
        if handle == cython.NULL:
            return 0, at
        head: bytes = around[0]
        plain: bytes = around[1]
        tail: bytes = around[2]
        is_json: cython.bint = around[3]
        room: cython.p_char = self.room
        messages: Messages = cython.cast(Messages, room)  # noqa: F821
        m: cython.p_const_uchar = rows
        end: cython.Py_ssize_t = len(rows)
        rest: cython.Py_ssize_t = len(head) + len(plain) + SEQUENCE_BYTES_MAX + len(tail)
        count: cython.Py_ssize_t = 0
        filled: cython.int = 0
        taken: cython.int = 0
        i: cython.int
        p: cython.Py_ssize_t
        o: cython.Py_ssize_t
        begin: cython.Py_ssize_t
        key_bytes: cython.longlong
        body_bytes: cython.longlong
        out: cython.p_uchar
        try:
            while taken == filled and at < end:
                filled = 0
                p = at
                o = 0
                out = self.together
                while filled < AT_ONCE and p < end:
                    if p + 16 > end:
                        raise ValueError("a bundle that ends too soon")
                    key_bytes = word(m, p)
                    body_bytes = word(m, p + 8)
                    if not 0 <= body_bytes <= end - p - 16 or key_bytes > end - p - 16 - body_bytes:
                        raise ValueError("a bundle that ends too soon")
                    if (key_bytes if key_bytes > 0 else 0) + body_bytes + rest > bytes_max:
                        # The client may refuse it, and take those behind it.
                        end = p
                        break
                    if o + body_bytes + rest > len(self.together):
                        if filled:
                            break
                        self.together = PyByteArray_FromStringAndSize(cython.NULL, body_bytes + rest)  # noqa: F821
                        out = self.together
                    begin = o
                    o = copy(out, o, head, 0, len(head))
                    o = copy(out, o, m, p + 16, body_bytes)
                    o = copy(out, o, plain, 0, len(plain))
                    o = sequence(out, o, seq + count + filled + 1, is_json)
                    o = copy(out, o, tail, 0, len(tail))
                    p += 16 + body_bytes
                    messages[filled].payload = cython.cast(cython.p_char, out + begin)
                    messages[filled].size = o - begin
                    messages[filled].key = cython.NULL if key_bytes < 0 else cython.cast(cython.p_char, m + p)
                    messages[filled].key_size = 0 if key_bytes < 0 else key_bytes
                    messages[filled].opaque = cython.NULL
                    if key_bytes > 0:
                        p += key_bytes
                    filled += 1
                taken = self._hand_over(handle, partition, filled)
                count += taken
                if taken == filled:
                    at = p
                else:
                    for i in range(taken):
                        key_bytes = word(m, at)
                        at += 16 + word(m, at + 8) + (key_bytes if key_bytes > 0 else 0)
        finally:
            self.topic_destroy(handle)
            if len(self.together) > TOGETHER_BYTES:
                self.together = PyByteArray_FromStringAndSize(cython.NULL, TOGETHER_BYTES)  # noqa: F821
        return count, at

    @cython.cfunc
    @cython.exceptval(-1)
    def _hand_over(self, handle: cython.p_void, partition: cython.int, filled: cython.int) -> cython.int:
        """Give the messages that are filled in to the client; return how many it took, which are the first."""
        room: cython.p_char = self.room
        messages: Messages = cython.cast(Messages, room)  # noqa: F821
        taken: cython.int = self.produce_batch(handle, partition, COPY, messages, filled)
        i: cython.int
        for i in range(taken if taken < filled else 0):
            if messages[i].err:
                raise RuntimeError("the client took records behind one that it refused")
        return taken
