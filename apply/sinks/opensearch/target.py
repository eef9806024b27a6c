"""OpenSearch as a target: what `apply.sinks` asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import quote

from apply.sink_kinds.guarded import table_findings
from apply.sinks.opensearch.client import Client
from apply.sinks.opensearch.mapping import index_name, properties
from apply.sinks.opensearch.reader import OpensearchReader
from apply.sinks.opensearch.sink import OpensearchSink
from apply.sinks.opensearch.streams import DataStreamSink, fields_of, names_of
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.findings import Finding, note
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> OpensearchSink | DataStreamSink:
    """Return the sink of a target. Connects when it is first used."""
    section = settings.section(target, OpensearchTarget)
    if section.index_kind == "data-stream":
        return DataStreamSink(section)
    return OpensearchSink(settings.name, target, section)


def open_reader(settings: Settings, target: str) -> OpensearchReader:
    """Return what reads the rows back."""
    return OpensearchReader(settings.section(target, OpensearchTarget))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the domain answers, and that each table can be an index. Never changes anything."""
    section = settings.section(target, OpensearchTarget)
    found: list[Finding] = []

    streams = section.index_kind == "data-stream"
    kind, path = ("data stream", "/_data_stream/{}") if streams else ("index", "/{}/_mapping")

    def place_of(table: TableSchema) -> str:
        (fields_of if streams else properties)(table)
        return index_name(section.index_name, table.name)

    with closing(Client(section)) as client:
        client.request("GET", "/")
        for table, index, problem in table_findings(tables, place_of, "a document", "index_name", keyless=streams):
            if problem is not None:
                found.append(problem)
            elif client.request("GET", path.format(quote(index, safe="")), absent=404):
                message = f"the {kind} {index} is there already: its documents stay, and fields that it lacks are added"
                found.append(note("index-exists", message, table=table.name))
    return found


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the access policy's statement for the role, and the permissions that fine-grained access control needs."""
    section = settings.section(target, OpensearchTarget)
    patterns = names_of(tables, section)
    templates = ["cluster_manage_index_templates"] if section.index_kind == "data-stream" else []
    policy = {
        "Effect": "Allow",
        "Action": ["es:ESHttpGet", "es:ESHttpPost", "es:ESHttpPut", "es:ESHttpDelete"],
        "Resource": "arn:aws:es:REGION:ACCOUNT:domain/DOMAIN/*",
    }
    role = {
        "cluster_permissions": ["cluster_composite_ops", "cluster_monitor", *templates],
        "index_permissions": [
            {
                "index_patterns": [*patterns, section.control_index],
                "allowed_actions": ["crud", "create_index", "manage"],
            }
        ],
    }
    return [json.dumps({"Version": "2012-10-17", "Statement": [policy]}), json.dumps(role)]
