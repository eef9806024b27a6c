"""Amazon Redshift as a target: what `apply.sinks` asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from apply.sink_kinds.guarded import table_findings
from apply.sinks.redshift.connecting import open_link
from apply.sinks.redshift.link import Link
from apply.sinks.redshift.reader import RedshiftReader
from apply.sinks.redshift.sink import RedshiftSink
from apply.sinks.redshift.statements import TablePlan, quoted
from schemas.endpoints.redshift import RedshiftTarget
from schemas.findings import Finding, blocks, note
from schemas.settings import Settings
from schemas.table import TableSchema
from schemas.types import Family


def open_sink(settings: Settings, target: str) -> RedshiftSink:
    """Return the sink of a target. Connects when it is first used."""
    return RedshiftSink(settings.name, target, settings.section(target, RedshiftTarget))


def open_reader(settings: Settings, target: str) -> RedshiftReader:
    """Return what reads the rows back. Connects when it is first used."""
    return RedshiftReader(settings.section(target, RedshiftTarget), f"tailrace verify {settings.name} {target}")


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the database answers, what the user may do there, and that each table can be made. Never changes
    anything. The Data API tells no error codes: a right that is missing is told here, or as a statement that failed.
    """
    section = settings.section(target, RedshiftTarget)
    link = open_link(section, f"tailrace plan {settings.name} {target}")
    found: list[Finding] = []

    def place_of(table: TableSchema) -> str:
        return TablePlan(table, section.name_of(table.name)).sql

    try:
        found += _missing_rights(link, section, tables)
        for table, _, problem in table_findings(tables, place_of, "a row", "schema_map"):
            if problem is not None:
                found.append(problem)
                continue
            texts = [c.name for c in table.columns if c.type.family is Family.NUMERIC]
            if texts:
                message = f"{len(texts)} columns of decimals without a precision become texts: {', '.join(texts[:5])}"
                remedy = "give them a precision, or a data type by a mapping rule"
                found.append(note("decimals-as-text", message, remedy, table.name))
    finally:
        link.rollback()
        link.close()
    return found


def _missing_rights(link: Link, section: RedshiftTarget, tables: Sequence[TableSchema]) -> Iterator[Finding]:
    def may(question: str, place: str, right: str) -> bool:
        ((answer,),) = link.rows(f"select {question}(%s, %s)", (place, right), doing="asking for rights")
        # A text at Redshift. Database developer guide, "HAS_SCHEMA_PRIVILEGE".
        return str(answer).lower() in ("t", "true")

    user, database = _user(section), section.database

    def missing(right: str, on: str) -> Finding:
        return blocks("no-right", f"the user lacks {right} on {on}", f"grant {right} on {on} to {user};")

    if not may("has_database_privilege", database, "temporary"):
        yield missing("temporary", f"database {quoted(database)}")
    makes_schemas = may("has_database_privilege", database, "create")
    for schema in sorted({section.control_schema, *(section.name_of(table.name).schema for table in tables)}):
        query = "select nspname from pg_catalog.pg_namespace where lower(nspname) = lower(%s)"
        there = link.rows(query, (schema,), doing="looking for a schema")
        if not there and not makes_schemas:
            yield missing("create", f"database {quoted(database)}")
            makes_schemas = True
        for (name,) in there:
            for right in ("usage", "create"):
                if not may("has_schema_privilege", name, right):
                    yield missing(right, f"schema {quoted(name)}")


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the lines that give the user what it needs, and the policies of the two roles."""
    section = settings.section(target, RedshiftTarget)
    user = _user(section)
    schemas = sorted({section.name_of(table.name).schema for table in tables})
    bucket = f"arn:aws:s3:::{section.bucket_name}"
    files = f"{bucket}/{section.bucket_folder.strip('/')}/*" if section.bucket_folder.strip("/") else f"{bucket}/*"
    ours: list[dict[str, Any]] = [{"Effect": "Allow", "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": files}]
    theirs: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": files},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
    ]
    if section.encryption_mode == "sse-kms":
        key = section.server_side_encryption_kms_key_id or "*"
        ours.append({"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": key})
        theirs.append({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key})
    ours += _to_connect(section)
    return [
        f"grant create, temporary on database {quoted(section.database)} to {user};",
        *(f"grant usage, create on schema {quoted(schema)} to {user};" for schema in schemas),
        *(json.dumps({"Version": "2012-10-17", "Statement": each}) for each in (ours, theirs)),
    ]


def _to_connect(section: RedshiftTarget) -> list[dict[str, Any]]:
    """Return what the role needs to log in, where that is by IAM."""
    found: list[dict[str, Any]] = []

    def allow(resource: str | list[str], *actions: str) -> None:
        found.append({"Effect": "Allow", "Action": [*actions], "Resource": resource})

    if section.connect_by == "data-api":
        done = ("ExecuteStatement", "DescribeStatement", "GetStatementResult", "CancelStatement")
        # Sessions and statements have no names that could be known before.
        allow("*", *(f"redshift-data:{action}" for action in done))
    place = f"{section.region or '*'}:*"
    if section.secret_arn:
        allow(section.secret_arn, "secretsmanager:GetSecretValue")
    elif section.workgroup_name and (found or section.iam_auth_enabled):
        # A workgroup's ARN has its id in the place of its name.
        allow(f"arn:aws:redshift-serverless:{place}:workgroup/*", "redshift-serverless:GetCredentials")
    elif found or section.iam_auth_enabled:
        cluster, arn = section.cluster_identifier, f"arn:aws:redshift:{place}"
        names = [f"{arn}:dbuser:{cluster}/{section.user}", f"{arn}:dbname:{cluster}/{section.database}"]
        allow(names, "redshift:GetClusterCredentials")
    return found


def _user(section: RedshiftTarget) -> str:
    return quoted(section.user) if section.user else "the user that the role, or the secret, logs in as"
