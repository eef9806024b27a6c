"""What a server's numbers mean where it is one of a group, or has just become another one."""

from __future__ import annotations

from typing import Any

import pytest

from apply.sinks.mysql import findings as checks
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.errors import classified
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TARGET = MysqlTarget(engine="mysql", host="127.0.0.1", user="u", database="shop")
KEYLESS = TableSchema(TableName("public", "bag"), (Column("v", LogicalType(Family.INT32), "integer"),), ())


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        # A group's certification: the transaction is written again, as after a deadlock.
        (3101, ErrorKind.TARGET_THROTTLED, None),
        (3100, ErrorKind.TARGET_THROTTLED, "apply.batch_rows"),
        (1197, ErrorKind.TARGET_THROTTLED, "apply.batch_rows"),
        (1637, ErrorKind.TARGET_THROTTLED, None),
        # Not to be taken for a table's trouble.
        (1047, ErrorKind.TARGET_CONNECTION, "Galera"),
        (3032, ErrorKind.TARGET_CONNECTION, "offline"),
        (3168, ErrorKind.TARGET_CONNECTION, None),
        (3169, ErrorKind.TARGET_CONNECTION, None),
        (1157, ErrorKind.TARGET_CONNECTION, None),
        (1874, ErrorKind.TARGET_CONNECTION, "read-only"),
        (1130, ErrorKind.CONFIGURATION, "host"),
        (1251, ErrorKind.CONFIGURATION, "authentication"),
        (1862, ErrorKind.CONFIGURATION, "password"),
        (3955, ErrorKind.CONFIGURATION, "locked"),
        (3098, ErrorKind.TARGET_SCHEMA, "define-primary-key"),
    ],
)
def test_numbers_of_groups_and_logins_have_their_kinds(code: int, kind: ErrorKind, said: str | None) -> None:
    found, remedy = classified(code)
    assert (found, remedy is None) == (kind, said is None)
    assert said is None or said in str(remedy)


class _Server(Link):
    """A server of which nothing is there but what it says of itself."""

    is_a_reader = "OFF"
    switches: tuple[tuple[str, str], ...] = ()

    @property
    def connection(self) -> Any:
        self.version = (9, 7)
        return None

    def rows(self, query: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        if "innodb_read_only" in query:
            return [(0, self.is_a_reader, "", 1, 1 << 30, 1, 0, 1, "ROW", "u@%")]
        return list(self.switches) if "show global variables" in query else []

    def value(self, query: str, parameters: Any = ()) -> Any:
        return 0


def _codes(monkeypatch: pytest.MonkeyPatch, **said: Any) -> set[str]:
    monkeypatch.setattr(checks, "Link", type("Said", (_Server,), said))
    return {finding.code for finding in checks.findings("shop", "replica", TARGET, [KEYLESS])}


def test_a_reader_that_does_not_say_read_only_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aurora's readers have `innodb_read_only`, and `read_only` off."""
    assert "target-read-only" not in _codes(monkeypatch)
    assert "target-read-only" in _codes(monkeypatch, is_a_reader="1")


def test_a_group_takes_no_tables_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    name = ("group_replication_group_name", "3e11fa47-71ca-11e1-9e33-c80aa9429562")
    assert "target-key" not in _codes(monkeypatch, switches=((name[0], ""), ("sql_require_primary_key", "OFF")))
    assert "target-key" in _codes(monkeypatch, switches=(name,))
    assert "target-key" not in _codes(monkeypatch, switches=(name, ("sql_generate_invisible_primary_key", "ON")))
