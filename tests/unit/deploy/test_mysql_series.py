"""Which release of MySQL or MariaDB stands where the usual one would."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.cache import DownloadError, LocalServerError
from deploy.local.mysql import MysqlServer, programs


@pytest.mark.parametrize(
    ("series", "product", "named"),
    [
        ("11.4", "MariaDB 11.4", "MariaDB 10.11"),
        ("mysql", "MySQL 9", "MySQL 8.0"),
        # What is asked for by name is that.
        ("mariadb", "the newest MariaDB", "the newest MariaDB"),
        ("8.0.15", "MySQL 8.0.15", "MySQL 8.0.15"),
    ],
)
def test_a_setting_names_another_release_for_each_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, series: str, product: str, named: str
) -> None:
    for setting in ("TAILRACE_MARIADB", "TAILRACE_MYSQL"):
        monkeypatch.delenv(setting, raising=False)
    assert MysqlServer(tmp_path, series=series).product == product
    # As a Makefile passes on what nobody has set.
    monkeypatch.setenv("TAILRACE_MARIADB", "")
    assert MysqlServer(tmp_path, series=series).product == product
    monkeypatch.setenv("TAILRACE_MARIADB", "10.11")
    monkeypatch.setenv("TAILRACE_MYSQL", "8.0")
    assert MysqlServer(tmp_path, series=series).product == named


def test_a_release_that_cannot_be_had_is_refused_and_no_test_skipped_for_it() -> None:
    with pytest.raises(LocalServerError, match=r"10\.11, 11\.4, mariadb, mysql, 8\.0, 8\.0\.15, not 8\.4") as caught:
        programs("8.4")
    assert not isinstance(caught.value, DownloadError)
