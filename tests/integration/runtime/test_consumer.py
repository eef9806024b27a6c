"""The group consumer against a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from deploy.local.kafka import KafkaAddress
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.consumer import GroupConsumer
from runtime.kafka.errors import SupplantedError
from runtime.kafka.membership import Membership, Partition, RebalanceListener
from runtime.kafka.producer import PlainProducer, TransactionalProducer
from schemas.errors import ErrorKind, TailraceError

pytestmark = pytest.mark.integration

DEADLINE_S = 300.0

Make = Callable[..., GroupConsumer]


@pytest.fixture
def topic(kafka_server: KafkaAddress, replication: str) -> str:
    name = f"{replication}.data"
    Topics(kafka_server.settings).ensure([TopicSpec(name, partitions=4)])
    return name


@pytest.fixture
def make(kafka_server: KafkaAddress, replication: str, topic: str) -> Iterator[Make]:
    """A function that makes a member of the test's group; all are closed at the end."""
    with ExitStack() as stack:

        def one(**options: object) -> GroupConsumer:
            consumer = GroupConsumer(kafka_server.settings, f"{replication}.group", **options)  # type: ignore[arg-type]
            stack.callback(consumer.close)
            consumer.subscribe([topic])
            return consumer

        yield one


def fill(kafka: KafkaAddress, topic: str, values: range, partition: int = 0) -> None:
    producer = PlainProducer(kafka.settings)
    for i in values:
        producer.produce(topic, b"k", b"%d" % i, partition=partition)
    producer.flush()
    producer.close()


def read(consumer: GroupConsumer, count: int) -> list[bytes | None]:
    values: list[bytes | None] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(values) < count:
        assert time.monotonic() < deadline, f"{len(values)} of {count} records came"
        values += [m.value() for m in consumer.consume(count - len(values), 0.2)]
    return values


