"""The MySQL sink passes the conformance suite of sinks, on MariaDB and on MySQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from apply.sink import Sink
from apply.sinks.mysql.sink import MysqlSink
from schemas.changes import Row
from schemas.endpoints import MysqlTarget
from schemas.table import TableSchema
from schemas.types import Family
from tests.conformance.sink_suite import SinkSuite
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database

READERS: dict[Family, Callable[[str], Any]] = {
    Family.INT64: int,
    Family.STRING: str,
    Family.BOOLEAN: lambda text: text == "1",
}


class _MysqlSinkSuite(SinkSuite):
    # test_types.py walks them all, by the server's own means.
    samples: ClassVar = ()
    server: str

    @pytest.fixture
    def sink(self, request: pytest.FixtureRequest) -> Iterator[Sink]:
        self.database = create_mysql_database(request.getfixturevalue(self.server))
        self.opened: list[MysqlSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()
        drop_mysql_database(self.database)

    def open(self) -> Sink:
        sink = MysqlSink("shop", "replica", MysqlTarget.model_validate(self.database.target_settings))
        self.opened.append(sink)
        return sink

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        return read(self.database, table)


def read(database: MysqlDatabase, table: TableSchema) -> list[Row]:
    """Return all rows of a table in canonical values."""
    names = ", ".join(f"`{name}`" for name in table.column_names)
    readers = [READERS[column.type.family] for column in table.columns]
    return [
        tuple(None if text is None else reader(text) for text, reader in zip(row, readers, strict=True))
        for row in database.rows(f"select {names} from `{table.name.table}`")
    ]


class TestMariadb(_MysqlSinkSuite):
    server = "mariadb_server"


class TestMysql(_MysqlSinkSuite):
    server = "mysql_server"
