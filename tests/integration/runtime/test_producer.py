"""The transactional and the plain producer against a real broker."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest

from deploy.local.kafka import KafkaAddress
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import read_all
from runtime.kafka.errors import FencedError, OversizedError
from runtime.kafka.producer import PlainProducer, TransactionalProducer
from schemas.bundles import Around, Bundle, Pair, RecordBundle
from schemas.errors import ErrorKind, TailraceError
from schemas.twin import built
from tests.kit.topics import read_raw

pytestmark = pytest.mark.integration

DEADLINE_S = 480.0


@pytest.fixture
def topic(kafka_server: KafkaAddress, replication: str) -> str:
    name = f"{replication}.data"
    Topics(kafka_server.settings).ensure([TopicSpec(name, partitions=3)])
    return name


@pytest.fixture(params=[None, 0], ids=["reported", "unreported"])
def reported(request: pytest.FixtureRequest) -> int | None:
    """Of how many records failures are reported."""
    number: int | None = request.param
    if number is not None and built("producing") is None:
        pytest.skip("it is not built: no compiler was there")
    return number


@pytest.fixture
def producer(kafka_server: KafkaAddress, replication: str, reported: int | None) -> Iterator[TransactionalProducer]:
    producer = TransactionalProducer(kafka_server.settings, f"{replication}.capture", reported=reported)
    assert (producer._queue is None) == (reported is None)
    producer.init()
    yield producer
    producer.close()


def _bundled(pairs: list[Pair]) -> Sequence[Pair]:
    """Bundle all but tombstones: behind the value of each follows its number."""

    def write(rows: list[tuple[bytes | None, bytes]], seq: int) -> list[Pair]:
        return [(key, b"%b#%d" % (body, number)) for number, (key, body) in enumerate(rows, seq + 1)]

    rows = [(key, value) for key, value in pairs if value is not None]
    bundle = Bundle.of([key for key, _ in rows], [body for _, body in rows])
    return RecordBundle(bundle, Around(b"", b"#", b"", is_json=True), 0, write)


@pytest.fixture(params=[lambda pairs: pairs, _bundled], ids=["list", "bundle"])
def run_of(request: pytest.FixtureRequest) -> Callable[[list[Pair]], Sequence[Pair]]:
    """How records are handed over."""
    form: Callable[[list[Pair]], Sequence[Pair]] = request.param
    return form


def records(kafka: KafkaAddress, topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
    """Return partition, key and value of all committed records, once every open transaction has ended.

    A broker answers a commit before it has written the markers that readers go by.
    """
    topics = Topics(kafka.settings)
    deadline = time.monotonic() + DEADLINE_S
    while topics.end_offsets([topic]) != topics.end_offsets([topic], read_committed=False):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [(partition, key, value) for _, partition, _, key, value in read_raw(kafka.bootstrap, [topic])]


def values(kafka: KafkaAddress, topic: str) -> list[bytes | None]:
    return [value for *_, value in records(kafka, topic)]


def test_a_committed_run_is_there_whole_and_in_order_by_key(
    kafka_server: KafkaAddress,
    topic: str,
    producer: TransactionalProducer,
    run_of: Callable[[list[Pair]], Sequence[Pair]],
) -> None:
    run = run_of([(b"k%d" % (i % 7), b"%d" % i) for i in range(5000)])
    producer.begin()
    producer.produce_run(topic, run)
    producer.produce(topic, b"k0", None)
    producer.commit()
    by_key: dict[bytes | None, list[bytes | None]] = {}
    for _, key, value in records(kafka_server, topic):
        by_key.setdefault(key, []).append(value)
    assert by_key[b"k1"] == [value for _, value in run][1::7]
    assert by_key[b"k0"][-1] is None
    assert sum(map(len, by_key.values())) == 5001


def test_a_run_may_name_its_partition(kafka_server: KafkaAddress, topic: str, producer: TransactionalProducer) -> None:
    producer.begin()
    producer.produce_run(topic, [(None, b"%d" % i) for i in range(100)], partition=2)
    producer.commit()
    assert [(p, v) for p, _, v in records(kafka_server, topic)] == [(2, b"%d" % i) for i in range(100)]


def test_keys_go_where_the_java_clients_put_them(
    kafka_server: KafkaAddress, topic: str, producer: TransactionalProducer
) -> None:
    producer.begin()
    for key in (b"21", b"foobar", b"a-little-bit-long-string"):
        producer.produce(topic, key, b"")
    producer.commit()
    # Hashes by org.apache.kafka.common.utils.UtilsTest.testMurmur2: -973932308, -790332482, -985981536.
    expected = {
        key: (h & 0x7FFFFFFF) % 3
        for key, h in {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}.items()
    }
    assert {key: p for p, key, _ in records(kafka_server, topic)} == expected


def test_an_aborted_transaction_leaves_nothing_and_the_next_one_works(
    kafka_server: KafkaAddress, topic: str, producer: TransactionalProducer
) -> None:
    # Some are on their way when the transaction is aborted, some are still queued.
    for count in (1000, 1, 20_000):
        producer.begin()
        producer.produce_run(topic, [(b"k", b"lost")] * count)
        producer.abort()
        assert not producer.in_transaction
        producer.begin()
        producer.produce(topic, b"k", b"%d" % count)
        producer.commit()
    assert values(kafka_server, topic) == [b"1000", b"1", b"20000"]


def test_a_newer_producer_fences_the_older_one_and_voids_its_open_transaction(
    kafka_server: KafkaAddress, topic: str, producer: TransactionalProducer, replication: str
) -> None:
    producer.begin()
    producer.produce(topic, b"k", b"old")
    newer = TransactionalProducer(kafka_server.settings, f"{replication}.capture")
    try:
        newer.init()
        newer.begin()
        newer.produce(topic, b"k", b"new")
        newer.commit()
        with pytest.raises(FencedError):
            producer.commit()
    finally:
        newer.close()
    assert values(kafka_server, topic) == [b"new"]


@pytest.mark.parametrize("more", [0, 1, 20_000])
def test_a_transaction_that_the_brokers_gave_up_is_a_transport_error_and_no_fence(
    kafka_server: KafkaAddress, topic: str, replication: str, more: int
) -> None:
    producer = TransactionalProducer(kafka_server.settings, f"{replication}.slow", transaction_timeout_s=1)
    producer.init()
    producer.begin()
    producer.produce(topic, b"k", b"lost")
    producer._producer.flush(DEADLINE_S)
    assert values(kafka_server, topic) == []
    with pytest.raises(TailraceError) as caught:
        _go_on(producer, topic, more)
    assert caught.value.kind is ErrorKind.TRANSPORT
    assert "had been open for" in caught.value.message
    producer.close()
    assert values(kafka_server, topic) == []


def _go_on(producer: TransactionalProducer, topic: str, records: int) -> None:
    producer.produce_run(topic, [(b"k", b"lost")] * records)
    producer.commit()


def test_a_full_queue_is_waited_for_and_loses_nothing(
    kafka_server: KafkaAddress,
    topic: str,
    replication: str,
    reported: int | None,
    run_of: Callable[[list[Pair]], Sequence[Pair]],
) -> None:
    small = {"queue.buffering.max.messages": 100, "linger.ms": 0}
    producer = TransactionalProducer(kafka_server.settings, f"{replication}.small", overrides=small, reported=reported)
    run = run_of([(b"k", b"%d" % i) for i in range(3000)])
    try:
        producer.init()
        producer.begin()
        producer.produce_run(topic, run)
        producer.commit()
    finally:
        producer.close()
    assert values(kafka_server, topic) == [value for _, value in run]


def test_a_record_that_the_topic_refuses_fails_the_transaction_with_the_setting_to_raise(
    kafka_server: KafkaAddress, replication: str, producer: TransactionalProducer
) -> None:
    name = f"{replication}.small"
    Topics(kafka_server.settings).ensure([TopicSpec(name, config={"max.message.bytes": 10_000})])
    producer.begin()
    producer.produce_run(name, [(b"k", b"small"), (b"k", secrets.token_bytes(100_000)), (b"k", b"small")])
    with pytest.raises(TailraceError) as caught:
        producer.commit()
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert f"ProduceRequest for {name} " in caught.value.message
    assert "max.message.bytes" in (caught.value.remedy or "")
    producer.close()
    # After a refused record the client's sequence numbers are no longer the broker's: the way on is a new producer.
    again = TransactionalProducer(kafka_server.settings, f"{replication}.capture")
    again.init()
    again.begin()
    again.produce(name, b"k", b"small")
    again.commit()
    again.close()
    assert values(kafka_server, name) == [b"small"]


def test_a_record_that_the_client_refuses_is_told_and_what_follows_it_is_not_taken(
    kafka_server: KafkaAddress,
    topic: str,
    producer: TransactionalProducer,
    run_of: Callable[[list[Pair]], Sequence[Pair]],
) -> None:
    large = secrets.token_bytes(1_000_001)
    run = run_of([(b"k", b"1"), (b"k", None), (None, b""), (b"k", large), (b"k", b"5")])
    *taken, refused, _ = run
    producer.begin()
    with pytest.raises(OversizedError, match=f"{1 + len(refused[1] or b''):,} bytes") as caught:
        producer.produce_run(topic, run)
    assert caught.value.index == len(taken)
    producer.produce_run(topic, [(b"k", b"4")])
    producer.commit()
    found = [(key, value) for _, key, value in records(kafka_server, topic)]
    assert [pair for pair in found if pair[0]] == [*(pair for pair in taken if pair[0]), (b"k", b"4")]
    assert [pair for pair in found if not pair[0]] == [pair for pair in taken if not pair[0]]


def test_what_is_not_delivered_is_named_as_far_as_it_is_reported(kafka_server: KafkaAddress, replication: str) -> None:
    # No record is ever taken: a second replica must have it, and there is none.
    topic = f"{replication}.lacking"
    Topics(kafka_server.settings).ensure([TopicSpec(topic, config={"min.insync.replicas": 2})])

    def failure(reported: int | None) -> TailraceError:
        too_soon = {"message.timeout.ms": 1, "linger.ms": 0}
        producer = TransactionalProducer(
            kafka_server.settings, f"{replication}.capture", overrides=too_soon, reported=reported
        )
        with closing(producer):
            producer.init()
            producer.begin()
            producer.produce_run(topic, [(b"k", b"123")])
            with pytest.raises(TailraceError) as caught:
                producer.commit()
        return caught.value

    of_all, of_none, of_some = failure(None), failure(0), failure(1)
    assert of_all.message == of_some.message
    assert f"delivering a record to {topic}, 4 bytes failed" in of_all.message
    assert of_all.kind is of_none.kind is ErrorKind.TRANSPORT
    # Which of the two librdkafka tells is chance: whether a record's time is over before the commit looks.
    told = (f"1 message(s) timed out on {topic} ", "1 message(s) failed delivery ")
    assert any(words in of_none.message for words in told) or built("producing") is None


def test_closing_in_the_middle_of_a_transaction_aborts_it(
    kafka_server: KafkaAddress, topic: str, replication: str
) -> None:
    producer = TransactionalProducer(kafka_server.settings, f"{replication}.closing")
    producer.init()
    producer.begin()
    producer.produce(topic, b"k", b"lost")
    producer.close()
    producer.close()
    assert values(kafka_server, topic) == []


def test_no_broker_is_a_transport_error_within_the_time_given() -> None:
    producer = TransactionalProducer({"bootstrap.servers": "127.0.0.1:1"}, "nobody")
    with pytest.raises(TailraceError) as caught:
        producer.init(timeout_s=1)
    assert caught.value.kind is ErrorKind.TRANSPORT
    producer.close()


def test_a_misspelt_property_is_a_configuration_error() -> None:
    with pytest.raises(TailraceError) as caught:
        TransactionalProducer({"bootstrap.servers": "127.0.0.1:1", "sasl.pasword": "x"}, "nobody")
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert "sasl.pasword" in caught.value.message


def test_plain_records_are_there_after_a_flush(kafka_server: KafkaAddress, topic: str) -> None:
    producer = PlainProducer(kafka_server.settings)
    producer.produce(topic, b"a", b"1", partition=0, headers=[("error", b"none")])
    producer.produce(topic, b"a", b"2", partition=0)
    producer.flush()
    producer.close()
    assert read_all(kafka_server.settings, topic) == {b"a": b"2"}


def test_a_plain_record_that_cannot_be_delivered_is_raised_by_flush(kafka_server: KafkaAddress) -> None:
    producer = PlainProducer({"bootstrap.servers": "127.0.0.1:1"}, delivery_timeout_s=1)
    producer.produce("nowhere", b"a", b"1")
    with pytest.raises(TailraceError) as caught:
        producer.flush(30)
    assert caught.value.kind is ErrorKind.TRANSPORT
    began = time.monotonic()
    producer.close(0)
    assert time.monotonic() - began < 30
