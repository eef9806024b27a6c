"""The engines that can be captured, found by name.

An engine is a module with two functions, `open_source(settings) -> Source` and
`open_snapshot_reader(settings) -> SnapshotReader`. Ours are listed here; others register theirs as entry points of the
group `tailrace.sources`. Nothing is imported before it is asked for: a driver that is not used is not needed. Filters
and rules that work in capture stand before every engine: what is opened here is `capture.mapped_source`'s.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from capture.mapped_source import MappedReader, MappedSource
from capture.source import SnapshotReader, Source
from schemas.errors import ErrorKind, TailraceError

if TYPE_CHECKING:
    from schemas.settings import Settings

ENTRY_POINT_GROUP = "tailrace.sources"

_ENGINES = {
    "postgresql": "capture.sources.postgresql.source",
    "mysql": "capture.sources.mysql.source",
}
_OPTIONAL = frozenset({"hold", "release", "unseen", "untold"})
"""What older plug-ins lack, and is done without."""


def preload(settings: Settings) -> None:
    """Import the engine that `settings` names, if it is ours. What is wrong with it is said when it is opened."""
    if (module := _ENGINES.get(settings.source.engine)) is not None:
        with suppress(ImportError):
            import_module(module)


def open_source(settings: Settings) -> Source:
    """Connect to the source that `settings` names. Raises CONFIGURATION for an unknown engine."""
    engine = settings.source.engine
    return MappedSource(_whole(Source, _engine(engine).open_source(settings), engine), settings)


def open_snapshot_reader(settings: Settings) -> MappedReader:
    """Connect one loader to the source that `settings` names. Raises CONFIGURATION for an unknown engine."""
    engine = settings.source.engine
    return MappedReader(_whole(SnapshotReader, _engine(engine).open_snapshot_reader(settings), engine), settings)


def _engine(name: str) -> ModuleType:
    if name in _ENGINES:
        return import_module(_ENGINES[name])
    from importlib.metadata import entry_points

    for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        module: ModuleType = entry_point.load()
        return module
    if name == "debezium":
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the source is topics that Debezium writes: there is nothing to capture",
            remedy="run `tailrace apply`; to let Tailrace capture, see docs/moving-from-debezium.md",
        )
    known = ", ".join(sorted({*_ENGINES, *entry_points(group=ENTRY_POINT_GROUP).names}))
    raise TailraceError(ErrorKind.CONFIGURATION, f"there is no source engine {name!r}; known: {known}")


def _whole(protocol: type, found: Any, engine: str) -> Any:
    """Return what an engine has opened. Raises CONFIGURATION where methods are missing: it may be older than they."""
    wanted = (name for name in vars(protocol) if not name.startswith("_"))
    missing = [name for name in wanted if not hasattr(found, name) and name not in _OPTIONAL]
    if missing:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"the plug-in of source engine {engine} is not made for this version of Tailrace: its "
            f"{protocol.__name__} has no {', '.join(missing)}",
            remedy="install a version of it that is; docs/plugins.md says what each method is for",
        )
    return found
