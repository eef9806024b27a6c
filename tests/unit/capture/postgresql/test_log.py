"""The log reader over a scripted stream: positions, skipping, forms, heartbeats, broken messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from struct import pack, unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.sources.postgresql import frames
from capture.sources.postgresql import log as reader_module
from schemas.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Heartbeat,
    LogMessage,
    RowChanges,
    SchemaChange,
    Truncate,
)
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position
from schemas.table import TableSchema
from tests.unit.capture.postgresql import wire
from tests.unit.capture.postgresql.scripted import (
    COLUMNS,
    ODD,
    TABLES,
    XMLISH,
    A,
    B,
    FakeStream,
    open_log,
    read_all,
    row_of,
    transactions_of,
    units_of,
    with_announcements,
)


def _positions(changes: Iterable[Change], start: Position) -> Iterator[Position]:
    """Yield a position behind every unit and every commit, as a service counts them."""
    yield start
    at = start
    for change in changes:
        if isinstance(change, Commit | Heartbeat):
            at = change.position
            yield at
        else:
            for _ in units_of([change]):
                at = Position(at.commit, at.row + 1)
                yield at


SCRIPTS = st.lists(st.text("abhtml", max_size=6), max_size=5)


@given(SCRIPTS)
@settings(deadline=None, max_examples=40)
def test_reading_goes_on_from_any_position_without_loss_or_repetition(scripts: list[str]) -> None:
    log, end = transactions_of(scripts)
    log = with_announcements(log)
    whole = read_all(open_log(FakeStream(log, end), Position(0)), end)
    units = list(units_of(whole))
    assert len(units) == sum(len(script.replace("h", "").replace("l", "")) for script in scripts)
    done = 0
    previous = Position(0)
    for position in _positions(whole, Position(0)):
        if position.row > previous.row:
            done += 1
        previous = position
        rest = read_all(open_log(FakeStream(log, end), position), end)
        assert list(units_of(rest)) == units[done:]
        kinds = [type(c) for c in rest if isinstance(c, Begin | Commit)]
        assert kinds == [Begin, Commit] * (len(kinds) // 2)


def test_a_transaction_without_selected_changes_only_moves_the_position() -> None:
    log, end = transactions_of(["hh", "", "h"])
    changes = read_all(open_log(FakeStream(with_announcements(log), end), Position(0)), end)
    assert changes == [Heartbeat(Position(end))]


def test_a_position_within_a_shorter_transaction_stops() -> None:
    log, end = transactions_of(["aa"])
    reader = open_log(FakeStream(with_announcements(log), end), Position(0, 3))
    with pytest.raises(TailraceError, match="2 changes, the position says that 3") as caught:
        read_all(reader, end)
    assert caught.value.kind is ErrorKind.INVARIANT
    reader.close()


@pytest.mark.parametrize("poll_bytes_max", [reader_module.POLL_BYTES_MAX, 1])
@pytest.mark.parametrize("rows_before", [0, 1, 2])
def test_a_type_without_a_printer_turns_the_stream_to_text_where_it_stands(
    rows_before: int, poll_bytes_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "POLL_BYTES_MAX", poll_bytes_max)
    odd = [("id", wire.INT8, -1, True), ("o", XMLISH, -1, False)]

    class Turning(FakeStream):
        def start(self, lsn: int, *, binary: bool) -> None:
            rows = [wire.insert(A, row_of(i, binary=binary)) for i in range(rows_before)]
            value = wire.binary(b"\0") if binary else wire.text("odd")
            odd_row = wire.row(row_of(7, None, binary=binary)[2:-1], value)[2:]
            self._log = [
                (
                    1000,
                    [
                        wire.begin(1000, 1),
                        wire.relation(A, "a", COLUMNS),
                        *rows,
                        wire.relation(ODD, "odd", odd),
                        wire.insert(ODD, pack(">h", 2) + odd_row),
                        wire.insert(A, row_of(99, binary=binary)),
                        wire.commit(1000, 1008),
                    ],
                )
            ]
            super().start(lsn, binary=binary)

    stream = Turning([], 2000)
    changes = read_all(open_log(stream, Position(0)), 2000)
    assert stream.starts == [(0, True), (0, False)]
    assert list(units_of(changes)) == [
        *(("a", (i, "x")) for i in range(rows_before)),
        ("odd", (7, "odd")),
        ("a", (99, "x")),
    ]
    assert [type(c) for c in changes if isinstance(c, Begin | Commit | SchemaChange)] == [Begin, SchemaChange, Commit]


def test_a_large_message_of_a_stream_that_is_given_up_is_that_of_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "HELD_BYTES_MAX", 200)
    odd = [("o", XMLISH, -1, False)]

    class Turning(FakeStream):
        def start(self, lsn: int, *, binary: bool) -> None:
            value = wire.binary(b"\0") if binary else wire.text("odd")
            self._log = [
                (
                    1000,
                    [
                        # (Nothing has arrived yet when it is looked for the first time.)
                        b"",
                        wire.begin(1000, 1),
                        wire.relation(A, "a", COLUMNS),
                        wire.relation(ODD, "odd", odd),
                        wire.insert(ODD, wire.row(value)),
                        wire.insert(A, row_of(1, "large" * 50, binary=binary)),
                        wire.insert(A, row_of(2, binary=binary)),
                        wire.commit(1000, 1008),
                    ],
                )
            ]
            super().start(lsn, binary=binary)

    stream = Turning([], 2000)
    changes = read_all(open_log(stream, Position(0)), 2000)
    assert stream.starts == [(0, True), (0, False)]
    assert list(units_of(changes)) == [("odd", ("odd",)), ("a", (1, "large" * 50)), ("a", (2, "x"))]


def test_a_connection_that_keeps_much_memory_is_let_go_where_it_is_quiet_but_not_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "HELD_BYTES_MAX", 200)
    monkeypatch.setattr(frames, "SWOLLEN_BYTES", 400)
    now = 1000.0
    for module in (reader_module, frames):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    stream = FakeStream([], 500)
    log = open_log(stream, Position(500))
    large = [wire.relation(A, "a", COLUMNS), wire.insert(A, row_of(1, "large" * 100))]
    units: list[object] = []
    for commit in (600, 700):
        stream.raw.messages += [wire.begin(commit, commit), *large]
        now += 2 * frames.RENEW_INTERVAL_S
        # Within a transaction it is not quiet, however long nothing comes.
        for _ in range(4):
            units += units_of(log.poll(0.0))
        assert len(stream.starts) == (1 if commit == 600 else 2)
        stream.raw.messages.append(wire.commit(commit, commit + 8))
        for _ in range(4):
            units += units_of(log.poll(0.0))
        assert stream.starts[-1] == (commit + 8, True)
    assert len(stream.starts) == 3
    stream.raw.messages += [wire.begin(800, 800), *large, wire.commit(800, 808)]
    for _ in range(4):
        units += units_of(log.poll(0.0))
    assert len(stream.starts) == 3, "it has just begun"
    now += frames.RENEW_INTERVAL_S
    for _ in range(4):
        units += units_of(log.poll(0.0))
    assert stream.starts[3:] == [(808, True)], "once for a large message"
    assert units == [("a", (1, "large" * 100))] * 3
    log.close()


def test_keepalives_are_answered_and_positions_confirmed() -> None:
    stream = FakeStream([], 2000)
    log = open_log(stream, Position(500))
    log.poll(0.0)
    stream.raw.messages.append(wire.keepalive(3000, wants_reply=True))
    (heartbeat,) = log.poll(0.0)
    assert heartbeat == Heartbeat(Position(3000))
    assert unpack(">cqqqqB", stream.sent[-1])[:4] == (b"r", 3000, 500, 500)
    log.acknowledge(Position(2500, 7))
    assert unpack(">cqqqqB", stream.sent[-1])[:4] == (b"r", 3000, 2500, 2500)
    sent = len(stream.sent)
    log.acknowledge(Position(2500, 9))
    assert len(stream.sent) == sent
    log.close()


@given(st.integers(0, 300), st.binary(min_size=1, max_size=8), st.sampled_from([0, 1, 2]))
@settings(deadline=None, max_examples=40)
def test_broken_messages_are_refused_by_kind(at: int, junk: bytes, way: int) -> None:
    log, end = transactions_of(["aatmb"])
    ((lsn, messages),) = with_announcements(log)
    index = at % len(messages)
    message = messages[index]
    at = at % len(message)
    broken = (message[:at], message[:at] + junk + message[at + len(junk) :], message + junk)[way]
    stream = FakeStream([(lsn, [*messages[:index], broken, *messages[index + 1 :]])], end)
    reader = open_log(stream, Position(0))
    try:
        for _ in range(4):
            reader.poll(0.0)
    except TailraceError as error:
        assert error.kind is ErrorKind.DECODE  # noqa: PT017 - not always raised
    finally:
        reader.close()


def test_an_update_of_an_unknown_relation_is_refused() -> None:
    stream = FakeStream([(1000, [wire.begin(1000, 1), wire.insert(77, row_of(1))])], 2000)
    reader = open_log(stream, Position(0))
    with pytest.raises(TailraceError) as caught:
        reader.poll(0.0)
    assert caught.value.kind is ErrorKind.DECODE
    reader.close()


def test_what_an_applier_has_marked_is_left_out_where_it_shall_be() -> None:
    log, end = transactions_of(["lab", "aab", "lata", "la", "bat"])
    for skips_applied in (False, True):
        changes = read_all(
            open_log(FakeStream(with_announcements(log), end), Position(0), skips_applied=skips_applied), end
        )
        rows = [(c.table.name.table, row[0]) for c in changes if isinstance(c, RowChanges) for row in c.after if row]
        marked = [("a", 2), ("b", 3)], [("a", 8), ("a", 10), ("a", 12)]
        others = [("a", 4), ("a", 5), ("b", 6), ("b", 13), ("a", 14)]
        assert sorted(rows) == sorted(others if skips_applied else [*others, *marked[0], *marked[1]])
        assert sum(isinstance(c, Truncate) for c in changes) == (1 if skips_applied else 2)
        # Nobody is told of the mark, and no position counts it.
        assert not any(isinstance(c, LogMessage) for c in changes)
        assert sum(isinstance(c, Commit) for c in changes) == (2 if skips_applied else 5)


LEAF, OTHER = 105, 106


def _read_rows(messages: Sequence[bytes], tables: Sequence[TableSchema]) -> list[tuple[object, ...]]:
    """Return the row changes of a transaction: operation, before, after."""
    stream = FakeStream([(1000, [wire.begin(1000, 1), *messages, wire.commit(1000, 1008)])], 1100)
    with closing(open_log(stream, Position(0), tables)) as log:
        changes = [c for c in read_all(log, 1100) if isinstance(c, RowChanges)]
    return [row for c in changes for row in zip(c.ops, c.before, c.after, strict=True)]


def test_old_rows_of_a_partition_that_was_a_table_of_its_own_hold_what_its_identity_says() -> None:
    root = replace(TABLES[0], full_before=True, partitions=(B,))
    old, new = wire.row(wire.binary(pack(">q", 1)), wire.binary(None)), wire.row(wire.binary(pack(">q", 2)), b"u")
    messages = [wire.relation(A, "a", COLUMNS, identity="f"), wire.relation(B, "b", COLUMNS)]
    messages += [wire.update(A, new, old, b"O"), wire.delete(A, old, b"O")]
    # `b` is in force still: nothing but the catalogue has said that it was attached.
    for tables in ([root], [root, TABLES[1]]):
        assert _read_rows(messages, tables) == [
            ("u", (1, UNCHANGED), (2, UNCHANGED)),
            ("d", (1, UNCHANGED), None),
        ]


@pytest.mark.parametrize("change", ["delete", "update"])
@pytest.mark.parametrize("identity", ["d", "f", "keyless"])
def test_an_old_row_that_does_not_tell_which_one_it_is_stops(identity: str, change: str) -> None:
    # The partition is told apart by the other column.
    leaf = wire.relation(LEAF, "leaf", [("id", wire.INT8, -1, False), ("v", wire.TEXT, -1, True)], identity="i")
    full = identity != "d"
    root = replace(TABLES[0], full_before=full, key=() if identity == "keyless" else (0,), partitions=(LEAF,))
    announced = wire.relation(A, "a", COLUMNS, identity="f" if full else "d")
    kind = b"O" if full else b"K"

    def read(*columns: bytes | None, leaf: bytes = leaf) -> list[tuple[object, ...]]:
        old = wire.row(*map(wire.binary, columns))
        row = wire.delete(A, old, kind) if change == "delete" else wire.update(A, row_of(7, "z"), old, kind)
        inserted = wire.insert(A, row_of(3))
        return _read_rows([announced, leaf, inserted, row, inserted], [root])

    with pytest.raises(TailraceError, match=r"public\.a") as caught:
        read(None, b"x")
    assert caught.value.kind is ErrorKind.SOURCE_SCHEMA
    # A row of another partition, which says all; and one of a partition that says enough.
    key = pack(">q", 5)
    assert [op for op, *_ in read(key, b"x")] == ["c", change[0], "c"]
    if identity != "keyless":
        assert [op for op, *_ in read(key, None, leaf=wire.relation(LEAF, "leaf", COLUMNS))] == ["c", change[0], "c"]


def test_a_keyless_table_stops_at_an_update_of_a_partition_that_logs_no_old_rows() -> None:
    root = replace(TABLES[0], full_before=True, key=(), partitions=(LEAF,))
    announced = wire.relation(A, "a", COLUMNS, identity="f")
    update = wire.update(A, row_of(1))
    with pytest.raises(TailraceError, match="replica identity"):
        _read_rows([announced, wire.relation(LEAF, "leaf", COLUMNS), update], [root])
    # It is another table's.
    assert _read_rows([announced, wire.relation(OTHER, "leaf", COLUMNS), update], [root]) == [("u", None, (1, "x"))]
