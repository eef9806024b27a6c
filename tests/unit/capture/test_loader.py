"""The memory of a full load in the service: rows that wait, and what goes out in one step, by loaders made of lists."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest

from capture.full_load import loader as loaders
from capture.full_load import loading
from capture.full_load.loader import Loader
from capture.full_load.loading import Loading
from capture.full_load.state import LoadState, TableLoad
from capture.full_load.window import Horizon
from capture.full_load.worker import Answer, Ended, Opened, Request, Rows
from capture.publishing.publisher import Feed, Publisher
from capture.publishing.transactions import Transactions
from capture.source import Chunk
from schemas.codecs import Format, compile_encoder
from schemas.settings import CaptureSettings
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
    """A loader process that has as many rows of a chunk as are asked for. A `loader.Worker`."""

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
    made = [(n, "x" * size) for n in range(count)]
    keys: Any = [ENCODER.key(row) for row in made]
    return Rows.of(keys, [ENCODER.body(row) for row in made])


@pytest.mark.parametrize("batch", [rows(1000, 5), rows(1000, 300), rows(100, 10_000), rows(1, 1 << 20)])
def test_rows_that_wait_and_a_step_are_bounded_by_their_bytes(batch: Rows) -> None:
    assert batch.keys
    assert batch.size_bytes >= sum(map(len, batch.bodies)) + 33 * 2 * len(batch.bodies), "Python's headers count, too"
    per_buffer = loaders.BUFFER_BYTES_MAX // batch.size_bytes
    high, producer, horizon = 7, Discarding(), Horizon(())
    publisher = Publisher(
        producer,  # type: ignore[arg-type]  # all that is used of it
        horizon,
        sequence=1 << 56,
        transactions=Transactions(1 << 56, metadata=False, is_cut=False, cut=None),
        transactions_topic="transactions",
        complete=lambda _: None,
        now_us=lambda: 1,
    )
    publisher.feeds[TABLE.name] = feed = Feed(TABLE, TABLE, ENCODER, "orders", 4)
    settings = CaptureSettings(load_processes=2)
    loader = Loader(lambda: Endless(batch, per_buffer * 2, high), horizon, settings, monotonic=lambda: 0.0)
    load = Loading(
        publisher, horizon, loader, window_keys_max=1, state_directory=None, source_end=lambda: 0, load_rules=()
    )
    state = LoadState.LOADING
    load.begin(feed, TableLoad(TABLE, state=state, chunks=[Chunk(0, None, ("5",)), Chunk(1, ("5",), None)]))
    # Not before the log is read up to the chunks' watermarks does anything go out: all that comes has to wait.
    for _ in range(4):
        load.step(high - 1)
    assert publisher.open_rows == 0
    held = loader._buffered_bytes()
    assert loaders.BUFFER_BYTES_MAX <= held < loaders.BUFFER_BYTES_MAX + batch.size_bytes
    published = 0
    while not load.is_idle:
        load.step(high)
        step, published = publisher.open_rows - published, publisher.open_rows
        assert step <= loading.STEP_ROWS_MAX + len(batch.bodies)
        assert step // len(batch.bodies) <= loading.STEP_BYTES_MAX // batch.size_bytes + 1
        assert loader._buffered_bytes() < 2 * loaders.BUFFER_BYTES_MAX + batch.size_bytes
    assert published == 2 * per_buffer * 2 * len(batch.bodies), "every row, once"
    # Envelopes are made of one batch at a time.
    assert producer.largest <= 2 * batch.size_bytes + 1000 * len(batch.bodies)
