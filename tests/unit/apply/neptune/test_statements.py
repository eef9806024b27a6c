"""Statements and mappings of the Neptune sink: what stands in them, and what is refused."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError

from apply.sinks.neptune import target
from apply.sinks.neptune.client import Client
from apply.sinks.neptune.control import SWEEPS_MAX, ControlVertices
from apply.sinks.neptune.elements import Change, Elements, Statements
from apply.sinks.neptune.gremlin import text
from schemas.changes import UNCHANGED
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.http_service import HttpService, content_of, respond

TABLE = TableSchema(
    name=TableName("public", "nodes"),
    columns=(
        Column("emp_id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("emp_name", LogicalType(Family.STRING), "text"),
    ),
    key=(0,),
)


def mapping(**vertex: Any) -> dict[str, Any]:
    made = {"vertex_id_template": "{emp_id}", "vertex_label": "employee", "vertex_definition_id": "1", **vertex}
    return {"rules": [{"rule_id": "1", "rule_name": "nodes", "table_name": "nodes", "vertex_definitions": [made]}]}


def section(**more: Any) -> NeptuneTarget:
    return NeptuneTarget.model_validate({"engine": "neptune", "url": "http://127.0.0.1:1", **more})


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("plain1", "'plain1'"),
        ("it's \\ here\n", r"'it\'s \\ here\n'"),
        ("').drop()//", r"'\').drop()//'"),
        ("é\U0001f9ff\x00", r"'\u00e9\ud83e\uddff\u0000'"),
        ("\\u0027", r"'\\u0027'"),
    ],
)
def test_text_stands_in_literals_alone(value: str, literal: str) -> None:
    assert text(value) == literal


@pytest.mark.parametrize(
    "document",
    [
        "@prefix rr: <http://www.w3.org/ns/r2rml#> .",
        '<#TriplesMap1> rr:logicalTable [ rr:tableName "nodes" ] .',
        'PREFIX m: <http://www.w3.org/ns/r2rml#>\n<#T> m:logicalTable [ m:tableName "nodes" ] .',
    ],
)
def test_r2rml_is_refused_by_its_name(document: str) -> None:
    with pytest.raises(ValidationError, match="R2RML"):
        section(graph_mapping=document)


def test_what_is_no_mapping_at_all_is_refused() -> None:
    with pytest.raises(ValidationError, match="JSON"):
        section(graph_mapping="rules:")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"rules": []}, "rules"),
        (mapping(vertex_id_templat="{emp_id}"), "vertex_id_templat"),
        (mapping(vertex_properties=[{"property_name": "tailrace_x", "property_value_template": "x"}]), "taken"),
        (
            mapping(
                vertex_properties=[
                    {"property_name": "x", "property_value_template": "x", "property_value_type": "uuid"}
                ]
            ),
            "type",
        ),
        ({"rules": mapping()["rules"] * 2}, "twice"),
    ],
)
def test_what_a_mapping_cannot_mean_is_refused(document: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        section(graph_mapping=document)


def test_a_mapping_is_held_against_the_table() -> None:
    with pytest.raises(TailraceError) as caught:
        Elements(TABLE, section(graph_mapping=mapping(vertex_id_template="{emp_ids}")).graph_mapping)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert caught.value.remedy == "did you mean emp_id?"
    other = TableSchema(TableName("public", "others"), TABLE.columns, (0,))
    with pytest.raises(TailraceError, match="no rule"):
        Elements(other, section(graph_mapping=mapping()).graph_mapping)
    date = {"property_name": "d", "property_value_template": "{emp_name}", "property_value_type": "DateTime"}
    with pytest.raises(TailraceError, match="Date"):
        Elements(TABLE, section(graph_mapping=mapping(vertex_properties=[date])).graph_mapping)
    (element,) = Elements(TABLE, section(graph_mapping=mapping(vertex_id_template="{EMP_NAME}")).graph_mapping).all
    assert element.is_shared


def test_a_table_has_the_elements_of_all_its_rules() -> None:
    """In DMS's own examples vertices and edges of a table have a rule each, and a template may hold text."""
    document = mapping()
    end = {"vertex_definition_id": "1"}
    title = {"property_name": "title", "property_value_template": "{emp_name} of us", "property_value_type": "String"}
    edge = {
        "from_vertex": {"vertex_id_template": "{emp_id}", **end},
        "to_vertex": {"vertex_id_template": "{emp_name}", **end},
        "edge_id_template": {"label": "reportsTo", "template": "{emp_id}_{emp_name}"},
        "edge_properties": [title, {"property_name": "kind", "property_value_template": "fixed"}],
    }
    document["rules"].append({"rule_id": "2", "rule_name": "", "table_name": "nodes", "edge_definitions": [edge]})
    vertex, reports = Elements(TABLE, section(graph_mapping=json.dumps(document)).graph_mapping).all
    assert (vertex.is_edge, reports.is_edge, reports.moves) == (False, True, True)
    row = (7, "Ann")
    assert reports.place(row) == ("7_Ann", "7", "Ann")
    values = reports.values(row, Change("7", 5, 0))
    assert {name: value.text for name, value in values.items() if value is not None} == {
        "title": "Ann of us",
        "kind": "fixed",
        "tailrace_seq.2.0": "5",
        "tailrace_row.2.0": "7",
    }


