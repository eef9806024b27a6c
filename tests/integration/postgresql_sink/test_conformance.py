"""The PostgreSQL sink passes the conformance suite of sinks, on two major versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from apply.sink import Sink, TableBatch
from apply.sinks.postgresql.sink import PostgresqlSink
from schemas.changes import Row
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.errors import Action, TailraceError
from schemas.table import TableSchema
from tests.conformance.sink_suite import ORDERS, ORDERS_2, SinkSuite
from tests.kit.servers import Database

pytestmark = pytest.mark.integration


class _PostgresqlSinkSuite(SinkSuite):
    # test_types.py walks them all, by the server's own means.
    samples: ClassVar = ()
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

    def test_whoever_does_not_know_the_newer_version_writes_nothing(self, sink: Sink) -> None:
        other = self.other_sink(sink)
        other.prepare(ORDERS)
        self.write(other, TableBatch(ORDERS, upserts=[(1, "a", True)]))
        sink.prepare(ORDERS_2)
        with pytest.raises(TailraceError) as caught:
            other.apply(TableBatch(ORDERS, upserts=[(2, "b", True)]))
        assert caught.value.action is Action.RETRY
        other.rollback()
        other.prepare(ORDERS_2)
        self.write(other, TableBatch(ORDERS_2, upserts=[(2, True, "n")]))
        assert (2, True, "n") in self.rows(sink, ORDERS_2)


class TestPostgresql18(_PostgresqlSinkSuite):
    major = 18


class TestPostgresql16(_PostgresqlSinkSuite):
    major = 16
