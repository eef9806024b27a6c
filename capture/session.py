"""One life of an active capture: from the checkpoint to an end or an error.

A session never repairs itself. Whatever goes wrong, its Kafka transaction is aborted and the next session begins from
the checkpoint in Kafka, through the code that every start runs (Invariant 10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from capture import checkpoints, joining
from capture.announcing import announcements
from capture.bounds import Bounds, first_position
from capture.checkpoints import Checkpoint
from capture.commit_pacing import CommitPacing
from capture.full_load.limits import why_not
from capture.full_load.loader import Loader
from capture.full_load.loading import Loading
from capture.full_load.rests import Rests
from capture.full_load.state import LoadState, TableLoad
from capture.full_load.window import Horizon
from capture.full_load.worker import Worker
from capture.named_tables import look_for_named
from capture.publishing.feed import Feed
from capture.publishing.large_records import open_large_records
from capture.publishing.publisher import Producer, Publisher
from capture.publishing.schemas_topic import Addition, Catalogue
from capture.publishing.transaction_limits import TransactionLimits
from capture.schema_changes import SchemaChanges
from capture.source import DDL_PREFIX, LogReader, Source
from capture.tables import Tables, TopicAdmin
from runtime import metrics
from runtime.failpoints import hit
from runtime.kafka.errors import ExpiredError
from runtime.logging import get_logger
from runtime.registry import Registry
from schemas.changes import Begin, Change, Commit, Heartbeat, LogMessage, RowChanges, SchemaChange, Truncate
from schemas.hints import suggested
from schemas.routing import check_routes
from schemas.settings import Mode, Settings
from schemas.signals import Signal
from schemas.table import TableName, TableSchema
from schemas.topics import checkpoints_topic, transactions_topic

log = get_logger(__name__)

IDLE_COMMIT_INTERVAL_S = 5.0
"""Without changes the position is committed, and so the source's log released, this often."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a session works with; tests put doubles here."""

    source: Source
    producer: Producer
    topics: TopicAdmin
    spawn: Callable[[], Worker]
    limits: TransactionLimits
    """Outlives sessions: it learns from the errors that end them."""
    now_us: Callable[[], int]
    monotonic: Callable[[], float]
    registry: Registry | None = None
    seal: Callable[[], None] = lambda: None