def test_the_plan_warns_of_edges_that_rows_share(monkeypatch: pytest.MonkeyPatch) -> None:
    end = {"vertex_id_template": "{emp_id}", "vertex_definition_id": "1"}
    edge = {"from_vertex": end, "to_vertex": end}
    document = mapping()
    document["rules"][0]["edge_definitions"] = [
        edge | {"edge_id_template": {"label": "knows", "template": template}} for template in ("{emp_id}", "{emp_name}")
    ]
    graph = section(graph_mapping=document)
    monkeypatch.setattr(Client, "send", lambda *_: [0])
    settings = SimpleNamespace(section=lambda *_: graph)
    found = target.findings(cast("Settings", settings), "graph", [TABLE])
    assert [(each.code, "1.1" in each.message) for each in found] == [("shared-edge", True)]


def test_a_row_known_in_part_makes_the_shared_vertex_that_it_belongs_to_now() -> None:
    """Else it would lack: no other row may ever write it."""
    (element,) = Elements(TABLE, section(graph_mapping=mapping(vertex_id_template="{emp_name}")).graph_mapping).all
    statements = Statements()
    element.update((UNCHANGED, "Paris"), Change("1", 5, 0), None, statements)
    (statement,) = statements.then
    assert "mergeV([(T.id):'Paris'])" in statement
    assert "gte(5L)" in statement


def test_a_row_known_in_part_makes_the_edge_that_it_has_from_now_on() -> None:
    """A column was null before, and what is not known is nothing of the edge's."""
    columns = (*TABLE.columns, Column("about", LogicalType(Family.STRING), "text"))
    end = {"vertex_id_template": "{emp_name}", "vertex_definition_id": "1"}
    edge = {"from_vertex": end, "to_vertex": end, "edge_id_template": {"label": "is", "template": "{emp_name}"}}
    about = [{"property_name": "about", "property_value_template": "{about}", "property_value_type": "String"}]
    document = mapping()
    document["rules"][0]["edge_definitions"] = [edge, edge | {"edge_properties": about}]
    table = TableSchema(TABLE.name, columns, (0,))
    _, plain, described = Elements(table, section(graph_mapping=document).graph_mapping).all
    for element, count in ((plain, 1), (described, 0)):
        statements = Statements()
        element.update((1, "Ann", UNCHANGED), Change("1", 5, 0), None, statements)
        assert sum("mergeE([(T.id):'Ann'])" in each for each in statements.then) == count


def test_old_memories_of_deletions_are_swept_until_there_are_none() -> None:
    """A bound on each call must not be one on how many can go in ten minutes."""
    left = [2 * SWEEPS_MAX + 1]

    class Graph:
        def send(self, statements: list[str], doing: str) -> list[int]:
            left[0] -= statements[0].endswith(".iterate()")
            return left[:]

    control = ControlVertices(cast("Client", Graph()), "shop/graph", 60)
    for _ in range(3):
        control.sweep()
    assert left == [0]
    left[0] = 1
    control.sweep()
    assert left == [1], "ten minutes have not passed"


class Service(HttpService):
    """Answers each request as it was last told."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, Any]] = (200, {})
        self.seen: list[tuple[dict[str, str], bytes]] = []
        super().__init__()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        self.seen.append((dict(request.headers), content_of(request)))
        status, document = self.answer
        respond(request, status, "application/json", json.dumps(document).encode())


def test_requests_are_signed_and_answers_mean_something() -> None:
    service = Service()
    keys = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret", "region": "eu-central-1"}
    client = Client(section(url=service.url, iam_auth_enabled=True, **keys))
    try:
        service.answer = (200, {"result": {"data": [1]}})
        assert client.send(["g.V().count()"], "counting") == [1]
        headers, body = service.seen[0]
        assert json.loads(body) == {"gremlin": "g.V().count()"}
        assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/eu-central-1/neptune-db/aws4_request" in headers["Authorization"]
        assert "SignedHeaders=host;x-amz-date" in headers["Authorization"]
        for status, code, kind in (
            (500, "ConcurrentModificationException", ErrorKind.TARGET_THROTTLED),
            (429, "", ErrorKind.TARGET_THROTTLED),
            (403, "AccessDeniedException", ErrorKind.PREREQUISITE),
            (400, "ReadOnlyViolationException", ErrorKind.TARGET_CONNECTION),
            (400, "MalformedQueryException", ErrorKind.INVARIANT),
            (500, "InternalFailureException", ErrorKind.TARGET_CONNECTION),
        ):
            service.answer = (status, {"code": code, "detailedMessage": "'a value'"})
            with pytest.raises(TailraceError) as caught:
                client.send(["g.V()"], "asking")
            assert caught.value.kind is kind
            assert "a value" not in str(caught.value)
    finally:
        client.close()
        service.close()
    with pytest.raises(TailraceError) as caught:
        client.send(["g.V()"], "asking")
    assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    client.close()
