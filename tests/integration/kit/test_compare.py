"""The comparison of databases finds every kind of difference, and no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kit.compare import compare_databases, differences
from tests.kit.compare_mysql import mysql_differences
from tests.kit.mysql import MysqlDatabase
from tests.kit.random_mysql import open_session
from tests.kit.servers import Database
from tests.kit.workload import TABLES, Workload

pytestmark = pytest.mark.integration


def test_a_workload_repeats_itself_and_every_change_of_the_copy_is_found(new_database: Callable[..., Database]) -> None:
    source, copy = new_database(18), new_database(16)
    for database in (source, copy):
        workload = Workload(database.dsn, seed=7, truncates=True)
        workload.create(rows=1_000)
        workload.run(60)
    compared = compare_databases(source.dsn, copy.dsn)
    assert {found.table for found in compared} == {f"public.{table}" for table in TABLES}
    assert sum(found.source_rows for found in compared) > 1000
    assert differences(source.dsn, copy.dsn) == []

    changes = [
        ("wl_items", "update wl_items set note = '' where id = (select max(id) from wl_items)"),
        ("wl_items", "update wl_items set note = null where id = (select max(id) from wl_items)"),
        ("wl_items", "update wl_items set id = -1 where id = (select max(id) from wl_items)"),
        ("wl_texts", "delete from wl_texts where id = (select min(id) from wl_texts)"),
        ("wl_pairs", "insert into wl_pairs values (-5, 'extra', 'NaN')"),
        ("wl_log", "insert into wl_log select * from wl_log limit 1"),
    ]
    for table, change in changes:
        copy.execute(f"drop table if exists saved; create table saved as table {table}", change)
        found = differences(source.dsn, copy.dsn, [f"public.{table}"])
        assert len(found) == 1, change
        copy.execute(f"truncate {table}; insert into {table} table saved; drop table saved")
        assert differences(source.dsn, copy.dsn, [f"public.{table}"]) == [], change


def test_equal_rows_of_a_table_without_a_key_are_counted(new_database: Callable[..., Database]) -> None:
    source, copy = new_database(18), new_database(18)
    for database, times in ((source, 2), (copy, 3)):
        database.execute(
            "create table t (a int, b text)", f"insert into t select 1, null from generate_series(1, {times})"
        )
    (found,) = compare_databases(source.dsn, copy.dsn)
    assert (found.source_rows, found.target_rows, found.difference_count) == (2, 3, 1)


def test_shapes_are_compared_by_their_bytes(mysql_database: MysqlDatabase) -> None:
    """Those whose names end in `int` were added to, as numbers are: MariaDB refused."""
    mysql_database.execute(
        "create table t (p point, m multipoint, l linestring)",
        "insert into t select point(1, 2), st_geomfromtext('multipoint(1 2)'), st_geomfromtext('linestring(1 2, 3 4)')",
    )
    with open_session(mysql_database) as session:
        assert mysql_differences(session, session) == []
