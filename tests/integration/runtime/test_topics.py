"""Administration, followers and status against a real broker."""

from __future__ import annotations

import pytest

from deploy.local.kafka import KafkaAddress
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import Follower, read_all
from runtime.kafka.consumer import GroupConsumer
from runtime.kafka.group_offsets import GroupOffsets
from runtime.kafka.producer import PlainProducer, TransactionalProducer
from runtime.status import StatusWriter, read_status
from schemas.errors import ErrorKind, TailraceError
from schemas.topics import status_topic

pytestmark = pytest.mark.integration


@pytest.fixture
def topics(kafka_server: KafkaAddress) -> Topics:
    return Topics(kafka_server.settings)


def test_missing_topics_are_made_once_with_their_settings(topics: Topics, replication: str) -> None:
    specs = [
        TopicSpec(
            f"{replication}.a", partitions=3, config={"retention.ms": -1, "message.timestamp.type": "CreateTime"}
        ),
        TopicSpec(f"{replication}.b", cleanup="compact"),
    ]
    assert topics.ensure(specs) == [f"{replication}.a", f"{replication}.b"]
    assert topics.ensure(specs) == []
    assert topics.list(f"{replication}.") == {f"{replication}.a": 3, f"{replication}.b": 1}
    assert topics.partitions(f"{replication}.a") == 3
    assert topics.config(f"{replication}.b")["cleanup.policy"] == "compact"
    assert topics.exists(f"{replication}.a")
    assert topics.broker_count() >= 1


def test_every_wrong_setting_of_existing_topics_is_named_and_nothing_is_made(topics: Topics, replication: str) -> None:
    topics.ensure([TopicSpec(f"{replication}.a", partitions=2), TopicSpec(f"{replication}.b")])
    with pytest.raises(TailraceError) as caught:
        topics.ensure(
            [
                TopicSpec(f"{replication}.a", partitions=3, cleanup="compact"),
                TopicSpec(f"{replication}.b", config={"max.message.bytes": 5000}),
                TopicSpec(f"{replication}.c"),
            ]
        )
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert caught.value.message.splitlines()[1:] == [
        f"  {replication}.a: 2 partitions, not 3",
        f"  {replication}.a: cleanup.policy is delete, not compact",
        f"  {replication}.b: max.message.bytes is 1048588, not 5000",
    ]
    assert not topics.exists(f"{replication}.c")


def test_a_setting_that_kafka_does_not_know_is_a_configuration_error(topics: Topics, replication: str) -> None:
    with pytest.raises(TailraceError) as caught:
        topics.ensure([TopicSpec(f"{replication}.a", config={"retention.msec": 1})])
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert "retention.msec" in caught.value.message


def test_deleted_topics_are_gone(topics: Topics, replication: str) -> None:
    topics.ensure([TopicSpec(f"{replication}.a"), TopicSpec(f"{replication}.b")])
    topics.delete([f"{replication}.a", f"{replication}.never"])
    topics.delete([])
    assert topics.list(f"{replication}.") == {f"{replication}.b": 1}
    with pytest.raises(TailraceError, match="there is no topic"):
        topics.partitions(f"{replication}.a")


def test_ends_stop_before_an_open_transaction_only_for_committed_reading(
    topics: Topics, kafka_server: KafkaAddress, replication: str
) -> None:
    name = f"{replication}.a"
    topics.ensure([TopicSpec(name)])
    producer = TransactionalProducer(kafka_server.settings, f"{replication}.capture")
    producer.init()
    producer.begin()
    producer.produce(name, b"k", b"v")
    producer._producer.flush(240)
    assert topics.end_offsets([name]) == {(name, 0): 0}
    assert topics.end_offsets([name], read_committed=False) == {(name, 0): 1}
    producer.commit()
    # The record and its commit marker. The broker answers the commit before the marker is written.
    follower = Follower(kafka_server.settings, name)
    while not follower.catch_up():
        continue
    follower.close()
    assert topics.end_offsets([name]) == {(name, 0): 2}
    assert topics.begin_offsets([name]) == {(name, 0): 0}
    assert topics.records_left({(name, 0): 1}) == {(name, 0): 0}
    producer.close()


