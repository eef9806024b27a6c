"""Where a target begins to read what Debezium wrote."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from apply.debezium import topics as debezium_topics
from apply.sink import TopicPartition
from runtime.kafka.admin import Topics
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings

READ, UNREAD = TopicPartition("shop.orders", 0), TopicPartition("shop.orders", 1)


def test_a_target_begins_at_a_groups_offsets_also_where_the_records_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not pass over them in silence: the consumer says that they are not there."""

    class Group:
        def __init__(self, kafka: dict[str, Any], group: str) -> None:
            assert group == "connect-sink"

        def read(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
            return {READ: 100}

        def close(self) -> None:
            pass

    source = SimpleNamespace(start_group="connect-sink")
    monkeypatch.setattr(debezium_topics, "GroupOffsets", Group)
    monkeypatch.setattr(debezium_topics, "source_of", lambda settings: source)
    settings = cast("Settings", SimpleNamespace(kafka={}))
    topics = cast("Topics", SimpleNamespace(begin_offsets=lambda names: {READ: 500, UNREAD: 7}))
    said: list[str] = []
    monkeypatch.setattr(debezium_topics.log, "warning", lambda what, **_: said.append(what))
    assert debezium_topics.beginnings(settings, "replica", topics, [READ, UNREAD]) == {READ: 100, UNREAD: 7}
    assert len(said) == 1, "what the group has not read, nobody has"
    assert debezium_topics.beginnings(settings, "replica", topics, [READ]) == {READ: 100}
    assert len(said) == 1, "the consumer says so"
    source.start_group = None
    assert debezium_topics.beginnings(settings, "replica", topics, [READ, UNREAD]) == {READ: 500, UNREAD: 7}


def test_a_group_that_read_nothing_is_refused_unless_the_target_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    read = {"connect-sink": {READ: 100}, "idle": {}, "shop.tailrace.apply.replica": {}}

    class Group:
        def __init__(self, kafka: dict[str, Any], group: str) -> None:
            self._group = group

        def read(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
            return {p: read.get(self._group, {})[p] for p in partitions if p in read.get(self._group, {})}

        def close(self) -> None:
            pass

    source = SimpleNamespace(start_group="connect-sinc", topics=["shop.*"])
    monkeypatch.setattr(debezium_topics, "GroupOffsets", Group)
    monkeypatch.setattr(debezium_topics, "source_of", lambda settings: source)
    settings = cast("Settings", SimpleNamespace(kafka={}, name="shop"))
    cluster = SimpleNamespace(
        begin_offsets=lambda names: {READ: 0, UNREAD: 0} if "shop.orders" in names else {},
        list=lambda: {"shop.orders": 2, "other": 1},
        groups=lambda: sorted(read),
    )
    topics = cast("Topics", cluster)
    with pytest.raises(TailraceError, match=r"connect-sinc .* groups that have: connect-sink Remedy") as caught:
        debezium_topics.beginnings(settings, "replica", topics, [READ, UNREAD])
    assert caught.value.kind is ErrorKind.CONFIGURATION
    source.start_group = "connect-sink"
    # Another member has the partition that was read.
    assert debezium_topics.beginnings(settings, "replica", topics, [UNREAD]) == {UNREAD: 0}
    # A topic that comes when the group is long gone.
    source.start_group = "connect-gone"
    read["shop.tailrace.apply.replica"] = {READ: 300}
    assert debezium_topics.beginnings(settings, "replica", topics, [UNREAD]) == {UNREAD: 0}
