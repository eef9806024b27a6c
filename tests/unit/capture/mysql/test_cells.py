"""Rows of a query: large values are taken out where they stand as records have them, and nothing else is touched."""

from __future__ import annotations

import pytest

from capture.sources.mysql.cells import CellForm
from capture.sources.mysql.types import reader
from schemas.errors import ErrorKind, TailraceError
from schemas.row_forms import UnreadRows
from schemas.table import Column, TableName, TableSchema

NATIVES = ("bigint", "longtext character set utf8mb4", "longblob", "longtext character set latin1", "json")


def _lenenc(value: bytes | None) -> bytes:
    if value is None:
        return b"\xfb"
    size = len(value)
    return (bytes([size]) if size < 251 else b"\xfc" + size.to_bytes(2, "little")) + value


def test_large_values_of_a_row_are_taken_out() -> None:
    readers = [reader(native, "null") for native in NATIVES]
    columns = tuple(Column(f"c{i}", r.type, native) for i, (r, native) in enumerate(zip(readers, NATIVES, strict=True)))
    form = CellForm(TableSchema(TableName("s", "wide"), columns, (0,)), readers)
    text, data, document = "é\t😀" * 100, bytes(range(256)), '{"a": "%s"}' % ("x" * 300)
    cells = [b"7", text.encode(), data, b"\xe9" * 300, document.encode()]
    packet = b"".join(map(_lenenc, cells))
    rows = UnreadRows(form, [packet])
    values = rows.cut(250)
    assert [(b"".join(value.pieces()), value.is_text) for value in values] == [
        (cells[1], True),
        (data, False),
        (cells[4], True),
    ]
    stands = [value.stand_in for value in values]
    assert rows[0] == (7, stands[0].decode(), stands[1], "é" * 300, stands[2].decode())
    # A key is never taken out: records go by it.
    keyed = CellForm(TableSchema(TableName("s", "wide"), columns, (1,)), readers)
    assert [value.is_text for value in keyed.take_out(packet, 250)[1]] == [False, True]
    small = b"".join(map(_lenenc, [b"8", None, b"", b"x", b"1"])) + b""
    assert form.take_out(small, 250) == (small, [])
    with pytest.raises(TailraceError) as caught:
        form.take_out(packet[:-1], 250)
    assert caught.value.kind is ErrorKind.DECODE


def test_what_cannot_be_read_is_told_with_its_column() -> None:
    readers = [reader(native, "error") for native in ("int", "date", "json")]
    names = ("id", "day", "more")
    columns = tuple(Column(n, r.type, r.type.family.value) for n, r in zip(names, readers, strict=True))
    form = CellForm(TableSchema(TableName("s", "wide"), columns, (0,)), readers)
    good = b"".join(map(_lenenc, [b"1", None, b"{}"]))
    assert form.read([good]) == [(1, None, "{}")]
    for column, cells in (("day", [b"2", b"2024-00-00", b"{}"]), ("more", [b"3", None, b"\xff"])):
        with pytest.raises(TailraceError) as caught:
            form.read([good, b"".join(map(_lenenc, cells))])
        assert (caught.value.kind, caught.value.table) == (ErrorKind.DECODE, "s.wide")
        assert caught.value.message.startswith(f"column {column}: ")
        assert caught.value.remedy
