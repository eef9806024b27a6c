"""The generated readers: every mix of nulls, unchanged values and forms; and bytes that are wrong."""

from __future__ import annotations

from struct import error as struct_error
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.sources.postgresql.pgoutput import TUPLE_AT, compile_readers
from capture.sources.postgresql.snapshot import compile_copy_reader
from capture.sources.postgresql.types import Reader, reader
from schemas.changes import UNCHANGED
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
COMPILED = {binary: compile_readers(READERS, KEY, binary=binary) for binary in (False, True)}
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
    readers = compile_readers([READERS[0]] * count, [False] * count, binary=True)
    columns = [wire.binary(pack(">q", i)) if i % 7 else b"n" for i in range(count)]
    row = readers.new(wire.insert(1, wire.row(*columns)), TUPLE_AT)
    assert row == tuple(i if i % 7 else None for i in range(count))
