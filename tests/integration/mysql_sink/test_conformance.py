"""The MySQL sink passes the conformance suite of sinks, on MariaDB and on MySQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apply.sink import Sink
from apply.sinks.mysql.sink import MysqlSink
from schemas.changes import Row
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind
from schemas.table import Column, TableSchema
from schemas.types import Family, LogicalType
from tests.conformance.sink_suite import SinkSuite
from tests.integration.mysql_sink.values import found, is_refused, normal
from tests.integration.mysql_source.reading import Reading
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.refusals import refused

READERS: dict[Family, Callable[[str], Any]] = {
    Family.INT64: int,
    Family.STRING: str,
    Family.BOOLEAN: lambda text: text == "1",
}


class _MysqlSinkSuite(SinkSuite):
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
        if any(column.type.family not in READERS for column in table.columns):
            return read_all_types(self.database, table)
        return read(self.database, table)

    def holds(self, type_: LogicalType, value: Any) -> bool:
        return not is_refused(type_, value, is_mariadb=self.database.is_mariadb)

    def kept(self, column: Column, value: Any) -> Any:
        return normal(column, value, is_mariadb=self.database.is_mariadb)


def read(database: MysqlDatabase, table: TableSchema) -> list[Row]:
    """Return all rows of a table in canonical values."""
    names = ", ".join(f"`{name}`" for name in table.column_names)
    readers = [READERS[column.type.family] for column in table.columns]
    return [
        tuple(None if text is None else reader(text) for text, reader in zip(row, readers, strict=True))
        for row in database.rows(f"select {names} from `{table.name.table}`")
    ]


def read_all_types(database: MysqlDatabase, table: TableSchema) -> list[Row]:
    """Return all rows of a table in the values that `normal` makes of canonical ones."""
    reading = Reading(database)
    try:
        (there,) = (one for one in reading.tables if one.name.table == table.name.table)
        return [
            tuple(
                found(column, value, place, is_mariadb=database.is_mariadb)
                for column, value, place in zip(table.columns, row, there.columns, strict=True)
            )
            for row in reading.rows(there)
        ]
    finally:
        reading.close()


class TestMariadb(_MysqlSinkSuite):
    server = "mariadb_server"


class TestMysql(_MysqlSinkSuite):
    server = "mysql_server"


class TestStrictMysql(_MysqlSinkSuite):
    server = "strict_mysql_server"

    def test_large_values_beside_their_rows_are_written_with_them(self, sink: Sink) -> None:
        """Where rows are inserted they are not: they are read again, as parts of their rows."""
        with refused(ErrorKind.TARGET_THROTTLED, "are read again, with their rows"):
            super().test_large_values_beside_their_rows_are_written_with_them(sink)
