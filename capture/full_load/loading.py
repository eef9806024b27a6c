"""The full load beside the log: lets the rows of chunks into the topics at the moment at which they are right.

A table is loaded while its changes are being published. For a table with a key, `window` decides row by row what may
still go out; a table without one is read whole while its changes wait in `held_back`. Progress is written to the
checkpoint in the same Kafka transaction as the rows, so a crash repeats what was not committed and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from capture import checkpoints
from capture.full_load.held_back import HeldBack
from capture.full_load.limits import STEP_BYTES_MAX, STEP_ROWS_MAX, Left
from capture.full_load.loader import Loader
from capture.full_load.reading import Reading
from capture.full_load.state import LoadState, TableLoad, unseen_transaction
from capture.full_load.window import Horizon, LoadWindow
from capture.publishing.feed import Feed
from capture.publishing.publisher import Publisher
from capture.source import Chunk, Snapshot
from runtime.failpoints import hit
from runtime.logging import get_logger
from schemas.bundles import Bundle
from schemas.changes import RowChanges, Transaction
from schemas.errors import TailraceError
from schemas.mappings.segments import loads_part, rule_of
from schemas.settings import Settings
from schemas.signals import Bound
from schemas.table import TableName, TableSchema

log = get_logger(__name__)

FORGET_SHARE = 50
"""What windows need not remember is forgotten after as many chunks as this part of the tables that are left."""
PAUSE_MIN_S, PAUSE_MAX_S, PAUSE_STUCK_S = 0.001, 0.01, 0.5
"""How long the log may be waited for while loaders have nothing to say: each time twice as long as before. The last
one is where all that is left stands still."""


class Loading:
    """All tables' loads."""

    def __init__(
        self,
        publisher: Publisher,
        horizon: Horizon,
        loader: Loader,
        settings: Settings,
        source_end: Callable[[], int],
        unseen: Callable[[TableSchema], Iterable[int]],
    ) -> None:
        """`source_end` returns where the source's log ends, and `unseen` what `Source.unseen` does."""
        self._publisher = publisher
        self._horizon = horizon
        self._loader = loader
        loader.retries.on_stale = self.on_stale
        loader.retries.on_suspended = self.on_suspended
        loader.on_looked = self.on_looked
        loader.on_broken = lambda load: self.cut_again(publisher.feeds[load.name], self._reached)
        self._source_end, self._unseen = source_end, unseen
        self._window_keys_max = settings.capture.window_keys_max
        self._state_directory = settings.capture.state_directory
        self._load_rules = settings.load_rules
        self._judged_from = settings.judged_from
        self._plans: set[TableName] = set()
        self._progress: set[TableName] = set()
        self._stale: dict[TableName, TableLoad] = {}
        self._published_count = self._window_keys = self._closed_count = self._reached = 0
        self.loads: dict[TableName, TableLoad] = {}
        """Every table that is or was loaded."""
        self.completed: list[TableLoad] = []
        """Loads that the open Kafka transaction, or the next one, completes."""
        self.pause_s = 0.0
        """How long the log may be waited for before the next step. Not at all after one that has moved something: a
        loader's next rows are there soon, and it cannot go on before they are taken."""

    @property
    def is_idle(self) -> bool:
        """Whether every table is loaded."""
        return self._loader.is_idle

    @property
    def stuck(self) -> TailraceError | None:
        """Why nothing more is loaded, where all tables that are left stand still."""
        return self._loader.stuck

    @property
    def holds_transaction(self) -> bool:
        """Whether half a chunk is in the open Kafka transaction: the other half belongs there too."""
        return self._loader.holds_transaction

    @property
    def unsettled(self) -> tuple[Transaction, ...]:
        """Transactions that a checkpoint must name while tables are being loaded."""
        return () if self.is_idle else self._horizon.unsettled

    @property
    def window_key_count(self) -> int:
        """Keys that are remembered now."""
        return sum(len(feed.window) for feed in self._publisher.feeds.values() if feed.window is not None)

    @property
    def is_dirty(self) -> bool:
        """Whether there is something that a checkpoint has not said yet."""
        return bool(self._plans or self._progress or self.completed)

    def restore(self, feed: Feed, load: TableLoad, reached: int, *, announced: bool) -> None:
        """Take up a load where an earlier life left it."""
        if load.state is LoadState.LOADED:
            self.loads[load.name] = load
            if not announced:
                self.completed.append(load)
        elif load.state is LoadState.LOADING and not feed.table.key:
            # What was held back is lost, and some rows may be out.
            self.begin_again(feed, load, reached)
        else:
            self.begin(feed, load)

    def begin(self, feed: Feed, load: TableLoad) -> None:
        """Load a table, from now on beside its changes."""
        self.loads[load.name] = load
        self._plans.add(load.name)
        self._progress.add(load.name)
        self._watch(feed, load)
        self._loader.add(load)

    def skip(self, load: TableLoad) -> None:
        """Take a table for loaded: targets have its rows already."""
        self.loads[load.name] = load
        self._complete(load)

    def begin_again(self, feed: Feed, load: TableLoad, reached: int) -> None:
        """Load a table from nothing: consumers empty theirs first."""
        self._publisher.void(feed, reached)
        self._restart(feed, load, reached)

    def reload(self, feed: Feed, reached: int) -> None:
        """Publish every row again: the source has rewritten them, and its log does not say so.

        Targets hold the same rows, so they need not empty their table first, save for one without a key.
        """
        load = self.loads.get(feed.table.name)
        if load is None:
            return
        if feed.table.key:
            self._restart(feed, load, reached)
        else:
            self.begin_again(feed, load, reached)

    def load_parts(self, feed: Feed, reached: int, parts: tuple[int, ...]) -> None:
        """Publish the rows of partitions that brought some along, behind what is being loaded."""
        load = self.loads.get(feed.table.name)
        if load is None:
            log.warning("rows of attached partitions are not loaded: nothing is", table=str(feed.table.name))
        elif not feed.table.key or loads_part(self._load_rules, load.name):
            # The changes of a table without a key are held against one snapshot of it; and a rule says what is loaded.
            self.reload(feed, reached)
        elif load.state is LoadState.LOADED:
            self._restart(feed, load, reached, parts)
        else:
            load.later = tuple(dict.fromkeys((*load.later, *parts)))
            self._plans.add(load.name)

    def cut_again(self, feed: Feed, reached: int) -> None:
        """Load a table, or parts of it, from the beginning: what it was cut into is there no more."""
        load = self.loads[feed.table.name]
        if load.parts:
            self._restart(feed, load, reached, load.parts)
        else:
            self.reload(feed, reached)

    def _restart(self, feed: Feed, load: TableLoad, reached: int, parts: tuple[int, ...] = ()) -> None:
        self._loader.remove(load.name)
        load.begin_again(feed.table, reached, parts)
        # While it was not under load nobody has remembered what was published of it.
        load.unseen = tuple(map(unseen_transaction, self._unseen(feed.table)))
        if load.unseen:
            ids = [txn.xid for txn in load.unseen]
            log.info("load waits until transactions can be seen", table=str(load.name), transactions=ids)
        self.begin(feed, load)

    def order(self, feed: Feed, reached: int, lower: Bound | None, upper: Bound | None, *, empty: bool) -> str:
        """Publish rows again because an operator says so; return what to answer.

        A range is one chunk. While a table's load goes on a range of it is not taken up: it will be loaded anyway.
        """
        name = feed.table.name
        load = self.loads.get(name)
        ranged = lower is not None or upper is not None
        if ranged and load is not None and load.state is not LoadState.LOADED:
            return "refused: the table is being loaded"
        if load is None:
            # Mode `cdc`: nothing was loaded before.
            load = self.loads[name] = TableLoad(feed.table, generation=0)
        if empty or not feed.table.key:
            self.begin_again(feed, load, reached)
        else:
            self.reload(feed, reached)
        if ranged:
            load.state = LoadState.LOADING
            load.chunks = [Chunk(0, lower, upper)]
        elif loads_part(self._load_rules, name):
            return f"reloads the listed partitions of {name}, and no others, generation {load.generation}"
        return f"reloads {name}, generation {load.generation}"

    def load_again(self, feed: Feed, reached: int) -> bool:
        """Publish every row again, in mode `cdc` too: the log did not tell all of some that is published. Return False
        where that is to be done anyway.

        A load of which no chunk was asked for yet has all its snapshots to come, which see whatever can be seen now;
        and what it reads goes out behind all that is published. But partitions that a table is being cut into are those
        that it had before: the row may be in a later one.
        """
        load = self.loads.get(feed.table.name)
        is_whole = load is not None and load.state is LoadState.PLANNED and not load.parts
        if load is not None and is_whole and not self._horizon.has_outstanding(load.name):
            by_segments = rule_of(self._load_rules, load.table.source_form) is not None
            if not (by_segments and self._loader.is_cutting(load.name)):
                # Its window took such a row for a whole one, which what follows completes.
                self._watch(feed, load)
                return False
        self.order(feed, reached, None, None, empty=False)
        # Not before the log is where the table is now: until then each row may ask for it once more.
        self.loads[feed.table.name].not_before_commit = self._source_end()
        return True

    def table_changed(self, feed: Feed, reached: int, *, is_void: bool) -> None:
        """Go on with a new version of a table: chunks in flight are read again. `is_void`: so is the whole table."""
        # What could not be read is read again as it is now: if it still cannot, it is no matter of this change.
        self._stale.pop(feed.table.name, None)
        load = self.loads.get(feed.table.name)
        if load is None:
            return
        if is_void or (load.state is not LoadState.LOADED and not feed.table.key):
            self.begin_again(feed, load, reached)
            return
        load.table = feed.table
        if load.state is not LoadState.LOADED:
            self._loader.cancel(load.name)
            self._watch(feed, load)

    def note(self, load: TableLoad) -> None:
        """Let the checkpoint say what a load is now."""
        self._plans.add(load.name)

    def forget(self, name: TableName) -> None:
        """The table is gone."""
        if self.loads.pop(name, None) is not None:
            self._loader.remove(name)
        self._plans.discard(name)
        self._progress.discard(name)
        self._stale.pop(name, None)
        self.completed = [load for load in self.completed if load.name != name]

    def must_wait(self, reached: int) -> bool:
        """Tell whether the log must not be read on: too many keys are remembered (Invariant 8).

        What tables remember that are not being read now is forgotten: their next chunks must see it instead. Those that
        are being read end without more of the log, once they have reached their high watermarks.
        """
        if self._horizon.published_count != self._published_count:
            # Of thousands of tables each has a window.
            self._published_count = self._horizon.published_count
            self._window_keys = self.window_key_count
        if self._window_keys <= self._window_keys_max:
            return False
        self._forget_seen()
        for name, feed in self._publisher.feeds.items():
            if feed.window is not None and len(feed.window) and not self._horizon.has_outstanding(name):
                feed.window = self._window(self.loads[name])
                self._horizon.raise_barrier(name, self.loads[name].unseen)
        self._window_keys = self.window_key_count
        full = self._window_keys > self._window_keys_max
        return full and self._loader.is_reading and self._loader.high_max <= reached

    def step(self, reached: int, rows_max: int = STEP_ROWS_MAX) -> None:
        """Move all loads on, without waiting. `reached` is the position that the log is read and published up to.

        No more is published once there are `rows_max` rows, or STEP_BYTES_MAX, save for the rest of a batch.
        """
        if self._loader.is_idle:
            return
        self._reached = reached
        for load in self._loader.pump(reached):
            self._plans.add(load.name)
            hit("capture.load.planned")
            if not load.chunks:
                self._complete(load)
        closed = False
        left = Left(min(rows_max, STEP_ROWS_MAX), STEP_BYTES_MAX)
        for reading in self._loader.ready(reached):
            closed |= self._publish(reading, reached, left)
            if left.is_used_up:
                break
        if closed:
            # It looks at all tables that are left: of thousands not after each.
            self._closed_count += 1
            if self._closed_count * FORGET_SHARE >= self._loader.load_count:
                self._closed_count = 0
                self._forget_seen()
            self._loader.release_idle()
        has_moved = closed or left.has_used or self._loader.has_answered
        pause_max_s = PAUSE_MAX_S if self.stuck is None else PAUSE_STUCK_S
        self.pause_s = 0.0 if has_moved else min(pause_max_s, max(PAUSE_MIN_S, 2 * self.pause_s))

    def stale_loads(self, reached: int) -> list[TableLoad]:
        """Return the loads whose chunks cannot be read since the table has changed, and the log did not say so.

        It says so with the next row. Without one, the catalogue must be asked, once all older rows are published.
        """
        due = [load for load in self._stale.values() if load.not_before_commit <= reached]
        for load in due:
            del self._stale[load.name]
        return due

    def on_stale(self, load: TableLoad) -> None:
        """Note that a table no longer has the known columns: nothing is read of it until the log is up to date."""
        load.not_before_commit = self._source_end()
        self._stale[load.name] = load

    def on_suspended(self, load: TableLoad) -> None:
        """Note that a load stands still. What is held back of a table without a key is dropped: it may be long, and the
        snapshot that is taken in the end sees it.
        """
        if not load.table.key:
            self._watch(self._publisher.feeds[load.name], load)

    def on_looked(self, snapshot: Snapshot) -> None:
        """Forget what every later snapshot sees, while all that is left stands still and no chunk tells."""
        self._horizon.looked(snapshot)
        self._forget_seen()

    def records(self) -> list[checkpoints.Record]:
        """Return the checkpoint records of what has changed, for the open Kafka transaction."""
        plans = [checkpoints.plan_record(self.loads[name]) for name in sorted(self._plans)]
        progress = [checkpoints.progress_record(self.loads[name]) for name in sorted(self._progress)]
        self._plans.clear()
        self._progress.clear()
        return [*plans, *progress]

    def close(self) -> None:
        """End the loader processes and give up files."""
        self._loader.close()
        for feed in self._publisher.feeds.values():
            feed.let_go_held_back()

    def _publish(self, reading: Reading, reached: int, left: Left) -> bool:
        """Let rows of a chunk out, as many as are left of the step; tell whether the chunk is closed."""
        snapshot, load = reading.snapshot, reading.load
        assert snapshot is not None
        # Of a table that was not under load no transaction is remembered: what stands in the log may not be visible.
        is_early = snapshot.high < load.not_before_commit or not self._horizon.accepts(load.name, snapshot)
        if not reading.begun and is_early:
            self._loader.reject(reading)
            if load.unseen and (gone := load.wait_only_for(self._unseen(load.table))):
                self._horizon.lower_barrier(load.name, gone)
                self._plans.add(load.name)
            ids = [txn.xid for txn in load.unseen]
            log.info("chunk does not see all that is published; read again", table=str(load.name), transactions=ids)
            return True
        feed = self._publisher.feeds[load.name]
        while reading.batches and not left.is_used_up:
            self._publish_batch(reading, feed, snapshot, left)
            self._publisher.flush()
            if reading.batches or not reading.ended:
                hit("capture.load.middle")
        if not reading.ended or reading.batches or not self._released(feed, reading, reached, left):
            return False
        self._loader.finished(reading)
        self._progress.add(load.name)
        hit("capture.load.finished")
        if load.is_complete:
            self._complete(load)
        return True

    def _publish_batch(self, reading: Reading, feed: Feed, snapshot: Snapshot, left: Left) -> None:
        """Let out the next batch. Nothing of it is held here afterwards: it may be one very large row."""
        batch = reading.batches.popleft()
        reading.buffered_bytes -= batch.size_bytes
        left.rows -= len(batch.bundle)
        left.bytes -= batch.size_bytes
        reading.begun = True
        rows: Bundle | list[tuple[bytes | None, bytes]] = batch.bundle
        values = batch.values()
        if reading.is_keyed:
            assert feed.window is not None
            rows = feed.window.admit(batch.bundle, snapshot, feed.merge)
        if isinstance(rows, Bundle) and len(rows) == 1:
            rows = rows.pairs()
        del batch
        reading.load.row_count += len(rows)
        self._publisher.loaded_rows(feed, rows, snapshot, values)

    def _released(self, feed: Feed, reading: Reading, reached: int, left: Left) -> bool:
        """Let out what was held back, once the chunk's rows are; tell whether nothing is left."""
        if feed.held_back is None:
            return True
        assert reading.snapshot is not None
        if reached < reading.snapshot.high:
            return False
        waiting_bytes = feed.held_back.waiting_bytes
        changes = feed.held_back.take(reading.snapshot, max(1, left.rows), max(1, left.bytes))
        left.rows -= sum(change.count if isinstance(change, RowChanges) else 1 for change in changes)
        left.bytes -= waiting_bytes - feed.held_back.waiting_bytes
        self._publisher.released(feed, changes)
        self._publisher.flush()
        if feed.held_back.waiting_bytes:
            return False
        feed.let_go_held_back()
        return True

    def _complete(self, load: TableLoad) -> None:
        feed = self._publisher.feeds[load.name]
        feed.window = None
        feed.wants_whole = False
        feed.let_go_held_back()
        if load.later:
            parts, load.later = load.later, ()
            self._restart(feed, load, load.not_before_commit, parts)
            return
        load.state = LoadState.LOADED
        load.parts = load.unseen = ()
        self._horizon.loaded(load.name)
        self._plans.add(load.name)
        self._progress.add(load.name)
        self._loader.remove(load.name)
        self.completed.append(load)
        log.info("table loaded", table=str(load.name), rows=load.row_count, generation=load.generation)

    def _watch(self, feed: Feed, load: TableLoad) -> None:
        # What was changed before is remembered nowhere: chunks must see it.
        self._horizon.raise_barrier(load.name, load.unseen)
        feed.let_go_held_back()
        feed.window = self._window(load) if feed.table.key else None
        feed.wants_whole = bool(feed.table.key) and load.moves_rows(self._load_rules)
        if not feed.table.key:
            feed.held_back = HeldBack(feed.table, self._state_directory)

    def _window(self, load: TableLoad) -> LoadWindow:
        return LoadWindow(keeps_updates=self._judged_from is not None and load.generation >= self._judged_from)

    def _forget_seen(self) -> None:
        feeds = self._publisher.feeds.items()
        self._horizon.forget({name: feed.window for name, feed in feeds if feed.window is not None})
