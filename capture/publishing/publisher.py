"""Turns changes into records and produces them in Kafka transactions: the data path of capture.

Records of a poll are collected per table, in its `Feed`, and handed to the producer in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from capture.filters import completed
from capture.full_load.window import Horizon, LoadWindow
from capture.publishing.feed import KEYLESS_PARTITION, Feed
from capture.publishing.large_records import LargeRecords, RecordProducer
from capture.publishing.transactions import Transactions
from capture.source import Snapshot
from runtime.failpoints import hit
from runtime.kafka.errors import OversizedError
from schemas.bundles import Bundle, RecordBundle
from schemas.changes import UNCHANGED, Row, RowChanges, SmallTransactions, Transaction, Truncate
from schemas.codecs import Block, Encoder, Pair
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import LargeValue, lacks
from schemas.table import TableName, TableSchema

TRUNCATE_KEY = b"tailrace.truncate"
"""What truncates have for a key in compacted topics, which refuse records without one. No row's key looks like this,
and of several truncates the last one counts. Elsewhere truncates have no key."""

MARK_BYTES = 8 << 20
"""After so many bytes a mark is due, as after `transactions.MARK_RECORDS`."""


class Producer(RecordProducer, Protocol):
    """What is needed of `runtime.kafka.producer.TransactionalProducer`."""

    in_transaction: bool
    on_wait: Callable[[], None]

    def begin(self) -> None: ...
    def produce_run(self, topic: str, pairs: Sequence[Pair], partition: int | None = None) -> None: ...
    def commit(self) -> None: ...
    def close(self) -> None: ...


class Publisher:
    """Produces changes and rows of chunks, numbers them, and tells how much the open Kafka transaction holds."""

    def __init__(
        self,
        producer: Producer,
        horizon: Horizon,
        *,
        sequence: int,
        transactions: Transactions,
        transactions_topic: str,
        complete: Callable[[RowChanges], None],
        now_us: Callable[[], int],
    ) -> None:
        self._producer = producer
        self._horizon = horizon
        self._complete = complete
        self._now_us = now_us
        self._touched: list[Feed] = []
        self._transactions_topic = transactions_topic
        self.transactions = transactions
        self._marked_bytes = 0
        self.feeds: dict[TableName, Feed] = {}
        self.large: LargeRecords | None = None
        """What publishes records that Kafka does not take; None: nothing does."""
        self.sequence = sequence
        """The last commit sequence used."""
        self.open_rows = 0
        """Records of the open Kafka transaction, and those that will open one."""
        self.open_bytes = 0
        """Its bytes, by estimate."""
        self.now_us = now_us()
        """When the changes at hand are handled: the envelope's `ts_us`. Set once per poll."""

    @property
    def topics(self) -> set[str]:
        """The topics that the records of tables go to."""
        return {topic for feed in self.feeds.values() for topic in feed.topics}

    def tick(self) -> None:
        """Take the time for the changes that follow."""
        self.now_us = self._now_us()

    def rows(self, changes: RowChanges) -> None:
        """Publish a run of changes, or hold it back. Complete it first where a key changed and values are missing."""
        feed = self._feed(changes.table)
        if feed.held_back is not None:
            self._horizon.published(changes.txn)
            feed.held_back.add(changes)
        else:
            self._rows(feed, changes)

    def joined(self, changes: SmallTransactions) -> bool:
        """Publish whole transactions of one row each at once; tell whether that can be. Else nothing is published."""
        feed = self.feeds.get(changes.table.name)
        if feed is None or feed.source_table is not changes.table:
            return False
        if feed.window is not None or feed.held_back is not None or feed.wants_whole:
            return False
        if self.large is not None and self.large.holds(changes.messages):
            return False
        made = feed.encoder.joined(changes, self.now_us, self.sequence, feed.tombstones)
        if made is None:
            return False
        pairs, last = made
        self._count(feed, last - self.sequence)
        self.sequence = last
        self._add(feed, pairs)
        self.transactions.ended(changes.transaction(-1), last)
        return True

    def truncate(self, change: Truncate) -> None:
        """Publish that tables were emptied, each to all partitions of its topic."""
        for table in change.tables:
            # Not by its version: the catalogue may have told of a later one, which no row of the log has followed.
            feed = self.feeds[table.name]
            if feed.held_back is not None:
                self._horizon.published(change.txn)
                feed.held_back.add(Truncate([table], change.txn))
            else:
                self._truncate(feed, change.txn)

    def released(self, feed: Feed, changes: Sequence[RowChanges | Truncate]) -> None:
        """Publish changes that were held back."""
        for change in changes:
            if isinstance(change, RowChanges):
                self._rows(feed, change)
            else:
                self._truncate(feed, change.txn)

    def loaded_rows(
        self,
        feed: Feed,
        rows: Bundle | list[tuple[bytes | None, bytes]],
        snapshot: Snapshot,
        values: Sequence[LargeValue] = (),
    ) -> None:
        """Publish encoded rows of a chunk, after all changes so far. `values` are what stand-ins in them are for."""
        if not rows:
            return
        block = feed.encoder.block(
            snapshot="true", position_lsn=snapshot.high, ts_us=self.now_us, txid=None, now_us=self.now_us
        )
        pairs: list[Pair] | RecordBundle
        if isinstance(rows, Bundle):
            pairs, self.sequence = feed.encoder.read_bundle(rows, block, self.sequence)
        else:
            pairs, self.sequence = feed.encoder.read_many(rows, block, self.sequence)
        self._count(feed, len(pairs))
        self._add(feed, pairs, values)

    def void(self, feed: Feed, position_commit: int) -> None:
        """Publish that what was loaded so far does not count: the load begins again."""
        window, feed.window = feed.window, None
        self._truncate(feed, Transaction("", 0, position_commit, self.now_us))
        feed.window = window

    def flush(self) -> None:
        """Hand everything to the producer."""
        if self._touched:
            self._produce_touched()
        self._produce_pending()

    def _produce_touched(self) -> None:
        hit("capture.produce.before")
        for feed in self._touched:
            runs, feed.runs = feed.runs, []
            self.open()
            for run in runs:
                self._produce(feed, run)
            if feed.shaped:
                shaped, feed.shaped = feed.shaped, []
                for topic, key, value, headers in shaped:
                    self._producer.produce(topic, key, value, KEYLESS_PARTITION if key is None else None, headers)
        self._touched.clear()
        hit("capture.produce.after")

    def _produce(self, feed: Feed, pairs: list[Pair] | RecordBundle) -> None:
        while True:
            try:
                self._producer.produce_run(feed.topic, pairs, feed.partition)
            except OversizedError as error:
                if self.large is None:
                    raise
                self.large.produce(feed.topic, feed.encoder, pairs[error.index], feed.partition)
                pairs = pairs[error.index + 1 :]
            else:
                return

    def _produce_large(self, feed: Feed, pairs: Sequence[Pair], values: Sequence[LargeValue]) -> None:
        """Hand over, at once and behind all before, the records of a change whose large values are beside them."""
        assert self.large is not None, "it has taken them out"
        self.flush()
        self.open()
        for pair in pairs:
            if lacks(pair[1] or b"", feed.encoder.format, values):
                self.large.produce(feed.topic, feed.encoder, pair, feed.partition, values)
            else:
                self._produce(feed, [pair])
        self._produce_pending()

    def mark(self) -> None:
        """Say on the transactions topic what is published so far. Part of every Kafka transaction that holds rows."""
        self.flush()
        self._marked_bytes = self.open_bytes
        self._produce_transactions(self.transactions.marks(self.sequence, self.now_us))

    @property
    def is_mark_due(self) -> bool:
        """Whether enough is published since the last mark."""
        return self.transactions.is_mark_due or self.open_bytes - self._marked_bytes >= MARK_BYTES

    def record(self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None) -> None:
        """Add a record to the open Kafka transaction, after all changes so far."""
        self.flush()
        self.open()
        self._producer.produce(topic, key, value, partition)

    def open(self) -> None:
        """Begin a Kafka transaction unless one is open."""
        if not self._producer.in_transaction:
            self._producer.begin()

    def take_committed(self) -> tuple[int, int]:
        """Return the records and the bytes of the Kafka transaction just committed, and count from nothing."""
        committed = self.open_rows, self.open_bytes
        self.open_rows = self.open_bytes = self._marked_bytes = 0
        return committed

    def fits(self, table: TableSchema) -> bool:
        """Tell whether rows of a table as the log has it are of the version that is published."""
        return _shape(table) == _shape(self.feeds[table.name].table)

    def _feed(self, table: TableSchema) -> Feed:
        feed = self.feeds.get(table.name)
        if feed is None or table is not feed.source_table:
            # The catalogue may have told of a change that the log says nothing of: a type's new name, a new index. It
            # is asked only when the log is read as far as it saw, so rows of another shape are announced before.
            if feed is None or not self.fits(table):
                raise TailraceError(
                    ErrorKind.INVARIANT,
                    "the log yields a table version that it has not announced",
                    table=str(table.name),
                )
            feed.source_table = table
        return feed

    def _rows(self, feed: Feed, changes: RowChanges) -> None:
        large = self.large
        if large is None or feed.window is not None or feed.shape is not None or not large.concerns(changes):
            # (A window keeps values, and other shapes are made of them.)
            self._run(feed, changes)
            return
        for run, values in large.apart(changes):
            self._run(feed, run, values)

    def _run(self, feed: Feed, changes: RowChanges, values: Sequence[LargeValue] = ()) -> None:
        txn = changes.txn
        if txn is not feed.txn:
            feed.block = self._block(feed, txn)
            feed.txn = txn
        block = feed.block
        assert block is not None
        if feed.window is not None:
            # It asks for rows.
            changes.read()
        if feed.wants_whole:
            changes = self._whole(changes, lambda _before, _after: True)
        elif not changes.messages and feed.table.key and _lacks_values(changes):
            # Not what filters made an insert of: they have asked, and a source may fill an insert with defaults.
            changes = self._whole(changes, lambda before, _after: before is not None)
        before = self.sequence
        pairs, self.sequence = feed.encoder.records(changes, block, before, feed.tombstones)
        count = self.sequence - before
        self._count(feed, count)
        if self.transactions.metadata:
            pairs = self._placed(feed, txn, pairs, count)
        self._add(feed, pairs, values)
        if feed.window is not None:
            self._horizon.published(txn)
            _remember(feed.window, feed.encoder, changes, pairs)

    def _whole(self, changes: RowChanges, is_due: Callable[[Row | None, Row], bool]) -> RowChanges:
        """Return changes with the source's present values where the log left some out, and `is_due` says so."""
        afters = completed(changes, is_due, self._complete)
        return RowChanges(changes.table, changes.txn, changes.ops, changes.before, afters)

    def _truncate(self, feed: Feed, txn: Transaction) -> None:
        self.flush()
        self.open()
        self.sequence += 1
        value = feed.encoder.truncate(self._block(feed, txn), self.sequence)
        self._count(feed, feed.partition_count)
        if self.transactions.metadata:
            ((_, placed),) = self._placed(feed, txn, [(None, value)], 1)
            value = placed or value
        key = TRUNCATE_KEY if feed.compacted else None
        values = [value] if feed.shape is None else [again.value for again in feed.shape.records([(None, value)])]
        for partition in range(feed.partition_count):
            for content in values:
                self._producer.produce(feed.topic, key, content, partition)
        self.open_rows += feed.partition_count
        if feed.window is not None:
            self._horizon.published(txn)
            feed.window.truncated(txn)

    def _count(self, feed: Feed, count: int) -> None:
        """Note records for marks, by which appliers go: they read no other shapes."""
        if feed.shape is None:
            self.transactions.counted(feed.topic, count)

    def _placed(self, feed: Feed, txn: Transaction, pairs: list[Pair], count: int) -> list[Pair]:
        """Return the records with their place in the source transaction."""
        place = self.transactions.place(txn, str(feed.table.name), count)
        return pairs if place is None else feed.encoder.placed(pairs, *place)

    def _produce_pending(self) -> None:
        pending, self.transactions.pending = self.transactions.pending, []
        self._produce_transactions(pending)

    def _produce_transactions(self, records: list[tuple[bytes, bytes]]) -> None:
        if records:
            self.open()
            self._producer.produce_run(self._transactions_topic, list[Pair](records), 0)

    def _block(self, feed: Feed, txn: Transaction) -> Block:
        return feed.encoder.block(
            snapshot="false",
            position_lsn=txn.commit,
            ts_us=txn.commit_ts_us,
            txid=txn.xid or None,
            now_us=self.now_us,
        )

    def _add(self, feed: Feed, pairs: list[Pair] | RecordBundle, values: Sequence[LargeValue] = ()) -> None:
        if not pairs:
            return
        if not feed.runs and not feed.shaped and not values:
            self._touched.append(feed)
        if values:
            self._produce_large(feed, pairs, values)
        elif feed.shape is not None:
            feed.shaped += feed.shape.records(pairs)
        elif feed.runs and isinstance(pairs, list) and isinstance(last := feed.runs[-1], list):
            last += pairs
        else:
            feed.runs.append(pairs)
        count = len(pairs)
        feed.row_count += count
        self.open_rows += count
        # By the first record: rows of a run are alike, and this only decides when a transaction is large enough.
        size = count * len(pairs[0][1] or b"") if isinstance(pairs, list) else pairs.size_bytes
        self.open_bytes += size + sum(value.size for value in values)


