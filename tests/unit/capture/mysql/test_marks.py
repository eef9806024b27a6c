"""Transactions that an applier has marked are left out of the log, row by row, and no other ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from capture.sources.mysql.catalog import Catalog
from capture.sources.mysql.files import FileOffset
from capture.sources.mysql.log import MysqlLog
from capture.sources.mysql.position import position_of
from capture.sources.mysql.replication import LogStream
from capture.sources.mysql.row_events import Maps
from capture.sources.mysql.versions import Resolved, Versions
from schemas.changes import APPLIED_COMMENT, APPLIED_TABLE, Truncate
from schemas.selection import Selection
from schemas.table import TableName, TableSchema
from tests.unit.capture.mysql.test_log import GROUP, Events, query


def _map(number: int, database: str, table: str) -> bytes:
    names = b"".join(bytes([len(name)]) + name.encode() + b"\0" for name in (database, table))
    return number.to_bytes(6, "little") + bytes(2) + names + bytes([1, 3, 0, 0])


class AllWanted:
    """Has every table of the log."""

    def resolve(self, found: Any) -> tuple[Resolved, list[Any]]:
        return Resolved(TableSchema(TableName(found.database, found.table), (), ())), []


@pytest.mark.parametrize("skips", [True, False])
def test_rows_behind_a_mark_are_not_wanted_until_the_next_transaction(skips: bool) -> None:
    maps = Maps(cast("Versions", AllWanted()), is_mariadb=False, skips_applied=skips)

    def wanted(*bodies: bytes) -> list[str | None]:
        """Read a transaction's maps; return the tables whose rows are wanted."""
        maps.begin()
        found = []
        for body in bodies:
            maps.read(body)
            table = maps.find(body[:6]).table
            found.append(None if table is None else table.name.table)
        return found

    items, mark, other = _map(1, "shop", "items"), _map(2, "tailrace", APPLIED_TABLE), _map(3, "shop", "other")
    for _ in range(2):
        assert wanted(items, other) == ["items", "other"]
        assert wanted(mark, items, other) == ([None] * 3 if skips else [APPLIED_TABLE, "items", "other"])
        # Looked at again after a statement: it is known by its name.
        maps.clear()


@pytest.mark.parametrize(("skips", "count"), [(True, 1), (False, 2)])
def test_a_truncate_that_an_applier_has_marked_is_left_out(skips: bool, count: int) -> None:
    """It stands by itself in the log, without a row before it: what it loaded anew was emptied at both sides."""
    tables = [TableSchema(TableName("shop", "a"), (), ())]
    versions = Versions(cast("Catalog", SimpleNamespace()), Selection(["shop.*"]), tables, "error", folds_names=False)
    events = Events(GROUP, query(f"{APPLIED_COMMENT} truncate table `shop`.`a`"), GROUP, query("truncate `shop`.`a`"))
    place = FileOffset("binlog.000001", 157)
    log = MysqlLog(
        cast("LogStream", events), versions, place, position_of(place), lambda changes: None, FileOffset.parse,
        skips_applied=skips,
    )  # fmt: skip
    changes = log.poll(0)
    assert sum(isinstance(change, Truncate) for change in changes) == count


def test_what_is_known_of_a_table_does_not_grow_with_its_numbers() -> None:
    """A server with more tables than it keeps open gives each another number when it opens it again."""
    resolved = []

    class Counting(AllWanted):
        def resolve(self, found: Any) -> tuple[Resolved, list[Any]]:
            resolved.append(found.table)
            return super().resolve(found)

    maps = Maps(cast("Versions", Counting()), is_mariadb=False)
    for number in range(1, 1001):
        maps.begin()
        for table in ("items", "other"):
            body = _map(2 * number + (table == "other"), "shop", table)
            maps.read(body)
            found = maps.find(body[:6]).table
            assert found is not None
            assert found.name.table == table
    assert resolved == ["items", "other"]
    assert (len(maps._known), len(maps._current)) == (2, 2)
