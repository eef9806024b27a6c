"""Values of defaults as the catalogue prints them."""

from __future__ import annotations

from typing import Any

import pytest

from capture.sources.mysql.completion import _default_value
from schemas.types import Family


@pytest.mark.parametrize(
    ("native", "default", "value"),
    [
        ("varbinary(4)", "0x6100FF", b"a\0\xff"),
        ("varbinary(4)", "x''", b""),
        ("varbinary(4)", "_binary 'a''b'", b"a'b"),
        ("varbinary(4)", "", None),
    ],
)
def test_bytes(native: str, default: str, value: Any) -> None:
    assert _default_value(Family.BYTES, native, default, "null") == value
