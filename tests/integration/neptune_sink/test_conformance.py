"""The Neptune sink passes the conformance suite of sinks, on a real Gremlin Server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from apply.sink import Rejection, Sink, TableBatch
from apply.sinks.neptune import reader
from apply.sinks.neptune.sink import NeptuneSink
from deploy.local.gremlin import GremlinServer
from deploy.local.neptune import ROLE, NeptuneLoader
from deploy.local.s3 import S3Server
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from schemas.types.plain import canonical
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import EVENTS, INT64, STRING, SinkSuite
from tests.integration.s3_sink.test_conformance import make_bucket

pytestmark = pytest.mark.integration


def ask(server: GremlinServer, statement: str) -> list[Any]:
    """Return what a statement yields, asked by a client of the test's own."""
    body = {"gremlin": statement, "language": "gremlin-lang"}
    answer = httpx.post(f"{server.url}/gremlin", json=body, timeout=60, verify=False).raise_for_status()
    found: list[Any] = answer.json()["result"]["data"]
    return found


class _KeptOpen:
    """A client of S3 that several sinks have."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def close(self) -> None:
        return


class Loading:
    """A Gremlin Server behind a loader, with a bucket; and sinks that load by files."""

    def __init__(self, server: GremlinServer, bucket_server: S3Server) -> None:
        ask(server, "g.V().drop()")
        self.server = server
        self.s3, self.bucket = make_bucket(bucket_server)
        self._kept_open = _KeptOpen(self.s3)
        self.loader = NeptuneLoader(server.url, self.s3)
        place = {"s3_bucket_name": self.bucket, "s3_bucket_folder": "loads", "load_role_arn": ROLE}
        login = {**bucket_server.settings, "iam_auth_enabled": True}
        self._settings: dict[str, Any] = {**server.settings, **login, **place, "url": self.loader.url}
        self.opened: list[NeptuneSink] = []

    def open(self, **more: Any) -> NeptuneSink:
        """Return a new sink."""
        section = NeptuneTarget.model_validate({"engine": "neptune", **self._settings, **more})
        sink = NeptuneSink("shop", "graph", section)
        assert sink._loads is not None
        # To make a client takes longer than all that a test asks of it.
        sink._loads._staging._made = self._kept_open
        self.opened.append(sink)
        return sink

    @property
    def files(self) -> list[str]:
        """The keys of all files."""
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())]

    def forget(self, sink: NeptuneSink) -> None:
        """Let a sink be that of a process which is dead: it closes nothing."""
        self.opened.remove(sink)
        sink._client.close()

    def close(self) -> None:
        """Close the sinks, and end the loader."""
        for sink in self.opened:
            sink.close()
        self.loader.close()
        self.s3.close()


@pytest.fixture
def loading(gremlin_server: GremlinServer, s3_server: S3Server) -> Iterator[Loading]:
    made = Loading(gremlin_server, s3_server)
    yield made
    made.close()


class TestNeptune(SinkSuite):
    """Rows of loads go by files, all else by Gremlin."""

    @pytest.fixture
    def sink(self, loading: Loading) -> Iterator[Sink]:
        self.loading, self.server = loading, loading.server
        yield loading.open()
        for sink in loading.opened:
            sink.close()
        assert loading.files == []

    def other_sink(self, sink: Sink) -> Sink:
        return self.loading.open()

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        found = ask(self.server, f"g.V().hasLabel('{table.name.table}').valueMap()")
        forms = [(column.name, canonical(column.type)) for column in table.columns]
        return [tuple(form(vertex[name][0]) if name in vertex else None for name, form in forms) for vertex in found]

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        """Let a request be lost, or its answer."""
        client = cast("NeptuneSink", sink)._client
        answer, calls = client._answer, iter(range(1000))

        def lossy(*request: Any, **more: Any) -> Any:
            if next(calls) != number // 2:
                return answer(*request, **more)
            if number % 2:
                answer(*request, **more)
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")

        client._answer = lossy  # type: ignore[method-assign]
        try:
            yield
        finally:
            client._answer = answer  # type: ignore[method-assign]

    def test_rows_are_read_back_page_by_page(self, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever columns are called: vertices have an id and a label of their own."""
        monkeypatch.setattr(reader, "PAGE_VERTICES", 2)
        columns = (Column("id", INT64, "bigint", nullable=False), Column("label", STRING, "text"))
        table = TableSchema(TableName("public", "labels"), columns, (0,))
        sink.prepare(table)
        rows: list[Row] = [(i, f"l{i}" if i % 2 else None) for i in range(7)]
        self.write(sink, TableBatch(table, upserts=rows))
        section = NeptuneTarget.model_validate({"engine": "neptune", **self.server.settings})
        with contextlib.closing(reader.NeptuneReader(section)) as reading:
            assert sorted(reading.rows(table)) == rows

    def test_a_table_without_a_key_is_refused(self, sink: Sink) -> None:
        with pytest.raises(TailraceError) as caught:
            sink.prepare(EVENTS)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA


