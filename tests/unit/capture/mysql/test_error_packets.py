"""Error packets of MySQL and MariaDB."""

from __future__ import annotations

import pytest

from capture.sources.mysql.packets import error_of
from schemas.errors import ErrorKind


@pytest.mark.parametrize(("code", "says"), [(1045, True), (1698, True), (1142, False)])
def test_a_refused_login_says_what_to_check(code: int, says: bool) -> None:
    error = error_of(b"\xff" + code.to_bytes(2, "little") + b"#28000Access  denied", "the server refused user cap")
    assert (error.kind, error.message) == (
        ErrorKind.PREREQUISITE,
        f"the server refused user cap: Access denied ({code})",
    )
    assert ("`source.password`" in (error.remedy or "")) is says
