"""A MySQL or MariaDB server as a target: what `apply.sinks` asks for."""

from __future__ import annotations

from collections.abc import Sequence

from apply.sink_kinds.relational.dms_tables import DmsTables
from apply.sinks.mysql import findings as checks
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.names import quoted
from apply.sinks.mysql.sink import MysqlSink
from schemas.endpoints.mysql import MysqlTarget
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> MysqlSink:
    """Return the sink of a target. Connects when it is first used."""
    section, marks = settings.section(target, MysqlTarget), settings.loopback_prevention
    return MysqlSink(settings.name, target, section, settings.existing_tables, marks=marks)


def open_dms_tables(settings: Settings, target: str) -> DmsTables:
    """Return the control tables of AWS DMS at a target. Connects when they are first written."""
    schema = settings.apply.control_tables.schema_name or "awsdms_control"
    link = Link(settings.section(target, MysqlTarget))
    return DmsTables(link, ControlTables.spelling, schema, f"create database if not exists {quoted(schema)}")


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check every prerequisite of a target for these tables. Never changes anything."""
    section, marks = settings.section(target, MysqlTarget), settings.loopback_prevention
    return checks.findings(settings.name, target, section, tables, settings.existing_tables, marks=marks)


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the statements that give a target's user what it needs for these tables, for an administrator to run."""
    return checks.grants(settings.section(target, MysqlTarget), [table.name.schema for table in tables])
