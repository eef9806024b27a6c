"""Records into a producer's queue, many in one call: where the compiled twin is, and a client whose form is known.

The client's own `produce` makes something for each record to tell of its delivery by, whether or not anybody wants to
be told, and takes the interpreter's lock for each that was delivered to take it back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

from confluent_kafka import Producer, __version__, cimpl

from schemas.twin import built

KNOWN = frozenset({"2.16.1"})
"""Releases of the client whose objects begin with librdkafka's handle (`Handle` in its `confluent_kafka.h`)."""

MESSAGE_BYTES_MAX = 1_000_000
"""librdkafka's default of message.max.bytes."""
OVERHEAD_BYTES = 256
"""More than what librdkafka adds to a record's size to see whether it is too large (`rd_kafka_msg_max_wire_size`)."""

Pair = tuple[bytes | None, bytes | None]
"""A record's key and value."""


class Queue:
    """The queue of a producer."""

    def __init__(self, queues: Any, producer: Producer, bytes_max: int) -> None:
        self._add = queues.add
        # It is kept: the handle is gone with it.
        self._producer = producer
        self._client = ctypes.c_void_p.from_address(id(producer) + object.__basicsize__).value
        self._bytes_max = bytes_max

    def add(self, topic: str, partition: int, pairs: list[Pair], first: int) -> int:
        """Add records from `first` on, in order; return how far they were taken.

        What is there then is for the client's own `produce`, which says why, or waits: a record that is too large, one
        for which there is no room, or any where the producer can do no more. Whether records were delivered, nobody is
        told: the commit of a transaction fails if one was not.
        """
        index: int = self._add(self._client, topic.encode(), partition, pairs, first, self._bytes_max)
        return index


def queue_of(producer: Producer, properties: Mapping[str, Any]) -> Queue | None:
    """Return a producer's queue; None: each record is to be handed to the client by itself."""
    queues = _queues()
    bytes_max = int(properties.get("message.max.bytes", MESSAGE_BYTES_MAX)) - OVERHEAD_BYTES
    return None if queues is None or bytes_max <= 0 else Queue(queues, producer, bytes_max)


@cache
def _queues() -> Any:
    module = built("producing")
    # (Its stubs say that it is a tuple.)
    if module is None or str(__version__) not in KNOWN:
        return None
    try:
        # What a library is linked with is found by its name, too.
        client = ctypes.CDLL(cimpl.__file__)
        functions = client.rd_kafka_topic_new, client.rd_kafka_topic_destroy, client.rd_kafka_produce_batch
    except (OSError, AttributeError):
        return None
    return module.Queues(*(ctypes.cast(function, ctypes.c_void_p).value for function in functions))
