"""Control tables: what a target will never take keeps nothing else from its way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from apply.applier import Applier
from apply.journal import Journal
from apply.report import Report
from schemas.control_tables import ControlTableSettings
from schemas.errors import ErrorKind, TailraceError

NAME_MAX = 64
TOO_LONG = "t" * 200


class Tables:
    """Tables in memory, whose names are as short as MySQL's."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {}
        self.closed = False

    def add(self, table: str, rows: list[Any]) -> None:
        if any(isinstance(value, str) and len(value) > NAME_MAX for row in rows for value in row):
            raise TailraceError(ErrorKind.ROW_REJECTED, "Data too long for column")
        self.rows.setdefault(table, []).extend(rows)

    def replace(self, table: str, server: str, task: str, rows: list[Any]) -> None:
        self.rows.pop(table, None)
        self.add(table, rows)

    def close(self) -> None:
        self.closed = True


def test_a_row_that_is_never_taken_does_not_keep_others_from_their_way() -> None:
    tables = Tables()
    suspended: dict[str, TailraceError] = {TOO_LONG: TailraceError(ErrorKind.TARGET_SCHEMA, "narrow")}
    applier = SimpleNamespace(
        holds=SimpleNamespace(suspended=lambda: suspended),
        catalog=SimpleNamespace(topics={}, topic_of=lambda table: table),
    )
    report = SimpleNamespace(trouble=lambda error: None, lag_ms=0, applied_us=None, lag_records=3)
    settings = ControlTableSettings(exceptions=True, suspended=True, status=True)
    journal = Journal(settings, "shop", "host", tables, cast("Applier", applier), cast("Report", report), lambda: True)
    for table in (TOO_LONG, "orders"):
        journal.on_trouble(TailraceError(ErrorKind.TARGET_SCHEMA, "narrow", table=table))
    journal.close()
    assert [row[2] for row in tables.rows["awsdms_apply_exceptions"]] == ["orders"]
    assert [row[2] for row in tables.rows["awsdms_status"]] == ["NOT RUNNING"]
    assert tables.closed
