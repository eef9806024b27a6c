"""Records in parts are put together a moment at a time: nobody waits for them who has something else to do."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, Message

from runtime.kafka import reassembly
from runtime.kafka.reassembly import LostRecord, Reassembly, SpooledRecord, _Parts
from runtime.spool import Spool
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.large_values import LargeValue, WholeRecord, value_of
from schemas.parts import HEADER, Joining, Reference, Slicing, parts, reference
from schemas.types.varints import long

VALUE = bytes(range(256)) * 10
PART_BYTES = 100


def message(partition: int, offset: int, value: bytes, first: int | None = None) -> Message:
    """A consumed record; `first`: its parts stand from there on."""
    headers: list[tuple[str, str | bytes | None]] = []
    if first is not None:
        headers.append((HEADER, reference(VALUE, first, PART_BYTES).to_header()))
    return Message(topic="wide", partition=partition, offset=offset, value=value, headers=headers)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Parts:
    """The parts topic: each read brings what `here` has, and takes as long as it may."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.here: list[list[bytes]] = []
        self.lost = False
        self.resting = 0

    def read(self, joining: Joining, timeout_s: float) -> None:
        if self.lost:
            raise joining.lost()
        for part in self.here.pop(0) if self.here else []:
            joining.add(part)
        if not joining.is_whole:
            self.clock.now += timeout_s

    def rest(self) -> None:
        self.resting += 1


@pytest.fixture
def topic() -> Parts:
    return Parts(Clock())


@pytest.fixture
def records(topic: Parts, monkeypatch: pytest.MonkeyPatch) -> Reassembly:
    monkeypatch.setattr(reassembly, "_Parts", lambda *_: topic)
    return Reassembly({}, "parts", monotonic=topic.clock)


LARGE, BEHIND, BESIDE = message(0, 5, b"small", first=40), message(0, 6, b"behind"), message(1, 9, b"beside")


def test_what_stands_in_other_partitions_goes_on_while_parts_come(records: Reassembly, topic: Parts) -> None:
    slices = list(parts(VALUE, PART_BYTES))
    topic.here = [slices[:3], slices[3:7]]
    for _ in range(2):
        before = topic.clock.now
        assert records.reassemble([LARGE, BEHIND, BESIDE]) == ([BESIDE], [LARGE, BEHIND])
        assert topic.clock.now - before <= reassembly.STEP_S
    # Another large record comes first now: the one that is under way goes on.
    other = message(2, 1, b"small", first=90)
    assert records.reassemble([other]) == ([], [other])
    topic.here = [slices[7:]]
    (whole, behind), left = records.reassemble([LARGE, BEHIND])
    assert (whole.value(), whole.offset(), behind, left) == (VALUE, 5, BEHIND, [])
    assert topic.resting == 1


def test_a_record_that_nobody_asks_for_any_more_makes_room(records: Reassembly, topic: Parts) -> None:
    records.reassemble([LARGE])
    topic.clock.now += reassembly.FORGET_S
    topic.here = [list(parts(VALUE, PART_BYTES))]
    ((whole,), _) = records.reassemble([message(2, 1, b"small", first=90)])
    assert whole.value() == VALUE


def test_so_many_bytes_are_put_together_at_once_and_a_record_that_is_larger_alone(
    records: Reassembly, topic: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reassembly, "WHOLE_BYTES_MAX", 2 * len(VALUE) - 1)
    topic.here = [list(parts(VALUE, PART_BYTES))] * 2
    other = message(2, 1, b"small", first=90)
    (whole, beside), left = records.reassemble([LARGE, other, BESIDE])
    assert (whole.value(), beside, left) == (VALUE, BESIDE, [other])
    monkeypatch.setattr(reassembly, "WHOLE_BYTES_MAX", 1)
    ((whole,), left) = records.reassemble([other])
    assert (whole.value(), whole.offset(), left) == (VALUE, 1, [])


def test_parts_that_do_not_come_are_an_error_that_passes(records: Reassembly, topic: Parts) -> None:
    topic.here = [list(parts(VALUE, PART_BYTES))[:4]]
    records.reassemble([LARGE])
    while topic.clock.now < 100 + reassembly.PATIENCE_S:
        assert records.reassemble([LARGE]) == ([], [LARGE])
    with pytest.raises(TailraceError, match="4 of 26 came from parts, offset 40 on, and no more for 30 s") as caught:
        records.reassemble([LARGE])
    assert (caught.value.kind, caught.value.position) == (ErrorKind.TRANSPORT, "wide/0@5")
    # Whoever had something else to do for long has not waited.
    assert records.reassemble([LARGE]) == ([], [LARGE])
    topic.clock.now += 2 * reassembly.PATIENCE_S
    assert records.reassemble([LARGE]) == ([], [LARGE])
    topic.here = [list(parts(VALUE, PART_BYTES))]
    ((whole,), _) = records.reassemble([LARGE])
    assert whole.value() == VALUE


