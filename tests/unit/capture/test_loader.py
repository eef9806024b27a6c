"""The memory of a full load in the service: rows that wait, and what goes out in one step, by loaders made of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import repeat
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest

from capture.full_load import limits
from capture.full_load import loader as loaders
from capture.full_load.in_flight import BUFFER_BYTES_MAX
from capture.full_load.loader import Loader
from capture.full_load.loading import Loading
from capture.full_load.state import LoadState, TableLoad
from capture.full_load.window import Horizon
from capture.full_load.worker import (
    Answer,
    Ended,
    Failed,
    Looked,
    LookRequest,
    Opened,
    Request,
    Rows,
    Worker,
)
from capture.publishing.feed import Feed
from capture.publishing.publisher import Publisher
from capture.publishing.transactions import Transactions
from capture.source import Chunk
from schemas.bundles import Bundle
from schemas.changes import Row, RowChanges, Transaction
from schemas.codecs import Format, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.service_settings import CaptureSettings
from schemas.settings import parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

COLUMNS = (Column("id", LogicalType(Family.INT64), "bigint"), Column("body", LogicalType(Family.TEXT), "text"))
TABLE = TableSchema(TableName("public", "orders"), COLUMNS, (0,))
ENCODER = compile_encoder(TABLE, Format.AVRO, replication="shop", connector="postgresql", database="shop")


class Seen:
    """A snapshot that sees everything, with its high watermark."""

    def __init__(self, high: int) -> None:
        self.high = high

    def sees(self, _: object) -> bool:
        return True

    settled = sees


class Endless:
    """A loader process that has as many rows of a chunk as are asked for. A `worker.Worker`."""

    def __init__(self, rows: Rows, batches: int, high: int) -> None:
        self._rows, self._batches, self._high = rows, batches, high
        self._answers: Iterator[Answer] = iter(())

    def send(self, _: Request) -> None:
        snapshot: Any = Seen(self._high)
        self._answers = iter([Opened(snapshot), *repeat(self._rows, self._batches), Ended()])

    def receive(self) -> Answer | None:
        return next(self._answers, None)

    def close(self) -> None:
        return


class Discarding:
    """A producer that keeps what one call brought at most."""

    in_transaction = False
    largest = 0

    def begin(self) -> None:
        self.in_transaction = True

    def produce(self, *_: object) -> None:
        return

    def produce_run(self, _topic: str, pairs: list[Any], _partition: int | None = None) -> None:
        self.largest = max(self.largest, sum(len(value) for _, value in pairs))

    def commit(self) -> None:
        self.in_transaction = False

    def close(self) -> None:
        return


def rows(count: int, size: int) -> Rows:
    """Return rows that are `size` bytes long."""
    return Rows(ENCODER.loaded([(n, "x" * size) for n in range(count)]))


def taken(name: TableName, parallel_load: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """Return the rules that take a table, and cut it so."""
    rule = {"rule-id": "1", "rule-name": "1", "object-locator": {"schema-name": name.schema, "table-name": name.table}}
    rules = [rule | {"rule-type": "selection", "rule-action": "include"}]
    if parallel_load is not None:
        rules.append(rule | {"rule-id": "2", "rule-name": "2", "rule-type": "table-settings"})
        rules[-1]["parallel-load"] = parallel_load
    return rules


def loads(
    feed: Feed,
    producer: Discarding,
    spawn: Callable[[], Worker],
    monotonic: Callable[[], float] = lambda: 0.0,
    source_end: Callable[[], int] = lambda: 0,
    parallel_load: Mapping[str, str] | None = None,
    unseen: Callable[[TableSchema], Iterable[int]] = lambda _: (),
) -> tuple[Publisher, Loader, Loading]:
    """Return what loads one table by two such processes."""
    horizon = Horizon(())
    publisher = Publisher(
        producer,  # type: ignore[arg-type]  # all that is used of it
        horizon,
        sequence=1 << 56,
        transactions=Transactions(1 << 56, metadata=False, is_cut=False, cut=None),
        transactions_topic="transactions",
        complete=lambda _: None,
        now_us=lambda: 1,
    )
    publisher.feeds[feed.table.name] = feed
    settings = parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "nowhere"},
            "source": {"database": "shop", "user": "nobody"},
            "mappings": {"rules": taken(feed.table.name, parallel_load)},
        }
    )
    loader = Loader(spawn, horizon, settings.capture, monotonic=monotonic)
    return publisher, loader, Loading(publisher, horizon, loader, settings, source_end, unseen)


@pytest.mark.parametrize("batch", [rows(1000, 100), rows(1000, 300), rows(100, 10_000), rows(1, 1 << 20)])
def test_rows_that_wait_and_a_step_are_bounded_by_their_bytes(batch: Rows) -> None:
    count = len(batch.bundle)
    assert batch.size_bytes == sum(len(part or b"") + 8 for parts in batch.bundle.apart() for part in parts)
    per_chunk = BUFFER_BYTES_MAX // batch.size_bytes * 3
    high, producer = 7, Discarding()
    feed = Feed(TABLE, TABLE, ENCODER, "orders", 4)
    publisher, loader, load = loads(feed, producer, lambda: Endless(batch, per_chunk, high))
    state = LoadState.LOADING
    load.begin(feed, TableLoad(TABLE, state=state, chunks=[Chunk(0, None, ("5",)), Chunk(1, ("5",), None)]))
    # Not before the log is read up to the chunks' watermarks does anything go out: all that comes has to wait.
    for _ in range(4):
        load.step(high - 1)
    assert publisher.open_rows == 0
    held = loader._in_flight._buffered_bytes()
    assert BUFFER_BYTES_MAX <= held < BUFFER_BYTES_MAX + batch.size_bytes
    published = 0
    while not load.is_idle:
        load.step(high)
        step, published = publisher.open_rows - published, publisher.open_rows
        assert step <= limits.STEP_ROWS_MAX + count
        assert step // count <= limits.STEP_BYTES_MAX // batch.size_bytes + 1
        # Loaders are never too slow here: the chunk that is going out is bounded, too.
        assert loader._in_flight._buffered_bytes() < 2 * BUFFER_BYTES_MAX + batch.size_bytes
    assert published == 2 * per_chunk * count, "every row, once"
    # Envelopes are made of one batch at a time.
    assert producer.largest <= 2 * batch.size_bytes + 1000 * count


def test_a_batch_is_given_up_before_its_envelopes_are_handed_over() -> None:
    class Fresh(Endless):
        def send(self, _: Request) -> None:
            snapshot: Any = Seen(1)
            self._answers = iter([Opened(snapshot)])

        def receive(self) -> Answer | None:
            if (answer := super().receive()) is not None or sent:
                return answer or (Ended() if len(sent) == 1 else None)
            fresh = rows(1, 1 << 20)
            sent.append(ref(fresh.bundle))
            return fresh

    class Looking(Discarding):
        def produce_run(self, *_: object) -> None:
            alive.extend(each() is not None for each in sent)

    sent: list[ref[Bundle]] = []
    alive: list[bool] = []
    feed = Feed(TABLE, TABLE, ENCODER, "orders", 4)
    _, _, load = loads(feed, Looking(), lambda: Fresh(rows(1, 1), 1, 1))
    load.begin(feed, TableLoad(TABLE, state=LoadState.LOADING, chunks=[Chunk(0, None, None)]))
    for _ in range(4):
        load.step(1)
    assert load.is_idle
    assert alive == [False]


def test_what_was_held_back_goes_out_by_its_bytes_too() -> None:
    table = replace(TABLE, key=())
    encoder = compile_encoder(table, Format.AVRO, replication="shop", connector="postgresql", database="shop")
    loaded = Rows(encoder.loaded([(0, "x")]))

    class Earlier(Seen):
        """Sees nothing of what was held back."""

        def sees(self, _: object) -> bool:
            return False

    class OfOneRow(Endless):
        def send(self, _: Request) -> None:
            snapshot: Any = Earlier(1)
            self._answers = iter([Opened(snapshot), loaded, Ended()])

    producer, count = Discarding(), 30
    feed = Feed(table, table, encoder, "orders", 1)
    publisher, _, load = loads(feed, producer, lambda: OfOneRow(loaded, 1, 1))
    load.begin(feed, TableLoad(table, state=LoadState.LOADING, chunks=[Chunk(0, None, None)]))
    texts: list[Row | None] = [(n, "x" * 10_000) for n in range(100)]
    for n in range(count):
        publisher.rows(RowChanges(table, Transaction(str(n), n, 10 + n, 1), ["c"] * 100, [None] * 100, texts))
    assert feed.held_back is not None
    assert feed.held_back.waiting_bytes > 3 * limits.STEP_BYTES_MAX
    load.step(1)  # asks for the chunk
    for _ in range(count):
        load.step(1)
        assert load.is_idle or load.pause_s == 0, "there is more to do: the log is not waited for"
    assert load.is_idle
    assert publisher.open_rows == 1 + 100 * count
    assert producer.largest < 1.3 * limits.STEP_BYTES_MAX


def test_while_all_loads_stand_still_snapshots_tell_what_need_not_be_named_any_more() -> None:
    class Looking(Endless):
        """Of ten transactions, the last one waits for its commit."""

        def send(self, request: Request) -> None:
            assert isinstance(request, LookRequest)
            asked.append(request)
            snapshot: Any = SimpleNamespace(high=1, sees=lambda txn: txn.xid % 10, settled=lambda txn: txn.xid % 10)
            self._answers = iter(
                [Failed(ErrorKind.SOURCE_CONNECTION, "gone", None) if fails.pop() else Looked(snapshot)]
            )

    asked: list[Request] = []
    fails = [False, True, True]
    now = [0.0]
    feed = Feed(TABLE, TABLE, ENCODER, "orders", 4)
    publisher, loader, load = loads(feed, Discarding(), lambda: Looking(rows(1, 1), 1, 1), monotonic=lambda: now[0])
    stands = TableLoad(TABLE, state=LoadState.LOADING, chunks=[Chunk(0, None, None)])
    load.begin(feed, stands)
    stands.suspension, stands.not_before_s = TailraceError(ErrorKind.PREREQUISITE, "a right is lacking"), 1e9
    count = 5_000

    def publish(first: int) -> None:
        for n in range(first, first + count):
            publisher.rows(RowChanges(TABLE, Transaction(str(n), n, n, 1), ["c"], [None], [(n, "x")]))

    publish(1)
    load.step(1)
    assert load.stuck is stands.suspension
    assert len(load.unsettled) == count
    load.step(1)  # the answer, which is none
    assert len(load.unsettled) == count
    publish(1 + count)
    load.step(1)
    assert len(asked) == 1, "not each time"
    for again in (1, 2):
        now[0] = again * loaders.LOOK_INTERVAL_S
        load.step(1)
        load.step(1)
    assert len(asked) == 3, "again after one that failed, though nothing has been published since"
    assert [txn.xid for txn in load.unsettled] == [*range(10, 1 + 2 * count, 10)]
    assert load.window_key_count == count // 5
    now[0] *= 2
    load.step(1)
    assert len(asked) == 3, "nothing has been published since"
    assert loader.stuck is stands.suspension


class Refused(Endless):
    """A loader process that fails."""

    def __init__(self, answer: Failed) -> None:
        self._answer = answer

    def send(self, _: Request) -> None:
        self._answers = iter([self._answer])


@pytest.mark.parametrize("is_of_all", [False, True])
def test_a_load_stands_still_for_what_is_wrong_with_its_table_and_not_for_a_login_that_is_refused(
    *, is_of_all: bool
) -> None:
    failed = Failed(ErrorKind.CONFIGURATION, "no way", None, is_of_all)
    loader = Loader(lambda: Refused(failed), Horizon(()), CaptureSettings(), monotonic=lambda: 0.0)
    load = TableLoad(TABLE)
    loader.add(load)
    loader.pump(0)
    if is_of_all:
        with pytest.raises(TailraceError, match="no way"):
            loader.pump(0)
    else:
        loader.pump(0)
        assert loader.stuck is load.suspension is not None
