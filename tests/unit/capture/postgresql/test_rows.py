"""The generated readers: every mix of nulls, unchanged values and forms; and bytes that are wrong."""

from __future__ import annotations

from struct import error as struct_error
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.sources.postgresql.copying import compile_copy_reader
from capture.sources.postgresql.pgoutput import TUPLE_AT, TableForm
from capture.sources.postgresql.types import Reader, reader
from schemas.changes import UNCHANGED, RowChanges, Transaction
from schemas.codecs import Format, compile_encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from tests.unit.capture.postgresql import wire

KINDS = (
    (wire.INT8, -1),
    (wire.INT4, -1),
    (wire.TEXT, -1),
    (wire.NUMERIC, ((12 << 16) | 2) + 4),
    (wire.TIMESTAMPTZ, -1),
    (wire.BOOL, -1),
    (wire.UUID, -1),
    (wire.JSONB, -1),
    (wire.INT8, -1),
)
BINARY = (
    pack(">q", -7),
    pack(">i", 8),
    "é".encode(),
    wire.numeric(1234, 2),
    pack(">q", 5),
    b"\1",
    bytes(range(16)),
    b"\1{}",
    pack(">q", 9),
)
TEXT = (
    "-7",
    "8",
    "é",
    "12.34",
    "2000-01-01 00:00:00.000005+00",
    "t",
    "00010203-0405-0607-0809-0a0b0c0d0e0f",
    "{}",
    "9",
)
VALUES = (-7, 8, "é", 1234, wire.EPOCH_US + 5, True, "00010203-0405-0607-0809-0a0b0c0d0e0f", "{}", 9)
READERS: list[Reader] = [reader(wire.TYPES, oid, typmod) for oid, typmod in KINDS]
KEY = [True] + [False] * (len(KINDS) - 1)
COMPILED = {binary: TableForm(READERS, KEY, binary=binary) for binary in (False, True)}
TABLES = [
    TableSchema(
        TableName("public", "t"),
        tuple(Column(f"c{i}", r.type, "x") for i, r in enumerate(READERS)),
        (0,),
        full_before=full_before,
    )
    for full_before in (False, True)
]
COPY = compile_copy_reader(READERS)

#: For each column: null, unchanged, text within binary, or the usual form.
MIX = st.lists(st.sampled_from("nutb"), min_size=len(KINDS), max_size=len(KINDS))


def _message(mix: list[str], usual: str) -> bytes:
    columns = []
    for i, kind in enumerate(mix):
        if kind == "n":
            columns.append(b"n")
        elif kind == "u":
            columns.append(b"u")
        elif kind == "t" or usual == "t":
            columns.append(wire.text(TEXT[i]))
        else:
            columns.append(wire.binary(BINARY[i]))
    return wire.insert(1, wire.row(*columns))


@given(MIX, st.booleans())
def test_any_mix_of_forms_is_read(mix: list[str], binary: bool) -> None:
    readers = COMPILED[binary]
    message = _message(mix, "b" if binary else "t")
    expected = tuple(
        None if kind == "n" else UNCHANGED if kind == "u" else value for kind, value in zip(mix, VALUES, strict=True)
    )
    assert readers.new(message, TUPLE_AT) == expected
    assert readers.old(message + b"N", TUPLE_AT) == (expected, len(message))


def test_a_key_row_says_nothing_of_the_other_columns() -> None:
    readers = COMPILED[True]
    assert readers.key_only(VALUES) == (-7, *[UNCHANGED] * 8)


@given(MIX, st.integers(0, 200), st.binary(max_size=4), st.booleans())
def test_broken_bytes_are_refused_or_read_and_never_hang(mix: list[str], at: int, junk: bytes, binary: bool) -> None:
    readers = COMPILED[binary]
    message = _message(mix, "b" if binary else "t")
    at = TUPLE_AT - 2 + at % (len(message) - TUPLE_AT + 3)
    for broken in (message[:at], message[:at] + junk + message[at + len(junk) :], message + junk):
        try:
            assert len(readers.new(broken, TUPLE_AT)) == len(KINDS)
        except (ValueError, IndexError, KeyError, OverflowError, ArithmeticError, struct_error):
            continue


