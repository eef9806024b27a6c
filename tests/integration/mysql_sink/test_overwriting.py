"""Rows are loaded over those that are there only where nobody can tell it from an update, and only while."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql import writer
from apply.sinks.mysql.catalog import Trait, traits
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.memory_load import MemoryConnection
from apply.sinks.mysql.sink import MysqlSink
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import TailraceError
from schemas.large_values import Buffer
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.mysql import MysqlDatabase

pytestmark = pytest.mark.usefixtures("few_overwritten")

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
CASCADE = "create table child (id bigint primary key, foreign key (id) references plain (id) on delete cascade)"
RESTRICT = "create table child (id bigint primary key, foreign key (id) references plain (id))"
REFERRING = "alter table plain add foreign key (id) references parent (id)"


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


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("more", ["", UNIQUE, COLUMN, TRIGGER, CASCADE, RESTRICT, REFERRING])
def test_what_hangs_on_a_row_does_not_see_it_go(
    sink: MysqlSink, database: MysqlDatabase, loads: list[str], more: str, late: bool
) -> None:
    database.execute(
        "create table plain (id bigint primary key, name longtext)",
        "create table gone (id bigint)",
        "create table parent (id bigint primary key)",
        "insert into parent values (1), (2), (3)",
        *([more] if more and not late else []),
        "insert into plain (id, name) values (1, 'one'), (3, 'three')",
    )
    sink.prepare(PLAIN)
    if late:
        assert upsert(sink, (1, "one"), (3, "three")) == []
        assert bool(loads and " replace into table " in loads[-1]) == sink._link.loads_local
        loads.clear()
        database.execute(*([more] if more else []))
    database.execute(
        *(["update plain set mine = 9"] if more == COLUMN else []),
        *(["insert into child values (1)"] if more in (CASCADE, RESTRICT) else []),
    )
    assert upsert(sink, (1, "uno\t\\"), (2, "two"), deletes=[3]) == []
    assert database.rows("select id, name from plain order by id") == [["1", "uno\t\\"], ["2", "two"]]
    overwritten = [text for text in loads if " replace into table " in text]
    # A reference to the table that came late is not seen, nor does it see anything.
    unseen = late and more in (CASCADE, RESTRICT)
    assert bool(overwritten) == ((not more or unseen) and sink._link.loads_local)
    if more == UNIQUE:
        assert upsert(sink, (4, "two"), (5, "five")) == [0]
        assert database.rows("select id from plain order by id") == [["1"], ["2"], ["5"]]
    if more == COLUMN:
        assert database.rows("select mine from plain order by id") == [["9"], ["7"]]
    if more == TRIGGER:
        assert database.rows("select id from gone") == [["3"]]
    if more in (CASCADE, RESTRICT):
        assert database.rows("select id from child") == [["1"]]
    if more == REFERRING:
        assert upsert(sink, (4, "orphan"), (1, "eins")) == [0]
    assert sink._link.value("select @@session.foreign_key_checks") == 1


def test_rows_that_swap_a_value_are_not_deleted_once_others_refer_to_them(
    sink: MysqlSink, database: MysqlDatabase
) -> None:
    database.execute(
        "create table plain (id bigint primary key, name longtext)",
        UNIQUE,
        "insert into plain (id, name) values (1, 'one'), (2, 'two')",
    )
    sink.prepare(PLAIN)
    assert upsert(sink, (1, "two"), (2, "one")) == []
    database.execute(CASCADE, "insert into child values (1)")
    assert upsert(sink, (1, "one"), (2, "two")) == [0, 1]
    assert database.rows("select id, name from plain order by id") == [["1", "two"], ["2", "one"]]
    assert database.rows("select id from child") == [["1"]]


def test_nobody_alters_a_table_between_the_look_and_the_load(
    sink: MysqlSink, database: MysqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute(
        "create table plain (id bigint primary key, name longtext)",
        "create table gone (id bigint)",
        "insert into plain (id, name) values (1, 'one')",
    )
    sink.prepare(PLAIN)
    refused: list[TailraceError] = []

    def looked(link: Link, name: TableName) -> frozenset[Trait]:
        found = traits(link, name)
        for definition in (UNIQUE, COLUMN, TRIGGER):
            with pytest.raises(TailraceError) as caught:
                database.execute("set session lock_wait_timeout = 1", definition)
            refused.append(caught.value)
        return found

    monkeypatch.setattr(writer, "traits", looked)
    assert upsert(sink, (1, "uno")) == []
    assert len(refused) == (3 if sink._link.loads_local else 0)
    assert database.rows("select * from plain") == [["1", "uno"]]


def test_rows_that_the_server_refuses_are_found_among_those_that_are_overwritten(
    sink: MysqlSink, database: MysqlDatabase
) -> None:
    database.execute("create table plain (id bigint primary key, name longtext)", "insert into plain values (1, 'one')")
    sink.prepare(PLAIN)
    database.execute("alter table plain modify name varchar(3)")
    assert upsert(sink, (1, "uno"), (2, "two too long"), (3, "tri")) == [1]
    assert database.rows("select id, name from plain order by id") == [["1", "uno"], ["3", "tri"]]


@pytest.mark.parametrize("rights_of", ["nobody", "another pattern", "all databases but this"])
def test_triggers_that_nobody_sees_may_be_there(database: MysqlDatabase, loads: list[str], rights_of: str) -> None:
    takes_back = rights_of == "all databases but this"
    if takes_back and database.is_mariadb:
        pytest.skip("no part of a right can be taken back")
    user = f"u{database.name[-10:]}"
    target = MysqlTarget.model_validate({**database.target_settings, "user": user, "password": "pass"})
    rights = "select, insert, update, delete, create, drop, alter, index, references, create temporary tables"
    # Where rights can be taken back in part, a name is no pattern.
    name = f"`{database.name}`" if takes_back else f"`{database.name}`".replace("_", "\\_")
    database.execute(
        f"create user {user}@'%' identified by 'pass'",
        *(["set global partial_revokes = on", f"grant trigger on *.* to {user}@'%'"] if takes_back else []),
        *([f"revoke trigger on `{database.name}`.* from {user}@'%'"] if takes_back else []),
        *([f"grant trigger on `test\\_%`.* to {user}@'%'"] if rights_of == "another pattern" else []),
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
        assert not [text for text in loads if " replace into table " in text]
        sink.close()
        if takes_back:
            database.execute(f"revoke trigger on *.* from {user}@'%'", "set global partial_revokes = off")
        database.execute("drop trigger going", f"grant trigger on {name}.* to {user}@'%'")
        loads.clear()
        sink = MysqlSink("shop", "replica", target)
        sink.prepare(PLAIN)
        assert upsert(sink, (1, "eins")) == []
        assert bool([text for text in loads if " replace into table " in text]) == sink._link.loads_local
        assert database.rows("select id, name from plain") == [["1", "eins"]]
    finally:
        sink.close()
        database.execute(f"drop user {user}@'%'", *(["set global partial_revokes = off"] if takes_back else []))
