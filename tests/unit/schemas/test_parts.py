"""Large records: what stands in their place lacks the large values alone; their parts make them whole, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from capture.publishing import hanging
from capture.publishing.large_records import LargeRecords
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import compile_decoder, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.parts import HEADER, Reference, parts, reduced, reference
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TEXT = LogicalType(Family.STRING)
LARGE = "é" * 500_000
DATA = bytes(range(256)) * 4096
TABLE = TableSchema(
    TableName("s", "wide"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("name", TEXT, "text", nullable=False),
        Column("body", TEXT, "text", nullable=False),
        Column("data", LogicalType(Family.BYTES), "bytea"),
    ),
    (0,),
)
WHOLE = replace(TABLE, full_before=True)
U = UNCHANGED
ROW = (1, "n", LARGE, DATA)
SMALL = (1, "n", U, U)


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize(
    ("table", "op", "before", "after", "expected"),
    [
        (TABLE, "c", None, ROW, (None, SMALL)),
        (TABLE, "u", None, (1, "n", U, DATA), (None, SMALL)),
        (WHOLE, "u", ROW, (1, "m", LARGE, None), ((1, "n", None, None), (1, "m", U, None))),
        (WHOLE, "d", ROW, None, (SMALL, None)),
        # What another key makes of an update.
        (TABLE, "c", (9, U, U, U), ROW, ((9, U, U, U), SMALL)),
        (WHOLE, "c", (9, "n", LARGE, DATA), ROW, ((9, "n", None, None), SMALL)),
        (TABLE, "r", None, ROW, (None, SMALL)),
    ],
)
def test_what_stands_for_a_large_record_lacks_its_large_values_alone(
    format_: Format,
    table: TableSchema,
    op: str,
    before: Row | None,
    after: Row | None,
    expected: tuple[Row | None, Row | None],
) -> None:
    encoder = compile_encoder(table, format_, replication="r", connector="postgresql", database="d")
    decoder = compile_decoder(table, format_)
    block = encoder.block(snapshot="false", position_lsn=77, ts_us=5_000_001, txid=9, now_us=6_000_002)
    if op == "r":
        assert after is not None
        value = encoder.read(encoder.body(after), block, 41)
    else:
        changes = RowChanges(table, Transaction("9", 9, 77, 5_000_001), [op], [before], [after])
        value = encoder.run(changes, block, 40, False)[0][0][1] or b""
    small = reduced(encoder, decoder, value, 900_000)
    assert len(small) < 20_000
    assert decoder.decode(small) == (op, *expected)
    assert decoder.facts(small) == decoder.facts(value)


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize(("each", "left"), [(12_000, "numbers and names"), (900, "the key")])
def test_a_record_of_many_small_values_is_reduced_until_kafka_takes_it(format_: Format, each: int, left: str) -> None:
    count = 150_000 // each
    columns = (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("number", LogicalType(Family.INT32), "integer", nullable=False),
        *(Column(f"c{n}", TEXT, "text", nullable=False) for n in range(count)),
    )
    table = TableSchema(TableName("s", "many"), columns, (0,), full_before=True)
    encoder = compile_encoder(table, format_, replication="r", connector="postgresql", database="d")
    decoder = compile_decoder(table, format_)
    block = encoder.block(snapshot="false", position_lsn=77, ts_us=5_000_001, txid=9, now_us=6_000_002)
    row = (1, 5, *["x" * each] * count)
    changes = RowChanges(table, Transaction("9", 9, 77, 5_000_001), ["u"], [row], [row])
    value = encoder.run(changes, block, 40, False)[0][0][1] or b""
    small = reduced(encoder, decoder, value, 90_000)
    assert len(small) <= 90_000 < len(value)
    number = U if left == "the key" else 5
    assert decoder.decode(small)[2] == (1, number, *[U] * count)


class Log:
    """A producer, and the partition of the parts: `late` of its offsets are taken by what is still under way."""

    def __init__(self, end: int, late: int) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.at: list[int] = []
        self._end = end
        self._late = late

    def make(self) -> None:
        assert not self.sent, "made before anything is sent to it"

    def produce(self, *record: Any) -> None:
        if record[0] == "parts":
            # The end of the transaction before: no broker takes a record of the next one in front of it.
            self._end, self._late = self._end + self._late, 0
            self.at.append(self._end)
            self._end += 1
        self.sent.append(record)

    def flush(self) -> None:
        self.sent.append(("flush",))

    def end(self) -> int:
        return self._end


@pytest.mark.parametrize("late", [0, 1])
def test_parts_come_before_their_record_and_are_checked(late: int) -> None:
    encoder = compile_encoder(TABLE, Format.JSON, replication="r", connector="postgresql", database="d")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=1, txid=1, now_us=1)
    ((key, value),), _ = encoder.run(
        RowChanges(TABLE, Transaction("1", 1, 1, 1), ["c"], [None], [ROW]), block, 0, False
    )
    log = Log(12, late)
    LargeRecords("parts", 900_000, 1_000_000, log, log.make, log.end).produce("wide", encoder, (key, value), None)
    *slices, flush, record = log.sent
    assert flush == ("flush",)
    assert {(topic, its_key, partition) for topic, its_key, _, partition in slices} == {("parts", key, 0)}
    (header,) = record[4]
    where = Reference.of_header(header[1])
    assert header[0] == HEADER
    assert [*range(where.first, where.first + where.part_count)] == log.at
    found = [content for _, _, content, _ in slices]
    assert where.joined(found) == value
    for wrong in (found[:-1], [*found[:-1], found[-1][:-1] + b"x"], []):
        with pytest.raises(TailraceError) as caught:
            where.joined(wrong)
        assert caught.value.kind is ErrorKind.DECODE


@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 21])
def test_slices_are_none_too_many(size: int) -> None:
    value = bytes(range(size))
    made = list(parts(value, 10))
    assert reference(value, 0, 10).part_count == len(made)
    assert reference(value, 0, 10).joined(made) == value


@pytest.mark.parametrize("header", [b"", b"[]", b"{}", b'{"first": "x"}'])
def test_a_foreign_header_is_refused(header: bytes) -> None:
    with pytest.raises(TailraceError, match="cannot be read"):
        Reference.of_header(header)


@pytest.mark.parametrize("record", [(b"k", b"\n{v", None), (None, b"v", '{"first": 1}'), (b"", None, None)])
def test_a_hanging_record_is_kept_with_its_header(record: tuple[bytes | None, bytes | None, str | None]) -> None:
    assert hanging._unpack(hanging._pack(*record)) == record
