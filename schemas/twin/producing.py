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
    from cython.cimports.schemas.twin.bundles import sequence, word
    from cython.cimports.schemas.twin.values import copy
else:
    from schemas.twin.bundles import sequence, word
    from schemas.twin.values import copy

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
    at: cython.Py_ssize_t

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

    def add_bundle(
        self,
        client: cython.size_t,
        topic: bytes,
        partition: cython.int,
        content: bytearray,
        at: cython.Py_ssize_t,
        around: object,
        seq: cython.longlong,
        bytes_max: cython.Py_ssize_t,
    ) -> tuple[int, int]:
        """Do the same with the records of a bundle's rows (`schemas.bundles`) from the place `at` on, put together of
        them, what stands `around` them, and the sequences behind `seq`. Return how many were taken, and the place
        behind them.
        """
        handle: cython.p_void = self.topic_new(cython.cast(cython.p_void, client), topic, cython.NULL)
        if handle == cython.NULL:
            return 0, at
        m: cython.p_const_uchar = content
        count: cython.Py_ssize_t = 0
        filled: cython.int
        taken: cython.int
        _: cython.int
        try:
            while True:
                self.at = at
                filled = self._fill(m, len(content), around, seq + count, bytes_max)
                if not filled:
                    break
                taken = self._hand_over(handle, partition, filled)
                count += taken
                if taken < filled:
                    for _ in range(taken):
                        at += 16 + max(word(m, at), 0) + word(m, at + 8)
                    break
                at = self.at
        finally:
            self.topic_destroy(handle)
            if len(self.together) > TOGETHER_BYTES:
                self.together = PyByteArray_FromStringAndSize(cython.NULL, TOGETHER_BYTES)  # noqa: F821
        return count, at

    @cython.cfunc
    @cython.exceptval(-1)
    def _fill(
        self,
        m: cython.p_const_uchar,
        end: cython.Py_ssize_t,
        around: object,
        seq: cython.longlong,
        bytes_max: cython.Py_ssize_t,
    ) -> cython.int:
        """Fill messages in, from the place `self.at` on, which moves on; return how many there are. None, if there is
        nothing more, or a record that the client might refuse, to take those behind it.
        """
        room: cython.p_char = self.room
        messages: Messages = cython.cast(Messages, room)  # noqa: F821
        head: bytes = around[0]
        plain: bytes = around[1]
        tail: bytes = around[2]
        is_json: cython.bint = around[3]
        rest: cython.Py_ssize_t = len(head) + len(plain) + SEQUENCE_BYTES_MAX + len(tail)
        p: cython.Py_ssize_t = self.at
        o: cython.Py_ssize_t = 0
        begin: cython.Py_ssize_t
        body: cython.Py_ssize_t
        key_word: cython.longlong
        key_bytes: cython.Py_ssize_t
        body_bytes: cython.Py_ssize_t
        key: cython.p_const_uchar
        out: cython.p_uchar = self.together
        filled: cython.int = 0
        while filled < AT_ONCE and p < end:
            body = p + 16
            if body > end:
                raise ValueError("a bundle that ends too soon")
            key_word = word(m, p)
            key_bytes = max(key_word, 0)
            body_bytes = word(m, p + 8)
            if body_bytes < 0 or body_bytes > end - body or key_bytes > end - body - body_bytes:
                raise ValueError("a bundle that ends too soon")
            if key_bytes + body_bytes + rest > bytes_max:
                break
            if o + body_bytes + rest > len(self.together):
                if filled:
                    break
                self.together = PyByteArray_FromStringAndSize(cython.NULL, body_bytes + rest)  # noqa: F821
                out = self.together
            begin = o
            o = copy(out, o, head, 0, len(head))
            o = copy(out, o, m, body, body_bytes)
            o = copy(out, o, plain, 0, len(plain))
            o = sequence(out, o, seq + filled + 1, is_json)
            o = copy(out, o, tail, 0, len(tail))
            messages[filled].payload = cython.cast(cython.p_char, out + begin)
            messages[filled].size = o - begin
            key = cython.NULL if key_word < 0 else m + body + body_bytes
            messages[filled].key = cython.cast(cython.p_char, key)
            messages[filled].key_size = key_bytes
            messages[filled].opaque = cython.NULL
            filled += 1
            p = body + body_bytes + key_bytes
        self.at = p
        return filled

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
