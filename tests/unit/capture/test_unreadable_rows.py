"""A table that cannot be read to its end: its load stands still, whatever of it is out, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

import pytest

from capture.full_load.loader import Loader
from capture.full_load.state import LoadState, TableLoad
from capture.full_load.window import Horizon
from capture.full_load.worker import Answer, Ended, Failed, GroupRequest, Opened, Planned, PlanRequest, Request, Rows
from capture.publishing.feed import Feed
from capture.source import Chunk
from schemas.codecs import Format, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import TableErrorPolicy
from schemas.service_settings import CaptureSettings
from schemas.table import TableSchema
from tests.unit.capture.test_loader import ENCODER, TABLE, Discarding, Endless, Refused, Seen, loads, rows

CHUNK = Chunk(0, None, None)


class Broken(Endless):
    """A loader process that meets what it cannot read behind many rows, until that is mended."""

    is_mended = False

    def send(self, request: Request) -> None:
        assert not isinstance(request, GroupRequest)
        snapshot: Any = Seen(self._high)
        end = Ended() if self.is_mended else Failed(ErrorKind.DECODE, "column a: no text", "correct it")
        answers: Iterator[Answer] = iter([Opened(snapshot), *repeat(self._rows, self._batches), end])
        self._answers = iter([Planned([CHUNK])]) if isinstance(request, PlanRequest) else answers


class Counting(Discarding):
    """A producer that counts what empties a table."""

    truncate_count = 0

    def produce(self, *_: object) -> None:
        self.truncate_count += 1


def _suspension(load: TableLoad) -> TailraceError | None:
    return load.suspension


def _keyless() -> tuple[TableSchema, Feed, Rows]:
    table = replace(TABLE, key=())
    encoder = compile_encoder(table, Format.AVRO, replication="shop", connector="postgresql", database="shop")
    return (
        table,
        Feed(table, table, encoder, "orders", 1),
        Rows(encoder.loaded([(n, "x" * 10_000) for n in range(100)])),
    )


@pytest.mark.parametrize("is_keyed", [True, False])
def test_a_chunk_that_is_out_in_part_begins_again_once_it_can_be_read(*, is_keyed: bool) -> None:
    """Such a chunk ended the session, and the next one met the same."""
    table, feed, batch = _keyless()
    if is_keyed:
        table, feed, batch = TABLE, Feed(TABLE, TABLE, ENCODER, "orders", 4), rows(100, 10_000)
    now, worker, producer, count = [0.0], Broken(batch, 60, 1), Counting(), 6_000
    publisher, _, load = loads(feed, producer, lambda: worker, monotonic=lambda: now[0])
    state = TableLoad(table, state=LoadState.LOADING, chunks=[CHUNK])
    load.begin(feed, state)
    for _ in range(100):
        load.step(1)
    assert publisher.open_rows > 0, "some of it is out"
    assert not load.holds_transaction
    assert (state.state, state.generation, state.row_count) == (LoadState.PLANNED, 2, 0)
    assert str(_suspension(state)).startswith("decode: column a: no text [table public.orders]")
    assert (producer.truncate_count > 0) is not is_keyed, "rows without keys would come twice"
    assert load.stuck is _suspension(state), "not at once"
    worker.is_mended = True
    now[0] += CaptureSettings().suspended_retry_s
    while not load.is_idle:
        load.step(1)
    assert (state.state, state.row_count, _suspension(state)) == (LoadState.LOADED, count, None)


@pytest.mark.parametrize("policy", list(TableErrorPolicy))
def test_a_table_that_never_is_as_it_is_known_stands_still(policy: TableErrorPolicy) -> None:
    now, settings = [0.0], CaptureSettings(table_errors=policy)
    failed = Failed(ErrorKind.SOURCE_SCHEMA, "no such column", None)
    loader = Loader(lambda: Refused(failed), Horizon(()), settings, monotonic=lambda: now[0])
    stale: list[TableLoad] = []
    loader.retries.on_stale = stale.append
    load = TableLoad(TABLE)
    loader.add(load)

    def read() -> None:
        loader.pump(0)
        loader.pump(0)
        now[0] += 1000

    for _ in range(settings.load_attempts - 1):
        read()
    assert len(stale) == settings.load_attempts - 1, "the log may tell what has changed"
    assert _suspension(load) is None
    if policy is TableErrorPolicy.STOP:
        with pytest.raises(TailraceError, match="no such column"):
            read()
        return
    read()
    first = _suspension(load)
    assert loader.stuck is first is not None
    read()
    assert loader.stuck is _suspension(load) is not first
