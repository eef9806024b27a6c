"""Generated row encoders make what a plain reader of COPY's binary format reads back."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.sinks.postgresql import rows as lines
from apply.sinks.postgresql.numeric import encode_decimal, unscaled_encoder
from apply.sinks.postgresql.rows import (
    BLOCK_BYTES,
    GATHERED_BYTES,
    Field,
    LineForm,
    counted,
    each_numbered,
    gathered,
    line_encoder,
    numbered,
    streamed,
)
from apply.sinks.postgresql.types import Wire, direct_wire, wire_of
from schemas.large_values import value_of
from schemas.types import Family, LogicalType
from schemas.types.calendar import INFINITY_US, MINUS_INFINITY_US
from schemas.types.numbers import NAN
from tests.kit.type_samples import SAMPLES


def fields_of(row: bytes) -> list[bytes | None]:
    """Read one row: a count, then each field with its length."""
    (count,) = struct.unpack_from(">h", row)
    place, fields = 2, []
    for _ in range(count):
        (length,) = struct.unpack_from(">i", row, place)
        place += 4
        fields.append(None if length < 0 else row[place : place + length])
        place += max(length, 0)
    assert place == len(row)
    return fields


def numeric_of(octets: bytes) -> str | tuple[int, int]:
    """Read a numeric: the unscaled integer and its scale, or the name of a special value."""
    count, weight, sign, scale = struct.unpack_from(">HhHH", octets)
    digits = struct.unpack_from(f">{count}H", octets, 8)
    assert len(octets) == 8 + 2 * count
    if sign in {0xC000, 0xD000, 0xF000}:
        return {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign]
    assert all(digit < 10_000 for digit in digits)
    value = 0
    for digit in digits:
        value = value * 10_000 + digit
    places = 4 * (count - 1 - weight)
    unscaled, rest = divmod(value * 10**scale, 10**places) if places >= 0 else (value * 10 ** (scale - places), 0)
    assert rest == 0
    return (-unscaled if sign else unscaled), scale


@given(st.integers(0, 30), st.integers())
def test_unscaled_integers_of_any_scale(scale: int, value: int) -> None:
    octets = unscaled_encoder(scale)(value)
    assert struct.unpack_from(">i", octets)[0] == len(octets) - 4
    assert numeric_of(octets[4:]) == (value, scale)


@pytest.mark.parametrize("scale", [0, 1, 2, 3, 4, 5, 8, 100])
@pytest.mark.parametrize("power", [0, 3, 4, 5, 7, 8, 9, 12, 16, 40])
def test_unscaled_integers_around_the_edges_of_the_fixed_shapes(scale: int, power: int) -> None:
    for value in (10**power - 1, 10**power, 10**power + 1, -(10**power), 1 - 10**power):
        assert numeric_of(unscaled_encoder(scale)(value)[4:]) == (value, scale)
    assert numeric_of(unscaled_encoder(scale)(NAN)[4:]) == "NaN"


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60))
def test_decimals_keep_their_scale(value: Decimal) -> None:
    found = numeric_of(encode_decimal(value)[4:])
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    unscaled = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    assert found == (-unscaled if sign else unscaled, max(-exponent, 0))


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_special_decimals(name: str) -> None:
    assert numeric_of(encode_decimal(Decimal(name))[4:]) == name


def test_a_tiny_decimal_is_not_a_row_of_zeros() -> None:
    octets = encode_decimal(Decimal((0, (7,), -16_383)))
    assert len(octets) == 4 + 8 + 2
    assert numeric_of(octets[4:]) == (7, 16_383)


def encoded(wires: list[Wire], row: tuple[Any, ...]) -> list[bytes | None]:
    """Encode one row and read it back."""
    fields: list[Field] = [(index, wire) for index, wire in enumerate(wires)]
    lines = line_encoder(fields, width=len(wires))([row])
    assert fields_of(b"".join(counted(lines, len(wires)))) == fields_of(b"".join(numbered(lines, len(wires), 77)))[1:]
    part, *rest = fields_of(b"".join(numbered(lines, len(wires), 77)))
    assert part == struct.pack(">q", 77)
    return rest


def test_a_row_is_the_same_by_the_fast_and_by_the_slow_path() -> None:
    """A null somewhere chooses the slow path: all other fields must not change by it."""
    wires = [wire_of(sample.type) for sample in SAMPLES]
    for turn in range(max(len(sample.values) for sample in SAMPLES)):
        row = tuple(sample.values[turn % len(sample.values)] for sample in SAMPLES)
        fast = encoded([*wires, wire_of(LogicalType(Family.BOOLEAN))], (*row, True))
        slow = encoded([*wires, wire_of(LogicalType(Family.BOOLEAN))], (*row, None))
        assert fast[:-1] == slow[:-1]
        assert (fast[-1], slow[-1]) == (b"\x01", None)
        assert None not in fast


@pytest.mark.parametrize(
    ("family", "value", "octets"),
    [
        (Family.TIMESTAMP, 946_684_800_000_001, struct.pack(">q", 1)),
        (Family.TIMESTAMPTZ, INFINITY_US, struct.pack(">q", 2**63 - 1)),
        (Family.TIMESTAMPTZ, MINUS_INFINITY_US, struct.pack(">q", -(2**63))),
        (Family.TIMESTAMP, 9_224_318_015_999_999_999 - (1 << 64), struct.pack(">q", 9_223_371_331_199_999_999)),
        (Family.TIMESTAMP, -210_866_803_200_000_000, struct.pack(">q", -211_813_488_000_000_000)),
        (Family.DATE, 10_957, struct.pack(">i", 0)),
        (Family.DATE, 2**31 - 1, struct.pack(">i", 2**31 - 1)),
        (Family.DATE, -(2**31), struct.pack(">i", -(2**31))),
        (Family.UUID, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", bytes.fromhex("f81d4fae7dec11d0a76500a0c91e6bf6")),
        (Family.FLOAT32, 0.10000000149011612, struct.pack(">f", 0.1)),
        (Family.STRING, "é", b"\xc3\xa9"),
        (Family.XML, "<a/>", b"<a/>"),
    ],
)
def test_a_field_has_the_bytes_that_postgresql_expects(family: Family, value: Any, octets: bytes) -> None:
    assert encoded([wire_of(LogicalType(family))], (value,)) == [octets]


def test_jsonb_has_its_version_where_it_goes_straight_in() -> None:
    wire = direct_wire(LogicalType(Family.JSON), "jsonb")
    assert wire is not None
    assert encoded([wire], ("{}",)) == [b"\x01{}"]
    assert direct_wire(LogicalType(Family.TEXT), "inet") is None


def test_every_family_has_a_wire() -> None:
    for family in Family:
        assert wire_of(LogicalType(family, scale=2)).stage


def test_fields_that_are_left_out_are_null() -> None:
    integer = wire_of(LogicalType(Family.INT32))
    lines = line_encoder([None, (2, integer), None], width=3)([("ignored", None, 5)])
    assert fields_of(b"".join(counted(lines, 3))) == [None, struct.pack(">i", 5), None]


@pytest.mark.parametrize(
    ("family", "value"),
    [
        (Family.INT16, 1 << 15),
        (Family.INT64, "7"),
        (Family.UINT32, -1),
        (Family.STRING, 7),
        (Family.STRING, "\ud800"),
        (Family.UUID, "f81d4fae"),
        (Family.FLOAT32, 1e300),
        (Family.BYTES, "text"),
        (Family.NUMERIC, 1.5),
    ],
)
def test_a_value_of_another_family_raises_what_the_writer_expects(family: Family, value: Any) -> None:
    encode = line_encoder([(0, wire_of(LogicalType(family)))], width=1)
    with pytest.raises((struct.error, OverflowError, TypeError, ValueError, AttributeError)):
        encode([(value,)])


def test_large_values_go_where_their_stand_ins_are(monkeypatch: pytest.MonkeyPatch) -> None:
    families = [Family.INT64, Family.STRING, Family.BYTES, Family.JSON]
    wires = [wire_of(LogicalType(f)) for f in families[:3]] + [direct_wire(LogicalType(Family.JSON), "jsonb")]
    fields: list[Field] = [(i, wire) for i, wire in enumerate(wires) if wire is not None]
    assert len(fields) == 4
    encode = line_encoder(fields, width=4)
    whole = (1, "é" * 99, bytes(range(256)), '{"a": 1}')
    values = [value_of(memoryview(v.encode() if isinstance(v, str) else v), is_text=True) for v in whole[1:]]
    stands = [value.stand_in for value in values]
    rows = [whole, (2, stands[0].decode(), None, None), (3, stands[0].decode(), stands[1], stands[2].decode())]
    expected = b"".join(numbered(encode([whole, (2, whole[1], None, None), (3, *whole[1:])]), 4, 7))
    for least in (1, lines.LARGE_BYTES):
        # Large lines stand by themselves.
        monkeypatch.setattr(lines, "LARGE_BYTES", least)
        pieces = list(numbered(encode(rows), 4, 7))
        assert len(pieces) == (6 if least == 1 else 2)
        assert b"".join(streamed(pieces, values[::-1])) == expected
    assert LineForm(tuple(fields)).streams(families)
    odd = wire_of(LogicalType(Family.UUID))
    assert not LineForm((*fields, (4, odd))).streams([*families, Family.TEXT])
    assert LineForm((*fields, (4, odd))).streams([*families, Family.UUID])


def test_parts_of_one_row_each_are_numbered_one_after_the_other() -> None:
    made = [b"\0\0\0\1x", b"", b"\xff" * 4]
    one_by_one = [b"".join(numbered([line], 3, part)) for part, line in enumerate(made, 7)]
    assert each_numbered(made, 3, 7) == b"".join(one_by_one)
    assert each_numbered([], 3, 7) == b""


@pytest.mark.parametrize("sizes", [[300] * 9000, [10_000] * 200, [40, 900_000] * 5, [7], []])
def test_a_batch_is_never_joined_whole(sizes: list[int]) -> None:
    made = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    pieces = list(numbered(made, 3, 7))
    longest = max(sizes, default=0)
    # No block is much larger than it has to be, and small ones do not go out by themselves.
    assert max(map(len, pieces), default=0) < 2 * BLOCK_BYTES + 2 * longest
    blocks = list(gathered([b"first", *pieces, b"last"]))
    assert len(blocks) <= 3 + 2 * sum(sizes) // GATHERED_BYTES
    head = b"\x00\x04\x00\x00\x00\x08" + (7).to_bytes(8, "big")
    assert b"".join(blocks) == b"first" + b"".join(head + line for line in made) + b"last"
    assert len(list(gathered([b"first", b"last"]))) == 1
