"""The topic in which capture keeps Avro schemas: when it is made, and what it ends with."""

from __future__ import annotations

from typing import Any, cast

import pytest

from capture.publishing import registration
from capture.publishing.schemas_topic import topic_specs
from runtime import clock
from runtime.kafka.admin import Topics
from schemas.registry import NOOP_KEY
from schemas.settings import Settings, parse


def settings(**more: Any) -> Settings:
    return parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "nowhere"},
            "source": {"database": "d", "user": "u", "tables": ["s.*"]},
            **more,
        }
    )


@pytest.mark.parametrize(
    ("topics", "more", "is_kept"),
    [
        ({}, {}, True),
        ({"format": "json"}, {}, False),
        ({"format": "json", "overrides": [{"tables": ["s.t"], "format": "avro"}]}, {}, True),
        ({"overrides": [{"tables": ["s.t"], "format": "json"}]}, {}, True),
        ({}, {"registry": {"url": "http://registry"}}, False),
    ],
)
def test_the_topic_of_schemas_is_made_where_any_table_is_in_avro(
    topics: dict[str, Any], more: dict[str, Any], is_kept: bool
) -> None:
    specs = {spec.name: spec.cleanup for spec in topic_specs(settings(topics=topics, **more))}
    assert ("_schemas" in specs) is is_kept
    assert set(specs.values()) == {"compact"}, "left to a broker, its records would go by retention"


def test_the_record_that_ends_the_topic_waits_for_the_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit returns before its marker is written: a record in front of the marker would not be the last."""
    did: list[object] = []
    markers_due = [{("_schemas", 0): (5, 7)}] * 2

    class Cluster:
        def unended(self, names: list[str]) -> dict[tuple[str, int], tuple[int, int]]:
            did.append("looks")
            return markers_due.pop() if markers_due else {}

    class Producer:
        def __init__(self, _: object) -> None: ...

        def produce(self, *record: object) -> None:
            did.append(record)

        def flush(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(registration, "PlainProducer", Producer)
    monkeypatch.setattr(clock, "sleep", lambda _: None)
    registration.seal_registry_topic(settings(), cast("Topics", Cluster()))
    assert did == ["looks", "looks", "looks", ("_schemas", NOOP_KEY, None, 0)]
