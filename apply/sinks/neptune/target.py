"""Amazon Neptune as a target: what `apply.sinks` asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence

from apply.frames.guarded import table_findings
from apply.sinks.neptune.client import Client
from apply.sinks.neptune.elements import Elements
from apply.sinks.neptune.reader import NeptuneReader
from apply.sinks.neptune.sink import NeptuneSink
from schemas.findings import Finding, Severity
from schemas.neptune_target import NeptuneTarget
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> NeptuneSink:
    """Return the sink of a target. Connects when it is first used."""
    return NeptuneSink(settings.name, target, _section(settings, target))


def open_reader(settings: Settings, target: str) -> NeptuneReader:
    """Return what reads the rows back. Raises CONFIGURATION."""
    return NeptuneReader(_section(settings, target))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the cluster answers, and that each table can be mapped. Never changes anything."""
    section = _section(settings, target)
    client = Client(section)
    found: list[Finding] = []

    def place_of(table: TableSchema) -> str:
        Elements(table, section.graph_mapping)
        return str(table.name)

    try:
        client.send(["g.V().limit(1).count()"], "asking for a vertex")
        for table, _, problem in table_findings(tables, place_of, "a vertex", "graph_mapping"):
            if problem is not None:
                found.append(problem)
                continue
            for element in Elements(table, section.graph_mapping).all:
                if element.is_shared:
                    message = f"vertices of the definition {element.name} are shared by rows: none of them deletes one"
                    remedy = "let `vertex_id_template` hold the key, if that is not meant"
                    found.append(Finding(Severity.NOTE, "shared-vertex", message, table.name, remedy))
                elif element.lacks_key:
                    message = f"rows with one id share the edge of {element.name}: it goes with the row that wrote last"
                    remedy = "let the edge's `template` hold the key"
                    found.append(Finding(Severity.WARNS, "shared-edge", message, table.name, remedy))
    finally:
        client.close()
    return found


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the IAM policy's statement for the role."""
    statement = {
        "Effect": "Allow",
        "Action": ["neptune-db:ReadDataViaQuery", "neptune-db:WriteDataViaQuery", "neptune-db:DeleteDataViaQuery"],
        "Resource": "arn:aws:neptune-db:REGION:ACCOUNT:CLUSTER-RESOURCE-ID/*",
    }
    return [json.dumps({"Version": "2012-10-17", "Statement": [statement]})]


def _section(settings: Settings, target: str) -> NeptuneTarget:
    section = settings.target(target)
    assert isinstance(section, NeptuneTarget)
    return section
