"""Rests between the loads of a table that statements write on and on: the log does not name the rows.

Each such load empties the table at targets and reads all of it. The first one begins at once. What statements write
while it goes on, or in the rest behind it, another one brings: the checkpoint says that it is due, so no crash forgets
it. Each rest is longer than the one before, up to a bound; a table that was left alone for long begins with short ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from capture.full_load.loading import Loading
from capture.full_load.state import LoadState, TableLoad
from capture.publishing.feed import Feed
from runtime.logging import get_logger
from schemas.table import TableName

log = get_logger(__name__)

REST_MIN_S, REST_MAX_S = 5.0, 600.0


@dataclass(slots=True)
class _Rest:
    count: int = 0
    """Loads that statements have led to, one soon after the other."""
    until_s: float | None = None
    """None: the last one goes on."""

    @property
    def pause_s(self) -> float:
        return min(REST_MIN_S * 2.0 ** min(self.count - 1, 20), REST_MAX_S)


class Rests:
    """Begins these loads when they are due."""

    def __init__(self, loading: Loading, feeds: Mapping[TableName, Feed], monotonic: Callable[[], float]) -> None:
        self._loading, self._feeds, self._monotonic = loading, feeds, monotonic
        self._rests: dict[TableName, _Rest] = {}
        self._due: set[TableName] = set()

    @property
    def are_over(self) -> bool:
        """Whether every table is loaded, and none is to be loaded again."""
        return self._loading.is_idle and not self._due

    def restore(self) -> None:
        """Take up what an earlier life left."""
        self._due = {name for name, load in self._loading.loads.items() if load.again}

    def written(self, name: TableName, reached: int) -> bool:
        """Load a table from nothing, at once or later: statements have changed rows that the log does not name. Return
        False for one that is not captured.
        """
        feed = self._feeds.get(name)
        if feed is None:
            return False
        # In mode `cdc` nothing was loaded before.
        load = self._loading.loads.setdefault(name, TableLoad(feed.table, generation=0))
        if self._is_over(name):
            self._begin(feed, load, reached)
        elif not load.again:
            load.again = True
            self._due.add(name)
            self._loading.note(load)
            self._tell(load)
        return True

    def step(self, reached: int) -> None:
        """Begin what is due. `reached` is the position that the log is read and published up to."""
        if not (self._rests or self._due):
            return
        now_s = self._monotonic()
        for name, rest in [*self._rests.items()]:
            load = self._loading.loads.get(name)
            if load is None or (rest.until_s is not None and not load.again and now_s > rest.until_s + REST_MAX_S):
                del self._rests[name]
            elif rest.until_s is None and load.state is LoadState.LOADED:
                rest.until_s = now_s + rest.pause_s
                self._tell(load)
        for name in sorted(self._due):
            load, feed = self._loading.loads.get(name), self._feeds.get(name)
            if load is None or feed is None:
                self._due.discard(name)
            elif self._is_over(name):
                self._begin(feed, load, reached)

    def _is_over(self, name: TableName) -> bool:
        rest = self._rests.get(name)
        return rest is None or (rest.until_s is not None and self._monotonic() >= rest.until_s)

    def _begin(self, feed: Feed, load: TableLoad, reached: int) -> None:
        rest = self._rests.setdefault(load.name, _Rest())
        rest.count, rest.until_s = rest.count + 1, None
        load.again, load.waits_for = False, None
        self._due.discard(load.name)
        log.info("loads the table again: statements have changed it", table=str(load.name), rest_s=rest.pause_s)
        self._loading.begin_again(feed, load, reached)

    def _tell(self, load: TableLoad) -> None:
        if load.again and load.state is LoadState.LOADED:
            pause_s = self._rests[load.name].pause_s
            load.waits_for = f"a rest of {pause_s:.0f} s between loads, while sessions that log statements write it"
