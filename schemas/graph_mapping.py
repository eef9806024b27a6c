"""Graph mappings: how rows become vertices and edges, in the JSON that AWS DMS takes for Amazon Neptune.

DMS user guide, "Using Amazon Neptune as a target", section "Specifying graph-mapping rules". The other form that DMS
takes, R2RML for RDF, is refused by its name.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from schemas import json_text
from schemas.section import Section

RESERVED = "tailrace_"
"""How properties begin that belong to Tailrace."""

PropertyType = Literal["bool", "byte", "short", "int", "long", "float", "double", "string", "date"]
"""Neptune user guide, "Gremlin load data format": the types of properties, whatever their capitals are."""

_NAMES = {"boolean": "bool", "integer": "int", "datetime": "date"}

_PART = re.compile(r"\{([^{}]+)\}")


def parts(template: str) -> list[tuple[bool, str]]:
    """Return a template's parts in order: (True, a column) or (False, a text)."""
    found = [(place % 2 == 1, part) for place, part in enumerate(_PART.split(template))]
    return [(is_column, part) for is_column, part in found if part]


def _property_type(name: Any) -> Any:
    lower = name.lower() if isinstance(name, str) else name
    return _NAMES.get(lower, lower)


class GraphProperty(Section):
    """One property of a vertex or an edge."""

    property_name: Annotated[str, Field(min_length=1)]
    """Its name."""
    property_value_template: Annotated[str, Field(min_length=1)]
    """`{column}`, several, or text."""
    property_value_type: Annotated[PropertyType, BeforeValidator(_property_type)] = "string"
    """Its type at Neptune."""

    @model_validator(mode="after")
    def _name_is_free(self) -> GraphProperty:
        if self.property_name.startswith(RESERVED):
            raise ValueError(f"names of properties that begin with {RESERVED} are taken")
        return self


class VertexDefinition(Section):
    """A vertex for each row. Without a label: properties more for one that another definition makes."""

    vertex_id_template: Annotated[str, Field(min_length=1)]
    """Makes its id of the row's columns."""
    vertex_label: Annotated[str, Field(min_length=1)] | None = None
    """Its label."""
    vertex_definition_id: Annotated[str, Field(min_length=1)]
    """What edges name it by."""
    vertex_properties: list[GraphProperty] = Field(default=[])
    """Its properties."""


class VertexReference(Section):
    """One end of an edge."""

    vertex_id_template: Annotated[str, Field(min_length=1)]
    """Makes the vertex' id of the row's columns."""
    vertex_definition_id: Annotated[str, Field(min_length=1)]
    """The definition whose vertex it is."""


class EdgeId(Section):
    """What an edge is called."""

    label: Annotated[str, Field(min_length=1)]
    """Its label."""
    template: Annotated[str, Field(min_length=1)]
    """Makes its id of the row's columns."""


class EdgeDefinition(Section):
    """An edge for each row."""

    from_vertex: VertexReference
    """Where it begins."""
    to_vertex: VertexReference
    """Where it ends."""
    edge_id_template: EdgeId
    """Its label and id."""
    edge_properties: list[GraphProperty] = Field(default=[])
    """Its properties."""


class GraphRule(Section):
    """What the rows of one table become."""

    rule_id: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
    """Names the rule."""
    rule_name: str = ""
    """Says what it is for."""
    table_name: Annotated[str, Field(min_length=1)]
    """A table or a view, as the target has its name; `schema.table` where several schemas have one of that name."""
    vertex_definitions: list[VertexDefinition] = Field(default=[])
    """The vertices of a row."""
    edge_definitions: list[EdgeDefinition] = Field(default=[])
    """The edges of a row."""


class GraphMapping(Section):
    """A whole mapping."""

    rules: Annotated[list[GraphRule], Field(min_length=1)]
    """Its rules, several for a table if need be."""

    @model_validator(mode="after")
    def _references_lead_somewhere(self) -> GraphMapping:
        definitions = [vertex for rule in self.rules for vertex in rule.vertex_definitions]
        known = {vertex.vertex_definition_id for vertex in definitions}
        if len(known) < len(definitions):
            raise ValueError("vertex_definition_id is there twice")
        if len({rule.rule_id for rule in self.rules}) < len(self.rules):
            raise ValueError("rule_id is there twice")
        for rule in self.rules:
            for edge in rule.edge_definitions:
                for end in (edge.from_vertex, edge.to_vertex):
                    if end.vertex_definition_id not in known:
                        raise ValueError(f"rule {rule.rule_id}: an edge ends at a vertex definition that is not there")
        return self


def _parsed(document: Any) -> Any:
    """Return a document that may be JSON text. Raises ValueError, as pydantic wants it."""
    if not isinstance(document, str):
        return document
    try:
        return json_text.read(document)
    except ValueError as error:
        if "@prefix" in document or "rr:" in document or "/ns/r2rml#" in document:
            raise ValueError(
                "this is R2RML, which makes RDF: Tailrace writes property graphs alone; map the tables by rules in JSON"
            ) from None
        raise ValueError(f"a graph mapping is a JSON document with `rules`, and this {error}") from None


GraphMappingDocument = Annotated[GraphMapping, BeforeValidator(_parsed)]
"""A graph mapping as a document, or as its JSON text."""
