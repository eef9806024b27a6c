"""Amazon Redshift as a target: what `apply.sinks` asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence

from apply.guarded import table_findings
from apply.sinks.redshift.link import Link
from apply.sinks.redshift.sink import RedshiftSink
from apply.sinks.redshift.statements import TablePlan, quoted
from schemas.findings import Finding, Severity
from schemas.redshift_target import RedshiftTarget
from schemas.settings import Settings
from schemas.table import TableName, TableSchema
from schemas.types import Family


def open_sink(settings: Settings, target: str) -> RedshiftSink:
    """Return the sink of a target. Connects when it is first used."""
    return RedshiftSink(settings.name, target, _section(settings, target))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the database answers, and that each table can be made there. Never changes anything."""
    section = _section(settings, target)
    link = Link(section, f"tailrace plan {settings.name} {target}")
    found: list[Finding] = []

    def place_of(table: TableSchema) -> str:
        return TablePlan(
            table, TableName(section.schema_map.get(table.name.schema, table.name.schema), table.name.table)
        ).sql

    try:
        link.rows("select 1")
        for table, _, problem in table_findings(tables, place_of, "a row", "schema_map"):
            if problem is not None:
                found.append(problem)
                continue
            texts = [c.name for c in table.columns if c.type.family is Family.NUMERIC]
            if texts:
                message = f"{len(texts)} columns of decimals without a precision become texts: {', '.join(texts[:5])}"
                remedy = "give them a precision, or a data type by a mapping rule"
                found.append(Finding(Severity.NOTE, "decimals-as-text", message, table.name, remedy))
    finally:
        link.rollback()
        link.close()
    return found


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the lines that give the user what it needs, and the policies of the two roles."""
    section = _section(settings, target)
    user = quoted(section.user)
    schemas = sorted({section.schema_map.get(table.name.schema, table.name.schema) for table in tables})
    bucket = f"arn:aws:s3:::{section.bucket_name}"
    files = f"{bucket}/{section.bucket_folder.strip('/')}/*" if section.bucket_folder.strip("/") else f"{bucket}/*"
    ours = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": files}
    theirs = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": files},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
    ]
    return [
        f"grant create, temporary on database {quoted(section.database)} to {user};",
        *(f"grant usage, create on schema {quoted(schema)} to {user};" for schema in schemas),
        json.dumps({"Version": "2012-10-17", "Statement": [ours]}),
        json.dumps({"Version": "2012-10-17", "Statement": theirs}),
    ]


def _section(settings: Settings, target: str) -> RedshiftTarget:
    section = settings.target(target)
    assert isinstance(section, RedshiftTarget)
    return section
