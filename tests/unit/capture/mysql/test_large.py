"""Large messages of MySQL and MariaDB: left in files as they come, and cut there as small ones are in memory."""

from __future__ import annotations

import socket
import tracemalloc
import zlib
from dataclasses import replace
from struct import pack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.sources.mysql import binlog, channel, compression, images, row_events
from capture.sources.mysql.channel import Channel
from capture.sources.mysql.compression import mariadb_unpacked, payload_events
from capture.sources.mysql.row_events import read_rows
from capture.sources.mysql.versions import Resolved
from runtime.spool import Spool, SpooledMessage, spooled
from schemas.changes import Row, RowChanges, Transaction
from schemas.codecs import Format, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import STAND_IN_BYTES, WholeRecord
from schemas.table import Column, TableName, TableSchema
from tests.unit.capture.mysql.images import image, mapped

NATIVES = ["int", "text", "mediumblob", "varchar(300) character set ucs2", "text"]
TXN = Transaction("1-1-1", 0, 1, 1)
LEAST = 60


class Wire:
    """A channel whose other end the test holds."""

    def __init__(self, *, files: bool) -> None:
        ours, self._theirs = socket.socketpair()
        self.channel = Channel(ours)
        if files:
            self.channel.file_large(None)

    def send(self, content: bytes) -> None:
        self._theirs.sendall(content)

    def close(self) -> None:
        self._theirs.close()
        self.channel.close()


