"""Control tables: what a target will never take keeps nothing else from its way."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from apply.applier import Applier
from apply.dms_control_tables import DmsControlTables
from apply.outcome import Outcome
from apply.report import Report
from schemas.control_tables import ControlTableSettings
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName

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

    def replace(self, table: str, owner: tuple[str, ...], rows: list[Any]) -> None:
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
    control_tables = DmsControlTables(
        settings, "shop", "host", tables, cast("Applier", applier), cast("Report", report), lambda: True
    )
    for table in (TOO_LONG, "orders"):
        control_tables.on_trouble(TailraceError(ErrorKind.TARGET_SCHEMA, "narrow", table=table))
    control_tables.close()
    assert [row[2] for row in tables.rows["awsdms_apply_exceptions"]] == ["orders"]
    assert [row[2] for row in tables.rows["awsdms_status"]] == ["NOT RUNNING"]
    assert tables.closed


def test_full_loads_have_exceptions_of_their_own_and_slots_their_length() -> None:
    tables = Tables()
    known = {"shop.public.orders": SimpleNamespace(name=TableName("public", "orders"))}
    catalog = SimpleNamespace(topics=known, operation=lambda topic, record: record.value())
    applier = SimpleNamespace(holds=SimpleNamespace(suspended=dict), catalog=catalog)
    written: list[Any] = []
    report = SimpleNamespace(written=written.append, lag_ms=1500, applied_us=None, lag_records=0)
    settings = ControlTableSettings(exceptions=True, full_load_exceptions=True, history=True, history_minutes=7)
    loaded: list[bool] = []
    control_tables = DmsControlTables(
        settings, "shop", "host", tables, cast("Applier", applier), cast("Report", report), lambda: bool(loaded)
    )
    batch = SimpleNamespace(row_count=5, byte_count=3 << 20)
    for _ in range(2):
        # By what each record is; by the phase only where that cannot be read.
        refused = [
            (
                SimpleNamespace(
                    topic=lambda: "shop.public.orders", value=partial(str, operation) if operation else lambda: None
                ),
                "too long",
                f"{operation}@7",
            )
            for operation in ("r", "u", None)
        ]
        outcome = SimpleNamespace(exceptions=refused, batch=batch)
        control_tables.on_written(cast("Outcome", outcome))
        loaded.append(True)
    control_tables.close()
    assert [row[:3] for row in tables.rows["awsdms_full_load_exceptions"]] == [("shop", "public", "orders")] * 3
    assert [row[4] for row in tables.rows["awsdms_full_load_exceptions"]] == ["r@7", "None@7", "r@7"]
    assert [row[4:] for row in tables.rows["awsdms_apply_exceptions"]] == [
        (place, "too long") for place in ("u@7", "u@7", "None@7")
    ]
    slots = [(row[2], *row[4:]) for row in tables.rows["awsdms_history"]]
    assert slots == [("CHANGE PROCESSING", 7, 1, 5, 3), ("FULL LOAD", 7, None, 5, 3)]
    assert len(written) == 2
