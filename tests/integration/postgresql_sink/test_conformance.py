"""The PostgreSQL sink passes the conformance suite of sinks, on two major versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from apply.sink import Sink
from apply.sinks.postgresql.sink import PostgresqlSink
from schemas.changes import Row
from schemas.endpoints import PostgresqlTarget
from schemas.table import TableSchema
from tests.conformance.sink_suite import SinkSuite
from tests.kit.servers import Database

pytestmark = pytest.mark.integration


class _PostgresqlSinkSuite(SinkSuite):
    major: int

    @pytest.fixture
    def sink(self, new_database: Callable[..., Database]) -> Iterator[Sink]:
        self.database = new_database(self.major, "sink")
        self.opened: list[PostgresqlSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()

    def open(self) -> Sink:
        sink = PostgresqlSink("shop", "replica", PostgresqlTarget.model_validate(self.database.settings))
        self.opened.append(sink)
        return sink

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        names = ", ".join(f'"{name}"' for name in table.column_names)
        return self.database.rows(f'select {names} from "{table.name.schema}"."{table.name.table}"')


class TestPostgresql18(_PostgresqlSinkSuite):
    major = 18


class TestPostgresql16(_PostgresqlSinkSuite):
    major = 16
