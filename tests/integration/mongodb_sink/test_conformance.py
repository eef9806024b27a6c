"""The MongoDB sink passes the conformance suite of sinks on a stand-in that speaks its protocol."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from bson import Decimal128
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient

from apply.sink import Sink, TableBatch
from apply.sinks import target_findings, target_grants
from apply.sinks.mongodb.reader import MongodbReader
from apply.sinks.mongodb.sink import MongodbSink
from deploy.local.secantus import SecantusServer
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.mongodb import MongodbTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import EVENTS, ORDERS, SEATS, STRING, SinkSuite
from tests.kit.type_samples import SAMPLES, TypeSample

pytestmark = pytest.mark.integration

JSON = LogicalType(Family.JSON)
TIMESTAMP = LogicalType(Family.TIMESTAMP)


def _normal(samples: Sequence[TypeSample]) -> tuple[TypeSample, ...]:
    """Return the samples without JSON that becomes documents, which say the same with other spaces."""
    kept = []
    for sample in samples:
        if sample.type.family is Family.JSON:
            sample = replace(sample, values=tuple(v for v in sample.values if v[0] not in "[{" or "  " in v))
        kept.append(sample)
    return tuple(kept)


class TestMongodb(SinkSuite):
    samples: ClassVar[Sequence[TypeSample]] = _normal(SAMPLES)

    @pytest.fixture
    def sink(self, secantus_server: SecantusServer) -> Iterator[Sink]:
        self.prefix = f"t{secrets.token_hex(5)}"
        options: Any = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
        self.client: MongoClient[dict[str, Any]] = MongoClient("127.0.0.1", secantus_server.port)
        self.database = self.client[self.prefix].with_options(codec_options=options)
        self.section = self.sectioned(secantus_server.port)
        self.opened: list[MongodbSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()
        self.client.drop_database(self.prefix)
        self.client.drop_database(f"{self.prefix}-control")
        self.client.close()

    def sectioned(self, port: int, **more: Any) -> MongodbTarget:
        where = {
            "database": self.prefix,
            "collection_name": "{schema}.{table}",
            "control_database": f"{self.prefix}-control",
        }
        return MongodbTarget.model_validate({"engine": "mongodb", "port": port, **where, **more})

    def open(self, section: MongodbTarget | None = None) -> Sink:
        self.opened.append(MongodbSink("shop", "documents", section or self.section))
        return self.opened[-1]

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def documents(self, name: TableName) -> list[dict[str, Any]]:
        return list(self.database[str(name)].find())

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        with contextlib.closing(MongodbReader(self.section)) as reader:
            return list(reader.rows(table))

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        """Let a bulk be lost, its answer be lost, or every second write of it be refused for now."""
        mongodb = cast("MongodbSink", sink)
        send, calls = mongodb._bulk, itertools.count()

        def bulk(table: TableSchema, documents: Any, rows: list[Any], rejections: list[Any]) -> list[Any]:
            if next(calls) != number // 3:
                return send(table, documents, rows, rejections)
            if number % 3:
                send(table, documents, rows[:: number % 3], rejections)
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")

        mongodb._bulk = bulk  # type: ignore[method-assign]
        try:
            yield
        finally:
            mongodb._bulk = send  # type: ignore[method-assign]

    def test_an_old_row_is_taken_back_although_it_was_made(self, sink: Sink) -> None:
        """A late writer has looked for deletions before there was one."""
        late, mongodb = TableBatch(ORDERS, upserts=[(1, "old", None), (2, "old", None)]), cast("MongodbSink", sink)
        sink.prepare(ORDERS)
        self.giver.given(late, sink.capabilities)
        send = mongodb._send

        def deletes_first(table: TableSchema, documents: Any, rows: Any, rejections: Any) -> None:
            mongodb._send = send  # type: ignore[method-assign]
            self.write(self.open(), TableBatch(ORDERS, deletes=[(1,)]))
            send(table, documents, rows, rejections)

        mongodb._send = deletes_first  # type: ignore[method-assign]
        self.write(sink, late)
        assert self.rows(sink, ORDERS) == {(2, "old", None)}

    def test_what_no_document_can_be_is_refused(self, sink: Sink) -> None:
        for table in (EVENTS, replace(ORDERS, columns=(*ORDERS.columns, Column("a.b", STRING, "text")))):
            with pytest.raises(TailraceError) as caught:
                sink.prepare(table)
            assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        sink.prepare(SEATS)
        self.database[str(SEATS.name)].create_index("guest", unique=True)
        rows: list[Row] = [("a", "x" * (16 << 20), 1), ("b", "y", 2), ("c", "z", 3), ("d", "y", 4)]
        rejections = sink.apply(self.giver.given(TableBatch(SEATS, upserts=rows), sink.capabilities))
        assert [r.index for r in rejections] == [0, 3]
        assert {r.error.kind for r in rejections} == {ErrorKind.ROW_REJECTED}
        assert self.rows(sink, SEATS) == {rows[1], rows[2]}

    def test_values_have_the_types_of_bson(self, sink: Sink) -> None:
        decimal, columns = (
            LogicalType(Family.DECIMAL, precision=40, scale=2),
            (("json_more", STRING), ("doc", JSON), ("at", TIMESTAMP)),
        )
        table = TableSchema(
            TableName("public", "bson"),
            (*ORDERS.columns[:1], Column("d", decimal, "numeric(40,2)"), *(Column(n, t, "text") for n, t in columns)),
            (0,),
        )
        sink.prepare(table)
        deep = '{"z": [1, {"k": 2.5}], "n": 1e400, "big": 12345678901234567890}'
        rows: list[Row] = [
            (1, 150, '["x"]', deep, 1_735_697_676_444_453),
            (2, 10**39, "no json", '{"a":1,"a":2}', None),
        ]
        self.write(sink, TableBatch(table, upserts=rows))
        self.write(sink, TableBatch(table, updates=[(1, UNCHANGED, None, UNCHANGED, 5_000)]))
        one, two = sorted(self.documents(table.name), key=lambda document: document["_id"])
        assert one["d"] == Decimal128("1.50")
        assert two["d"] == "1" + "0" * 37 + ".00"
        assert one["doc"] == {
            "z": [1, {"k": 2.5}],
            "n": Decimal128("1E+400"),
            "big": Decimal128("12345678901234567890"),
        }
        assert (one["more"], two["more"], two["doc"]) == (None, "no json", '{"a":1,"a":2}')
        assert (one["at"]._value, one["tailrace_us"]) == (5, {})
        assert Decimal(str(one["tailrace_seq"])) > 1 << 56

    def test_one_column_may_be_the_document(self, sink: Sink, secantus_server: SecantusServer) -> None:
        columns = (Column("_id", STRING, "text", nullable=False), Column("_doc", JSON, "json"))
        table = TableSchema(TableName("public", "whole"), columns, (0,))
        nested = self.open(self.sectioned(secantus_server.port, nesting_level="none"))
        nested.prepare(table)
        batch = TableBatch(table, upserts=[("x", '{"a": 1, "_id": 7}'), ("y", "[1]")])
        (rejection,) = nested.apply(self.giver.given(batch, sink.capabilities))
        assert (rejection.index, rejection.error.kind) == (1, ErrorKind.ROW_REJECTED)
        (document,) = self.documents(table.name)
        document.pop("tailrace_seq")
        assert document == {"_id": "x", "a": 1}

    def test_plan_says_what_stands_in_the_way_and_what_the_user_needs(
        self, sink: Sink, secantus_server: SecantusServer
    ) -> None:
        section = self.sectioned(secantus_server.port, collection_name="{table}").model_dump(exclude_none=True)
        document = {
            "name": "shop",
            "kafka": {"bootstrap.servers": "127.0.0.1:9092"},
            "source": {"database": "shop", "user": "capture", "tables": ["public.*"]},
            "targets": {"documents": section},
        }
        settings = parse(document)
        self.database["orders"].insert_one({"_id": 1})
        other = replace(SEATS, name=TableName("other", "seats"))
        found = target_findings(settings, "documents", [ORDERS, SEATS, other, EVENTS])
        assert [(f.code, f.table) for f in found] == [
            ("collection-exists", ORDERS.name),
            ("shared-place", other.name),
            ("no-key", EVENTS.name),
        ]
        (statement,) = target_grants(settings, "documents", [ORDERS])
        assert f'{{"role": "readWrite", "db": "{self.prefix}"}}' in statement


@pytest.mark.usefixtures("secantus_server")
def test_rows_outlast_a_kill_of_the_server(servers_directory: Path) -> None:
    """The sink asks for a majority and the journal: what it was told is written stays so."""
    with SecantusServer(servers_directory / f"secantus-{secrets.token_hex(4)}") as server:
        suite = TestMongodb()
        suite.prefix = "kept"
        suite.client = MongoClient("127.0.0.1", server.port)
        suite.database = suite.client["kept"]
        suite.section = suite.sectioned(server.port, timeout_s=5)
        sink = MongodbSink("shop", "documents", suite.section)
        suite.giver = Giver()
        sink.prepare(ORDERS)
        suite.write(sink, TableBatch(ORDERS, upserts=[(i, "a", None) for i in range(500)], fresh=True))
        server.kill()
        with pytest.raises(TailraceError) as caught:
            sink.apply(suite.giver.given(TableBatch(ORDERS, upserts=[(1, "b", None)]), sink.capabilities))
        assert caught.value.kind is ErrorKind.TARGET_CONNECTION
        server.restart()
        suite.write(sink, TableBatch(ORDERS, upserts=[(1, "c", None)]))
        assert suite.rows(sink, ORDERS) == {(i, "c" if i == 1 else "a", None) for i in range(500)}
        sink.close()
        suite.client.close()