PEOPLE = TableSchema(
    name=TableName("public", "people"),
    columns=(
        Column("id", INT64, "bigint", nullable=False),
        Column("name", STRING, "text"),
        Column("boss", INT64, "bigint"),
        Column("born", LogicalType(Family.DATE), "date"),
    ),
    key=(0,),
)
PHOTOS = TableSchema(
    name=TableName("public", "photos"),
    columns=(Column("person", INT64, "bigint", nullable=False), Column("url", STRING, "text")),
    key=(0,),
)
MAPPING = {
    "rules": [
        {
            "rule_id": "1",
            "table_name": "people",
            "vertex_definitions": [
                {
                    "vertex_id_template": "p{id}",
                    "vertex_label": "person",
                    "vertex_definition_id": "person",
                    "vertex_properties": [
                        {"property_name": "name", "property_value_template": "{name}", "property_value_type": "String"},
                        {"property_name": "born", "property_value_template": "{born}", "property_value_type": "Date"},
                    ],
                }
            ],
            "edge_definitions": [
                {
                    "from_vertex": {"vertex_id_template": "p{id}", "vertex_definition_id": "person"},
                    "to_vertex": {"vertex_id_template": "p{boss}", "vertex_definition_id": "person"},
                    "edge_id_template": {"label": "reportsTo", "template": template},
                    "edge_properties": [{"property_name": "as", "property_value_template": "{name} of {boss}"}],
                }
                for template in ("{id}_{boss}", "e{id}")
            ],
        },
        {
            "rule_id": "2",
            "table_name": "public.photos",
            "vertex_definitions": [
                {
                    "vertex_id_template": "p{person}",
                    "vertex_definition_id": "photo",
                    "vertex_properties": [{"property_name": "photo", "property_value_template": "{url}"}],
                }
            ],
        },
    ]
}
BORN, BORN_TEXT = 3652, "1980-01-01T00:00"


class Graph:
    """A graph that rows are given to, and what is in it."""

    def __init__(self, server: GremlinServer) -> None:
        ask(server, "g.V().drop()")
        self.server = server
        section = {"engine": "neptune", "graph_mapping": json.dumps(MAPPING), **server.settings}
        self.sink = NeptuneSink("shop", "graph", NeptuneTarget.model_validate(section))
        self.giver = Giver()

    def given(self, *batches: TableBatch) -> list[Rejection]:
        """Write batches; the same batch has the same sequences whenever it is given."""
        made = [self.giver.given(batch, self.sink.capabilities) for batch in batches]
        return [rejection for batch in made for rejection in self.sink.apply(batch)]

    @property
    def vertices(self) -> dict[str, dict[str, Any]]:
        """What is known of each vertex, without what is Tailrace's own."""
        found = ask(self.server, "g.V().not(__.hasLabel('tailrace_deleted')).valueMap(true)")
        return {vertex.pop("id"): _told(vertex) for vertex in found}

    @property
    def edges(self) -> set[tuple[str, str, str]]:
        """Each edge's id and ends."""
        found = ask(self.server, "g.E().project('i','o','n').by(T.id).by(__.outV().id()).by(__.inV().id())")
        return {(edge["i"], edge["o"], edge["n"]) for edge in found}


