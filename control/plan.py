"""What a replication would do and what stands in its way: checks of source, Kafka and targets, none of which changes
anything.

Everything that can be reached is checked, whatever else fails: one run names all there is to repair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from capture import checkpoints
from capture.publishing import large_records
from capture.publishing.schemas_topic import Catalogue
from capture.publishing.shapes import check
from capture.service import own_topics
from capture.source import Source
from capture.tables import table_spec, topics_gone
from control import debezium, published, table_rules
from control.contact import reach_kafka, reach_source, waiting_for
from control.wire_types import wire_type
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import read_all
from schemas.endpoint_settings import document as endpoint_settings
from schemas.endpoints.engines import AnySource, AnyTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, Severity, blocks, note, of_error, warns
from schemas.routing import Route, check_routes, route
from schemas.settings import Mode, Settings
from schemas.table import TableName, TableSchema
from schemas.task_settings import document as task_settings
from schemas.task_settings import translation
from schemas.topics import checkpoints_topic, schemas_topic
from schemas.types import Family


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """How one column travels."""

    name: str
    source: str
    """The native type at the source."""
    wire: str
    """How consumers of the topic see it."""
    note: str | None = None
    """What is lost or unusual, if anything."""


@dataclass(frozen=True, slots=True)
class PlannedTable:
    """A table that would be replicated."""

    name: TableName
    topic: str
    rows_estimated: int | None
    """None: the source's catalogue does not say."""
    key: tuple[str, ...]
    columns: tuple[PlannedColumn, ...]


@dataclass(frozen=True, slots=True)
class PlacedFinding:
    """A finding and where it was found: `task settings`, `source`, `kafka`, or `target NAME`."""

    place: str
    finding: Finding


@dataclass(slots=True)
class Report:
    """The plan of a replication."""

    replication: str
    tables: list[PlannedTable] = field(default_factory=list)
    findings: list[PlacedFinding] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)
    """In words: what was connected to."""

    @property
    def blocked(self) -> bool:
        """Whether any finding prevents a run."""
        return any(placed.finding.severity is Severity.BLOCKS for placed in self.findings)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "replication": self.replication,
            "blocked": self.blocked,
            "reached": self.reached,
            "tables": [
                {
                    "name": str(t.name),
                    "topic": t.topic,
                    "rows_estimated": t.rows_estimated,
                    "key": list(t.key),
                    "columns": [
                        {"name": c.name, "source": c.source, "wire": c.wire, "note": c.note} for c in t.columns
                    ],
                }
                for t in self.tables
            ],
            "findings": [
                {
                    "place": p.place,
                    "severity": str(p.finding.severity),
                    "code": p.finding.code,
                    "message": p.finding.message,
                    "table": str(p.finding.table) if p.finding.table else None,
                    "remedy": p.finding.remedy,
                }
                for p in self.findings
            ],
        }


def make(settings: Settings) -> Report:
    """Check everything and return what was found. Errors become findings: this raises only for defects."""
    report = Report(settings.name)
    if settings.settings is not None:
        found = [*task_settings.findings(settings.settings), *translation.findings(settings.settings, settings)]
        report.findings += [PlacedFinding("task settings", finding) for finding in found]
    report.findings += _as_at_dms("source", settings.source)
    cluster = _reached_kafka(settings, report)
    tables: Sequence[TableSchema] = ()
    if not settings.by_debezium:
        tables = _check_source(settings, report, asks_kafka=cluster is not None)
    elif cluster is not None:
        tables = _check_debezium(settings, report)
    if cluster is not None:
        _check_kafka(settings, cluster, () if settings.by_debezium else tables, report)
    for name in settings.targets:
        check_target(settings, name, tables, report)
    order = {Severity.BLOCKS: 0, Severity.WARNS: 1, Severity.NOTE: 2}
    report.findings.sort(key=lambda placed: order[placed.finding.severity])
    return report


def ddl_trigger(settings: Settings) -> str:
    """Return the SQL that makes the source tell the text of DDL statements in its log."""
    with closing(reach_source(settings)) as source:
        return (
            source.ddl_trigger()
            or "-- nothing is to be run: the log of this engine tells statements by itself, or has no means for it"
        )


def grants(settings: Settings) -> str:
    """Return what gives the roles of the source and of every target their rights, and no others, and may be run again.

    That is SQL for databases, and what else of that kind targets know. Raises connection errors.
    """
    from apply.sinks import target_grants

    with closing(reach_source(settings)) as source:
        tables = source.tables()
        said = source.grants(tables) + table_rules.grants(settings, tables)
        parts = [f"-- source, {settings.source.place}: as a superuser\n{said}"]
        if not tables:
            parts.append(
                "-- this login sees no table yet: run what stands above, then print this again for what follows"
            )
    for target in settings.targets:
        place = settings.target(target).place
        lines = "\n".join(target_grants(settings, target, tables))
        parts.append(f"-- target {target}, {place}: as a superuser\n{lines}")
    return "\n\n".join(parts)


