"""A PostgreSQL database as a target: what `apply.sinks` asks for."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from apply.sink_kinds.relational.dms_tables import DmsTables
from apply.sinks.postgresql import findings as checks
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.control_tables import ControlTables
from apply.sinks.postgresql.cutover import statements
from apply.sinks.postgresql.errors import classify
from apply.sinks.postgresql.names import quoted
from apply.sinks.postgresql.sink import PostgresqlSink
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> PostgresqlSink:
    """Return the sink of a target. Connects when it is first used."""
    defers = settings.apply.ordering == "transactional"
    return PostgresqlSink(
        settings.name,
        target,
        settings.section(target, PostgresqlTarget),
        defers=defers,
        existing_tables=settings.existing_tables,
        marks=settings.loopback_prevention,
    )


def open_dms_tables(settings: Settings, target: str) -> DmsTables:
    """Return the control tables of AWS DMS at a target. Connects when they are first written."""
    schema = settings.apply.control_tables.schema_name or "public"
    link = Link(settings.section(target, PostgresqlTarget), f"tailrace control tables {settings.name} {target}")
    return DmsTables(link, ControlTables.spelling, schema, f"create schema if not exists {quoted(schema)}")


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check every prerequisite of a target for these tables. Never changes anything."""
    defers = settings.apply.ordering == "transactional"
    section, existing = settings.section(target, PostgresqlTarget), settings.existing_tables
    return checks.findings(settings.name, target, section, tables, existing, defers=defers)


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the lines that give a target's role what it needs for these tables, for a superuser to run."""
    return checks.grants(settings.section(target, PostgresqlTarget), [table.name.schema for table in tables])


def cutover(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the statements that make the target fit to be written by applications; see `cutover.statements`."""
    section = settings.section(target, PostgresqlTarget)
    link = Link(section, f"tailrace plan {settings.name} {target}")
    try:
        return statements(link, section, tables)
    except psycopg.Error as error:
        raise classify(error, "looking at the target") from error
    finally:
        link.discard()
