"""What the catalogues of MySQL and MariaDB show of a default, as SQL."""

from __future__ import annotations

import pytest

from capture.sources.mysql.catalog import _default
from schemas.types import Family, LogicalType

TEXT = LogicalType(Family.TEXT)


@pytest.mark.parametrize(
    ("shown", "native", "extra", "is_mariadb", "expected"),
    [
        # A comparison of two texts begins and ends with quotes, and is no text.
        ("'a' like 'b'", "varchar(20)", "", True, "'a' like 'b'"),
        ("'a''b'", "varchar(20)", "", True, "'a''b'"),
        (r"'a\'b'", "varchar(20)", "", True, "'a''b'"),
        ("_latin1'a'", "varchar(20)", "", True, "_latin1'a'"),
        # A text that looks like bits is one where the column has texts.
        ("b'1'", "varchar(9)", "", False, "'b''1'''"),
        ("b'101'", "bit(3)", "", False, "b'101'"),
        ("current_timestamp(6)", "varchar(30)", "", False, "'current_timestamp(6)'"),
        ("current_timestamp(6)", "datetime(6)", "DEFAULT_GENERATED", False, "current_timestamp(6)"),
        ("NULL", "varchar(9)", "", False, "'NULL'"),
        ("NULL", "varchar(9)", "", True, None),
    ],
)
def test_a_default_is_a_literal_only_where_it_is_a_value(
    shown: str, native: str, extra: str, is_mariadb: bool, expected: str | None
) -> None:
    assert _default(shown, extra, TEXT, native, is_mariadb=is_mariadb) == expected
