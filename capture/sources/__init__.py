"""The engines that can be captured, found by name.

An engine is a module with two functions, `open_source(settings) -> Source` and
`open_snapshot_reader(settings) -> SnapshotReader`. Ours are listed here; others register theirs as entry points of the
group `tailrace.sources`. Nothing is imported before it is asked for: a driver that is not used is not needed. Filters
and rules that work in capture stand before every engine: what is opened here is `capture.mapped_source`'s.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, cast

from capture.mapped_source import MappedReader, MappedSource
from schemas.errors import ErrorKind, TailraceError

if TYPE_CHECKING:
    from capture.source import SnapshotReader, Source
    from schemas.settings import Settings

ENTRY_POINT_GROUP = "tailrace.sources"

_ENGINES = {
    "postgresql": "capture.sources.postgresql.source",
    "mysql": "capture.sources.mysql.source",
}


def open_source(settings: Settings) -> Source:
    """Connect to the source that `settings` names. Raises CONFIGURATION for an unknown engine."""
    return MappedSource(cast("Source", _engine(settings.source.engine).open_source(settings)), settings)


def open_snapshot_reader(settings: Settings) -> MappedReader:
    """Connect one loader to the source that `settings` names. Raises CONFIGURATION for an unknown engine."""
    reader = cast("SnapshotReader", _engine(settings.source.engine).open_snapshot_reader(settings))
    return MappedReader(reader, settings)


def _engine(name: str) -> ModuleType:
    if name in _ENGINES:
        return import_module(_ENGINES[name])
    for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return cast("ModuleType", entry_point.load())
    if name == "debezium":
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the source is topics that Debezium writes: there is nothing to capture",
            remedy="run `tailrace apply`; to let Tailrace capture, see docs/moving-from-debezium.md",
        )
    known = ", ".join(sorted({*_ENGINES, *entry_points(group=ENTRY_POINT_GROUP).names}))
    raise TailraceError(ErrorKind.CONFIGURATION, f"there is no source engine {name!r}; known: {known}")
