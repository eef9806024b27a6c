"""Large values taken out of messages: what is published of them is what would be published of the whole message."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.reduction import send_handle
from struct import pack
from typing import Any, cast

import pytest

from capture.full_load import worker
from capture.full_load.process import ProcessWorker
from capture.publishing.large_records import LargeRecords
from capture.source import Chunk, SnapshotReader
from capture.sources.postgresql.copying import CopyForm
from capture.sources.postgresql.pgoutput import TableForm
from capture.sources.postgresql.types import TypeInfo, reader
from runtime.spool import Spool, spooled
from schemas import large_values
from schemas.bundles import Bundle
from schemas.changes import RowChanges, Transaction
from schemas.codecs import Encoder, Format, compile_decoder, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import LargeValue, WholeRecord, lacks
from schemas.parts import reduced
from schemas.row_forms import UnreadRows
from schemas.table import Column, TableName, TableSchema
from tests.kit.descriptors import few_descriptors
from tests.unit.capture.postgresql import wire

NAMES = ("int8", "text", "bytea", "jsonb", "json")
TYPES = {i: TypeInfo(i, "pg_catalog", name, "b", f"{name}_send") for i, name in enumerate(NAMES)}
READERS = [reader(TYPES, i, -1) for i in range(len(NAMES))]
TABLE = TableSchema(
    TableName("s", "wide"),
    tuple(Column(name, r.type, name) for name, r in zip(NAMES, READERS, strict=True)),
    (0,),
    full_before=True,
)
LEAST = 90
TEXT = 'é\u2028😀 "\\\n\t\1' * 20
DATA = bytes(range(256))
ROW = (pack(">q", 7), TEXT.encode(), DATA, b'\1{"a": 1}', b'{"b":"%s"}' % (b"x" * LEAST))
OTHER = (pack(">q", 7), b"short", None, None, b"[%s]" % (b" " * LEAST))
BINARY = tuple(map(wire.binary, ROW))
AS_TEXT = (wire.text("7"), wire.text(TEXT), wire.text("\\x" + DATA.hex()), wire.text('{"a": 1}'), wire.text("[1]"))


def _encoder(format_: Format) -> Encoder:
    return compile_encoder(TABLE, format_, replication="r", connector="postgresql", database="d")


def _whole(record: bytes, format_: Format, values: list[LargeValue]) -> bytes:
    assert lacks(record, format_, values)
    return b"".join(map(bytes, WholeRecord(record, format_, values).pieces()))


@pytest.fixture(autouse=True)
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_values, "PIECE_BYTES", 7)


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize(
    ("message", "binary", "count"),
    [
        (wire.insert(1, wire.row(*BINARY)), True, 3),
        (wire.update(1, wire.row(*BINARY), wire.row(*map(wire.binary, OTHER)), b"O"), True, 4),
        (wire.update(1, wire.row(wire.binary(ROW[0]), *[b"u"] * 4), wire.row(*BINARY), b"O"), True, 3),
        (wire.delete(1, wire.row(*BINARY), b"O"), True, 3),
        # In text form bytes stand as digits: they stay where they are.
        (wire.insert(1, wire.row(*AS_TEXT)), False, 1),
    ],
)
def test_a_logged_change_without_its_large_values_and_they_make_its_record(
    format_: Format, message: bytes, binary: bool, count: int
) -> None:
    form, encoder, decoder = (
        TableForm(READERS, [True] * 5, binary=binary),
        _encoder(format_),
        compile_decoder(TABLE, format_),
    )
    block = encoder.block(snapshot="false", position_lsn=7, ts_us=5, txid=9, now_us=6)

    def record(content: bytes) -> bytes:
        run = RowChanges(TABLE, Transaction("9", 9, 7, 5))
        run.form, run.messages = form, [content]
        return encoder.records(run, block, 40, False)[0][0][1] or b""

    small, values = form.take_out(message, LEAST)
    assert len(values) == count
    assert len(small) < len(message) or count == 1
    made = _whole(record(small), format_, values)
    assert decoder.decode(made) == decoder.decode(record(message))
    assert decoder.facts(made) == decoder.facts(record(message))
    whole = WholeRecord(record(small), format_, values)
    if format_ is Format.AVRO:
        assert made == record(message)
        contents = {bytes(b"".join(value.pieces())) for value in values}
        assert {made[place.offset : place.offset + place.size] for place in whole.places()} == contents
    else:
        assert not whole.places()
    # None of them is in the record that takes the place of the whole one.
    assert not lacks(reduced(encoder, decoder, record(small), 900_000, whole.stand_ins), format_, values)


def _packet(columns: tuple[bytes | None, ...]) -> bytes:
    return pack(">h", len(columns)) + b"".join(
        pack(">i", -1) if value is None else pack(">i", len(value)) + value for value in columns
    )


@pytest.mark.parametrize("format_", Format)
def test_a_row_that_is_read_without_its_large_values_and_they_make_its_body(format_: Format) -> None:
    encoder, form = _encoder(format_), CopyForm(TABLE, READERS)
    rows = UnreadRows(form, [_packet(ROW)])
    values = rows.cut(LEAST)
    assert len(values) == 3
    ((key,), (body,)) = encoder.loaded(rows).apart()
    ((whole_key,), (whole_body,)) = encoder.loaded(UnreadRows(form, [_packet(ROW)])).apart()
    assert key == whole_key
    assert encoder.unbody(_whole(body, format_, values)) == encoder.unbody(whole_body)
    assert len(rows) == 1
    for others in (UnreadRows(form, [_packet(ROW)] * 2), UnreadRows(form, [_packet((*OTHER[:4], None))])):
        assert others.cut(LEAST) == []


@pytest.mark.parametrize("old", [None, b"O"])
def test_a_message_in_a_file_is_cut_and_read_as_one_in_memory(old: bytes | None) -> None:
    new = wire.row(*BINARY)
    message = wire.insert(1, new) if old is None else wire.update(1, new, wire.row(*map(wire.binary, OTHER)), old)
    form = TableForm(READERS, [True] * 5, binary=True)
    in_memory, in_file = (RowChanges(TABLE, Transaction("9", 9, 7, 5)) for _ in range(2))
    in_memory.form = in_file.form = form
    in_memory.messages, in_file.filed = [message], spooled(message, None)
    large = LargeRecords("parts", 100, LEAST, cast("Any", None), lambda: None, lambda: 0)
    assert large.concerns(in_file)
    ((expected, values),), ((found, filed),) = list(large.apart(in_memory)), list(large.apart(in_file))
    assert [b"".join(value.pieces()) for value in values] == [b"".join(value.pieces()) for value in filed]
    stands = {a.stand_in: b.stand_in for a, b in zip(values, filed, strict=True)}
    (made,) = expected.messages
    for stand_in, other in stands.items():
        made = made.replace(stand_in, other)
    assert found.messages == [made]
    # Nothing of it is to be had without the whole: rows that somebody looks at, or where nothing can be taken out.
    assert not in_file.join(in_memory)
    assert (in_file.count, in_file.messages) == (1, [])
    assert (in_file.ops, in_file.after) == (in_memory.ops, in_memory.after)
    in_file.filed = spooled(message, None)
    plain = LargeRecords("parts", 100, 1 << 20, cast("Any", None), lambda: None, lambda: 0)
    assert not plain.concerns(in_file)
    ((whole, none),) = plain.apart(in_file)
    assert (whole.messages, none) == ([message], [])


def test_a_row_in_a_file_is_cut_and_read_as_one_in_memory() -> None:
    encoder, form, packet = _encoder(Format.AVRO), CopyForm(TABLE, READERS), _packet(ROW)
    read = UnreadRows(form, [], spooled(packet, None))
    assert (len(read), read.cut(len(packet) + 1)) == (1, [])
    assert encoder.loaded(read) == encoder.loaded(UnreadRows(form, [packet]))
    assert list(UnreadRows(form, [], spooled(packet, None))) == list(UnreadRows(form, [packet]))
    rows = UnreadRows(form, [], spooled(packet, None))
    values = rows.cut(LEAST)
    (_, (body,)) = encoder.loaded(rows).apart()
    assert _whole(body, Format.AVRO, values) == encoder.loaded(UnreadRows(form, [packet])).apart()[1][0]


@pytest.mark.parametrize(
    "cut",
    [
        lambda: TableForm(READERS, [True] * 5, binary=True).take_out(wire.insert(1, wire.row(*BINARY))[:-1], LEAST),
        lambda: TableForm(READERS, [True] * 5, binary=True).take_out(wire.insert(1, b""), LEAST),
    ],
)
def test_a_message_that_is_cut_off_is_refused(cut: Callable[[], object]) -> None:
    with pytest.raises(TailraceError) as caught:
        cut()
    assert caught.value.kind is ErrorKind.DECODE


class TwoRows:
    """A snapshot reader of two rows, each by itself."""

    def read(self, *_: object) -> list[UnreadRows]:
        return [UnreadRows(CopyForm(TABLE, READERS), [_packet(ROW)]) for _ in range(2)]

    def snapshot(self) -> Any:
        return None


def test_a_loader_hands_over_a_file_with_the_row_and_the_next_one_once_it_is_taken() -> None:
    encoder = _encoder(Format.AVRO)
    theirs, ours = Pipe()
    service = ProcessWorker.__new__(ProcessWorker)
    service._channel = ours
    ours.send(worker.Taken())
    request = worker.ReadRequest(TABLE, Chunk(0, None, None))
    worker._read(theirs, cast("SnapshotReader", TwoRows()), request, encoder, worker._Keeping(LEAST, None))
    assert not theirs.poll(), "it has waited for that"
    answers = [service.receive() for _ in range(4)]
    assert [type(answer) for answer in answers] == [worker.Opened, worker.Rows, worker.Rows, worker.Ended]
    assert [theirs.recv() for _ in range(2)] == [worker.Taken()] * 2
    rows = cast("worker.Rows", answers[2])
    ((_,), (body,)) = encoder.loaded(UnreadRows(CopyForm(TABLE, READERS), [_packet(ROW)])).apart()
    assert _whole(rows.bundle.apart()[1][0], Format.AVRO, rows.values()) == body
    assert rows.size_bytes > sum(value.size for value in rows.kept) > len(TEXT.encode()) + len(DATA)


@pytest.mark.parametrize("left", [0, 1])
def test_a_service_without_descriptors_says_so(left: int) -> None:
    """The kernel drops a file that it has no number for; Python says "received 0 items of ancdata"."""
    theirs, ours = Pipe()
    service = ProcessWorker.__new__(ProcessWorker)
    service._channel = ours
    worker.send_rows(theirs, Bundle.of([b""], [b""]), (worker.Kept(b"", False, 1),))
    file = Spool.make()
    send_handle(theirs, file.descriptor, None)
    with few_descriptors(left), pytest.raises(TailraceError, match="no file descriptor left") as caught:
        service.receive()
    assert caught.value.kind is ErrorKind.PREREQUISITE
    file.close()


def test_numbers_stay_in_their_row_however_long_their_text_is() -> None:
    """No sink takes a stand-in for one."""
    number = reader({1: TypeInfo(1, "pg_catalog", "numeric", "b", "numeric_send")}, 1, -1)
    message = wire.insert(1, wire.row(wire.text("9" * LEAST)))
    assert TableForm([number], [True], binary=False).take_out(message, LEAST) == (message, [])