def cutover(settings: Settings) -> str:
    """Return the SQL that makes the targets fit to be written by applications. Raises connection errors."""
    from apply.sinks import target_cutover

    with closing(reach_source(settings)) as source:
        tables = source.tables()
    parts = []
    for target in settings.targets:
        statements = [f"{statement};" for statement in target_cutover(settings, target, tables)]
        parts.append("\n".join([f"-- target {target}", *(statements or ["-- nothing is left to do"])]))
    return "\n\n".join(parts)


def planned_table(settings: Settings, table: TableSchema, rows_estimated: int | None) -> PlannedTable:
    """Return how a table would travel."""
    return PlannedTable(
        table.name,
        _destination(route(settings, table.name)),
        rows_estimated,
        table.key_names,
        tuple(
            PlannedColumn(c.name, c.native, wire_type(c.type), _note(c.type.family, c.native)) for c in table.columns
        ),
    )


def _note(family: Family, native: str) -> str | None:
    if family is Family.TEXT:
        return f"text, in the source's notation of {native}"
    return None


def _reached_kafka(settings: Settings, report: Report) -> Topics | None:
    """Return the cluster; None if it does not answer, which the report says once for all checks that ask it."""
    try:
        return reach_kafka(settings)
    except TailraceError as error:
        report.findings.append(PlacedFinding("kafka", of_error(error)))
        return None


def _check_source(settings: Settings, report: Report, *, asks_kafka: bool) -> Sequence[TableSchema]:
    try:
        source = reach_source(settings)
    except TailraceError as error:
        report.findings.append(PlacedFinding("source", of_error(error)))
        return ()
    try:
        tables = source.tables()
        report.reached.append(f"source {settings.source.engine} {settings.source.place}")
        estimates = source.row_estimates(tables)
        report.tables = [planned_table(settings, t, estimates.get(t.name)) for t in tables]
        report.findings += [PlacedFinding("source", finding) for finding in source.findings(tables)]
        if asks_kafka:
            report.findings += [PlacedFinding("source", finding) for finding in _of_checkpoint(settings, source)]
        report.findings += [PlacedFinding("source", finding) for finding in table_rules.findings(settings, tables)]
        if not tables:
            report.findings.append(PlacedFinding("source", _nothing_selected()))
        for table in tables:
            try:
                check(table, route(settings, table.name))
            except TailraceError as error:
                finding = of_error(error, "route", table.name)
                report.findings.append(PlacedFinding("source", finding))
        check_routes(settings, [table.name for table in tables])
    except TailraceError as error:
        report.findings.append(PlacedFinding("source", of_error(error)))
        return ()
    finally:
        source.close()
    return tables


def _check_debezium(settings: Settings, report: Report) -> Sequence[TableSchema]:
    try:
        look = debezium.Look(settings)
        report.reached.append(f"source debezium {settings.source.place}")
        counts, tables = look.record_counts(), list(look.tables.values())
        report.tables = [
            replace(planned_table(settings, table, counts.get(table.name, 0)), topic=topic)
            for topic, table in look.tables.items()
        ]
        report.findings += [PlacedFinding("source", finding) for finding in look.findings()]
    except TailraceError as error:
        report.findings.append(PlacedFinding("source", of_error(error)))
        return ()
    return tables


def _of_checkpoint(settings: Settings, source: Source) -> list[Finding]:
    """Return what keeps capture from going on where it is; nothing where it has not begun."""
    try:
        if not Topics(settings.kafka).exists(checkpoints_topic(settings.name)):
            return []
        checkpoint = checkpoints.read(settings)
        catalogue = Catalogue.of(settings, read_all(settings.kafka, schemas_topic(settings.name)))
    except TailraceError:
        # Said of Kafka's own check.
        return []
    if checkpoint.identity is None:
        return []
    found = []
    try:
        source.check_position(checkpoint.identity, checkpoint.position)
    except TailraceError as error:
        found.append(of_error(error))
    try:
        known = (catalogue.find(name, version) for name, version in checkpoint.versions.items())
        source.check_published([t for t in known if settings.source.takes(t)], checkpoint.marks)
    except TailraceError as error:
        found.append(of_error(error))
    return found


def _nothing_selected() -> Finding:
    return blocks(
        "no-tables",
        "no table matches `source.tables` or a selection rule of `mappings`",
        "patterns are schema.table with * and ?, in rules % and _; names stand as the database spells them,"
        " unquoted; a role sees only what it has a right to: `tailrace plan --grants`",
    )


