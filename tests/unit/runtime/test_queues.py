"""Records are added to the client's queue many at once, in their order, up to one that it refuses."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from runtime.kafka import queues
from runtime.kafka.producer import TransactionalProducer
from runtime.kafka.queues import Queue, queue_of
from schemas.bundles import Pair, RecordBundle
from schemas.codecs import Format, compile_encoder
from schemas.errors import TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.twin import built
from schemas.types import Family, LogicalType

twin = built("producing")
pytestmark = pytest.mark.skipif(twin is None, reason="it is not built: no compiler was there")

CLIENT, TOPIC = 4711, 42


class Message(ctypes.Structure):
    """`rd_kafka_message_t` of `rdkafka.h`."""

    _fields_ = (
        ("err", ctypes.c_int),
        ("topic", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_size", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("opaque", ctypes.c_void_p),
    )


class Library:
    """Functions of librdkafka over a queue with room for so many records, which refuses those of `refused`."""

    def __init__(self, room: int = 1_000_000, refused: bytes = b"refused") -> None:
        self.room = room
        self.refused = refused
        self.taken: list[Pair] = []
        self.calls: list[object] = []
        types = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
        self.functions = (
            ctypes.CFUNCTYPE(ctypes.c_void_p, *types)(self._topic_new),
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._topic_destroy),
            ctypes.CFUNCTYPE(
                ctypes.c_int, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int, ctypes.POINTER(Message), ctypes.c_int
            )(self._produce_batch),
        )

    def _topic_new(self, client: int, name: bytes, _configuration: int) -> int | None:
        self.calls.append((client, name))
        return TOPIC if name != b"none" else None

    def _topic_destroy(self, topic: int) -> None:
        self.calls.append(topic)

    def _produce_batch(self, topic: int, partition: int, flags: int, messages: Any, count: int) -> int:
        assert (topic, flags) == (TOPIC, 2)
        self.calls.append((partition, count))
        good = 0
        for message in messages[:count]:
            assert message.opaque is None
            value = None if message.payload is None else ctypes.string_at(message.payload, message.size)
            message.err = 10 if value == self.refused else -184 if len(self.taken) == self.room else 0
            if not message.err:
                self.taken.append(
                    (None if message.key is None else ctypes.string_at(message.key, message.key_size), value)
                )
                good += 1
        return good


def queue(library: Library, bytes_max: int = 100) -> Queue:
    assert twin is not None
    addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in library.functions]
    # What a client's object begins with, and its handle.
    client = Producer({"log_level": 0})
    found = Queue(twin.Queues(*addresses), client, bytes_max)
    found._handle = ctypes.c_void_p(CLIENT)
    return found


def test_all_are_added_in_order() -> None:
    library = Library()
    pairs: list[Pair] = [(b"%d" % i, b"v%d" % i) for i in range(1200)]
    assert queue(library).add("t", -1, pairs, 0) == 1200
    assert library.taken == pairs
    assert library.calls == [(CLIENT, b"t"), (-1, 512), (-1, 512), (-1, 176), TOPIC]


def test_nothing_and_no_bytes_are_told_apart() -> None:
    library = Library()
    pairs: list[Pair] = [(None, None), (b"", b""), (b"k", None), (None, b"v")]
    assert queue(library).add("t", 3, pairs, 1) == 4
    assert library.taken == pairs[1:]


def test_a_full_queue_takes_what_it_has_room_for() -> None:
    library = Library(room=700)
    pairs: list[Pair] = [(None, b"%d" % i) for i in range(1200)]
    assert queue(library).add("t", 0, pairs, 100) == 800
    assert library.taken == pairs[100:800]
    assert library.calls[-1] == TOPIC


def test_none_follow_one_that_is_too_large() -> None:
    library = Library()
    pairs: list[Pair] = [(b"k", b"a" * 99), (b"k", b"a" * 100), (b"k", b"b")]
    assert queue(library).add("t", 0, pairs, 0) == 1
    assert library.taken == pairs[:1]
    assert queue(library).add("t", 0, pairs, 1) == 1
    assert queue(library).add("t", 0, pairs, 2) == 3


def test_a_topic_that_the_client_does_not_know_takes_nothing() -> None:
    library = Library()
    assert queue(library).add("none", 0, [(b"k", b"v")], 0) == 0
    assert library.calls == [(CLIENT, b"none")]


def bundle(format_: Format, count: int, size: int = 1, *, keyed: bool = True) -> tuple[RecordBundle, list[Pair]]:
    """Return the records of so many rows, to be put together, and as they should be then."""
    columns = (Column("id", LogicalType(Family.INT64), "bigint"), Column("body", LogicalType(Family.TEXT), "text"))
    table = TableSchema(TableName("public", "t"), columns, (0,) if keyed else ())
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="true", position_lsn=7, ts_us=5, txid=None, now_us=6)
    # The low bits of the sequence turn over.
    rows, seq = encoder.loaded([(i, "x" * size) for i in range(count)]), (1 << 56) + 8000
    return encoder.read_bundle(rows, block, seq)[0], encoder.read_many(rows.pairs(), block, seq)[0]


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("format_", Format)
def test_records_of_a_bundle_are_put_together_and_added(format_: Format, keyed: bool) -> None:
    library = Library()
    records, expected = bundle(format_, 1200, keyed=keyed)
    assert queue(library, 10_000).add("t", -1, records, 0) == 1200
    assert library.taken == expected
    assert library.calls[0] == (CLIENT, b"t")
    assert library.calls[-1] == TOPIC


def test_large_records_of_a_bundle_are_put_together_one_by_one() -> None:
    library = Library()
    records, expected = bundle(Format.JSON, 3, 200_000)
    assert queue(library, 1_000_000).add("t", 2, records, 0) == 3
    assert library.taken == expected
    assert library.calls[1:-1] == [(2, 1)] * 3


def test_a_full_queue_takes_what_it_has_room_for_of_a_bundle() -> None:
    library = Library(room=700)
    records, expected = bundle(Format.AVRO, 1200)
    found = queue(library, 10_000)
    assert found.add("t", 0, records, 100) == 800
    assert library.taken == expected[100:800]
    library.room = 10_000
    assert found.add("t", 0, records, 801) == 1200
    assert library.taken[700:] == expected[801:]
    # From anywhere, too.
    assert found.add("t", 0, records, 3) == 1200
    assert library.taken[-1197:] == expected[3:]


def test_none_of_a_bundle_follow_one_that_is_too_large() -> None:
    library = Library()
    records, expected = bundle(Format.JSON, 3, 1000)
    size = len(expected[0][0] or b"") + len(expected[0][1] or b"")
    assert queue(library, size - 1).add("t", 0, records, 1) == 1
    assert library.taken == []
    assert queue(library, size + 20).add("t", 0, records, 1) == 3


def test_a_bundle_that_is_not_whole_is_refused() -> None:
    library = Library()
    records, _ = bundle(Format.JSON, 3)
    del records.bundle.content[-1]
    with pytest.raises(ValueError, match="too soon"):
        queue(library, 10_000).add("t", 0, records, 0)
    assert library.calls[-1] == TOPIC


def test_a_client_that_takes_others_behind_one_that_it_refuses_is_an_error() -> None:
    library = Library()
    with pytest.raises(RuntimeError, match="behind one that it refused"):
        queue(library).add("t", 0, [(b"k", b"refused"), (b"k", b"v")], 0)
    assert library.calls[-1] == TOPIC


def known() -> tuple[Producer, dict[str, Any]]:
    """Return a client, and the properties that it is made with."""

    def on_error(_: object) -> None:
        """There is no broker."""

    properties: dict[str, Any] = {"log_level": 0, "error_cb": on_error}
    return Producer(properties), properties


def test_the_queue_is_that_of_the_client() -> None:
    client, properties = known()
    found = queue_of(client, properties)
    assert found is not None, "this release of the client is not known: see queues.KNOWN"
    pairs: list[Pair] = [(b"k", b"v")] * 3
    assert found.add("t", -1, pairs, 0) == 3
    assert len(client) == 3
    # librdkafka refuses from its own bound on.
    assert found.add("t", -1, [(b"k", bytes(999_999)), (b"k", b"v")], 0) == 0
    client.purge()


def test_a_client_that_was_closed_takes_nothing() -> None:
    client, properties = known()
    found = queue_of(client, properties)
    assert found is not None
    client.close()
    assert found.add("t", -1, [(b"k", b"v")], 0) == 0
    assert queue_of(client, properties) is None


def test_nothing_is_taken_outside_of_a_transaction() -> None:
    client = TransactionalProducer({}, "shop", reported=0)
    assert client._queue is not None
    assert client._queue.add("t", 0, [(b"k", b"v")], 0) == 0
    with pytest.raises(TailraceError, match="_STATE"):
        client.produce_run("t", [(b"k", b"v")])
    client.close()


def test_small_and_unknown_clients_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    client, properties = known()
    assert queue_of(client, {**properties, "message.max.bytes": "200"}) is None
    for module, name, value in [
        (queues, "__version__", "9.9.9"),
        (sys.implementation, "name", "pypy"),
        (sysconfig, "get_config_var", {"Py_GIL_DISABLED": 1}.get),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            queues._queues.cache_clear()
            try:
                assert queue_of(client, properties) is None
            finally:
                queues._queues.cache_clear()
    assert queue_of(client, properties) is not None


def test_objects_that_begin_otherwise_have_none() -> None:
    client, properties = known()

    class Tracing(Producer):
        """Stands in for the client's type, and holds another client."""

        def __init__(self) -> None:
            self.client = client

    assert queue_of(Tracing(), properties) is None
    # What is behind the handle is not what was given.
    assert queue_of(client, {**properties, "error_cb": print}) is None
    assert queue_of(Producer({"log_level": 0}), {}) is None


BESIDE_ANOTHER = """
from runtime.kafka.queues import _queues
print(_queues())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="how libraries are loaded first is the system's own")
def test_functions_are_not_called_of_a_library_that_is_not_the_clients(tmp_path: Path) -> None:
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/librdkafka" in line}
    assert len(mapped) == 1
    library = Path(mapped.pop())
    other = tmp_path / "librdkafka.so"
    # Under the same name the loader would take one for both.
    name = library.name.encode()
    other.write_bytes(library.read_bytes().replace(name, name[:-1] + b"x"))
    found = subprocess.run(
        [sys.executable, "-c", BESIDE_ANOTHER],
        env={**os.environ, "LD_PRELOAD": str(other)},
        cwd=Path(queues.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "None\n", found.stderr
