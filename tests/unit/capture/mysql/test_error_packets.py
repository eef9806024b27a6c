"""Error packets of MySQL and MariaDB."""

from __future__ import annotations

import pytest

from capture.sources.mysql.packets import error_of
from schemas.errors import ErrorKind


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (1045, "`source.tls.mode`"),
        (1698, "`source.password`"),
        *((code, "`tailrace plan --grants`") for code in (1044, 1142, 1143, 1227, 1370)),
    ],
)
def test_whoever_is_refused_is_told_what_to_check_or_to_grant(code: int, says: str) -> None:
    error = error_of(b"\xff" + code.to_bytes(2, "little") + b"#28000Access  denied", "the server refused user cap")
    assert (error.kind, error.message) == (
        ErrorKind.PREREQUISITE,
        f"the server refused user cap: Access denied ({code})",
    )
    assert says in (error.remedy or "")