def _check_kafka(settings: Settings, cluster: Topics, tables: Sequence[TableSchema], report: Report) -> None:
    try:
        brokers = cluster.broker_count()
        report.reached.append(f"Kafka, {brokers} broker{'s' if brokers != 1 else ''}")
        wanted = settings.topics.replication_factor
        if wanted is not None and wanted > brokers:
            message = f"topics.replication_factor is {wanted}, the cluster has {brokers} broker(s)"
            report.findings.append(PlacedFinding("kafka", blocks("replication-factor", message)))
        existing = cluster.list()
        catalogue = Catalogue.of(settings, published.records(settings))
        # An outbox's topics follow from its rows.
        with_topic = [table for table in tables if route(settings, table.name).outbox is None]
        specs = {spec.name: spec for spec in (table_spec(settings, table, catalogue, existing) for table in with_topic)}
        gone = topics_gone(settings, [table.name for table in with_topic], catalogue, existing)
        report.findings += [PlacedFinding("kafka", of_error(error)) for error in gone]
        beside = [*entangled(settings, tables, specs), *orphaned(settings, tables)]
        report.findings += [PlacedFinding("kafka", finding) for finding in beside]
        server = settings.kafka["bootstrap.servers"]
        own = [*own_topics(settings), large_records.topic_spec(settings)]
        for wrong in cluster.differences([*own, *specs.values()]):
            tool, _, arguments = wrong.repair.partition(" ")
            remedy = f"{tool} --bootstrap-server {server} {arguments}"
            if wrong.loses:
                remedy += (
                    "\n# only if nobody needs what it holds: capture makes it anew; else change the section `topics`"
                )
            finding = blocks("topic-settings", wrong.message, remedy)
            report.findings.append(PlacedFinding("kafka", finding))
    except TailraceError as error:
        report.findings.append(PlacedFinding("kafka", of_error(error)))


def entangled(settings: Settings, tables: Sequence[TableSchema], specs: Mapping[str, TopicSpec]) -> Iterator[Finding]:
    """Say of which tables rows with different keys depend on each other, where appliers order by key."""
    if settings.apply.ordering != "per-key":
        return
    referred = {key.target for table in tables for key in table.foreign_keys}
    for table in tables:
        way = route(settings, table.name)
        spec = specs.get(way.topic)
        if not table.is_entangled or not way.is_applicable or spec is None:
            continue
        if spec.partitions > 1:
            yield warns(
                "unique-spread",
                f"the table has unique values besides its key, and its topic has {spec.partitions} partitions: rows "
                "that swap such values wait for each other, and are refused if different appliers have them",
                "set `apply.ordering: transactional`, or run one applier, or let the topic have one partition",
                table.name,
            )
        elif settings.topics.partitions > 1 and not way.is_spread:
            yield note(
                "unique-together",
                "the table has unique values besides its key: its topic has one partition, so that they change places "
                "in order (`partitions` in `topics.overrides` spreads it)",
                table=table.name,
            )
        if table.name in referred:
            yield note(
                "unique-referred",
                "others refer to the table, which has unique values besides its key: where the target enforces foreign "
                "keys, a transaction that gives a row's unique value and its children to a new row needs one applier",
                "set `apply.ordering: transactional`, or run one applier, or set `disable_triggers` of the target",
                table.name,
            )


def orphaned(settings: Settings, tables: Sequence[TableSchema]) -> Iterator[Finding]:
    """Say of which tables rows may lack their parents where appliers end before the changes since the loads."""
    if not settings.apply.stop_before_changes or settings.mode is Mode.CDC:
        return
    planned = {table.name for table in tables}
    for table in tables:
        parents = sorted({str(k.target) for k in table.foreign_keys if k.target != table.name and k.target in planned})
        if parents:
            yield warns(
                "load-before-parents",
                f"rows of its load whose parents in {', '.join(parents)} were inserted since those were loaded are "
                "parked until the changes are applied, where a foreign key that the target had before enforces that "
                "there are parents: `apply.stop_before_changes` leaves these out",
                "to have these rows before, too, drop such foreign keys at the target until the changes are applied, "
                "or set `disable_triggers` (PostgreSQL) or `foreign_key_checks: false` (MySQL)",
                table.name,
            )


def _destination(way: Route) -> str:
    return way.topic if way.outbox is None else f"{way.outbox.topic} (messages)"


def _as_at_dms(place: str, section: AnySource | AnyTarget) -> list[PlacedFinding]:
    """Return what an endpoint does otherwise than at DMS, of what its endpoint settings state."""
    stated = section.endpoint_settings
    said = endpoint_settings.findings(stated, section.engine, section.role) if isinstance(stated, dict) else []
    return [PlacedFinding(place, finding) for finding in said]


def check_target(settings: Settings, name: str, tables: Sequence[TableSchema], report: Report) -> None:
    """Add to `report` what is to be said of a target for these tables, and whether it was reached."""
    from apply.sinks import target_findings

    place = f"target {name}"
    target = settings.target(name)
    report.findings += _as_at_dms(place, target)
    try:
        with waiting_for(f"target {name} at {target.place}", getattr(target, "connect_timeout_s", None)):
            found = target_findings(settings, name, tables)
        if all(finding.code != ErrorKind.TARGET_CONNECTION for finding in found):
            report.reached.append(f"{place} {target.engine} {target.place}")
        report.findings += [PlacedFinding(place, finding) for finding in found]
    except TailraceError as error:
        blocking = error.kind is not ErrorKind.TARGET_THROTTLED
        finding = of_error(error)
        if not blocking:
            finding = warns(finding.code, finding.message, finding.remedy)
        report.findings.append(PlacedFinding(place, finding))
