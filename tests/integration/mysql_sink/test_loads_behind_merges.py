"""A load behind a merge into the same table: MariaDB's fields remember where the merge's values lay."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from pymysql.constants import CLIENT

from apply.sinks.mysql.catalog import TargetColumn, TargetTable, UniqueIndex
from apply.sinks.mysql.memory_load import MemoryConnection
from apply.sinks.mysql.rows import numbered
from apply.sinks.mysql.statements import TablePlan
from deploy.local.mysql import MysqlServer
from schemas.changes import Row
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

NAME = TableName("d", "t")
TABLE = TableSchema(
    NAME,
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("title", LogicalType(Family.STRING), "text"),
        Column("body", LogicalType(Family.STRING), "longtext"),
        Column("version", LogicalType(Family.INT32), "int", nullable=False),
    ),
    (0,),
)
TYPES = {"id": "bigint(20)", "title": "text", "body": "longtext", "version": "int(11)"}
DEFINED = "create table t (id bigint primary key, title text, body longtext, version int) collate utf8mb4_nopad_bin"
SIZES = (10, 300, 1000, 3000, 5000, 8000, 10_000, 20_000, 60_000)


def _plan(*, is_mariadb: bool) -> TablePlan:
    texts = ("title", "body")
    columns = {
        name: TargetColumn(
            name=name,
            type=type_,
            base=type_.partition("(")[0],
            charset="utf8mb4" if name in texts else "",
            collation="utf8mb4_nopad_bin" if name in texts else "",
            not_null=name == "id",
            has_default=False,
            generated=False,
            length=0,
        )
        for name, type_ in TYPES.items()
    }
    unique = UniqueIndex("PRIMARY", frozenset({"id"}), whole=True)
    return TablePlan(TABLE, TargetTable(NAME, "table", "InnoDB", columns, (unique,), ()), is_mariadb=is_mariadb)


def _session(port: int) -> MemoryConnection:
    flags = CLIENT.MULTI_STATEMENTS | CLIENT.LOCAL_FILES
    return MemoryConnection(
        host="127.0.0.1", port=port, user="root", charset="utf8mb4", autocommit=True, client_flag=flags
    )


def _wrong(port: int, plan: TablePlan, seed: int) -> list[int]:
    """Merge and load by turns; return the rounds after which a value is not what was loaded."""
    choose = random.Random(seed)
    session = _session(port)
    cursor = session.cursor()

    def load(statement: str, rows: Sequence[Row], *, staged: bool) -> None:
        lines = plan.lines(plan.columns, rows)
        session.load(statement, [numbered(lines) if staged else b"".join(lines)])

    for statement in ("create database d", "use d", DEFINED, plan.create_stage("st")):
        cursor.execute(statement)
    found = []
    for number in range(1, 30):
        merged = [(i, f"title {i}", "s" * choose.choice(SIZES), 0) for i in range(choose.choice((1, 2, 5, 30)))]
        load(plan.stage_load("st", plan.columns, number), merged, staged=True)
        for statement in plan.upsert("st", number):
            cursor.execute(statement)
        body = "b" * choose.choice((5, 50, 500, 5000))
        load(plan.direct_load(), [(1000 * number + i, "title", body, 0) for i in range(3)], staged=False)
        cursor.execute(f"select id from t where id >= {1000 * number} and body <> '{body}'")
        found += [number] if cursor.fetchall() else []
    session.close()
    return found


@pytest.mark.parametrize("seed", [2, 8])
def test_no_value_is_read_over_by_the_next_field(servers_directory: Path, seed: int) -> None:
    """Its first bytes were those of the field behind it. Whether they are is a matter of where memory is free in a new
    server: with these seeds they were, each time.
    """
    with MysqlServer(servers_directory / f"mariadb-behind-merges-{seed}") as server:
        assert _wrong(server.port, _plan(is_mariadb=True), seed) == []
