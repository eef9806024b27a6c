"""Row images as MySQL and MariaDB write them, value by value: each type's canonical values and their bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from capture.sources.mysql.natives import parse_native
from capture.sources.mysql.rows import MappedReader
from capture.sources.mysql.types import compressed, reader

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Write = Callable[[Any], bytes]


def _counted(prefix: int) -> Write:
    return lambda content: len(content).to_bytes(prefix, "little") + content


def packed(content: bytes, *, framed: bool) -> bytes:
    """Return what a compressed column of MariaDB's holds of bytes, with zlib's frame or without."""
    compressing = zlib.compressobj(wbits=zlib.MAX_WBITS if framed else -zlib.MAX_WBITS)
    size = max(1, (len(content).bit_length() + 7) // 8)
    head = bytes([0x80 | size | (0 if framed else 8)]) + len(content).to_bytes(size, "big")
    return head + compressing.compress(content) + compressing.flush()


def _compressed(prefix: int) -> Write:
    """Write some as they are, some with a frame, and some without."""

    def write(value: str | bytes) -> bytes:
        content = value.encode() if isinstance(value, str) else value
        form = len(content) % 3
        return _counted(prefix)((content and b"\0" + content) if not form else packed(content, framed=form == 1))

    return write


def _date(days: int) -> bytes:
    day = date(1970, 1, 1) + timedelta(days)
    return (day.year << 9 | day.month << 5 | day.day).to_bytes(3, "little")


def _fraction(us: int, size: int) -> bytes:
    return (us // int(10 ** (6 - 2 * size))).to_bytes(size, "big")


def _datetime(size: int) -> Write:
    """Write with a fraction of so many bytes."""

    def write(us: int) -> bytes:
        stamp = EPOCH + timedelta(microseconds=us)
        whole = (stamp.year * 13 + stamp.month) << 5 | stamp.day
        whole = whole << 17 | stamp.hour << 12 | stamp.minute << 6 | stamp.second
        return (whole + 0x8000000000).to_bytes(5, "big") + _fraction(stamp.microsecond, size)

    return write


def _timestamp(size: int) -> Write:
    return lambda us: (us // 1_000_000).to_bytes(4, "big") + _fraction(us % 1_000_000, size)


def _decimal(precision: int, scale: int) -> Write:
    """Write as `decimal2bin` does: digits in groups of nine from the point outwards."""
    sizes = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)

    def write(n: int) -> bytes:
        digits = str(abs(n)).rjust(precision, "0")
        whole, fraction = digits[: precision - scale], digits[precision - scale :]
        groups = [whole[: len(whole) % 9]] if len(whole) % 9 else []
        groups += [whole[i : i + 9] for i in range(len(whole) % 9, len(whole), 9)]
        groups += [fraction[i : i + 9] for i in range(0, len(fraction), 9)]
        content = b"".join(int(g).to_bytes(sizes[len(g)], "big") for g in groups)
        content = bytes([content[0] ^ 0x80]) + content[1:]
        return bytes(b ^ 0xFF for b in content) if n < 0 else content

    return write


def _packed(code: str) -> Write:
    return lambda value: struct.pack("<" + code, value)


def _whole(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else st.integers(0, (1 << bits) - 1)


def _digits(count: int) -> st.SearchStrategy[int]:
    return st.integers(-(10**count) + 1, 10**count - 1)


MOMENTS = st.integers(-30610224000, 253402300799)
TEXTS = st.one_of(st.text(max_size=20), st.text('\0\1\10\t\n\r\33"\\/é\u2028😀 a', max_size=20))

COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Write, int]] = {
    "tinyint": (_whole(8), _packed("b"), 0),
    "tinyint unsigned": (_whole(8, signed=False), _packed("B"), 0),
    "smallint": (_whole(16), _packed("h"), 0),
    "smallint unsigned": (_whole(16, signed=False), _packed("H"), 0),
    "mediumint": (_whole(24), lambda v: v.to_bytes(3, "little", signed=True), 0),
    "mediumint unsigned": (_whole(24, signed=False), lambda v: v.to_bytes(3, "little"), 0),
    "int": (_whole(32), _packed("i"), 0),
    "int unsigned": (_whole(32, signed=False), _packed("I"), 0),
    "bigint": (_whole(64), _packed("q"), 0),
    "bigint unsigned": (_whole(64, signed=False), _packed("Q"), 0),
    "float": (st.floats(width=32, allow_nan=False), _packed("f"), 0),
    "double": (st.floats(allow_nan=False), _packed("d"), 0),
    "decimal(65,30)": (_digits(65), _decimal(65, 30), 0),
    "decimal(18,9)": (_digits(18), _decimal(18, 9), 0),
    "decimal(18,1)": (_digits(18), _decimal(18, 1), 0),
    "decimal(12,12)": (_digits(12), _decimal(12, 12), 0),
    "decimal(7,3)": (_digits(7), _decimal(7, 3), 0),
    "decimal(9,0)": (_digits(9), _decimal(9, 0), 0),
    "year": (st.one_of(st.just(0), st.integers(1901, 2155)), lambda v: bytes([v and v - 1900]), 0),
    "date": (st.integers(-354285, 2932896), _date, 0),
    "datetime": (MOMENTS.map(lambda n: n * 1_000_000), _datetime(0), 0),
    "datetime(3)": (st.integers(-30610224000_000, 253402300799_999).map(lambda n: n * 1000), _datetime(2), 0),
    "datetime(6)": (st.integers(-30610224000_000_000, 253402300799_999_999), _datetime(3), 0),
    "timestamp": (st.integers(1, 2**32 - 1).map(lambda n: n * 1_000_000), _timestamp(0), 0),
    "timestamp(2)": (st.integers(1, 400_000_000_000).map(lambda n: n * 10_000), _timestamp(1), 0),
    "timestamp(6)": (st.integers(1, 4_000_000_000_000_000), _timestamp(3), 0),
    "time": (st.just("PT1H1S"), lambda _: (0x800000 + (1 << 12 | 1)).to_bytes(3, "big"), 0),
    "bit(11)": (st.from_regex(r"[01]{11}", fullmatch=True), lambda v: int(v, 2).to_bytes(2, "big"), 0),
    "bit(1)": (st.booleans(), lambda v: bytes([v]), 0),
    "varchar(20)": (TEXTS, lambda v: _counted(1)(v.encode()), 1),
    "varchar(300) character set ucs2": (
        st.text(st.characters(max_codepoint=0xD7FF), max_size=9),
        lambda v: _counted(2)(v.encode("utf-16-be")),
        2,
    ),
    "char(9) character set latin1": (
        st.text(st.characters(max_codepoint=0x7F), max_size=9) | st.text("aé\n", max_size=9),
        lambda v: _counted(1)(v.encode("latin-1")),
        1,
    ),
    "text": (TEXTS, lambda v: _counted(2)(v.encode()), 2),
    "binary(4)": (st.binary(min_size=4, max_size=4), lambda v: _counted(1)(v.rstrip(b"\0")), 1),
    "uuid": (
        st.uuids().map(str) | st.just("01020304-0506-0708-0900-000000000000"),
        lambda v: _counted(1)(bytes.fromhex(v.replace("-", "")).rstrip(b"\0")),
        1,
    ),
    "varbinary(9)": (st.binary(max_size=9), _counted(1), 1),
    "mediumblob": (st.binary(max_size=40), _counted(3), 3),
    "enum('a','b''c','é')": (
        st.sampled_from(["", "a", "b'c", "é"]),
        lambda v: bytes([["", "a", "b'c", "é"].index(v)]),
        0,
    ),
    "set('x','y','z')": (
        st.sampled_from(["", "x", "y", "x,y", "x,z", "x,y,z"]),
        lambda v: bytes([sum(1 << "xyz".index(label) for label in v.split(",") if label)]),
        0,
    ),
    "varchar(300) compressed": (TEXTS, _compressed(2), 2),
    "blob compressed": (st.binary(max_size=40), _compressed(2), 2),
}
"""By native type: canonical values, what writes them, and the bytes of the length before one."""


def image(natives: Sequence[str], row: Sequence[Any], present: set[int]) -> bytes:
    """Return the image of a row that holds some columns."""
    held = [i for i in range(len(natives)) if i in present]
    # As the servers do, unused bits of the bitmap are ones.
    bits = (1 << 8 * ((len(held) + 7) // 8)) - 1
    for bit, i in enumerate(held):
        if row[i] is not None:
            bits &= ~(1 << bit)
    content = b"".join(COLUMNS[natives[i]][1](row[i]) for i in held if row[i] is not None)
    return bits.to_bytes((len(held) + 7) // 8, "little") + content


def mapped(
    natives: Sequence[str], virtual: set[int], zero_dates: str = "error"
) -> tuple[list[MappedReader], list[int]]:
    """Return the columns as the log has them, and which of them rows have."""
    kept = [i for i in range(len(natives)) if i not in virtual]
    places = {i: place for place, i in enumerate(kept)}
    readers = [reader(native, zero_dates) for native in natives]
    readers = [compressed(r, 999) if "compressed" in native else r for r, native in zip(readers, natives, strict=True)]
    columns = [
        MappedReader(r, places.get(i), COLUMNS[native][2])
        for i, (r, native) in enumerate(zip(readers, natives, strict=True))
    ]
    return columns, kept


def cell(native: str, value: Any) -> bytes:
    """Return a value as a server sends it in a query's result."""
    known = parse_native(native)
    if isinstance(value, bytes):
        return value
    if known.base == "bit" or "character set" in native:
        # As in the log, where a length may stand before it.
        return COLUMNS[native][1](value)[COLUMNS[native][2] :]
    if known.base == "decimal":
        scale = known.args[1]
        digits = str(abs(value)).rjust(scale + 1, "0")
        text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
        return f"{'-' if value < 0 else ''}{text}".encode()
    if known.base == "date":
        return (EPOCH + timedelta(value)).date().isoformat().encode()
    if known.base in ("datetime", "timestamp"):
        text = (EPOCH + timedelta(microseconds=value)).strftime("%H:%M:%S.%f")
        day = (EPOCH + timedelta(microseconds=value)).date().isoformat()
        return f"{day} {text[: 9 + known.length if known.length else 8]}".encode()
    return b"01:00:01" if known.base == "time" else str(value).encode()
