"""Small transactions that the log joins: what is published of them is what each by itself would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture import checkpoints
from capture.publishing.publisher import Publisher
from capture.publishing.schemas_topic import Catalogue
from capture.publishing.transaction_limits import TransactionLimits
from capture.session import Dependencies, Session
from capture.source import Capabilities
from capture.sources.postgresql import log as reader_module
from schemas.changes import Change, RowChanges, SmallTransactions
from schemas.codecs import Pair
from schemas.position import Position
from schemas.settings import parse
from schemas.table import TableSchema
from schemas.transactions import mark_of
from tests.kit.simulated_kafka import Broker
from tests.unit.capture.postgresql.scripted import (
    TABLES,
    FakeStream,
    open_log,
    read_all,
    transactions_of,
    with_announcements,
)

SCRIPTS = st.lists(
    st.sampled_from(["a", "a", "u", "d", "k", "b", "aa", "ad", "ab", "h", "m", "t", "al", "la", ""]), max_size=30
)


def _log_of(scripts: Sequence[str], commit: int = 0) -> tuple[list[tuple[int, list[bytes]]], int]:
    """Make a log from a position on, whose first transaction announces all tables."""
    log, end = transactions_of(scripts)
    sent = [(lsn, messages) for lsn, messages in log if lsn >= commit]
    return with_announcements(sent[:1]) + sent[1:], end


def _apart(changes: Sequence[Change]) -> list[object]:
    """Return changes by themselves, as values that can be compared."""
    found: list[object] = []
    for change in changes:
        for one in change.apart() if isinstance(change, SmallTransactions) else [change]:
            if isinstance(one, RowChanges):
                found += ((one.table.name, one.txn, *row) for row in zip(one.ops, one.before, one.after, strict=True))
            else:
                found.append(repr(one))
    return found


@settings(max_examples=200, deadline=None)
@given(SCRIPTS, st.integers(0, 40), st.booleans())
def test_what_is_joined_is_what_each_transaction_would_be(scripts: list[str], start: int, skips_applied: bool) -> None:
    position = Position(1000 + start // 2 * 100, start % 2)
    log, end = _log_of(scripts, position.commit)
    found = []
    for joins in (False, True):
        reader = open_log(FakeStream(log, end), position, skips_applied=skips_applied)
        reader.joins = joins
        try:
            found.append(_apart(read_all(reader, end)))
        except Exception as error:  # noqa: BLE001 - whatever one way refuses, the other must refuse, too
            found.append([str(error)])
    assert found[0] == found[1]


def test_transactions_of_one_row_of_a_table_are_one_change() -> None:
    log, end = _log_of(["a", *["a", "u", "a", "d", "a"] * 10, "aa", "k", *["b"] * 3])
    reader = open_log(FakeStream(log, end), Position(0))
    reader.joins = True
    joined = [change for change in read_all(reader, end) if isinstance(change, SmallTransactions)]
    # The first one announces the tables, and the first row of `b` is what makes its table known.
    assert [(one.table.name.table, len(one.messages)) for one in joined] == [("a", 50), ("b", 2)]
    assert joined[0].facts[-1][3] == 1000 + 50 * 100 + 8


class _Producer:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.in_transaction = False
        self.on_wait: Callable[[], None] = lambda: None
        self.records: list[tuple[str, bytes | None, bytes | None, int | None]] = []

    def begin(self) -> None:
        self.in_transaction = True

    def flush(self) -> None:
        pass

    def produce(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None, headers: Any = None
    ) -> None:
        self.records.append((topic, key, value, partition))

    def produce_run(self, topic: str, pairs: Sequence[Pair], partition: int | None = None) -> None:
        self.records += ((topic, key, value, partition) for key, value in pairs)

    def commit(self) -> None:
        self.in_transaction = False

    def close(self) -> None:
        pass


def _source(log: list[tuple[int, list[bytes]]], end: int, *, joins: bool) -> Any:
    """Return a source that is asked for nothing but its log."""

    def nothing(*_: object) -> dict[str, Any]:
        return {}

    def open_scripted(position: Position, tables: Sequence[TableSchema]) -> Any:
        return open_log(FakeStream(log, end), position, tables)

    return SimpleNamespace(
        capabilities=Capabilities("postgresql", "postgresql", truncates=True, schema_changes=True, joins=joins),
        tables=lambda: TABLES,
        identity=lambda: {"system": "scripted"},
        prepare=lambda _: Position(0),
        row_estimates=nothing,
        marks=nothing,
        check_published=nothing,
        current_position=lambda: Position(0),
        visible_position=lambda: Position(0),
        parse_position=lambda text: Position(int(text)),
        format_position=str,
        complete=nothing,
        untold=nothing,
        unseen=nothing,
        open_log=open_scripted,
        close=lambda: None,
    )


def _session(
    log: list[tuple[int, list[bytes]]], end: int, *, joins: bool, rows: int, mode: str = "cdc", **topics: Any
) -> tuple[Session, _Producer]:
    """Return a session, and to whom it gives records. Its loaders never answer."""
    configuration = parse(
        {
            "name": "r",
            "mode": mode,
            "kafka": {"bootstrap.servers": "nowhere"},
            "source": {"database": "d", "user": "nobody", "tables": ["public.*", "!public.hidden"]},
            "topics": {"partitions": 2, **topics},
        }
    )
    producer, limits = _Producer(), TransactionLimits(configuration.capture)
    limits.rows = rows
    dependencies = Dependencies(
        source=_source(log, end, joins=joins),
        producer=producer,
        topics=Broker(),
        spawn=lambda: cast("Any", SimpleNamespace(send=lambda _: None, receive=lambda: None, close=lambda: None)),
        limits=limits,
        now_us=lambda: 10**15,
        monotonic=lambda: 0.0,
    )
    return Session(configuration, dependencies, checkpoints.decode({}), Catalogue.of(configuration, {})), producer


def _published(
    log: list[tuple[int, list[bytes]]], end: int, *, joins: bool, stop: int, rows: int, **topics: Any
) -> tuple[list[Any], Position, int]:
    """Return what a session publishes of tables, its transactions topic, where it ends, and what it counts."""
    session, producer = _session(log, end, joins=joins, rows=rows, **topics)
    session.start(stop_at=str(stop))
    counted = 0
    for _ in range(200):
        session.step(0.0)
        counted += session.take_transaction_count()
        if session.is_finished:
            break
    session.drain()
    session.close()
    kept = [record for record in producer.records if "checkpoints" not in record[0] and "schemas" not in record[0]]
    return kept, session.position, counted


@settings(max_examples=40, deadline=None)
@given(
    SCRIPTS,
    st.sampled_from([0, 950, 1000, 1008, 1100, 1208, 1500, 10**9]),
    st.sampled_from([3, 100_000]),
    st.fixed_dictionaries(
        {
            "format": st.sampled_from(["json", "avro"]),
            "transaction_metadata": st.booleans(),
            "tombstones": st.booleans(),
        }
    ),
)
def test_the_same_records_are_published_of_what_is_joined(
    scripts: list[str], stop: int, rows: int, topics: dict[str, Any]
) -> None:
    log, end = _log_of(scripts)
    apart, joined = (
        _published(log, end, joins=joins, stop=min(stop, end), rows=rows, **topics) for joins in (False, True)
    )
    assert apart[1:] == joined[1:]
    assert _said(apart[0]) == _said(joined[0])


def _said(records: list[Any]) -> tuple[list[Any], Counter[str], int]:
    """Return each topic's records but for marks, and what all marks together count, up to which sequence.

    Where Kafka transactions are small, one may end between a transaction's row and its end, unless these come at once.
    """
    marks = [mark for _, key, value, _ in records if (mark := mark_of(key, value)) is not None]
    counts = sum((Counter(mark.counts) for mark in marks), Counter[str]())
    assert [mark.after for mark in marks[1:]] == [mark.seq for mark in marks[:-1]]
    others = [record for record in records if mark_of(*record[1:3]) is None]
    # In each topic in their order: what is flushed together, table by table, differs likewise.
    return sorted(others, key=lambda record: record[0]), counts, marks[-1].seq if marks else 0


@pytest.mark.parametrize(("stop", "count"), [(21_000, 200), (5_990, 50), (6_000, 51), (6_050, 51)])
def test_joined_transactions_are_published_in_one_go_up_to_where_the_session_ends(
    stop: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, end = _log_of(["a"] * 200)
    joined: list[int] = []
    publish = Publisher.joined

    def watched(self: Publisher, changes: SmallTransactions) -> bool:
        joined.append(len(changes.messages))
        return publish(self, changes)

    monkeypatch.setattr(Publisher, "joined", watched)
    monkeypatch.setattr(reader_module, "POLL_ROWS_MAX", 30)
    records, position, counted = _published(log, end, joins=True, stop=stop, rows=100_000)
    assert sum(1 for record in records if record[0].endswith(".a")) == counted == count
    assert (records, position, counted) == _published(log, end, joins=False, stop=stop, rows=100_000)
    # The others go one by one: such as a poll brings in two pieces, and around the end.
    assert sum(joined) > count / 2


def test_what_is_joined_of_a_table_that_is_being_loaded_is_remembered() -> None:
    """Else a row of a chunk that was read before it would go out behind it."""
    remembered = []
    for joins in (False, True):
        log, end = _log_of(["a"] * 50)
        session, _ = _session(log, end, joins=joins, rows=100_000, mode="full-load-and-cdc")
        session.start()
        for _ in range(200):
            session.step(0.0)
        remembered.append((session.position.commit >= 6_000, session.loading.window_key_count))
        session.close()
    assert remembered[0][0]
    assert remembered[0][1] > 0
    assert remembered[1] == remembered[0]