class Session:
    """`start`, then `step` until `is_finished`, then `drain`; `close` in any case."""

    def __init__(
        self, settings: Settings, dependencies: Dependencies, checkpoint: Checkpoint, catalogue: Catalogue
    ) -> None:
        self._settings, self._checkpoint, self._catalogue = settings, checkpoint, catalogue
        source, producer, topics = dependencies.source, dependencies.producer, dependencies.topics
        self._source, self._producer, self._topics = source, producer, topics
        self._monotonic, self._limits = dependencies.monotonic, dependencies.limits
        self._horizon = Horizon(checkpoint.earlier)
        self.publisher = Publisher(
            producer,
            self._horizon,
            sequence=checkpoint.sequence,
            transactions=checkpoint.transactions(metadata=settings.topics.transaction_metadata),
            transactions_topic=transactions_topic(settings.name),
            complete=source.complete,
            now_us=dependencies.now_us,
        )
        self.publisher.large = open_large_records(settings, producer, topics)
        name = source.capabilities.connector
        registry, seal = dependencies.registry, dependencies.seal
        self._tables = Tables(settings, self.publisher, catalogue, topics, name, registry, seal)
        producer.on_wait = self._tables.look_for_topics
        self._loader = Loader(
            dependencies.spawn, self._horizon, settings.capture, monotonic=dependencies.monotonic, ids=self._tables.ids
        )
        self.loading = Loading(
            *(self.publisher, self._horizon, self._loader, settings),
            source_end=lambda: source.visible_position().commit,
            unseen=source.unseen,
        )
        self._log: LogReader | None = None
        self._unread: Iterator[Change] | None = None  # of a poll that was more than a transaction may hold
        self._identity: dict[str, str] = {}
        self.changes = SchemaChanges(
            settings, source, self.publisher, self._tables, catalogue, self.loading, checkpoint.applied
        )
        self._unannounced: list[TableLoad] = []
        self._gone = catalogue.to_announce()  # as a committed transaction says
        self._pacing = CommitPacing(settings.capture.commit_interval_ms / 1000, dependencies.monotonic())
        self._is_drained = False  # of the log: the last look at it brought no row
        self.rests = Rests(self.loading, self.publisher.feeds, dependencies.monotonic)
        self.bounds = Bounds(lambda: self.position, lambda: self.rests.are_over)
        self._handlers: dict[type, Callable[[Any], None]] = {
            RowChanges: self._on_rows,
            Begin: self._on_begin,
            Commit: self._on_commit,
            Heartbeat: self._on_heartbeat,
            Truncate: self._on_truncate,
            SchemaChange: self._on_schema_change,
            LogMessage: self._on_message,
        }
        self.position = checkpoint.position
        """Up to where the log is read and handed to the producer."""
        self.committed = checkpoint.position
        """Up to where it is committed to Kafka."""
        self.acknowledged = checkpoint.position
        """Up to where the source was told so."""
        self.commit_ts_us: int | None = None
        """When the last change published was committed at the source."""
        self.row_count = 0
        """Records committed in this session."""
        self.transaction_count = 0
        """Source transactions read since they were last counted."""
        self.row_estimates: dict[TableName, int] = {}

    # Start.

    def start(self, stop_at: str | None = None) -> None:
        """Connect the checkpoint with the source, publish what is new about tables, and open the log.

        Raises SOURCE_LOG_LOST, PREREQUISITE and CONFIGURATION as the source and Kafka do.
        """
        source, settings = self._source, self._settings
        checkpoints.check_selection(self._checkpoint, settings.source.tables)
        if settings.mode is not Mode.CDC and not self._checkpoint.is_loaded:
            # Before the slot is made, and topics of thousands of tables.
            self._loader.warm_up()
        tables = source.tables()
        look_for_named(settings, source, tables)
        check_routes(settings, [table.name for table in tables])
        versions = self._checkpoint.versions.items()
        in_force = [table for n, v in versions if settings.source.takes(table := self._catalogue.find(n, v))]
        # Before anything is made at the source: a start that is refused leaves nothing there.
        if stop_at is not None and stop_at != "now":
            self.bounds.stop.commit = source.parse_position(stop_at).commit
        self._find_place(tables, in_force)
        self._take_up(tables, in_force)
        self.rests.restore()
        self._loader.release_idle()
        if stop_at == "now":
            self.bounds.stop.commit = source.current_position().commit
        hit("capture.start.prepared")
        self.commit()
        hit("capture.start.committed")
        self._log = source.open_log(self.position, [feed.source_table for feed in self.publisher.feeds.values()])
        joining.allow(self._log, source, metadata=settings.topics.transaction_metadata)
        log.info(
            "capture runs",
            position=source.format_position(self.position),
            sequence=self.publisher.sequence,
            tables=len(self.publisher.feeds),
            loading=sum(load.state is not LoadState.LOADED for load in self.loading.loads.values()),
        )

    def _find_place(self, tables: Sequence[TableSchema], in_force: Sequence[TableSchema]) -> None:
        """Make what the log needs, and make sure that it goes on where the checkpoint ends, or find where to begin."""
        source, checkpoint = self._source, self._checkpoint
        self._identity = source.identity()
        if checkpoint.identity is not None:
            source.check_position(checkpoint.identity, checkpoint.position)
            # Before the tables that are missing are put back, which would hide it.
            source.check_published(in_force, checkpoint.marks)
            source.prepare(tables)
            return
        wanted = first_position(self._settings, source, self._identity)
        begin = source.prepare(tables)
        self.position = wanted or begin

    def _take_up(self, tables: Sequence[TableSchema], in_force: Sequence[TableSchema]) -> None:
        """Make the feeds of tables that were captured before and of those that are new, and go on with their loads."""
        source, settings, checkpoint = self._source, self._settings, self._checkpoint
        known_names = {table.name for table in in_force}
        added = [table for table in tables if table.name not in known_names]
        if checkpoint.identity is not None and settings.loopback_prevention:
            # The log says of each whether an applier has made it; the catalogue is looked at once it is read up to now.
            added = []
        published = [self._tables.as_published(table) for table in in_force]
        pairs = [*zip(published, in_force, strict=True), *((self.changes.number(table), table) for table in added)]
        self._tables.add(pairs)
        self.changes.is_dirty = bool(added) or published != in_force or len(in_force) < len(checkpoint.versions)
        self.row_estimates = self._loader.row_estimates = source.row_estimates(tables)
        for table in sorted(published, key=settings.load_rank):
            self._restore_load(self.publisher.feeds[table.name])
        for table in sorted(added, key=settings.load_rank):
            self.changes.begin(self.publisher.feeds[table.name], self.position)

    def _restore_load(self, feed: Feed) -> None:
        name = feed.table.name
        plan = self._checkpoint.plans.get(name)
        if plan is None:
            # Without one, mode `cdc` loads nothing; with one, an operator has asked for it.
            if self._settings.mode is not Mode.CDC:
                self.changes.begin_load(feed)
            return
        load = TableLoad.from_documents(feed.table, plan, self._checkpoint.progress.get(name))
        announced = self._catalogue.loaded.get(name) == load.generation
        self.loading.restore(feed, load, self.position.commit, announced=announced)

    # The loop.

    def step(self, timeout_s: float) -> None:
        """Read what the log has, let loads move on, commit when it is time. Waits for the log at most `timeout_s`."""
        try:
            publisher = self.publisher
            publisher.tick()
            if not self.bounds.has_cut and not self.loading.must_wait(self.position.commit):
                self._read(timeout_s)
            if self.loading.holds_transaction or not self._limits.met(publisher):
                self.loading.step(self.position.commit, self._limits.rows)
            self.rests.step(self.position.commit)
            if publisher.is_mark_due:
                publisher.mark()
            for load in self.loading.stale_loads(self.position.commit):
                self.changes.check_catalogue(load, self.position)
            self.changes.poll_catalogue(self._monotonic())
            self.changes.follow_catalogue(self.position)
            if self._is_commit_due():
                self.commit()
        except ExpiredError:
            self._limits.expired(self.publisher)
            raise

    def _read(self, timeout_s: float) -> None:
        """Publish what the log has, as far as the open Kafka transaction takes it."""
        assert self._log is not None
        if self._unread is None:
            self._unread = joining.each(self._log.poll(self._patience_s(timeout_s)), self, self._limits)
        publisher, handlers = self.publisher, self._handlers
        rows_before = publisher.open_rows
        # A transaction that is held for a chunk takes so many more with each step, until it was held long enough.
        rows_max = self._limits.rows + (publisher.open_rows if self.loading.holds_transaction else 0)
        for change in self._unread:
            if type(change) is Begin and self.bounds.cut(change):
                self._unread = None
                break
            handlers[type(change)](change)
            if publisher.open_rows >= rows_max:
                break
        else:
            self._unread = None
        self._is_drained = publisher.open_rows == rows_before
        publisher.flush()
        self.changes.reload_incomplete(self.position)
        self.position = self.bounds.passed(self.position)

    def take_transaction_count(self) -> int:
        """Return the source transactions since the last call."""
        count, self.transaction_count = self.transaction_count, 0
        return count

    @property
    def is_finished(self) -> bool:
        """Whether what was asked for is done: the position to stop at, or the full load."""
        if self.owes_records:
            return False
        if self.bounds.stop.commit is not None:
            return self.bounds.stop.is_met
        return self._settings.mode is Mode.FULL_LOAD and (self.rests.are_over or self.loading.stuck is not None)

    @property
    def owes_records(self) -> bool:
        """Whether the checkpoint or consumers are yet to be told something of loads and tables."""
        return bool(self.loading.is_dirty or self._unannounced or self._gone)

    def reload(self, signal: Signal) -> str:
        """Begin to publish a table's rows again, or those of a key range; return what to answer."""
        feed = next((feed for name, feed in self.publisher.feeds.items() if str(name) == signal.table), None)
        if feed is None:
            near = suggested(str(signal.table), map(str, self.publisher.feeds))
            return f"refused: the table {signal.table} is not captured{near}"
        why = why_not(signal, feed.table, misses_rows=self._settings.apply.errors.misses_rows)
        if why is not None:
            return f"refused: {why}"
        return self.loading.order(feed, self.position.commit, signal.lower, signal.upper, empty=signal.empty)

    def note(self, key: bytes, value: bytes) -> None:
        """Add a record to the checkpoint, in the open Kafka transaction."""
        self.publisher.record(checkpoints_topic(self._settings.name), key, value)

    def drain(self) -> None:
        """Commit what is read, so that nothing is read twice. Half a chunk is left out: it will be read again."""
        hit("capture.drain.before")
        if not self.loading.holds_transaction:
            self.commit()
            if self.acknowledged != self.committed:
                self.commit()

    def close(self) -> None:
        """End the log, the loaders, and whatever was not committed. May be called twice."""
        self.loading.close()
        self.end_log()
        self._source.close()

    def end_log(self) -> None:
        """Stop reading the log: only then can the source give it up."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def commit(self) -> None:
        """Commit the Kafka transaction with the checkpoint in it, then tell the source what is safe (Invariant 1).

        That is the position of the commit before: until a transaction follows it in Kafka, brokers that die can undo
        one that they have accepted (`capture.publishing.hanging`).
        """
        publisher = self.publisher
        topic = checkpoints_topic(self._settings.name)
        for record in self._announcements():
            publisher.record(*record)
        publisher.mark()
        publisher.record(
            topic,
            *checkpoints.position_record(
                self._identity,
                self.position,
                publisher.sequence,
                self.loading.unsettled,
                self._settings.source.tables,
                publisher.transactions.open_document(),
            ),
        )
        if self.changes.is_dirty:
            versions = {name: feed.table.version for name, feed in publisher.feeds.items()}
            marks = self._source.marks([feed.source_table for feed in publisher.feeds.values()])
            publisher.record(topic, *checkpoints.tables_record(versions, marks, self.changes.applied))
            self.changes.is_dirty = False
        for key, value in self.loading.records():
            publisher.record(topic, key, value)
        began_s = self._monotonic()
        hit("capture.commit.before")
        self._producer.commit()
        self._tables.committed()
        hit("capture.commit.after")
        now_s = self._monotonic()
        self._limits.committed(publisher, self._pacing.since_s(now_s))
        self._pacing.committed(began_s, now_s)
        safe, self.committed = self.committed, self.position
        row_count, byte_count = publisher.take_committed()
        self.row_count += row_count
        metrics.CAPTURE_BYTES.inc(byte_count)
        metrics.CAPTURE_COMMITS.observe(now_s - began_s)
        self._unannounced, self.loading.completed = self.loading.completed, []
        self._gone = self._catalogue.to_announce()
        if self._log is not None:
            self._log.acknowledge(safe)
            self.acknowledged = safe
            hit("capture.acknowledge.after")

    def _announcements(self) -> list[Addition]:
        """Return the records for loads that a committed transaction has completed, and for tables that it dropped."""
        feeds = self.publisher.feeds
        # One that has begun again since is not complete any more.
        loads = [load for load in self._unannounced if load.name in feeds and load.state is LoadState.LOADED]
        still_gone = self._catalogue.to_announce()
        gone = [table for table in self._gone if table in still_gone]
        self._unannounced, self._gone = [], []
        if not loads and not gone:
            return []
        return announcements(self._settings, self._catalogue, self._topics, loads, gone)

    def _patience_s(self, timeout_s: float) -> float:
        if self._producer.in_transaction:
            now_s = self._monotonic()
            timeout_s = min(timeout_s, max(0.0, self._pacing.due_s(now_s, is_drained=self.loading.is_idle) - now_s))
        return timeout_s if self.loading.is_idle else min(timeout_s, self.loading.pause_s)

    def _is_commit_due(self) -> bool:
        now_s = self._monotonic()
        self._pacing.looked(now_s, row_count=self.publisher.open_rows, is_drained=self._is_drained)
        if not self._producer.in_transaction:
            since_s = self._pacing.since_s(now_s)
            if self.owes_records or self.publisher.transactions.owes_mark:
                # While tables are loaded, what there is to say of many of them goes together.
                return self.loading.is_idle or since_s >= self._pacing.interval_s
            return self.position != self.acknowledged and since_s >= IDLE_COMMIT_INTERVAL_S
        if self.loading.holds_transaction and now_s - self._pacing.opened(now_s) < self._limits.hold_s:
            return False
        if self.bounds.has_cut or self._limits.met(self.publisher):
            return True
        return now_s >= self._pacing.due_s(now_s, is_drained=self._is_drained and self.loading.is_idle)

    # Changes.

    def _on_rows(self, changes: RowChanges) -> None:
        table = changes.table
        self._meet(table)
        feed = self.publisher.feeds[table.name]
        if table is not feed.source_table and not self.publisher.fits(table):
            # The catalogue told of a change that was undone before a row came: to the log there was none.
            self.changes.follow(SchemaChange(table.name, feed.table, table), self.position)
        if changes.count:
            self.publisher.rows(changes)
        self.commit_ts_us = changes.txn.commit_ts_us
        self.position = self.position.within(changes.txn.id, changes.count + changes.left_out)

    def _on_truncate(self, change: Truncate) -> None:
        for table in change.tables:
            self._meet(table)
        if self.changes.publishes(change, self.position):
            self.publisher.truncate(change)
        self.position = self.position.within(change.txn.id, 1)

    def _meet(self, table: TableSchema) -> None:
        if table.name not in self.publisher.feeds:
            # The catalogue said that it was gone: renamed, and renamed back.
            self.changes.follow(SchemaChange(table.name, None, table), self.position)

    def _on_begin(self, change: Begin) -> None:
        self.transaction_count += 1
        self.publisher.transactions.began(change.txn)

    def _on_commit(self, change: Commit) -> None:
        self.publisher.transactions.ended(change.txn, self.publisher.sequence)
        self.position = change.position

    def _on_heartbeat(self, change: Heartbeat) -> None:
        self.position = max(self.position, change.position)

    def _on_schema_change(self, change: SchemaChange) -> None:
        if not (change.is_rewritten and self.rests.written(change.name, self.position.commit)):
            self.changes.follow(change, self.position)

    def _on_message(self, change: LogMessage) -> None:
        if change.txn is not None:
            self.position = self.position.within(change.txn.id, 1)
        if change.prefix == DDL_PREFIX:
            self.changes.note_statement(change.content, self.position)
        else:
            log.debug("message in the source's log", prefix=change.prefix, bytes=len(change.content))
