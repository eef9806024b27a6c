"""Records into a producer's queue, many in one call: where the compiled twin is, and a client whose form is known.

The client's own `produce` makes something for each record to tell of its delivery by, whether or not anybody wants to
be told, and takes the interpreter's lock for each that was delivered to take it back.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from confluent_kafka import Producer, __version__, cimpl

from schemas.bundles import Pair, RecordBundle
from schemas.twin import built

KNOWN = frozenset({"2.16.1"})
"""Releases of the client whose objects begin with librdkafka's handle and the `error_cb` (`Handle` in its
`confluent_kafka.h`). The client's library itself says which it is.
"""

MESSAGE_BYTES_MAX = 1_000_000
"""librdkafka's default of message.max.bytes."""
OVERHEAD_BYTES = 256
"""More than what librdkafka adds to a record's size to see whether it is too large (`rd_kafka_msg_max_wire_size`)."""


class Queue:
    """The queue of a producer."""

    def __init__(self, queues: Any, producer: Producer, bytes_max: int) -> None:
        self._queues = queues
        # It is kept: what its object holds is gone with it.
        self._producer = producer
        self._handle = _word(producer, 0)
        self._bytes_max = bytes_max

    def add(self, topic: str, partition: int, pairs: Sequence[Pair], first: int) -> int:
        """Add records from `first` on, in order; return how far they were taken.

        What is there then is for the client's own `produce`, which says why, or waits: a record that is too large, one
        for which there is no room, or any where the producer can do no more. Whether records were delivered, nobody is
        told: the commit of a transaction fails if one was not.
        """
        client = self._handle.value
        if client is None:
            # It was closed, as its own `produce` will say.
            return first
        where = client, topic.encode(), partition
        if isinstance(pairs, RecordBundle):
            at, seq = pairs.place(first), pairs.seq + first
            content, around = pairs.bundle.content, pairs.around
            count, at = self._queues.add_bundle(*where, content, at, around, seq, self._bytes_max)
            pairs.reached(index := first + int(count), at)
        else:
            index = int(self._queues.add(*where, pairs, first, self._bytes_max))
        return index


def queue_of(producer: Producer, properties: Mapping[str, Any]) -> Queue | None:
    """Return the queue of a producer made with these properties; None: each record is to be handed to the client by
    itself, since it is not certain that the handle, and the functions that take it, are what they are taken for.
    """
    queues = _queues()
    bytes_max = int(properties.get("message.max.bytes", MESSAGE_BYTES_MAX)) - OVERHEAD_BYTES
    if queues is None or bytes_max <= 0 or not _has_handle(producer, properties.get("error_cb")):
        return None
    return Queue(queues, producer, bytes_max)


def _has_handle(producer: Producer, error_cb: object) -> bool:
    """Tell whether the object begins as it should. Of what it holds nothing is followed: its own words are compared."""
    # Another type may stand in for the client's: one that wraps a producer, to trace it.
    if type(producer) is not cimpl.Producer or error_cb is None:
        return False
    is_large_enough = cimpl.Producer.__basicsize__ >= object.__basicsize__ + 2 * ctypes.sizeof(ctypes.c_void_p)
    return is_large_enough and _word(producer, 0).value is not None and _word(producer, 1).value == id(error_cb)


def _word(producer: Producer, number: int) -> ctypes.c_void_p:
    """Return the view of a word behind what every object begins with."""
    at = id(producer) + object.__basicsize__ + number * ctypes.sizeof(ctypes.c_void_p)
    return ctypes.c_void_p.from_address(at)


@cache
def _queues() -> Any:
    module = built("producing")
    # Only there an object's identity is its address, and nobody else uses the client meanwhile.
    is_cpython = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    # (Its stubs say that it is a tuple.)
    if module is None or not is_cpython or str(__version__) not in KNOWN:
        return None
    try:
        # What a library is linked with is found by its name, too.
        client = ctypes.CDLL(cimpl.__file__)
        functions = client.rd_kafka_topic_new, client.rd_kafka_topic_destroy, client.rd_kafka_produce_batch
    except (OSError, AttributeError):
        return None
    addresses = [_address(function) for function in functions]
    # But for one that all libraries of the process see (`LD_PRELOAD`): the client's handles are of that one.
    everywhere = getattr(ctypes.CDLL(None), "rd_kafka_topic_new", None)
    if everywhere is not None and _address(everywhere) != addresses[0]:
        return None
    return module.Queues(*addresses)


def _address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value
