"""Who is known to be dead leaves its group at once, however long that would have waited."""

from __future__ import annotations

from contextlib import closing

import pytest

from deploy.local.kafka import KafkaAddress
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.consumer import GroupConsumer
from runtime.kafka.membership import Membership
from tests.integration.apply.waiting import until
from tests.kit.groups import dismiss

pytestmark = pytest.mark.integration


def test_members_that_are_dismissed_are_missed_at_once(kafka_server: KafkaAddress, replication: str) -> None:
    topics, group = Topics(kafka_server.settings), f"{replication}.group"
    topics.ensure([TopicSpec(f"{replication}.data", 2)])
    with (
        closing(GroupConsumer(kafka_server.settings, group, membership=Membership(session_timeout_s=600))) as silent,
        closing(GroupConsumer(kafka_server.settings, group, membership=Membership(session_timeout_s=600))) as other,
    ):

        def has(consumer: GroupConsumer, count: int) -> bool:
            consumer.consume(1, 0.1)
            return len(consumer.assignment()) == count

        silent.subscribe([f"{replication}.data"])
        until(lambda: has(silent, 2))
        dismiss(kafka_server.bootstrap, group)
        assert topics.group_members(group) == 0
        # Nobody waits for it to give back what it had.
        other.subscribe([f"{replication}.data"])
        until(lambda: has(other, 2))