def test_parts_that_do_not_come_are_the_records_own_trouble(records: Reassembly, topic: Parts) -> None:
    records.gives_lost = True
    while (found := records.reassemble([LARGE, BESIDE]))[1]:
        assert found == ([BESIDE], [LARGE])
    late, beside = found[0]
    assert isinstance(late, LostRecord)
    assert (late.lost.kind, late.offset(), beside) == (ErrorKind.TRANSPORT, 5, BESIDE)
    # What else is large has its turn, and is waited for no longer than a moment.
    topic.here = [list(parts(VALUE, PART_BYTES))]
    ((whole,), _) = records.reassemble([message(2, 1, b"small", first=90)])
    assert whole.value() == VALUE
    since = topic.clock.now
    while records.reassemble([LARGE])[1]:
        pass
    assert topic.clock.now - since <= reassembly.LATE_PATIENCE_S + reassembly.STEP_S
    topic.here = [list(parts(VALUE, PART_BYTES))]
    ((whole,), _) = records.reassemble([LARGE])
    assert whole.value() == VALUE


def test_parts_that_are_gone_are_the_records_own_trouble(records: Reassembly, topic: Parts) -> None:
    topic.lost = True
    with pytest.raises(TailraceError, match="0 of 26 parts of a record of 2,560 bytes are there") as caught:
        records.reassemble([LARGE])
    assert (caught.value.kind, caught.value.position) == (ErrorKind.DECODE, "wide/0@5")
    records.gives_lost = True
    (lost, behind), left = records.reassemble([LARGE, BEHIND])
    assert isinstance(lost, LostRecord)
    assert (lost.value(), lost.offset(), str(lost.lost), behind, left) == (
        b"",
        5,
        str(caught.value).replace(" [position wide/0@5]", ""),
        BEHIND,
        [],
    )
    # One that is another than its digest says.
    topic.lost = False
    topic.here = [list(parts(VALUE[:-1] + b"x", PART_BYTES))]
    ((lost,), _) = records.reassemble([LARGE])
    assert isinstance(lost, LostRecord)


def test_parts_are_gone_where_their_topic_ends_behind_them_or_before_they_begin() -> None:
    joining = Joining(reference(VALUE, 40, PART_BYTES))
    joining.add(b"first")
    met = KafkaError(KafkaError._PARTITION_EOF)
    topic = _Parts({}, "parts")
    for waiting in (41, 65):
        topic._meet(met, waiting, joining)
    # It was made anew and has fewer records than it had; or retention has passed them.
    for gone in (0, 40, 66):
        with pytest.raises(TailraceError, match="1 of 26 parts of a record of 2,560 bytes are there"):
            topic._meet(met, gone, joining)


def in_parts(values: list[LargeValue]) -> tuple[bytes, Reference, list[bytes]]:
    """Return a record with its values, and its parts."""
    record = b"head".join(long(len(value.stand_in)) + value.stand_in for value in values) + b"tail"
    slicing = Slicing(WholeRecord(record, Format.AVRO, values), PART_BYTES)
    slices = list(slicing.parts())
    return b"".join(slices), slicing.reference(40), slices


def test_large_values_stay_in_a_file_where_they_are_asked_for(
    records: Reassembly, topic: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reassembly, "SPOOLED_BYTES", 1000)
    records.spools = records.gives_lost = True
    contents = [VALUE, "é😀".encode() * 300]
    whole, where, slices = in_parts([value_of(memoryview(c), is_text=n == 1) for n, c in enumerate(contents)])
    assert Reference.of_header(where.to_header()) == where
    large = Message(topic="wide", offset=5, value=b"small", headers=[(HEADER, where.to_header())])
    topic.here = [slices[:7], slices[7:]]
    assert records.reassemble([large]) == ([], [large])
    ((record,), _) = records.reassemble([large])
    assert isinstance(record, SpooledRecord)
    assert len(record.value()) < 200 < len(record) == len(whole)
    assert [b"".join(value.pieces()) for value in record.values] == contents
    assert [value.is_text for value in record.values] == [False, True]
    again = WholeRecord(record.value(), Format.AVRO, record.values)
    assert b"".join(again.pieces()) == whole
    record.make_whole()
    assert (record.value(), record.values) == (whole, [])
    # One that says it wrong is as lost as its parts would be; smaller ones are in memory.
    moved = where._replace(places=(where.places[0]._replace(offset=where.places[0].offset + 1),))
    wrong = Message(topic="wide", offset=6, value=b"small", headers=[(HEADER, moved.to_header())])
    topic.here = [slices]
    ((lost,), _) = records.reassemble([wrong])
    assert isinstance(lost, LostRecord)
    monkeypatch.setattr(reassembly, "SPOOLED_BYTES", len(whole) + 1)
    topic.here = [slices]
    ((small,), _) = records.reassemble([large])
    assert (type(small), small.value()) == (reassembly.WholeRecord, whole)


def test_a_spool_gives_back_what_was_written() -> None:
    spool = Spool.make()
    assert spool.write([b"ab", memoryview(b"cde")]) == 5
    assert spool.write([b"f"]) == 1
    assert (spool.read(1, 4), b"".join(spool.pieces(2, 4))) == (b"bcde", b"cdef")
    with pytest.raises(TailraceError, match="shorter"):
        spool.read(3, 4)
    spool.close()
    spool.close()
