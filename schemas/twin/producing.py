# cython: language_level=3
"""Records into librdkafka's queue, many in one call.

The compiled twin of a loop over the client's `produce`, which looks its topic up for each record, and makes something
for each that has to be taken back, one by one and with the interpreter's lock, once the record is acknowledged.
librdkafka's functions are called by their addresses: those of the very library that the client has loaded.

Unlike the others, this module does nothing unless it is built: Python calls no addresses.
"""

from __future__ import annotations

import cython

COMPILED = cython.compiled
SOURCES = TWIN_SOURCES.decode() if cython.compiled else ""  # noqa: F821 - C's, see the .pxd
"""What it was built of (`schemas.twin.sources_digest`)."""

AT_ONCE = cython.declare(cython.int, 512)
COPY = cython.declare(cython.int, 2)
"""RD_KAFKA_MSG_F_COPY: key and value remain ours."""


@cython.cclass
class Queues:
    """Adds records to the queues of clients."""

    topic_new: TopicNew  # noqa: F821 - C's, see the .pxd
    topic_destroy: TopicDestroy  # noqa: F821
    produce_batch: ProduceBatch  # noqa: F821
    room: bytearray

    def __init__(self, topic_new: cython.size_t, topic_destroy: cython.size_t, produce_batch: cython.size_t) -> None:
        """They are the addresses of `rd_kafka_topic_new`, `rd_kafka_topic_destroy` and `rd_kafka_produce_batch`."""
        self.topic_new = cython.cast(TopicNew, topic_new)  # noqa: F821
        self.topic_destroy = cython.cast(TopicDestroy, topic_destroy)  # noqa: F821
        self.produce_batch = cython.cast(ProduceBatch, produce_batch)  # noqa: F821
        self.room = PyByteArray_FromStringAndSize(cython.NULL, AT_ONCE * cython.sizeof(Message))  # noqa: F821

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
        i: cython.int
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
                taken = self.produce_batch(handle, partition, COPY, messages, filled)
                for i in range(taken if taken < filled else 0):
                    if messages[i].err:
                        raise RuntimeError("the client took records behind one that it refused")
                first += taken
        finally:
            self.topic_destroy(handle)
        return first