def _told(vertex: dict[str, Any]) -> dict[str, Any]:
    values = {name: value[0] for name, value in vertex.items() if name != "label"}
    return {name: value for name, value in values.items() if not name.startswith("tailrace_")}


@pytest.fixture
def graph(gremlin_server: GremlinServer) -> Iterator[Graph]:
    made = Graph(gremlin_server)
    yield made
    made.sink.close()


def test_rows_become_vertices_and_edges_in_whatever_order_they_come(graph: Graph) -> None:
    photo = TableBatch(PHOTOS, upserts=[(1, "a.png"), (9, "z.png")])
    people = TableBatch(PEOPLE, upserts=[(1, "Ann", 2, BORN), (3, "Cy", 1, None), (4, "Di", None, None)])
    boss = TableBatch(PEOPLE, upserts=[(2, "Bo", None, None)])
    stories = [[photo, people, boss], [boss, people, photo], [people, boss, photo, people]]
    for story in stories:
        graph.sink.truncate([PEOPLE, PHOTOS])
        graph.giver = Giver()
        assert graph.given(*story) == []
        vertices = graph.vertices
        assert vertices["p1"].pop("born").startswith(BORN_TEXT)
        assert vertices == {
            "p1": {"name": "Ann", "photo": "a.png"},
            "p2": {"name": "Bo"},
            "p3": {"name": "Cy"},
            "p4": {"name": "Di"},
            "p9": {"photo": "z.png"},
        }
        assert graph.edges == {("1_2", "p1", "p2"), ("e1", "p1", "p2"), ("3_1", "p3", "p1"), ("e3", "p3", "p1")}
    # The boss goes before those who report to her do: a bare vertex is left as long as they say so.
    graph.given(TableBatch(PEOPLE, deletes=[(2,)]))
    assert graph.vertices["p2"] == {}
    graph.given(TableBatch(PEOPLE, deletes=[(1,)]))
    assert graph.vertices.keys() == {"p1", "p3", "p4", "p9"}
    assert graph.vertices["p1"] == {"photo": "a.png"}
    assert graph.edges == {("3_1", "p3", "p1"), ("e3", "p3", "p1")}
    graph.given(TableBatch(PHOTOS, deletes=[(1,), (9,)]), TableBatch(PEOPLE, deletes=[(3,)]))
    assert graph.vertices == {"p4": {"name": "Di"}}


def test_edges_move_with_their_rows_and_late_ones_do_not_win(graph: Graph) -> None:
    early = TableBatch(PEOPLE, upserts=[(1, "Ann", 2, None), (3, "Cy", 2, None), (5, "Ed", 2, None)])
    later = TableBatch(PEOPLE, upserts=[(1, "Ann", 7, None), (3, "Cy", None, None)], deletes=[(5,)])
    for story in ([early, later], [early], [later]):
        assert graph.given(*story) == []
        assert graph.edges == {("1_7", "p1", "p7"), ("e1", "p1", "p7")}
        assert graph.vertices == {"p1": {"name": "Ann"}, "p3": {"name": "Cy"}, "p7": {}}
    # The log holds a part of a row: its place is known, its name is not.
    assert graph.given(TableBatch(PEOPLE, updates=[(3, UNCHANGED, None, BORN), (8, UNCHANGED, None, BORN)])) == []
    assert graph.vertices["p3"]["born"].startswith(BORN_TEXT)
    (refused,) = graph.given(TableBatch(PEOPLE, updates=[(1, UNCHANGED, 3, None)]))
    assert refused.error.kind is ErrorKind.ROW_REJECTED
    assert graph.edges == {("1_7", "p1", "p7"), ("e1", "p1", "p7")}