def _packets(message: bytes, size: int) -> bytes:
    """Return a message as packets of at most `size` bytes; the last one has less."""
    pieces = [message[i : i + size] for i in range(0, len(message), size)]
    if not pieces or len(pieces[-1]) == size:
        pieces.append(b"")
    return b"".join(len(p).to_bytes(3, "little") + bytes([n & 255]) + p for n, p in enumerate(pieces))


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5),
    st.lists(st.integers(1, 30), min_size=1),
    st.booleans(),
    st.booleans(),
)
def test_messages_of_many_packets_come_whole_however_they_arrive(
    messages: list[bytes], steps: list[int], files: bool, waits: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # (A mask that is also the size of a full packet.)
        patch.setattr(channel, "PACKET_MAX", 7)
        wire = Wire(files=files)
        stream = b"".join(_packets(message, 7) for message in messages)
        found: list[Any] = []
        if waits:
            wire.send(stream)
            found = [wire.channel.next() for _ in messages]
        else:
            wire.channel.set_blocking(blocking=False)
            at = 0
            while at < len(stream):
                step = steps[at % len(steps)]
                wire.send(stream[at : at + step])
                at += step
                while (packet := wire.channel.poll()) is not None:
                    found.append(packet)
        wire.close()
    assert [bytes(packet) for packet in found] == messages
    assert [isinstance(p, SpooledMessage) for p in found] == [files and len(m) >= 7 for m in messages]


@pytest.fixture
def resolved() -> Resolved:
    """A table whose last column is a part of its key, and one of whose texts is in another character set."""
    columns, _ = mapped(NATIVES, set())
    made = [Column(f"c{i}", c.reader.type, native) for i, (c, native) in enumerate(zip(columns, NATIVES, strict=True))]
    table = TableSchema(TableName("s", "t"), tuple(made), (0, 4), full_before=True)
    return Resolved(table, tuple(columns))


def _row(number: int, size: int) -> tuple[Any, ...]:
    return number, "é" * size, bytes(range(256))[:size], "x" * size, "key" * 30


ROWS = [_row(1, LEAST), _row(2, 3), _row(3, 100), (4, None, b"b" * LEAST, None, "k")]


def _event(op: str) -> bytes:
    images_ = [image(NATIVES, row, set(range(len(NATIVES)))) for row in ROWS]
    kind = {"c": b"\5\x1f", "d": b"\5\x1f", "u": b"\5\x1f\x1f"}[op]
    return bytes(28) + kind + b"".join(images_)


KINDS = {"c": binlog.WRITE_ROWS_1, "u": binlog.UPDATE_ROWS_1, "d": binlog.DELETE_ROWS_1}


def _changes(runs: Any) -> list[tuple[str, Row | None, Row | None]]:
    return [change for run in runs for change in zip(run.ops, run.before, run.after, strict=True)]


@pytest.mark.parametrize("op", "cud")
def test_an_event_in_a_file_has_the_same_changes(op: str, resolved: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "HELD_BYTES_MAX", 200)
    event, table = _event(op), resolved.table
    assert table is not None
    runs = read_rows(resolved, table, KINDS[op], spooled(event, None), len(event), TXN)
    assert [run.filed is not None for run in runs] == ([True, True] if op == "u" else [True, False, True, False])
    assert [run.count for run in runs] == [1] * len(runs)
    assert not runs[1].join(runs[0])
    assert _changes(runs) == _changes(read_rows(resolved, table, KINDS[op], event, len(event), TXN))
    for damaged in (event[:-1], event + b"\0"):
        with pytest.raises(TailraceError) as caught:
            read_rows(resolved, table, KINDS[op], spooled(damaged, None), len(damaged), TXN)
        assert (caught.value.kind, caught.value.table) == (ErrorKind.DECODE, str(table.name))
    skipped = read_rows(resolved, table, KINDS[op], spooled(event, None), len(event), TXN)[0]
    skipped.drop(1)
    assert (skipped.count, skipped.ops) == (0, [])


@pytest.mark.parametrize("op", "cud")
def test_small_rows_of_an_event_in_a_file_are_one_run(op: str, resolved: Resolved) -> None:
    event, table = _event(op), resolved.table
    assert table is not None
    (run,) = read_rows(resolved, table, KINDS[op], spooled(event, None), len(event), TXN)
    assert (run.filed, len(run.messages)) == (None, 2 if op == "u" else 4)
    assert _changes([run]) == _changes(read_rows(resolved, table, KINDS[op], event, len(event), TXN))


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("op", "cud")
@pytest.mark.parametrize("in_file", [False, True])
def test_a_change_without_its_large_values_and_they_make_its_record(
    op: str, format_: Format, in_file: bool, resolved: Resolved
) -> None:
    table, form = resolved.table, resolved.form
    assert table is not None
    encoder = compile_encoder(table, format_, replication="r", connector="mysql", database="d")
    block = encoder.block(snapshot="false", position_lsn=7, ts_us=5, txid=None, now_us=6)
    bodies = [image(NATIVES, row, set(range(len(NATIVES)))) for row in (ROWS[0], ROWS[2])]
    head = {"c": b"I", "u": b"U", "d": b"D"}[op]
    message = head + (b"".join(bodies) if op == "u" else bodies[0])

    def records(content: bytes) -> list[tuple[bytes | None, bytes | None]]:
        run = RowChanges(table, TXN)
        run.form, run.messages = form, [content]
        return [*encoder.records(run, block, 40, False)[0]]

    small, values = form.take_out(spooled(message, None) if in_file else message, LEAST)
    # Of the old and the new row: neither the key nor what is in another character set.
    assert [value.is_text for value in values] == [True, False] * (2 if op == "u" else 1)
    assert len(small) < len(message)
    made = [
        (key, b"".join(map(bytes, WholeRecord(record, format_, values).pieces())))
        for key, record in records(small)
        if record is not None
    ]
    assert made == records(message)
    with pytest.raises(TailraceError) as caught:
        form.take_out(message[:-1], LEAST)
    assert caught.value.kind is ErrorKind.DECODE
    assert form.take_out(message, 1 << 20) == (message, [])
    assert STAND_IN_BYTES < LEAST


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize(("old", "new"), [({0, 4}, {1, 2}), ({0, 3, 4}, {0, 2, 4}), ({0, 1, 4}, {0, 1, 3, 4})])
def test_large_changes_whose_images_lack_columns_make_their_records_too(
    old: set[int], new: set[int], format_: Format, resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an update has them with MINIMAL and NOBLOB. A change of the key is read, since its row is to be completed."""
    monkeypatch.setattr(images, "HELD_BYTES_MAX", 200)
    monkeypatch.setattr(row_events, "PIECE_BYTES", LEAST)
    assert resolved.table is not None
    table = resolved.table = replace(resolved.table, full_before=False)
    moved = (9, *ROWS[0][1:])
    pairs = [(ROWS[0], ROWS[0]), (ROWS[1], ROWS[1]), (ROWS[0], moved), (ROWS[2], ROWS[2]), (ROWS[3], ROWS[3])]
    bodies = [image(NATIVES, before, old) + image(NATIVES, after, new) for before, after in pairs]
    bitmaps = bytes(sum(1 << i for i in each) for each in (old, new))
    event = bytes(28) + b"\5" + bitmaps + b"".join(bodies)
    kind = binlog.UPDATE_ROWS_1
    whole = _changes(read_rows(resolved, table, kind, event, len(event), TXN))
    encoder = compile_encoder(table, format_, replication="r", connector="mysql", database="d")
    block = encoder.block(snapshot="false", position_lsn=7, ts_us=5, txid=None, now_us=6)
    runs = read_rows(resolved, table, kind, spooled(event, None), len(event), TXN)
    seen = taken = 0
    for run in runs:
        expected = whole[seen : seen + run.count]
        seen += run.count
        read = RowChanges(table, TXN, *map(list, zip(*expected, strict=True)))
        records = encoder.records(read, block, 40, False)[0]
        if run.filed is None:
            assert _changes([run]) == expected
            continue
        assert run.form is not None
        assert expected[0][1] is None
        small, values = run.form.take_out(run.filed, LEAST)
        taken += len(values)
        made = encoder.records(run.unread([small]), block, 40, False)[0]
        pieces = [(key, b"".join(map(bytes, WholeRecord(body or b"", format_, values).pieces()))) for key, body in made]
        assert pieces == records
        assert _changes([run]) == expected
    assert seen == len(whole)
    assert taken
    for damaged in (event[:-1], event + b"\0"):
        with pytest.raises((ValueError, IndexError, TailraceError)):
            read_rows(resolved, table, kind, spooled(damaged, None), len(damaged), TXN)


@pytest.mark.parametrize("in_file", [False, True])
def test_large_events_of_a_compressed_transaction_are_in_files(in_file: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "HELD_BYTES_MAX", 100)
    monkeypatch.setattr("runtime.spool.PIECE_BYTES", 30)
    bodies = [b"a" * 5, b"b" * 90, b"c" * 20, b"", b"d" * 300]
    events = [pack("<IBIIIH", 0, 30, 1, 19 + len(body), 0, 0) + body for body in bodies]
    payload = b"".join(events)
    # Fields: the compression, none; the end.
    message = b"\2\3\xfc\xff\0\0" + payload
    read = spooled(message, None) if in_file else message
    found = list(payload_events(read, 0, len(message)))
    assert [bytes(event) for event in found] == [b"\0" + event for event in events]
    # (What came in memory needs no file.)
    assert [isinstance(event, SpooledMessage) for event in found] == [in_file and len(event) > 100 for event in events]
    for end in (len(message) - 1, len(message) - 301):
        with pytest.raises(ValueError, match="ends within"):
            list(payload_events(read, 0, end))


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("size", [10, 101, 5_000_000])
def test_what_mariadb_compressed_is_unpacked_into_a_file_if_it_is_large(
    in_file: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "HELD_BYTES_MAX", 100)
    content = bytes(size)

    def packed(length: int, cut: int = 0) -> Any:
        data = zlib.compress(content)
        message = b"head\x84" + length.to_bytes(4, "big") + data[: len(data) - cut] + b"tail"
        return (spooled(message, None) if in_file else message), 4, len(message) - 4

    found = mariadb_unpacked(*packed(size))
    assert bytes(found) == content
    assert isinstance(found, SpooledMessage) is (in_file or size > 100)
    for damaged in (packed(size + 1), packed(size - 1), packed(size, cut=2)):
        with pytest.raises((ValueError, zlib.error)):
            mariadb_unpacked(*damaged)


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("length", [10, 101])
def test_of_what_unpacks_to_more_than_it_says_no_more_is_kept(
    in_file: bool, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "HELD_BYTES_MAX", 100)
    monkeypatch.setattr(compression, "_PIECE_BYTES", 1_000)
    made: list[Spool] = []
    make = Spool.make

    def make_known(directory: str | None) -> Spool:
        made.append(make(directory))
        return made[-1]

    monkeypatch.setattr(Spool, "make", make_known)
    message = b"\x84" + length.to_bytes(4, "big") + zlib.compress(bytes(50_000_000))
    read = spooled(message, None) if in_file else message
    made.clear()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="another length"):
            mariadb_unpacked(read, 0, len(message))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000
    assert all(spool.size <= 1_000 for spool in made)
