"""Values of MariaDB's compressed columns, as the log has them."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import MappedColumn
from capture.sources.mysql.compression import unpacked_value
from capture.sources.mysql.natives import Charsets, of_catalogue, of_log
from tests.unit.capture.mysql.images import packed

CHARSETS = Charsets({8: "latin1", 45: "utf8mb4", 63: "binary"}, {"latin1": 1, "utf8mb4": 4, "binary": 1})


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 65_535, 65_536, 1 << 24])
def test_values_are_what_was_compressed(size: int, framed: bool) -> None:
    content = b"x" * size
    assert unpacked_value(packed(content, framed=framed), size) == content
    assert unpacked_value(b"\0" + content, size) == content


def test_an_empty_value_has_no_first_byte() -> None:
    assert unpacked_value(b"", 9) == b""


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x10ab",
        b"\x90\1ab",
        b"\x80",
        b"\x87\0\0",
        b"\x81\5" + zlib.compress(b"abcde")[:-1],
        b"\x81\5" + zlib.compress(b"abcd"),
        b"\x81\5" + zlib.compress(b"abcdef"),
        b"\x89\5" + zlib.compress(b"abcde"),
        # More than the column holds.
        b"\x82\1\1" + zlib.compress(bytes(257)),
    ],
)
def test_what_is_damaged_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"unknown compression|another length|zlib cannot"):
        unpacked_value(damaged, 256)


@given(st.binary(max_size=300), st.booleans(), st.integers(0, 400), st.binary(max_size=3))
def test_any_damage_is_refused_or_makes_another_value(content: bytes, framed: bool, at: int, junk: bytes) -> None:
    whole = packed(content, framed=framed)
    try:
        found = unpacked_value(whole[:at] + junk + whole[at + len(junk) :], 300)
    except ValueError:
        return
    assert len(found) <= 400


def test_no_more_is_unpacked_than_a_column_holds() -> None:
    damaged = packed(bytes(50_000_000), framed=True)
    lying = b"\x84" + (60_000).to_bytes(4, "big") + damaged[5:]
    tracemalloc.start()
    try:
        for value in (damaged, lying):
            with pytest.raises(ValueError, match=r"unknown compression|another length"):
                unpacked_value(value, 65_535)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


@pytest.mark.parametrize(
    ("kind", "meta", "collation", "native"),
    [
        (binlog.VARCHAR_COMPRESSED, 10 * 4 + 1, 45, "varchar(10)"),
        (binlog.VARCHAR_COMPRESSED, 256, 8, "varchar(255) character set latin1"),
        (binlog.VARCHAR_COMPRESSED, 256, 63, "varbinary(255)"),
        (binlog.BLOB_COMPRESSED, 1, 63, "tinyblob"),
        (binlog.BLOB_COMPRESSED, 4, 45, "longtext"),
    ],
)
def test_a_map_shows_the_type_that_the_column_has_without_it(kind: int, meta: int, collation: int, native: str) -> None:
    column = MappedColumn(kind, meta, nullable=True, collation=collation, name="v")
    assert of_log(column, CHARSETS, None).text() == native
    base, _, charset = native.partition(" character set ")
    charset = charset or ("" if collation == 63 else "utf8mb4")
    assert of_catalogue(f"{base} /*M!100301 COMPRESSED*/", charset or None) == native


def test_a_label_of_an_enum_is_not_taken_for_the_attribute() -> None:
    assert of_catalogue("enum('COMPRESSED','b')", "utf8mb4") == "enum('COMPRESSED','b')"
