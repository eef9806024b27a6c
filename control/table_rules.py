"""What rules of table mappings cannot do with the source's tables: filters that do not fit, parts that they lack."""

from __future__ import annotations

from collections.abc import Sequence

from capture.sources import open_snapshot_reader
from schemas.errors import TailraceError
from schemas.findings import Finding, Severity
from schemas.mappings.filters import row_filter
from schemas.mappings.segments import rule_of
from schemas.settings import Mode, Settings
from schemas.table import TableSchema


def findings(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return what stops capture, and where a rule does nothing. Asks the source for partitions only."""
    return [*_of_filters(settings, tables), *_of_segments(settings, tables)]


def _of_filters(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return what stops capture: filters that do not fit their tables."""
    found = []
    for table in tables:
        try:
            row_filter(settings.filters, table.source_form)
        except TailraceError as error:
            found.append(Finding(Severity.BLOCKS, "mapping-rule", error.message, table.name, error.remedy))
    return found


def grants(settings: Settings, tables: Sequence[TableSchema]) -> str:
    """Return the SQL that lets the source's role read by themselves those partitions that it may not, in lines.

    Raises CONFIGURATION for a rule that does not fit its table.
    """
    found: dict[str, None] = {}
    reader = open_snapshot_reader(settings)
    try:
        for table in tables:
            found |= dict.fromkeys(reader.refusals(table))
    finally:
        reader.close()
    return "".join(f"\n{statement}" for statement in found)


def _of_segments(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return what stops capture when it cuts tables for the full load, and where a rule cuts none."""
    found: list[Finding] = []
    if not settings.load_rules or settings.mode is Mode.CDC:
        return found
    reader = open_snapshot_reader(settings)
    try:
        for table in tables:
            rule = rule_of(settings.load_rules, table.source_form)
            if rule is None:
                continue
            try:
                segments = reader.segments(table)
            except TailraceError as error:
                found.append(Finding(Severity.BLOCKS, "mapping-rule", error.message, table.name, error.remedy))
                continue
            if not segments:
                why = "it has no partitions" if table.key else "a table without a key is loaded in one snapshot"
                message = f"rule {rule.rule_id}: parallel-load cuts nothing: {why}"
                found.append(Finding(Severity.NOTE, "mapping-rule", message, table.name))
    finally:
        reader.close()
    return found