def test_offsets_of_a_group_are_read_and_deleted(topics: Topics, kafka_server: KafkaAddress, replication: str) -> None:
    name, group = f"{replication}.a", f"{replication}.group"
    topics.ensure([TopicSpec(name)])
    offsets = GroupOffsets(kafka_server.settings, group)
    assert offsets.read([(name, 0)]) == {}
    assert offsets.read([]) == {}
    assert topics.group_members(group) == 0
    consumer = GroupConsumer(kafka_server.settings, group)
    consumer.subscribe([name])
    while not consumer.assignment():
        consumer.consume(1, 0.2)
    consumer.commit({(name, 0): 0})
    assert offsets.read([(name, 0)]) == {(name, 0): 0}
    offsets.close()
    offsets.close()
    assert topics.group_members(group) == 1
    with pytest.raises(TailraceError, match="has members"):
        topics.delete_group(group)
    consumer.close()
    assert topics.delete_group(group)
    assert not topics.delete_group(group)


def test_the_latest_value_of_each_key_is_read_and_deleted_keys_are_left_out(
    topics: Topics, kafka_server: KafkaAddress, replication: str
) -> None:
    name = f"{replication}.a"
    topics.ensure([TopicSpec(name, cleanup="compact")])
    assert read_all(kafka_server.settings, name) == {}
    producer = TransactionalProducer(kafka_server.settings, f"{replication}.capture")
    producer.init()
    producer.begin()
    producer.produce_run(name, [(b"k%d" % (i % 100), b"%d" % i) for i in range(20_000)])
    producer.produce(name, b"k7", None)
    producer.commit()
    producer.begin()
    producer.produce(name, b"k8", b"aborted")
    producer.abort()
    producer.close()
    # A producer with the same id settles what was before it: then the commit is visible to every reader.
    settled = TransactionalProducer(kafka_server.settings, f"{replication}.capture")
    settled.init()
    latest = read_all(kafka_server.settings, name)
    settled.close()
    assert latest == {b"k%d" % k: b"%d" % (19_900 + k) for k in range(100) if k != 7}


def test_a_follower_goes_on_with_what_comes(topics: Topics, kafka_server: KafkaAddress, replication: str) -> None:
    name = f"{replication}.a"
    with pytest.raises(TailraceError) as caught:
        Follower(kafka_server.settings, name)
    assert caught.value.kind is ErrorKind.TRANSPORT
    topics.ensure([TopicSpec(name)])
    producer = PlainProducer(kafka_server.settings)
    producer.produce(name, b"a", b"1")
    producer.flush()
    follower = Follower(kafka_server.settings, name)
    assert [(r.key, r.value, r.offset) for r in follower.catch_up()] == [(b"a", b"1", 0)]
    assert follower.catch_up() == []
    producer.produce(name, b"a", None)
    producer.flush()
    assert [(r.key, r.value, r.offset) for r in follower.catch_up()] == [(b"a", None, 1)]
    producer.close()
    follower.close()
    follower.close()


def test_status_documents_replace_each_other(topics: Topics, kafka_server: KafkaAddress, replication: str) -> None:
    topics.ensure([TopicSpec(status_topic(replication), cleanup="compact")])
    capture = StatusWriter(kafka_server.settings, replication, "capture")
    apply = StatusWriter(kafka_server.settings, replication, "apply.replica.1")
    capture.write({"state": "starting"})
    capture.write({"state": "running", "tables": {"public.orders": {"rows": 3}}})
    apply.write({"state": "running"})
    apply.remove()
    capture.close()
    apply.close()
    documents = read_status(kafka_server.settings, replication)
    assert set(documents) == {"capture"}
    assert documents["capture"]["state"] == "running"
    assert documents["capture"]["tables"] == {"public.orders": {"rows": 3}}
    assert {"component", "pid", "host", "ts_us"} <= documents["capture"].keys()
