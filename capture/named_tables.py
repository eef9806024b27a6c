"""Tables that the configuration names and the source does not have: each is told with the one that it is near to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from runtime.logging import get_logger
from schemas.endpoints.section import SourceSection, ViewsSection
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, blocks, warns
from schemas.hints import suggested
from schemas.selection import Selection
from schemas.table import TableName, TableSchema

if TYPE_CHECKING:
    from capture.source import Source
    from schemas.settings import Settings

log = get_logger(__name__)

_TABLE, _SCHEMA = "table-missing", "schema-missing"

HINTS_MAX = 20
"""Of so many names it is said what they are near to: that takes 0.2 s for each where there are 10,000 tables."""


def missing(
    section: SourceSection, found: Collection[TableName], everything: Callable[[], Iterable[TableName]]
) -> list[Finding]:
    """Return what is named and not among the relations `found`; `everything` is asked for only where something is."""
    patterns = _patterns(section)
    lost = sorted(set(patterns.explicit()) - {str(name) for name in found})
    elsewhere = sorted(patterns.schemas() - {name.schema for name in found})
    if not lost and not elsewhere:
        return []
    known = list(everything())
    names, schemas = [str(name) for name in known], {name.schema for name in known}
    hints = [suggested(name, names) if place < HINTS_MAX else "" for place, name in enumerate(lost)]
    return [
        *(
            blocks(
                _TABLE,
                f"there is no table {name}, or this role may not see it{hint}",
                "correct `source.tables` or the rule of `mappings`, or run what `tailrace plan --grants` prints",
            )
            for name, hint in zip(lost, hints, strict=True)
        ),
        *(
            warns(
                _SCHEMA,
                f"there is no table in {schema}, or this role may see none{suggested(schema, schemas)}",
                "correct `source.tables` (schema.table) or the rule of `mappings`: spelt as the database does",
            )
            for schema in elsewhere
            if schema not in schemas
        ),
    ]


def look_for_named(settings: Settings, source: Source, tables: Sequence[TableSchema]) -> None:
    """Say why something that is named is not among the `tables` to be captured. Raises CONFIGURATION without any."""
    lost = set(_patterns(settings.source).explicit()) - {str(table.source_form.name) for table in tables}
    if tables and not lost:
        return
    # A name may be that of something that is not captured, a view for one.
    reasons = [f for f in source.findings(tables) if f.code in (_TABLE, _SCHEMA) or str(f.table) in lost]
    if not tables:
        why = "".join(f"; {f.message if f.table is None else f'{f.table}: {f.message}'}" for f in reasons)
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"no table matches `source.tables` or `mappings`{why}",
            remedy="see `tailrace plan`",
        )
    for finding in reasons:
        table = None if finding.table is None else str(finding.table)
        log.warning("named and not captured", table=table, reason=finding.message, remedy=finding.remedy)


def _patterns(section: SourceSection) -> Selection:
    return Selection([*section.tables, *(section.views if isinstance(section, ViewsSection) else ())])