def until(condition: Callable[[], bool], *consumers: GroupConsumer) -> None:
    """Let the consumers work until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        for consumer in consumers:
            consumer.consume(1000, 0.05)


def test_a_new_group_begins_at_the_beginning_and_goes_on_where_it_committed(
    kafka_server: KafkaAddress, topic: str, make: Make
) -> None:
    fill(kafka_server, topic, range(10))
    first = make()
    assert read(first, 10) == [b"%d" % i for i in range(10)]
    first.commit({(topic, 0): 6})
    assert first.committed([(topic, 0), (topic, 1)]) == {(topic, 0): 6}
    first.close()
    first.close()
    second = make()
    assert read(second, 4) == [b"6", b"7", b"8", b"9"]


def test_offsets_that_the_callback_knows_win_over_the_groups(
    kafka_server: KafkaAddress, topic: str, make: Make
) -> None:
    fill(kafka_server, topic, range(10))
    first = make()
    read(first, 10)
    first.commit({(topic, 0): 9})
    first.close()
    asked: list[Partition] = []

    def known(partitions: list[Partition]) -> Mapping[Partition, int]:
        asked.extend(partitions)
        return {(topic, 0): 3, ("another", 0): 1}

    second = make(listener=RebalanceListener(known))
    assert read(second, 7) == [b"%d" % i for i in range(3, 10)]
    assert sorted(set(asked)) == second.assignment() == [(topic, n) for n in range(4)]


def test_an_exception_of_a_callback_is_raised_by_consume_and_the_partitions_rest(
    kafka_server: KafkaAddress, topic: str, make: Make
) -> None:
    fill(kafka_server, topic, range(3))

    def fail(_: list[Partition]) -> Mapping[Partition, int]:
        raise TailraceError(ErrorKind.TARGET_CONNECTION, "the target is away")

    consumer = make(listener=RebalanceListener(fail))
    with pytest.raises(TailraceError, match="the target is away"):
        until(lambda: False, consumer)
    where = consumer.assignment()
    assert len(where) == 4
    assert consumer.consume(1000, 1.0) == []
    consumer.seek(dict.fromkeys(where, 1))
    consumer.resume(where)
    assert read(consumer, 2) == [b"1", b"2"]


def test_seek_goes_back_at_once_also_right_after_an_assignment_and_keeps_a_pause(
    kafka_server: KafkaAddress, topic: str, make: Make
) -> None:
    fill(kafka_server, topic, range(10))
    consumer = make()
    until(lambda: len(consumer.assignment()) == 4, consumer)
    consumer.seek({(topic, 0): 4})
    assert read(consumer, 6) == [b"%d" % i for i in range(4, 10)]
    consumer.pause([(topic, 0), ("another", 3)])
    consumer.seek({(topic, 0): 2})
    fill(kafka_server, topic, range(3), partition=1)
    assert read(consumer, 3) == [b"0", b"1", b"2"]
    consumer.resume([(topic, 0)])
    assert read(consumer, 8) == [b"%d" % i for i in range(2, 10)]
    assert consumer.position([(topic, 0)]) == {(topic, 0): 10}


def test_aborted_records_are_not_read_and_the_end_is_known_behind_markers(
    kafka_server: KafkaAddress, topic: str, make: Make, replication: str
) -> None:
    producer = TransactionalProducer(kafka_server.settings, f"{replication}.capture")
    producer.init()
    producer.begin()
    producer.produce(topic, b"k", b"kept", partition=0)
    producer.commit()
    producer.begin()
    producer.produce(topic, b"k", b"lost", partition=0)
    producer._producer.flush(30)
    producer.abort()
    producer.close()
    consumer = make()
    assert read(consumer, 1) == [b"kept"]
    # Two records and two markers; the last marker may be written a moment after the abort was answered.
    end = 4
    until(lambda: set(consumer.eof) == {(topic, n) for n in range(4)} and consumer.eof[topic, 0] == end, consumer)
    assert consumer.end_offsets([(topic, 0)]) == {(topic, 0): end}
    assert Topics(kafka_server.settings).end_offsets([topic])[topic, 0] == end
    assert consumer.end_offsets([(topic, 0)], cached=True) == {(topic, 0): end}
    left = Topics(kafka_server.settings).records_left({(topic, 0): 1, (topic, 1): 0})
    assert left == {(topic, 0): 0, (topic, 1): 0}
    assert Topics(kafka_server.settings).records_left({(topic, 0): 0}) == {(topic, 0): 1}


def test_two_members_share_the_partitions_and_the_revoked_may_commit_last(
    kafka_server: KafkaAddress, topic: str, make: Make
) -> None:
    for n in range(4):
        fill(kafka_server, topic, range(3), partition=n)
    gone: list[Partition] = []

    def commit(partitions: list[Partition]) -> None:
        gone.extend(partitions)
        first.commit({(topic, n): 2 for _, n in partitions})

    first = make(listener=RebalanceListener(revoked=commit))
    until(lambda: len(first.assignment()) == 4, first)
    first.pause(first.assignment())
    second = make()
    until(lambda: len(first.assignment()) == 2 and len(second.assignment()) == 2, first, second)
    assert sorted(first.assignment() + second.assignment()) == [(topic, n) for n in range(4)]
    assert sorted(gone) == second.assignment()
    assert second.committed(gone) == dict.fromkeys(gone, 2)
    # What comes back is read, although it was paused when it went.
    second.close()
    assert read(first, 2) == [b"2", b"2"]
    assert len(first.assignment()) == 4


def test_the_bound_of_bytes_ends_a_batch(kafka_server: KafkaAddress, topic: str, make: Make) -> None:
    producer = PlainProducer(kafka_server.settings)
    for _ in range(5000):
        producer.produce(topic, b"k", b"x" * 100, partition=0)
    producer.flush()
    producer.close()
    consumer = make()
    seen = 0
    deadline = time.monotonic() + DEADLINE_S
    while seen < 5000:
        assert time.monotonic() < deadline
        batch = consumer.consume(5000, 0.5, bytes_max=99_050)
        assert sum(map(len, batch)) <= 99_100
        seen += len(batch)


def test_a_bound_of_bytes_ends_no_wait_where_ends_of_partitions_are_met(
    kafka_server: KafkaAddress, replication: str
) -> None:
    topic = f"{replication}.wide"
    Topics(kafka_server.settings).ensure([TopicSpec(topic, partitions=300)])
    consumer = GroupConsumer(kafka_server.settings, f"{replication}.group")
    consumer.assign({(topic, n): 0 for n in range(300)})
    start = time.monotonic()
    while time.monotonic() < start + DEADLINE_S and len(consumer.eof) < 300:
        begin = time.monotonic()
        assert consumer.consume(5000, 2.0, bytes_max=1 << 20) == []
        assert time.monotonic() >= begin + 1.9
    assert len(consumer.eof) == 300
    consumer.close()


def test_records_that_retention_removed_before_they_were_read_are_an_error_and_no_jump(
    kafka_server: KafkaAddress, topic: str, make: Make
) -> None:
    fill(kafka_server, topic, range(3))
    consumer = make(listener=RebalanceListener(lambda partitions: dict.fromkeys(partitions, 1000)))
    with pytest.raises(TailraceError) as caught:
        until(lambda: False, consumer)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    assert topic in caught.value.message


def test_a_topic_that_is_made_later_is_picked_up_by_a_pattern(kafka_server: KafkaAddress, replication: str) -> None:
    consumer = GroupConsumer(
        kafka_server.settings, f"{replication}.pattern", overrides={"topic.metadata.refresh.interval.ms": 500}
    )
    try:
        consumer.subscribe([f"^{replication}\\.late\\..*"])
        consumer.consume(1, 0.5)
        Topics(kafka_server.settings).ensure([TopicSpec(f"{replication}.late.one")])
        until(lambda: consumer.assignment() == [(f"{replication}.late.one", 0)], consumer)
        assert consumer.topics(f"{replication}.late") == {f"{replication}.late.one": 1}
    finally:
        consumer.close()


def test_a_member_ends_whose_name_another_one_takes(make: Make) -> None:
    """As after a hang, when somebody has started it once more: it must not go on trying."""
    first = make(membership=Membership("one"))
    until(lambda: len(first.assignment()) == 4, first)
    second = make(membership=Membership("one"))
    with pytest.raises(SupplantedError, match="Static consumer fenced"):
        until(lambda: False, second, first)
