"""Comparison of a source with a target: by checksums that two PostgreSQL servers compute themselves, or of values.

Between other engines rows are read and compared in one form: see `control.verify.canonical`. Other targets are read by
what they offer: see `apply.reading`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from control.contact import reach_source
from control.status import Observer
from control.verify import postgresql
from control.verify.canonical import CanonicalSide
from control.verify.comparison import Limits, Progress, Report, TableResult, compare_tables
from control.verify.gate import CatchUp
from control.verify.read_back import ReadBackSide
from control.verify.side import Side
from schemas.endpoints import AnyTarget, MysqlSource, MysqlTarget, PostgresqlSource, PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.filters import row_filter
from schemas.mappings.mapped_table import map_table
from schemas.selection import Selection
from schemas.settings import Mode, Settings
from schemas.table import TableName


def compare(settings: Settings, target: str, patterns: Sequence[str], limits: Limits, progress: Progress) -> Report:
    """Compare the replicated tables that `patterns` take (all, if there are none) with those of a target.

    Raises CONFIGURATION when no table is left, and connection errors; what concerns one table is in its result.
    """
    destination = settings.target(target)
    source = reach_source(settings)
    try:
        tables = source.tables()
        estimates = source.row_estimates(tables)
    finally:
        source.close()
    if patterns:
        chosen = Selection(patterns)
        tables = [table for table in tables if chosen.takes(table.name)]
    elif settings.mode is not Mode.FULL_LOAD:
        # What was loaded once, and is not followed, is compared if it is asked for.
        tables = [table for table in tables if not table.is_view]
    if not tables:
        raise TailraceError(ErrorKind.CONFIGURATION, "no replicated table matches", remedy="see `tailrace plan CONFIG`")
    rules = settings.transformations(target)
    wanted, unlike = [], []
    for table in tables:
        # What the target cannot do has been refused elsewhere.
        mapped = map_table(rules, table, keeps_history=True)
        if row_filter(settings.filters, table.source_form) is not None:
            unlike.append(TableResult(str(table.name), error="not compared: filters take some of its rows only"))
            continue
        if mapped.rows is not None or mapped.table.columns != table.columns:
            unlike.append(TableResult(str(table.name), error="not compared: the table mappings change its columns"))
            continue
        wanted.append((table, _target_name(destination, mapped.table.name), max(0, estimates.get(table.name, 0))))
    if not wanted:
        return Report(settings.name, target, unlike)
    sides: list[Side] = []
    with Observer(settings) as observer:
        try:
            sides.extend(open_sides(settings, target, [name for _, name, _ in wanted]))
            gate = CatchUp(settings, target, observer)
            results = compare_tables(sides[0], sides[1], wanted, gate, limits, progress)
            return Report(settings.name, target, results + unlike)
        finally:
            for side in sides:
                side.close()


def _target_name(destination: AnyTarget, name: TableName) -> TableName:
    if not isinstance(destination, PostgresqlTarget | MysqlTarget):
        return name
    default = (destination.database if isinstance(destination, MysqlTarget) else "") or name.schema
    return TableName(destination.schema_map.get(name.schema, default), name.table)


def open_sides(settings: Settings, target: str, names: Sequence[TableName]) -> Iterator[Side]:
    """Yield both sides, source first. Two PostgreSQL servers compute checksums of what they print alike.

    Raises CONFIGURATION for a target that cannot be read back.
    """
    origin, destination = settings.source, settings.target(target)
    if not isinstance(destination, PostgresqlTarget | MysqlTarget):
        yield CanonicalSide("source", settings)
        yield ReadBackSide(settings, target)
        return
    if isinstance(origin, PostgresqlSource) and isinstance(destination, PostgresqlTarget):
        yield postgresql.Side("source", origin.conninfo())
        yield postgresql.Side("target", destination.conninfo())
        return
    section = MysqlSource if isinstance(destination, MysqlTarget) else PostgresqlSource
    shared = {name: getattr(destination, name) for name in section.model_fields if hasattr(destination, name)}
    if isinstance(destination, MysqlTarget):
        shared.pop("database")
    as_source = section.model_validate({**shared, "tables": sorted(map(str, names))})
    yield CanonicalSide("source", settings)
    yield CanonicalSide("target", settings.model_copy(update={"source": as_source}))


__all__ = ["Limits", "Report", "compare"]
