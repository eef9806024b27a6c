"""Names that the servers take for equal, or not at all: known before a run, and never two things in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql.findings import findings
from apply.sinks.mysql.sink import MysqlSink
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Severity
from schemas.table import Column, ForeignKey, Index, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.mysql import MysqlDatabase, folding_database

INT, TEXT = LogicalType(Family.INT64), LogicalType(Family.STRING)
ID, NOTE = Column("id", INT, "bigint", nullable=False), Column("note", TEXT, "text")


def table(name: str, *columns: Column, foreign_keys: tuple[ForeignKey, ...] = ()) -> TableSchema:
    """Return a table whose key is the first column."""
    return TableSchema(TableName("public", name), columns, (0,), foreign_keys=foreign_keys)


def blocked(database: MysqlDatabase, *tables: TableSchema) -> list[tuple[str, str]]:
    """Return what `plan` says must not be: code and text."""
    found = findings("shop", "replica", MysqlTarget.model_validate(database.target_settings), tables)
    return [(one.code, one.message) for one in found if one.severity is Severity.BLOCKS]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("A", "a"), "columns 'A' and 'a' have one name at the target"),
        (("É", "é"), "columns 'É' and 'é' have one name"),
        (("end ",), "ends with a blank"),
        (("😀",), "beyond U+FFFF"),
    ],
)
def test_columns_that_cannot_be_are_refused_by_name(
    sink: MysqlSink, database: MysqlDatabase, names: tuple[str, ...], said: str
) -> None:
    one = table("one", ID, *(replace(NOTE, name=name) for name in names))
    ((code, message),) = blocked(database, one)
    assert (code, said in message) == ("target-name", True)
    with pytest.raises(TailraceError) as caught:
        sink.prepare(one)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert said in caught.value.message
    assert "mapping rule" in (caught.value.remedy or "")


def test_letters_that_only_look_alike_are_columns_apart(sink: MysqlSink, database: MysqlDatabase) -> None:
    names = ("é", "e", "ß", "ss", "i", "ı")
    one = table("one", ID, *(replace(NOTE, name=name) for name in names))
    assert blocked(database, one) == []
    sink.prepare(one)
    assert sink.apply(TableBatch(one, upserts=[(1, *names)])) == []
    sink.flush()
    assert database.rows("select * from one") == [["1", *names]]


def test_a_users_table_may_spell_its_columns_in_another_case(sink: MysqlSink, database: MysqlDatabase) -> None:
    database.execute(
        "create table one (ID bigint primary key, Note longtext character set utf8mb4 collate utf8mb4_bin) "
        "engine = InnoDB"
    )
    one = table("one", ID, NOTE)
    assert blocked(database, one) == []
    sink.prepare(one)
    assert sink.apply(TableBatch(one, upserts=[(1, "a"), (2, "b")])) == []
    sink.flush()
    two = replace(table("one", ID, NOTE, Column("more", INT, "bigint")), version=2)
    sink.prepare(two)
    assert sink.apply(TableBatch(two, upserts=[(1, "c", 5)], deletes=[(2,)])) == []
    sink.flush()
    assert database.rows("select id, note, more from one") == [["1", "c", "5"]]
    # A renaming that leaves the case behind.
    three = replace(
        table("one", replace(ID, number=1), replace(NOTE, name="NOTES", number=2), Column("more", INT, "bigint")),
        version=3,
    )
    numbered = replace(table("one", replace(ID, number=1), replace(NOTE, number=2), Column("more", INT, "bigint")))
    sink.prepare(replace(numbered, version=3))
    sink.prepare(replace(three, version=4))
    assert sink.apply(TableBatch(replace(three, version=4), upserts=[(3, "d", 6)])) == []
    sink.flush()
    assert database.rows("select id, notes, more from one order by id") == [["1", "c", "5"], ["3", "d", "6"]]


LONGEST = 64


def longest(head: str) -> str:
    """Return a name of as many characters as there may be, more of them than bytes."""
    return head + "é" * (LONGEST - len(head))


def test_names_may_be_as_long_as_the_servers_take_them(sink: MysqlSink, database: MysqlDatabase) -> None:
    parents, children = (TableName(longest("database"), longest(name)) for name in ("parents", "children"))
    key, note = (Column(longest(name), INT, "bigint", nullable=False, number=n) for n, name in ((1, "id"), (2, "no")))
    indexes = tuple(
        Index(longest(name), unique, f'using btree ("{note.name}")') for name, unique in (("un", True), ("ix", False))
    )
    reference = ForeignKey(longest("fk"), (note.name,), parents, (key.name,))
    parent = TableSchema(parents, (key, note), (0,), indexes=indexes)
    child = TableSchema(children, (key, note), (0,), foreign_keys=(reference,))
    assert blocked(database, parent, child) == []
    for one in (parent, child):
        sink.prepare(one)
    assert sink.apply(TableBatch(parent, upserts=[(1, 10), (2, 20)])) == []
    sink.flush()
    for one in (parent, child):
        sink.complete_load(one)
    sink.flush()
    assert sink.apply(TableBatch(parent, upserts=[(1, 11)], deletes=[(2,)])) == []
    assert [r.error.kind for r in sink.apply(TableBatch(child, upserts=[(5, 9)]))] == [ErrorKind.ROW_CONFLICT]
    assert sink.apply(TableBatch(child, upserts=[(5, 1)])) == []
    sink.flush()
    renamed = replace(note, name=longest("renamed"))
    later = replace(child, columns=(key, renamed), foreign_keys=(), version=2)
    sink.prepare(later)
    assert sink.apply(TableBatch(later, upserts=[(6, 9)])) == []
    sink.flush()
    assert database.rows(f"select * from `{children.table}` order by 1") == [["5", "1"], ["6", "9"]]
    found = database.rows(f"select index_name from information_schema.statistics where table_name = '{parents.table}'")
    assert {name for (name,) in found} >= {index.name for index in indexes}
    sink.truncate([later])
    sink.flush()
    sink.drop(parent)
    assert database.rows("show tables like 'parents%'") == []


def test_tables_may_have_foreign_keys_of_one_name(sink: MysqlSink, database: MysqlDatabase) -> None:
    """PostgreSQL's are a table's, those of the servers a database's: the second one was left out."""
    people = table("people", ID)
    reference = ForeignKey("owner", ("owner",), people.name, ("id",))
    pets, cars = (
        table(name, ID, Column("owner", INT, "bigint"), foreign_keys=(reference,)) for name in ("pets", "cars")
    )
    for one in (people, pets, cars):
        sink.prepare(one)
    for _ in range(2):
        for one in (people, pets, cars):
            sink.complete_load(one)
    sink.flush()
    for one in (pets, cars):
        assert [r.error.kind for r in sink.apply(TableBatch(one, upserts=[(1, 7)]))] == [ErrorKind.ROW_CONFLICT]
    sink.flush()
    count = "select count(*) from information_schema.table_constraints where constraint_type = 'FOREIGN KEY' and "
    count += f"table_schema = '{database.name}'"
    assert database.rows(count) == [["2"]]
    for one in (pets, cars):
        later = replace(one, foreign_keys=(), version=2)
        sink.prepare(later)
        assert sink.apply(TableBatch(later, upserts=[(1, 7)])) == []
    sink.flush()
    assert database.rows(count) == [["0"]]


@pytest.fixture(scope="module", params=["11.4", "mysql"])
def folding(request: pytest.FixtureRequest, servers_directory: Path) -> Iterator[MysqlDatabase]:
    """A database on a server that takes names of tables for equal which differ in case only."""
    with folding_database(servers_directory / f"folding-{request.param}", request.param) as database:
        yield database


def test_tables_that_a_target_takes_for_one_are_refused(folding: MysqlDatabase) -> None:
    """They were written into one table, without a word."""
    upper, lower = table("People", ID, NOTE), table("people", ID, NOTE)
    ((code, message),) = blocked(folding, upper, lower)
    assert code == "target-table-twice"
    assert message.startswith("public.People and public.people")
    sink = MysqlSink("shop", "replica", MysqlTarget.model_validate(folding.target_settings))
    try:
        sink.prepare(upper)
        assert sink.apply(TableBatch(upper, upserts=[(1, "upper")])) == []
        sink.flush()
        with pytest.raises(TailraceError) as caught:
            sink.prepare(lower)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        assert "public.People" in caught.value.message
    finally:
        sink.close()
    assert folding.rows("select * from people") == [["1", "upper"]]
