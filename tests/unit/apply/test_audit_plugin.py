"""The sink that the documentation shows passes the conformance suite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apply.sink import Sink
from schemas.table import TableSchema
from schemas.types.plain import canonical
from tests.conformance.changes import Seen
from tests.conformance.sink_suite import SinkSuite
from tests.kit.audit_plugin import AuditSink


class TestAuditSink(SinkSuite):
    @pytest.fixture
    def sink(self, tmp_path: Path) -> Iterator[Sink]:
        self.path = tmp_path / "audit.db"
        self.opened: list[AuditSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()

    def open(self) -> Sink:
        self.opened.append(AuditSink(str(self.path)))
        return self.opened[-1]

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        forms = {column.name: canonical(column.type) for column in table.columns}
        with closing(sqlite3.connect(self.path)) as connection:
            made = connection.execute("select count(*) from sqlite_master").fetchone()[0]
            query = "select seq, op, data from audit where table_name = ? order by seq"
            rows = connection.execute(query, (str(table.name),)).fetchall() if made else []
        return [
            Seen(
                seq,
                op,
                {
                    name: None if value is None else forms[name](value)
                    for name, value in json.loads(data or "{}").items()
                    if name in forms
                },
            )
            for seq, op, data in rows
        ]
