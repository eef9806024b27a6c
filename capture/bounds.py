"""Where the first life of a capture begins in the source's log, and where one that is to stop ends."""

from __future__ import annotations

from collections.abc import Callable

from capture.source import Source
from schemas.changes import Begin
from schemas.position import Position
from schemas.settings import Settings


def first_position(settings: Settings, source: Source, identity: dict[str, str]) -> Position | None:
    """Return where the configuration says that the first life begins; None: where the log of a new slot does."""
    text, time_us = settings.start_position, settings.start_time_us
    if text is None or text == "now":
        return None
    if time_us is not None:
        return source.find_position(time_us)
    position = source.parse_position(text)
    source.check_position(identity, position)
    return position


class Stop:
    """The first boundary between transactions at or behind a position: nothing behind it is read.

    Where `is_idle` says no, as while tables are being loaded, the log is read on all the same, to the boundary after:
    chunks hold what it tells.
    """

    def __init__(self, reached: Callable[[], Position], is_idle: Callable[[], bool]) -> None:
        """`reached` tells how far the log is published, `is_idle` whether this is a time to stop."""
        self.commit: int | None = None
        """That of the position to stop at, which may change at any time; None: go on for ever."""
        self._reached = reached
        self._is_idle = is_idle
        self.has_cut = False
        """Whether a transaction was left out. What the log yields from then on is not to be read."""

    @property
    def is_met(self) -> bool:
        """Whether everything up to the boundary is published."""
        return self.has_cut or (self.commit is not None and self._is_before(0, self.commit))

    def cuts(self, begin: Begin) -> bool:
        """Tell whether the boundary is before a transaction. All that precedes it must be published."""
        if self.commit is not None and self._is_before(begin.txn.commit, self.commit):
            self.has_cut = True
        return self.has_cut

    def _is_before(self, next_commit: int, stop_at: int) -> bool:
        """Tell whether the boundary is before a transaction that comes next in the log."""
        reached = self._reached()
        is_behind = reached.commit >= stop_at or next_commit > stop_at
        return is_behind and not reached.row and self._is_idle()


class Bounds:
    """Where a session ends: at what `stop` names, or to stand still for a while, at what `pause` names."""

    def __init__(self, reached: Callable[[], Position], is_idle: Callable[[], bool]) -> None:
        """As `Stop`. Loads may be interrupted by a pause: they go on where they were."""
        self.stop = Stop(reached, is_idle)
        self.pause = Stop(reached, lambda: True)

    def is_beyond(self, commit: int) -> bool:
        """Tell whether no boundary is before a transaction with this `commit`, or before one that precedes it."""
        return all(one.commit is None or commit < one.commit for one in (self.stop, self.pause))

    @property
    def has_cut(self) -> bool:
        """Whether a transaction was left out. What the log yields from then on is not to be read."""
        return self.stop.has_cut or self.pause.has_cut

    def cut(self, begin: Begin) -> bool:
        """Tell whether the nearer boundary is before a transaction. All that precedes it must be published."""
        return self.stop.cuts(begin) or self.pause.cuts(begin)

    def passed(self, position: Position) -> Position:
        """Return where a session stands that has published all up to `position`.

        When a pause has cut, nothing was committed at the source up to what it names: there the next session stands
        still before it begins.
        """
        if not self.pause.has_cut or self.pause.commit is None:
            return position
        return position._replace(commit=max(position.commit, self.pause.commit))
