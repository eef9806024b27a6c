"""Rows are loaded over those that are there only where nobody can tell it from an update."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql.memory_load import MemoryConnection
from apply.sinks.mysql.sink import MysqlSink
from schemas.endpoints import MysqlTarget
from schemas.large_values import Buffer
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.mysql import MysqlDatabase

PLAIN = TableSchema(
    TableName("public", "plain"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("name", LogicalType(Family.STRING), "text"),
    ),
    (0,),
)
UNIQUE = "alter table plain add unique (name(20))"
COLUMN = "alter table plain add mine int not null default 7"
TRIGGER = "create trigger going after delete on plain for each row insert into gone values (old.id)"
REFERENCE = "create table child (id bigint primary key, foreign key (id) references plain (id) on delete cascade)"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The loads that are run."""
    found: list[str] = []
    load = MemoryConnection.load

    def noted(self: MemoryConnection, statement: str, pieces: Iterable[Buffer]) -> int:
        found.append(statement)
        return load(self, statement, pieces)

    monkeypatch.setattr(MemoryConnection, "load", noted)
    return found


def upsert(sink: MysqlSink, *rows: tuple[int, str], deletes: Iterable[int] = ()) -> list[int]:
    """Write rows; return the places of those that are refused."""
    refused = sink.apply(TableBatch(PLAIN, upserts=list(rows), deletes=[(key,) for key in deletes]))
    sink.flush()
    return [each.index for each in refused]


@pytest.mark.parametrize("more", ["", UNIQUE, COLUMN, TRIGGER, REFERENCE])
def test_what_hangs_on_a_row_does_not_see_it_go(
    sink: MysqlSink, database: MysqlDatabase, loads: list[str], more: str
) -> None:
    database.execute(
        "create table plain (id bigint primary key, name longtext)",
        "create table gone (id bigint)",
        *([more] if more else []),
        "insert into plain (id, name) values (1, 'one'), (3, 'three')",
        *(["update plain set mine = 9"] if more == COLUMN else []),
        *(["insert into child values (1)"] if more == REFERENCE else []),
    )
    sink.prepare(PLAIN)
    assert upsert(sink, (1, "uno\t\\"), (2, "two"), deletes=[3]) == []
    assert database.rows("select id, name from plain order by id") == [["1", "uno\t\\"], ["2", "two"]]
    overwritten = [text for text in loads if " replace into table " in text]
    assert bool(overwritten) == (not more and sink._link.loads_local)
    if more == COLUMN:
        assert database.rows("select mine from plain order by id") == [["9"], ["7"]]
    if more == TRIGGER:
        assert database.rows("select id from gone") == [["3"]]
    if more == REFERENCE:
        assert database.rows("select id from child") == [["1"]]


def test_rows_that_the_server_refuses_are_found_among_those_that_are_overwritten(
    sink: MysqlSink, database: MysqlDatabase
) -> None:
    database.execute("create table plain (id bigint primary key, name longtext)", "insert into plain values (1, 'one')")
    sink.prepare(PLAIN)
    database.execute("alter table plain modify name varchar(3)")
    assert upsert(sink, (1, "uno"), (2, "two too long"), (3, "tri")) == [1]
    assert database.rows("select id, name from plain order by id") == [["1", "uno"], ["3", "tri"]]


def test_triggers_that_nobody_sees_may_be_there(database: MysqlDatabase, loads: list[str]) -> None:
    user = f"u{database.name[-10:]}"
    target = MysqlTarget.model_validate({**database.target_settings, "user": user, "password": "pass"})
    rights = "select, insert, update, delete, create, drop, alter, index, references, create temporary tables"
    name = f"`{database.name}`".replace("_", "\\_")
    database.execute(
        f"create user {user}@'%' identified by 'pass'",
        f"grant {rights} on {name}.* to {user}@'%'",
        "create table plain (id bigint primary key, name longtext)",
        "create table gone (id bigint)",
        TRIGGER,
        "insert into plain (id, name) values (1, 'one')",
    )
    sink = MysqlSink("shop", "replica", target)
    try:
        sink.prepare(PLAIN)
        assert upsert(sink, (1, "uno")) == []
        assert database.rows("select id from gone") == []
        sink.close()
        database.execute("drop trigger going", f"grant trigger on {name}.* to {user}@'%'")
        loads.clear()
        sink = MysqlSink("shop", "replica", target)
        sink.prepare(PLAIN)
        assert upsert(sink, (1, "eins")) == []
        assert bool([text for text in loads if " replace into table " in text]) == sink._link.loads_local
        assert database.rows("select id, name from plain") == [["1", "eins"]]
    finally:
        sink.close()
        database.execute(f"drop user {user}@'%'")
