"""What `load data` reads: large values go where their stand-ins are, as the encoder would have written them."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from apply.sinks.mysql.memory_load import MemoryConnection, streamed
from apply.sinks.mysql.rows import line_encoder
from apply.sinks.mysql.types import _WIRES, Wire
from schemas import large_values
from schemas.large_values import value_of
from schemas.types import Family


def test_large_values_go_where_their_stand_ins_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_values, "PIECE_BYTES", 5)
    families = [Family.INT64, Family.STRING, Family.BYTES, Family.JSON]
    wires = [_WIRES[family] for family in families]
    encode = line_encoder(list(enumerate(wires)), width=4)
    whole = (1, "é\\\t\n\0😀" * 9, bytes(range(256)), '{"a": "\\\\n"}')
    contents = [v.encode() if isinstance(v, str) else v for v in whole[1:]]
    values = [value_of(memoryview(c), is_text=n != 1) for n, c in enumerate(contents)]
    text, data, document = (value.stand_in for value in values)
    rows = [(1, text.decode(), data, document.decode()), (2, None, data, None), (3, "", b"", text.decode())]
    lines = b"".join(encode(rows))
    expected = b"".join(encode([whole, (2, None, whole[2], None), (3, "", b"", whole[1])]))
    assert b"".join(streamed(lines, values[::-1])) == expected
    assert all(wire.streams(family) for wire, family in zip(wires, families, strict=True))
    assert not Wire("{v}").streams(Family.TEXT)
    assert not Wire("{v}.hex()").streams(Family.BYTES)


@pytest.mark.parametrize(
    ("said", "loaded"),
    [
        # The text stands behind its length, which may be a digit's code.
        (b"0Records: 3  Deleted: 2  Skipped: 0  Warnings: 0", 3),
        (b"2Rader: 30  Bortagna: 2  Ej uppdaterade: 1  Varningar: 1", 29),
        (b"", 5),
    ],
)
def test_rows_that_replaced_others_are_loaded_once(monkeypatch: pytest.MonkeyPatch, said: bytes, loaded: int) -> None:
    connection = MemoryConnection(defer_connect=True)
    monkeypatch.setattr(connection, "query", lambda statement: 5)
    connection._result = Mock(message=said)
    assert connection.load("load data local infile 'memory' replace into table t", [b"1\n"]) == loaded
