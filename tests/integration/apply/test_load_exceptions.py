"""`FullLoadExceptionTableEnabled` at real targets: rows that a full load could not write have a table of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apply import dms_control_tables
from schemas.settings import parse
from schemas.table import Column, TableName, TableSchema
from tests.conformance.sink_suite import INT64
from tests.integration.apply.publishing import Publisher
from tests.integration.apply.test_service import Running, apply_now
from tests.integration.apply.waiting import until
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ORDERS = TableSchema(
    TableName("public", "orders"),
    (Column("id", INT64, "bigint", nullable=False), Column("amount", INT64, "bigint")),
    key=(0,),
)
MADE = "(id bigint primary key, amount bigint, constraint small check (amount < 1000))"
CONTROL = {"FullLoadExceptionTableEnabled": True, "StatusTableEnabled": True}
BEHAVIOUR = {"DataErrorPolicy": "LOG_ERROR"}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tables be written every second."""
    monkeypatch.setattr(dms_control_tables, "INTERVAL_S", 1.0)


def test_rows_that_a_load_could_not_write_are_apart_from_changes_at_postgresql(
    document: dict[str, Any], target_database: Database
) -> None:
    target_database.execute(f"create table public.orders {MADE}")

    def rows(table: str, column: str) -> list[str]:
        # The applier makes it.
        if target_database.rows(f"select to_regclass('dms.{table}')") == [(None,)]:
            return []
        return [str(value) for (value,) in target_database.rows(f'select "{column}" from dms.{table}')]

    _check(document, {"ControlSchema": "dms"} | CONTROL, rows)
    assert target_database.rows("select id from public.orders order by id") == [(1,), (3,), (5,)]


def test_rows_that_a_load_could_not_write_are_apart_from_changes_at_mysql(
    document: dict[str, Any], mysql_target: MysqlDatabase
) -> None:
    mysql_target.execute(f"create table orders {MADE}")
    document["targets"] = {"replica": dict(mysql_target.target_settings)}

    def rows(table: str, column: str) -> list[str]:
        if not mysql_target.rows(f"show tables like '{table}'"):
            return []
        return [str(value) for (value,) in mysql_target.rows(f"select {column} from {table}")]

    _check(document, {"ControlSchema": mysql_target.name} | CONTROL, rows)
    assert mysql_target.rows("select id from orders order by id") == [["1"], ["3"], ["5"]]


def _check(document: dict[str, Any], control: dict[str, Any], rows: Callable[[str, str], list[str]]) -> None:
    stated = {"ControlTablesSettings": control, "ErrorBehavior": BEHAVIOUR}
    settings = parse(document | {"settings": stated})
    with Publisher(settings) as publisher:
        publisher.add(ORDERS)
        publisher.load(ORDERS, [(1, 1), (2, 5000), (3, 3)])
        with Running(settings):
            until(lambda: rows("awsdms_full_load_exceptions", "TABLE_NAME") == ["orders"])
            # A change is none of the load, although that goes on.
            publisher.change(ORDERS, ("c", None, (7, 7000)))
            until(lambda: rows("awsdms_apply_exceptions", "TABLE_NAME") == ["orders"])
            publisher.loaded(ORDERS)
            until(lambda: rows("awsdms_status", "TASK_STATUS") == ["CHANGE PROCESSING"])
            publisher.change(ORDERS, ("c", None, (4, 4000)), ("c", None, (5, 5)))
            until(lambda: rows("awsdms_apply_exceptions", "TABLE_NAME") == ["orders"] * 2)
            # A row that is loaded again is one of a load, although changes are what comes else.
            publisher.load(ORDERS, [(8, 8000)])
            until(lambda: rows("awsdms_full_load_exceptions", "TABLE_NAME") == ["orders"] * 2)
    assert apply_now(settings) == 0
    assert rows("awsdms_full_load_exceptions", "TABLE_OWNER") == ["public"] * 2
