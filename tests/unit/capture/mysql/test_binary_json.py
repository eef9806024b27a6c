"""Binary JSON against documents that are encoded here."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.sources.mysql.binary_json import double_text, json_text

documents = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=5)),
    max_leaves=20,
)


def _length(n: int) -> bytes:
    content = b""
    while n > 127:
        content += bytes([n & 127 | 128])
        n >>= 7
    return content + bytes([n])


def encode(value: Any, *, large: bool) -> tuple[int, bytes]:
    """Return type and content of a value; containers with offsets of four bytes if `large`."""
    if value is None or isinstance(value, bool):
        return 4, bytes([{None: 0, True: 1, False: 2}[value]])
    if isinstance(value, int):
        for kind, code, low, high in (
            (5, "<h", -(2**15), 2**15 - 1),
            (6, "<H", 0, 2**16 - 1),
            (7, "<i", -(2**31), 2**31 - 1),
            (8, "<I", 0, 2**32 - 1),
            (9, "<q", -(2**63), 2**63 - 1),
        ):
            if low <= value <= high:
                return kind, struct.pack(code, value)
        return 10, struct.pack("<Q", value)
    if isinstance(value, float):
        return 11, struct.pack("<d", value)
    if isinstance(value, str):
        content = value.encode()
        return 12, _length(len(content)) + content
    width = 4 if large else 2
    keys = [key.encode() for key in value] if isinstance(value, dict) else []
    items = [encode(item, large=large) for item in (value.values() if isinstance(value, dict) else value)]
    at = 2 * width + len(keys) * (width + 2) + len(items) * (width + 1)
    head, tail = b"", b""
    for key in keys:
        head += (at + len(tail)).to_bytes(width, "little") + len(key).to_bytes(2, "little")
        tail += key
    for kind, content in items:
        if kind in (4, 5, 6) or (large and kind in (7, 8)):
            head += bytes([kind]) + content.ljust(width, b"\0")
        else:
            head += bytes([kind]) + (at + len(tail)).to_bytes(width, "little")
            tail += content
    body = len(items).to_bytes(width, "little") + (2 * width + len(head) + len(tail)).to_bytes(width, "little")
    return (1 if large else 0) if isinstance(value, dict) else (3 if large else 2), body + head + tail


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents, st.booleans())
def test_documents_are_read_as_they_were_written(document: Any, large: bool) -> None:
    kind, content = encode(document, large=large)
    assert json.loads(json_text(bytes([kind]) + content)) == document


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_keep_every_digit(value: float) -> None:
    text = double_text(value)
    assert float(text) == value
    assert "+" not in text


def test_values_that_json_has_no_notation_for_print_as_the_server_prints_them() -> None:
    day = (2020 * 13 + 1) << 5 | 2
    packed = ((day << 17 | 3 << 12 | 4 << 6 | 5) << 24) + 500_000
    assert json_text(b"\x0f\x0c\x08" + struct.pack("<q", packed)) == '"2020-01-02 03:04:05.500000"'
    assert json_text(b"\x0f\x0a\x08" + struct.pack("<q", day << 41)) == '"2020-01-02"'
    clock = (838 << 12 | 59 << 6 | 59) << 24
    assert json_text(b"\x0f\x0b\x08" + struct.pack("<q", -clock)) == '"-838:59:59.000000"'
    assert json_text(b"\x0f\xf6\x04\x03\x02\x81\x32") == "1.50"
    assert json_text(b"\x0f\xfc\x02\x01\x02") == '"base64:type252:AQI="'
    assert json_text(b"") == "null"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"\1" + b"\xff" * 4 + bytes(60), id="more members than it has bytes"),
        pytest.param(b"\2" + bytes((1, 0, 7, 0)) + b"\2" + bytes(2), id="an array that holds itself"),
        pytest.param(b"\2" + 100 * bytes((1, 0, 7, 0, 2, 7, 0)) + bytes(4), id="101 levels"),
    ],
)
def test_a_damaged_document_is_an_error(document: bytes) -> None:
    with pytest.raises(ValueError, match="nested too deeply, or ends within"):
        json_text(document)


def test_a_document_may_have_a_hundred_levels() -> None:
    assert json_text(b"\2" + 99 * bytes((1, 0, 7, 0, 2, 7, 0)) + bytes(4)) == 100 * "[" + 100 * "]"
