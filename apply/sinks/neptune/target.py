"""Amazon Neptune as a target: what `apply.sinks` asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing

from apply import aws
from apply.sink_kinds.guarded import table_findings
from apply.sinks.neptune.client import Client
from apply.sinks.neptune.elements import Elements
from apply.sinks.neptune.reader import NeptuneReader
from apply.sinks.neptune.sink import NeptuneSink
from apply.sinks.neptune.staging import Staging
from schemas.endpoints.neptune import NeptuneTarget
from schemas.findings import Finding, note, warns
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> NeptuneSink:
    """Return the sink of a target. Connects when it is first used."""
    # Who reads again what Debezium has read cannot be told: there may be changes that no topic has.
    loads = settings.source.engine != "debezium"
    return NeptuneSink(settings.name, target, settings.section(target, NeptuneTarget), loads=loads)


def open_reader(settings: Settings, target: str) -> NeptuneReader:
    """Return what reads the rows back. Raises CONFIGURATION."""
    return NeptuneReader(settings.section(target, NeptuneTarget))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the cluster answers, and that each table can be mapped. Never changes anything."""
    section = settings.section(target, NeptuneTarget)
    found: list[Finding] = []

    def place_of(table: TableSchema) -> str:
        Elements(table, section.graph_mapping)
        return str(table.name)

    with closing(Client(section)) as client:
        client.send(["g.V().limit(1).count()"], "asking for a vertex")
        for table, _, problem in table_findings(tables, place_of, "a vertex", "graph_mapping"):
            if problem is not None:
                found.append(problem)
                continue
            for element in Elements(table, section.graph_mapping).all:
                if element.is_shared:
                    message = f"vertices of the definition {element.name} are shared by rows: none of them deletes one"
                    remedy = "let `vertex_id_template` hold the key, if that is not meant"
                    found.append(note("shared-vertex", message, remedy, table.name))
                elif element.lacks_key:
                    message = f"rows with one id share the edge of {element.name}: it goes with the row that wrote last"
                    remedy = "let the edge's `template` hold the key"
                    found.append(warns("shared-edge", message, remedy, table.name))
        if section.s3_bucket_name is not None:
            found += _bucket_findings(section, client)
    return found


def _bucket_findings(section: NeptuneTarget, client: Client) -> list[Finding]:
    """See that the loader answers, and that the bucket may be seen."""
    client.loads("?limit=1", "asking the loader")
    with closing(Staging(section, "plan", "plan")) as staging:
        return aws.bucket_findings(staging.client, section.s3_bucket_name or "")


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the IAM policy of the role that appliers have, and that of the role by which Neptune reads the bucket."""
    section = settings.section(target, NeptuneTarget)
    actions = ["ReadDataViaQuery", "WriteDataViaQuery", "DeleteDataViaQuery"]
    cluster = "arn:aws:neptune-db:REGION:ACCOUNT:CLUSTER-RESOURCE-ID/*"
    if section.s3_bucket_name is None:
        return [_policy([_allowed(actions, "neptune-db", cluster)])]
    bucket = f"arn:aws:s3:::{section.s3_bucket_name}"
    folder = section.s3_bucket_folder.strip("/")
    objects = f"{bucket}/{folder}/*" if folder else f"{bucket}/*"
    actions += ["StartLoaderJob", "GetLoaderJobStatus", "ListLoaderJobs"]
    listing = _allowed(["ListBucket"], "s3", bucket)
    ours = [_allowed(actions, "neptune-db", cluster), _allowed(["PutObject", "DeleteObject"], "s3", objects), listing]
    theirs = [_allowed(["GetObject"], "s3", objects), listing]
    if section.encryption_mode == "sse-kms":
        key = section.server_side_encryption_kms_key_id or "*"
        ours.append(_allowed(["GenerateDataKey"], "kms", key))
        theirs.append(_allowed(["Decrypt"], "kms", key))
    return [_policy(ours), _policy(theirs)]


def _allowed(actions: Sequence[str], service: str, resource: str) -> dict[str, object]:
    return {"Effect": "Allow", "Action": [f"{service}:{action}" for action in actions], "Resource": resource}


def _policy(statements: Sequence[dict[str, object]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
