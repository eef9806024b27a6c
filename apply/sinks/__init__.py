"""The targets that can be written. Each is a module or a folder; none knows another."""

from __future__ import annotations

from collections.abc import Sequence

from apply.sink import Sink
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding
from schemas.settings import PostgresqlTarget, Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> Sink:
    """Return the sink of a target that the settings name. Raises CONFIGURATION. Connects when it is first used."""
    # Imported here, so that a driver is loaded only where its engine is used.
    from apply.sinks.postgresql.sink import PostgresqlSink

    return PostgresqlSink(settings.name, target, _target(settings, target))


def target_findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check every prerequisite of a target for these tables. Never changes anything."""
    from apply.sinks.postgresql.findings import findings

    return findings(settings.name, target, _target(settings, target), tables)


def target_grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the statements that give a target's role what it needs for these tables, and nothing more."""
    from apply.sinks.postgresql.findings import grants

    return grants(_target(settings, target), [table.name.schema for table in tables])


def forget(settings: Settings, target: str) -> list[str]:
    """Remove what a target keeps about the replication; return what was removed, in words. Rows of tables stay."""
    from apply.sinks.postgresql.sink import PostgresqlSink

    sink = PostgresqlSink(settings.name, target, _target(settings, target))
    try:
        return sink.forget()
    finally:
        sink.close()


def _target(settings: Settings, target: str) -> PostgresqlTarget:
    found = settings.targets.get(target)
    if found is None:
        names = ", ".join(sorted(settings.targets)) or "none"
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"the configuration has no target {target!r}; it names: {names}",
            remedy="add it to `targets`, or name one of these",
        )
    return found