def _tuple(mix: list[str], usual: str) -> bytes:
    return _message(mix, usual)[TUPLE_AT - 2 :]


def _logged(op: str, mix: list[str], usual: str, *, whole: bool) -> bytes:
    """Return a message of a change whose key is there."""
    new = _tuple(["b", *mix[1:]], usual)
    old = _tuple(["b", *["n" if kind == "u" else kind for kind in mix[1:]]], usual)
    if op == "c":
        return wire.insert(1, _tuple(["b", *["n" if kind == "u" else kind for kind in mix[1:]]], usual))
    if op == "u":
        return wire.update(1, new, old if whole else b"", b"O")
    return wire.delete(1, old if whole else _tuple(["b", *["n"] * (len(KINDS) - 1)], usual), b"O" if whole else b"K")


@given(
    st.lists(st.tuples(st.sampled_from("cud"), MIX), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from(TABLES),
    st.sampled_from(list(Format)),
    st.booleans(),
)
def test_records_made_of_the_log_itself_are_those_of_its_rows(
    changes: list[tuple[str, list[str]]], binary: bool, table: TableSchema, format_: Format, tombstones: bool
) -> None:
    form, usual = COMPILED[binary], "b" if binary else "t"
    txn = Transaction("1", 1, 2, 3)
    read, unread = RowChanges(table, txn), RowChanges(table, txn)
    unread.form = form
    for op, mix in changes:
        message = _logged(op, mix, usual, whole=table.full_before)
        unread.messages.append(message)
        read.add(*form.read(message))
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    # Across the place where the sequence's high part changes.
    records = encoder.records(unread, block, 8190, tombstones)
    assert records == encoder.run(read, block, 8190, tombstones)
    assert unread.count == read.count == len(changes)
    assert (unread.ops, unread.before, unread.after) == (read.ops, read.before, read.after)


@pytest.mark.parametrize("format_", Format)
def test_a_broken_message_is_no_record(format_: Format) -> None:
    table = TABLES[0]
    encoder = compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")
    block = encoder.block(snapshot="false", position_lsn=1, ts_us=2, txid=3, now_us=4)
    message = _logged("c", ["b"] * len(KINDS), "b", whole=False)
    for broken in (message + b"x", message[:-1], message[: TUPLE_AT - 1] + b"\7" + message[TUPLE_AT:]):
        changes = RowChanges(table, Transaction("1", 1, 2, 3))
        changes.form = COMPILED[True]
        changes.messages.append(broken)
        with pytest.raises(TailraceError) as caught:
            encoder.records(changes, block, 0, False)
        assert caught.value.kind is ErrorKind.DECODE


@given(st.lists(st.booleans(), min_size=len(KINDS), max_size=len(KINDS)))
def test_copy_tuples_are_read(nulls: list[bool]) -> None:
    read = COPY
    body = b"".join(
        b"\xff\xff\xff\xff" if null else pack(">i", len(value)) + value
        for null, value in zip(nulls, BINARY, strict=True)
    )
    message = pack(">h", len(KINDS)) + body
    assert read(message) == tuple(None if null else value for null, value in zip(nulls, VALUES, strict=True))
    with pytest.raises((ValueError, struct_error)):
        read(message + b"x")
    with pytest.raises(ValueError, match="count of columns"):
        read(pack(">h", 3) + body)


def test_wide_tables_are_read() -> None:
    count = 1600
    readers = TableForm([READERS[0]] * count, [False] * count, binary=True)
    columns = [wire.binary(pack(">q", i)) if i % 7 else b"n" for i in range(count)]
    row = readers.new(wire.insert(1, wire.row(*columns)), TUPLE_AT)
    assert row == tuple(i if i % 7 else None for i in range(count))
