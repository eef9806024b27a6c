"""Comparison of a source with a target: by checksums that two PostgreSQL servers compute themselves, or of values.

Between other engines rows are read and compared in one form: see `control.verify.canonical`. Other targets are read by
what they offer: see `apply.row_reader`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial

from control.contact import reach_source
from control.status import Observer
from control.verify import failures, postgresql
from control.verify.canonical import CanonicalSide, Made, MappedSide
from control.verify.catch_up import CatchUp
from control.verify.comparison import Limits, Progress, Report, TableResult, compare_tables
from control.verify.debezium import Delivered, check_origin
from control.verify.read_back import ReadBackSide
from control.verify.side import Side
from schemas.endpoints.debezium import DebeziumSource
from schemas.endpoints.engines import AnyTarget
from schemas.endpoints.mysql import MysqlConnection, MysqlSource, MysqlTarget
from schemas.endpoints.postgresql import PostgresqlConnection, PostgresqlSource, PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.hints import nearest
from schemas.mappings.filters import row_filter
from schemas.mappings.mapped_table import map_table
from schemas.selection import Selection
from schemas.settings import Mode, Settings
from schemas.table import TableName, TableSchema


def compare(settings: Settings, target: str, patterns: Sequence[str], limits: Limits, progress: Progress) -> Report:
    """Compare the replicated tables that `patterns` take (all, if there are none) with those of a target.

    Raises CONFIGURATION when no table is left, and connection errors; what concerns one table is in its result.
    """
    destination = settings.target(target)
    origin = _origin(settings)
    with closing(reach_source(origin)) as source:
        # What a connector captures need not be what a capture of ours could.
        tables = source.tables() if origin is settings else source.readable()
        all_tables, estimates = tables, source.row_estimates(tables)
    if patterns:
        chosen = Selection(patterns)
        tables = [table for table in tables if chosen.takes(table.name)]
    elif settings.mode is not Mode.FULL_LOAD:
        # What was loaded once, and is not followed, is compared if it is asked for.
        tables = [table for table in tables if not table.is_view]
    if not tables:
        near = next(filter(None, (nearest(pattern, (str(t.name) for t in all_tables)) for pattern in patterns)), None)
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"no replicated table matches {', '.join(patterns)}" if patterns else "no table is replicated",
            remedy=f"did you mean {near}?" if near else "`tailrace plan CONFIG` lists the tables",
        )
    made = _made(origin, target, all_tables)
    unlike = [TableResult(str(table.name), error=why) for table in tables if (why := _refusal(origin, table, made))]
    tables = [table for table in tables if not _refusal(origin, table, made)]
    changed = {name: found for name, found in made.items() if found.changes_rows}
    results = []
    with Observer(settings) as observer:
        delivered = Delivered(settings, observer, partial(_end_for_ours, settings))
        passed = None if origin is settings else delivered.passed
        gate = CatchUp(settings, target, observer, passed)
        for mapped in ({}, changed) if changed else ({},):
            wanted = [
                (
                    replace(made[table.name].mapped.table, name=table.name) if mapped else table,
                    _target_name(destination, made[table.name].mapped.table.name),
                    max(0, estimates.get(table.name, 0)),
                )
                for table in tables
                if (table.name in changed) is bool(mapped)
            ]
            if wanted:
                names = [name for _, name, _ in wanted]
                opened = open_sides(origin, target, names, mapped, by_debezium=origin is not settings)
                with ExitStack() as stack:
                    sides = [stack.enter_context(closing(side)) for side in opened]
                    results += compare_tables(sides[0], sides[1], wanted, gate, limits, progress)
    compared = {str(table.name): table.name for table in tables}
    return Report(settings.name, target, results + unlike, failures.record(settings, target, compared, results))


def _made(settings: Settings, target: str, tables: Sequence[TableSchema]) -> dict[TableName, Made]:
    """Return what filters and rules make of each table."""
    rules = settings.transformations(target)
    # What the target cannot do has been refused elsewhere.
    found = {table.name: map_table(rules, table, keeps_history=True) for table in tables}
    sharers = Counter(mapped.table.name for mapped in found.values())
    return {
        table.name: Made(
            mapped := found[table.name],
            is_shared=sharers[mapped.table.name] > 1,
            changes_rows=mapped.rows is not None
            or mapped.table.columns != table.columns
            or table.at_source is not None
            or row_filter(settings.filters, table.source_form) is not None,
        )
        for table in tables
    }


def _refusal(settings: Settings, table: TableSchema, made: Mapping[TableName, Made]) -> str:
    """Return why a table cannot be compared; empty if it can."""
    if map_table(settings.capture_transformations, table.source_form).unsteady:
        return "not compared: rules that work in capture make its values at random"
    mapped, is_shared, _ = made[table.name]
    if is_shared and not mapped.constants:
        return "not compared: nothing in its key tells its rows from those of others"
    return ""


def _target_name(destination: AnyTarget, name: TableName) -> TableName:
    if not isinstance(destination, PostgresqlTarget | MysqlTarget):
        return name
    default = (destination.database if isinstance(destination, MysqlTarget) else "") or name.schema
    return TableName(destination.schema_map.get(name.schema, default), name.table)


def open_sides(
    settings: Settings,
    target: str,
    names: Sequence[TableName],
    made: Mapping[TableName, Made] | None = None,
    *,
    by_debezium: bool = False,
) -> Iterator[Side]:
    """Yield both sides, source first. Two PostgreSQL servers compute checksums of what they print alike, of tables that
    no rule changes and no connector of Debezium's stands between (`by_debezium`); `made` are those that rules do.

    Raises CONFIGURATION for a target that cannot be read back.
    """
    origin, destination = settings.source, settings.target(target)
    by_values = by_debezium or bool(made)
    if not by_values and isinstance(origin, PostgresqlSource) and isinstance(destination, PostgresqlTarget):
        yield postgresql.Side("source", origin.conninfo())
        yield postgresql.Side("target", destination.conninfo())
        return
    here = MappedSide("source", settings) if made else CanonicalSide("source", settings)
    here.made, here.by_debezium = made or {}, by_debezium
    yield here
    there: CanonicalSide | ReadBackSide
    if isinstance(destination, PostgresqlTarget | MysqlTarget):
        there = CanonicalSide("target", _as_source(settings, destination, names))
    else:
        there = ReadBackSide(settings, target)
    there.made, there.by_debezium = made or {}, by_debezium
    yield there


def _origin(settings: Settings) -> Settings:
    """Return settings whose source is a database: that which a Debezium connector captures, where one does."""
    if not isinstance(settings.source, DebeziumSource):
        return settings
    names = check_origin(settings)
    assert settings.source.origin is not None, "it was checked"
    # Connectors for MySQL name files and offsets, whether or not the server has GTIDs.
    more = {"positions": "file"} if settings.source.connector == "mysql" else {}
    return settings.model_copy(update={"source": _source_at(settings.source.origin, names, **more)})


def _end_for_ours(settings: Settings) -> int:
    """Return the end of the log of the database behind Debezium's topics, as a capture of ours counts it there."""
    assert isinstance(settings.source, DebeziumSource)
    assert settings.source.origin is not None, "it was checked"
    place = _source_at(settings.source.origin, [TableName("*", "*")])
    with closing(reach_source(settings.model_copy(update={"source": place}))) as source:
        return source.current_position().commit


def _as_source(settings: Settings, destination: PostgresqlTarget | MysqlTarget, names: Sequence[TableName]) -> Settings:
    """Return settings by which a target's tables are read as a source's are."""
    return settings.model_copy(update={"source": _source_at(destination, names), "mappings": None})


def _source_at(
    place: PostgresqlConnection | MysqlConnection, names: Sequence[TableName], **more: str
) -> PostgresqlSource | MysqlSource:
    """Return a source that is tables of a database which is reached as another section says."""
    is_mysql = isinstance(place, MysqlConnection)
    section: type[PostgresqlSource | MysqlSource] = MysqlSource if is_mysql else PostgresqlSource
    connection = MysqlConnection if is_mysql else PostgresqlConnection
    shared = {name: getattr(place, name) for name in connection.model_fields}
    return section.model_validate({**shared, "tables": sorted(map(str, set(names))), **more})


__all__ = ["Limits", "Report", "compare"]