def _shape(table: TableSchema) -> tuple[object, ...]:
    """Return what the encoder of a row depends on."""
    return [(column.name, column.type) for column in table.columns], table.key, table.full_before


def _lacks_values(changes: RowChanges) -> bool:
    """Tell whether the new row of some key change lacks values."""
    return any(
        before is not None and after is not None and UNCHANGED in after
        for before, after in zip(changes.before, changes.after, strict=True)
    )


def _remember(window: LoadWindow, encoder: Encoder, changes: RowChanges, pairs: Sequence[Pair]) -> None:
    keeps_updates = window.keeps_updates and "u" in changes.ops
    if not keeps_updates and not any(after is not None and UNCHANGED in after for after in changes.after):
        window.changed((key for key, _ in pairs if key is not None), changes.txn)
        return
    for op, before, after in zip(changes.ops, changes.before, changes.after, strict=True):
        keys = [_key(encoder, row) for row in (before, after) if row is not None]
        # An update of the key is a delete and an insert, of the whole row or of one that is gone: what a chunk has
        # under these keys, and was read before, is another row.
        if op == "u" and after is not None and len(set(keys)) == 1 and (keeps_updates or UNCHANGED in after):
            window.changed_in_part(keys[-1], after, changes.txn)
        else:
            window.changed(keys, changes.txn)


def _key(encoder: Encoder, row: Row) -> bytes:
    key = encoder.key(row)
    assert key is not None
    return key
