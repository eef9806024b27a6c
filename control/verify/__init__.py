"""Comparison of a source with a target, by checksums that the databases compute themselves."""

from __future__ import annotations

from collections.abc import Sequence

from capture.sources import open_source
from control.status import Observer
from control.verify.comparison import Limits, Progress, Report, TableResult, compare_tables
from control.verify.gate import CatchUp
from control.verify.postgresql import Side
from schemas.endpoints import PostgresqlSource, PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.mapped_table import map_table
from schemas.selection import Selection
from schemas.settings import Settings
from schemas.table import TableName


def compare(settings: Settings, target: str, patterns: Sequence[str], limits: Limits, progress: Progress) -> Report:
    """Compare the replicated tables that `patterns` take (all, if there are none) with those of a target.

    Raises CONFIGURATION when no table is left, and connection errors; what concerns one table is in its result.
    """
    origin, destination = settings.source, settings.target(target)
    if not isinstance(origin, PostgresqlSource) or not isinstance(destination, PostgresqlTarget):
        raise TailraceError(ErrorKind.CONFIGURATION, "verify compares a PostgreSQL source with a PostgreSQL target")
    source = open_source(settings)
    try:
        tables = source.tables()
        estimates = source.row_estimates(tables)
    finally:
        source.close()
    if patterns:
        chosen = Selection(patterns)
        tables = [table for table in tables if chosen.takes(table.name)]
    if not tables:
        raise TailraceError(ErrorKind.CONFIGURATION, "no replicated table matches", remedy="see `tailrace plan CONFIG`")
    rules = settings.transformations(target)
    wanted, unlike = [], []
    for table in tables:
        mapped = map_table(rules, table)
        if mapped.rows is not None or mapped.table.columns != table.columns:
            unlike.append(TableResult(str(table.name), error="not compared: the table mappings change its columns"))
            continue
        schema = destination.schema_map.get(mapped.table.name.schema, mapped.table.name.schema)
        wanted.append((table, TableName(schema, mapped.table.name.table), max(0, estimates.get(table.name, 0))))
    sides: list[Side] = []
    with Observer(settings) as observer:
        try:
            sides.append(Side("source", origin.conninfo()))
            sides.append(Side("target", destination.conninfo()))
            gate = CatchUp(settings, target, observer)
            results = compare_tables(sides[0], sides[1], wanted, gate, limits, progress)
            return Report(settings.name, target, results + unlike)
        finally:
            for side in sides:
                side.close()


__all__ = ["Limits", "Report", "compare"]
