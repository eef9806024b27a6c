"""The targets that can be written, found by name. Each is a module or a folder; none knows another.

A target's module has three functions: `open_sink(settings, target) -> Sink`, which connects when it is first used;
`findings(settings, target, tables)`, which checks every prerequisite and changes nothing; and `grants(settings, target,
tables)`, the statements that give the target's role what it needs and nothing more. One whose target can be read back
has a fourth, `open_reader(settings, target) -> RowReader`. Ours are listed here; others
register theirs as entry points of the group `tailrace.sinks`. A driver that is not used is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import cast

from apply.dms_control_tables import Tables
from apply.mapped_sink import MappedSink, mapped_tables
from apply.row_reader import RowReader
from apply.schema_catalog import Known
from apply.sink import Sink, lacking
from apply.values import Values
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema

ENTRY_POINT_GROUP = "tailrace.sinks"
FUNCTIONS = ("open_sink", "findings", "grants")
"""What a target's module must have."""
INTERFACES = ("apply", "runtime", "schemas")
"""The packages that plug-ins import of Tailrace."""

_ENGINES = {
    "postgresql": "apply.sinks.postgresql.target",
    "mysql": "apply.sinks.mysql.target",
    "docdb": "apply.sinks.mongodb.target",
    "dynamodb": "apply.sinks.dynamodb.target",
    "files": "apply.sinks.files",
    "kafka": "apply.sinks.kafka.target",
    "kinesis": "apply.sinks.kinesis",
    "mongodb": "apply.sinks.mongodb.target",
    "neptune": "apply.sinks.neptune.target",
    "opensearch": "apply.sinks.opensearch.target",
    "redshift": "apply.sinks.redshift.target",
    "s3": "apply.sinks.s3.target",
    "stdout": "apply.sinks.stdout",
    "webhook": "apply.sinks.webhook",
}


def open_sink(settings: Settings, target: str, tables: Callable[[], Iterable[Known]] = list) -> Sink:
    """Return the sink of a target that the settings name. Raises CONFIGURATION. Connects when it is first used.

    `tables` returns what is known of the source: what several go into is not for one of them to drop or to empty.
    """
    sink = cast("Sink", _engine(settings, target).open_sink(settings, target))
    if missing := lacking(sink):
        raise _unfit(settings.target(target).engine, f"its sink has no {', '.join(missing)}")
    rules = settings.transformations(target)
    lobs = settings.lob_rules(target)
    values = Values(settings.apply.values, target, lobs) if settings.apply.values.any or lobs else None
    return MappedSink(sink, rules, values, tables) if rules or values is not None else sink


def open_reader(settings: Settings, target: str) -> RowReader:
    """Return what reads the rows of a target's tables. Raises CONFIGURATION where the engine knows no way."""
    engine = _engine(settings, target)
    if not hasattr(engine, "open_reader"):
        message = f"there is no way to read back a target of the engine {settings.target(target).engine}"
        raise TailraceError(ErrorKind.CONFIGURATION, message)
    return cast("RowReader", engine.open_reader(settings, target))


def open_dms_tables(settings: Settings, target: str) -> Tables | None:
    """Return the control tables of AWS DMS at a target; None where it can have none."""
    opener = getattr(_engine(settings, target), "open_dms_tables", None)
    return cast("Tables", opener(settings, target)) if opener else None


def target_findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check every prerequisite of a target for these tables. Never changes anything."""
    mapped, found = _mapped(settings, target, tables)
    return found + cast("list[Finding]", _engine(settings, target).findings(settings, target, mapped))


def target_grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the lines, ready to be run, that give a target's role what it needs for these tables, and nothing more."""
    mapped, _ = _mapped(settings, target, tables)
    return cast("list[str]", _engine(settings, target).grants(settings, target, mapped))


def target_cutover(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the statements that make a target fit to be written by others, once nothing is replicated any more.

    None for targets that are not left in any other state than they are to be in.
    """
    make = getattr(_engine(settings, target), "cutover", None)
    mapped, _ = mapped_tables(settings.transformations(target), tables)
    return cast("list[str]", make(settings, target, mapped)) if make is not None else []


def forget(settings: Settings, target: str) -> list[str]:
    """Remove what a target keeps about the replication; return what was removed, in words. Rows of tables stay."""
    with closing(open_sink(settings, target)) as sink:
        return sink.forget()


def _mapped(settings: Settings, target: str, tables: Sequence[TableSchema]) -> tuple[list[TableSchema], list[Finding]]:
    """Return the tables as the target is to have them, and what stands in the way of others."""
    rules = settings.transformations(target)
    if not rules:
        return list(tables), []
    with closing(open_sink(settings, target)) as sink:
        return mapped_tables(rules, tables, keeps_history=sink.capabilities.history)


def _engine(settings: Settings, target: str) -> ModuleType:
    name = settings.target(target).engine
    if name in _ENGINES:
        try:
            return import_module(_ENGINES[name])
        except ModuleNotFoundError as error:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"targets of the engine {name} need a library that is not installed: {error.name}",
                remedy=f"pip install 'tailrace[{name}]'",
            ) from error
    for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return _plugin(entry_point)
    known = ", ".join(sorted({*_ENGINES, *entry_points(group=ENTRY_POINT_GROUP).names}))
    raise TailraceError(ErrorKind.CONFIGURATION, f"there is no target engine {name!r}; known: {known}")


def _plugin(entry_point: EntryPoint) -> ModuleType:
    """Return what a package brings. Raises PREREQUISITE where it was made for another version, or lacks a library."""
    try:
        module = cast("ModuleType", entry_point.load())
    except (ImportError, AttributeError, TypeError) as error:
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] not in INTERFACES:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"the plug-in of the engine {entry_point.name} needs a library that is not installed: {error.name}",
                remedy="install it, or the plug-in again together with all that it depends on",
            ) from error
        # What it imports of ours is not there, or `Capabilities` has other fields.
        raise _unfit(entry_point.name, f"{type(error).__name__}: {error}") from error
    if missing := [name for name in FUNCTIONS if not hasattr(module, name)]:
        raise _unfit(entry_point.name, f"its module has no {', '.join(missing)}")
    return module


def _unfit(engine: str, why: str) -> TailraceError:
    return TailraceError(
        ErrorKind.PREREQUISITE,
        f"the plug-in of the engine {engine} was made for another version of Tailrace ({why})",
        remedy="install a version of it that fits; docs/plugins.md says what one has",
    )
