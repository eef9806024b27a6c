"""The facts of many records at once are those of each: whatever the record before was, and whatever rows hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from schemas.changes import Row, RowChanges, Transaction
from schemas.codecs import Decoder, Format, Pair, compile_decoder, compile_encoder
from schemas.codecs.codec import Facts
from schemas.codecs.generate import guarded_many
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.twin import built
from schemas.types import Family, LogicalType
from tests.kit.twin import Find, unbuilt

TABLE = TableSchema(
    TableName("s", "t"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("content", LogicalType(Family.BYTES), "bytea"),
        Column("word", LogicalType(Family.STRING), "text"),
    ),
    key=(0,),
)
HIGH = 1 << 48
FINDS: list[Find] = [built, cache(unbuilt), lambda _: None]


def records(format_: Format, txn: int, rows: list[Row], seq: int, *, placed: bool = False) -> list[bytes]:
    """Return the values of a transaction's records, the first with the sequence after `seq`."""
    encoder = compile_encoder(TABLE, format_, replication="shop", connector="postgresql", database="db")
    at = 1_700_000_000_000_000 + txn
    block = encoder.block(snapshot="false", position_lsn=100 * txn, ts_us=at, txid=txn, now_us=at + 7)
    run = RowChanges(TABLE, Transaction(str(txn), txn, txn, at), ["c"] * len(rows), [None] * len(rows), list(rows))
    pairs: list[Pair] = encoder.run(run, block, seq, False)[0]
    pairs = encoder.placed(pairs, str(txn), 0, 0) if placed else pairs
    return [value for _, value in pairs if value is not None]


def decoder(format_: Format) -> Decoder:
    return compile_decoder(TABLE, format_)


def many(made: Decoder, find: Find) -> Callable[[list[bytes]], list[Facts]]:
    """Return what reads the facts of many values, by the twin that `find` finds, or without one."""
    return guarded_many(TABLE, made._functions["facts_by"](find))


@pytest.mark.parametrize("format_", list(Format))
@pytest.mark.parametrize("placed", [False, True])
def test_facts_of_many_are_those_of_each(format_: Format, placed: bool) -> None:
    rows: list[Row] = [(i, b"\0" * i, "w" * i) for i in range(8)]
    values: list[bytes] = []
    # Sequences that grow in length within a transaction, and stay; transactions that take turns.
    for txn, seq in ((1, 5), (2, 60), (1, 120), (3, HIGH), (3, HIGH + 8), (4, 16_380), (4, 9_999_995)):
        values += records(format_, txn, rows, seq, placed=placed)
    values += [value for pair in zip(values[:8], values[8:16], strict=True) for value in pair]
    made = decoder(format_)
    expected = [made.facts(value) for value in values]
    for find in FINDS:
        found = many(made, find)(values)
        assert found == expected
        assert {type(facts) for facts in found} == {Facts}
        assert many(made, find)([]) == []


@pytest.mark.parametrize("format_", list(Format))
def test_no_row_is_taken_for_a_source(format_: Format) -> None:
    """Rows that hold whole records, as tables of messages do, and ends of records."""
    first = records(format_, 1, [(1, b"", "")], 70)
    second = [
        *records(format_, 2, [(2, first[0], first[0].decode("latin-1"))], 71),
        *records(format_, 2, [(3, b"", "")], 72),
    ]
    third = records(format_, 1, [(4, b"".join(second), ""), (5, first[0][-90:], first[0][-90:].decode("latin-1"))], 73)
    made = decoder(format_)
    for values in (first + second + third, second + first + third, third + second + first):
        for find in FINDS:
            assert many(made, find)(values) == [made.facts(value) for value in values]


@pytest.mark.parametrize("format_", list(Format))
def test_a_damaged_record_is_told(format_: Format) -> None:
    good = records(format_, 1, [(1, b"", "a"), (2, b"", "b"), (3, b"", "c")], 70)
    for bad in (good[1][:-30], b"", b"\0"):
        with pytest.raises(TailraceError) as caught:
            decoder(format_).facts_many([good[0], bad, good[2]])
        for find in FINDS:
            with pytest.raises(TailraceError):
                many(decoder(format_), find)([good[0], bad, good[2]])
        assert caught.value.kind is ErrorKind.DECODE
