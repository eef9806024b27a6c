"""MongoDB and Amazon DocumentDB as targets: what `apply.sinks` asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing

from apply.sink_kinds.guarded import table_findings
from apply.sinks.mongodb.client import Client, told
from apply.sinks.mongodb.documents import Documents, place_of
from apply.sinks.mongodb.reader import MongodbReader
from apply.sinks.mongodb.sink import MongodbSink
from schemas.endpoints.mongodb import MongodbTarget
from schemas.findings import Finding, blocks, note
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> MongodbSink:
    """Return the sink of a target. Connects when it is first used."""
    return MongodbSink(settings.name, target, settings.section(target, MongodbTarget))


def open_reader(settings: Settings, target: str) -> MongodbReader:
    """Return what reads the rows back."""
    return MongodbReader(settings.section(target, MongodbTarget))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the server takes writes, and that each table can be a collection. Never changes anything."""
    section = settings.section(target, MongodbTarget)
    found: list[Finding] = []

    def name_of(table: TableSchema) -> str:
        made = Documents(table, section)
        return f"{made.database}.{made.collection}"

    with closing(Client(section)) as client:
        hello = client.command("hello")
        if not hello.get("isWritablePrimary", True):
            found.append(blocks("not-primary", "the server takes no writes", "name the primary, or set `replica_set`"))
        for table, place, problem in table_findings(tables, name_of, "a document", "collection_name"):
            if problem is not None:
                found.append(problem)
                continue
            with told(f"looking for the collection {place}"):
                is_there = client.collection(*place_of(section, table.name)).find_one({}, {"_id": 1}) is not None
            if is_there:
                message = (
                    f"the collection {place} has documents: of other keys they stay, of equal ones they are replaced"
                )
                found.append(note("collection-exists", message, table=table.name))
    return found


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the shell's statement that gives the user what it needs."""
    section = settings.section(target, MongodbTarget)
    databases = sorted({place_of(section, table.name)[0] for table in tables} | {section.control_database})
    roles = json.dumps([{"role": "readWrite", "db": database} for database in databases])
    user, source = json.dumps(section.user or "USER"), json.dumps(section.auth_source)
    return [f"db.getSiblingDB({source}).grantRolesToUser({user}, {roles})"]
