"""A sink on an empty database, and a second look at what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from apply.sinks.postgresql.sink import PostgresqlSink
from schemas.endpoints.postgresql import PostgresqlTarget
from tests.kit.servers import Database

OpenSink = Callable[..., PostgresqlSink]


@pytest.fixture
def open_sink(target_database: Database) -> Iterator[OpenSink]:
    """A function that opens a sink on the test's database; settings may be given by name."""
    opened: list[PostgresqlSink] = []

    def start(**settings: object) -> PostgresqlSink:
        target = PostgresqlTarget.model_validate({**target_database.settings, "lock_timeout_s": 60, **settings})
        sink = PostgresqlSink("shop", "replica", target)
        opened.append(sink)
        return sink

    yield start
    for sink in opened:
        sink.close()


@pytest.fixture
def sink(open_sink: OpenSink) -> PostgresqlSink:
    """A sink on the test's empty database."""
    return open_sink()
