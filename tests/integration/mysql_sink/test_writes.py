"""What is written where the servers would bend, overwrite or refuse: nothing but what the batch says, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from apply.sink import TableBatch, TopicPartition
from apply.sinks.mysql import connection
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.findings import findings, grants
from apply.sinks.mysql.sink import MysqlSink
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Severity
from schemas.policies import ExistingTables
from schemas.table import Column, ForeignKey, Index, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.integration.mysql_sink.conftest import OpenSink
from tests.kit.mysql import MysqlDatabase
from tests.kit.shards import KEPT, fill
from tests.unit.apply.test_mapped_sink import EAST, SHARDED, WEST

INT = LogicalType(Family.INT64)
TEXT = LogicalType(Family.STRING)
P0 = TopicPartition("shop.public.people", 0)


def table(name: str, *columns: Column, **more: Any) -> TableSchema:
    """Return a table whose key is the first column."""
    return TableSchema(TableName("public", name), columns, (0,), **more)


PEOPLE = table(
    "people",
    Column("id", INT, "bigint", nullable=False, identity="by default"),
    Column("mail", TEXT, "text"),
    Column("age", LogicalType(Family.INT16), "smallint"),
    indexes=(Index("people_mail", True, "using btree (mail)"), Index("people_age", False, "using btree (age)")),
)
PETS = table(
    "pets",
    Column("name", TEXT, "text", nullable=False),
    Column("owner", INT, "bigint"),
    foreign_keys=(ForeignKey("pets_owner", ("owner",), PEOPLE.name, ("id",), on_delete="cascade"),),
)
TREE = table(
    "tree",
    Column("id", INT, "bigint", nullable=False),
    Column("parent", INT, "bigint"),
    foreign_keys=(ForeignKey("tree_parent", ("parent",), TableName("public", "tree"), ("id",)),),
)


def loaded(sink: MysqlSink, *tables: TableSchema) -> None:
    """Make tables with all their constraints."""
    for one in tables:
        sink.prepare(one)
    for one in tables:
        sink.complete_load(one)
    sink.flush()


def write(sink: MysqlSink, batch: TableBatch) -> list[tuple[str, int, ErrorKind]]:
    """Apply and flush a batch; return what was refused."""
    rejected = sink.apply(batch)
    sink.flush()
    return [(r.kind, r.index, r.error.kind) for r in rejected]


def people(database: MysqlDatabase) -> dict[int, tuple[str | None, str | None]]:
    """Return the people that are there."""
    return {int(str(i)): (mail, age) for i, mail, age in database.rows("select id, mail, age from people")}


def test_rows_that_a_load_brings_again_are_found_before_the_load_is_complete(
    sink: MysqlSink, database: MysqlDatabase
) -> None:
    notes = table("notes", Column("id", INT, "bigint", nullable=False), Column("text", TEXT, "text"))
    sink.prepare(notes)
    sink.load_offsets([P0])
    for rows in ([(1, "a"), (2, "b")], [(2, "later"), (3, "c")]):
        # As `signal reload` has it in the midst of a load: nothing in the topic tells that a row comes again.
        assert write(sink, TableBatch(notes, upserts=rows, fresh=True)) == []
    assert database.rows("select id, text from notes order by id") == [["1", "a"], ["2", "later"], ["3", "c"]]


def test_a_row_whose_unique_value_is_taken_overwrites_nobody(sink: MysqlSink, database: MysqlDatabase) -> None:
    loaded(sink, PEOPLE)
    assert write(sink, TableBatch(PEOPLE, upserts=[(0, "zero", 1), (1, "one", 1), (2, "two", 2)])) == []
    rows: list[Row] = [(3, "one", 3), (4, "four", 4), (2, "zero", 5)]
    refused = write(sink, TableBatch(PEOPLE, upserts=rows))
    assert sorted(refused) == [("upserts", 0, ErrorKind.ROW_CONFLICT), ("upserts", 2, ErrorKind.ROW_CONFLICT)]
    assert people(database) == {0: ("zero", "1"), 1: ("one", "1"), 2: ("two", "2"), 4: ("four", "4")}
    assert write(sink, TableBatch(PEOPLE, updates=[(4, "one", UNCHANGED)])) == [("updates", 0, ErrorKind.ROW_CONFLICT)]


def test_unique_values_change_places_within_a_batch(sink: MysqlSink, database: MysqlDatabase) -> None:
    loaded(sink, PEOPLE)
    write(sink, TableBatch(PEOPLE, upserts=[(i, f"m{i}", i) for i in range(6)]))
    assert write(sink, TableBatch(PEOPLE, upserts=[(0, "m1", 0), (1, "m0", 1)])) == []
    assert write(sink, TableBatch(PEOPLE, updates=[(2, "m3", UNCHANGED), (3, "m2", UNCHANGED)])) == []
    assert write(sink, TableBatch(PEOPLE, deletes=[(4,)], upserts=[(5, "m4", 9)])) == []
    assert people(database) == {
        0: ("m1", "0"),
        1: ("m0", "1"),
        2: ("m3", "2"),
        3: ("m2", "3"),
        5: ("m4", "9"),
    }


def test_refused_rows_are_found_among_many_and_nothing_is_cut(sink: MysqlSink, database: MysqlDatabase) -> None:
    database.execute(
        "create table people (id bigint primary key, mail longtext, age smallint check (age < 200), "
        "note int default 7)",
        "create table pets (name varchar(5) character set latin1 collate latin1_bin primary key, owner bigint)",
    )
    sink.prepare(PEOPLE)
    rows: list[Row] = [(i, f"m{i}", 500 if i in {3, 77} else i) for i in range(100)]
    for fresh in (True, False):
        refused = write(sink, TableBatch(PEOPLE, upserts=rows, fresh=fresh))
        assert refused == [("upserts", i, ErrorKind.ROW_REJECTED) for i in (3, 77)]
    assert set(people(database)) == set(range(100)) - {3, 77}
    assert database.rows("select distinct note from people") == [["7"]]
    with pytest.raises(TailraceError) as caught:
        sink.prepare(PETS)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert "'name' is varchar(5) at the target, too narrow" in caught.value.message


def test_keys_that_differ_are_rows_apart(sink: MysqlSink, database: MysqlDatabase) -> None:
    loaded(sink, PEOPLE, PETS)
    names = ["a", "A", "a ", "á", "ß", "ss", "😀", "", " "]
    assert write(sink, TableBatch(PETS, upserts=[(name, None) for name in names])) == []
    assert sorted(str(name) for (name,) in database.rows("select name from pets")) == sorted(names)
    assert write(sink, TableBatch(PETS, deletes=[("A",), ("a ",), ("SS",)])) == []
    assert {name for (name,) in database.rows("select name from pets")} == set(names) - {"A", "a "}
    # A longer key than an index holds is refused alone.
    assert write(sink, TableBatch(PETS, upserts=[("x" * 5000, None), ("y", None)])) == [
        ("upserts", 0, ErrorKind.ROW_REJECTED)
    ]


def test_a_table_that_takes_different_keys_for_equal_is_refused(sink: MysqlSink, database: MysqlDatabase) -> None:
    database.execute(
        "create table pets (name varchar(768) character set utf8mb4 collate utf8mb4_general_ci primary key, "
        "owner bigint)"
    )
    with pytest.raises(TailraceError, match="takes different keys for equal"):
        sink.prepare(PETS)


def test_rows_wait_for_their_parents_and_emptied_tables_for_their_children(
    sink: MysqlSink, database: MysqlDatabase
) -> None:
    loaded(sink, PETS, PEOPLE, TREE)
    assert write(sink, TableBatch(PETS, upserts=[("cat", 1), ("dog", None)])) == [
        ("upserts", 0, ErrorKind.ROW_CONFLICT)
    ]
    assert write(sink, TableBatch(PEOPLE, upserts=[(1, "one", 1)])) == []
    assert write(sink, TableBatch(PETS, upserts=[("cat", 1)])) == []
    # No cascade: what the source deleted arrives.
    assert write(sink, TableBatch(PEOPLE, deletes=[(1,)])) == [("deletes", 0, ErrorKind.ROW_CONFLICT)]
    with pytest.raises(TailraceError) as caught:
        sink.truncate([PEOPLE])
    assert caught.value.kind is ErrorKind.ROW_CONFLICT
    sink.rollback()
    assert set(people(database)) == {1}
    write(sink, TableBatch(TREE, upserts=[(1, None)]))
    write(sink, TableBatch(TREE, upserts=[(2, 1), (3, 2)]))
    sink.truncate([PEOPLE, PETS, TREE])
    sink.flush()
    assert database.rows("select id from people union select id from tree union select owner from pets") == []
    assert write(sink, TableBatch(PETS, upserts=[("cat", 1)])) == [("upserts", 0, ErrorKind.ROW_CONFLICT)]


def test_a_definition_commits_no_rows(sink: MysqlSink, open_sink: OpenSink, database: MysqlDatabase) -> None:
    sink.prepare(PEOPLE)
    sink.load_offsets([P0])
    sink.apply(TableBatch(PEOPLE, upserts=[(1, "one", 1)]))
    sink.stage_offsets({P0: 5})
    sink.prepare(PETS)
    assert people(database) == {}
    with pytest.raises(TailraceError) as caught:
        sink.prepare(table("people", *PEOPLE.columns, Column("more", TEXT, "text"), version=2))
    assert caught.value.kind is ErrorKind.ROW_CONFLICT
    sink.rollback()
    assert people(database) == {}
    assert open_sink().load_offsets([P0]) == {}


def test_of_two_tables_that_go_into_one_the_first_is_taken(open_sink: OpenSink, database: MysqlDatabase) -> None:
    sink = open_sink(schema_map={"left": database.name, "right": database.name})
    first, second = (replace(PETS, name=TableName(schema, "pets"), foreign_keys=()) for schema in ("left", "right"))
    with pytest.raises(TailraceError, match=r"left\.pets is written to"):
        sink.prepare_all([PEOPLE, first, second])
    sink.rollback()
    sink.prepare(first)
    with pytest.raises(TailraceError, match=r"left\.pets is written to"):
        sink.prepare(second)
    assert write(sink, TableBatch(first, upserts=[("cat", None)])) == []
    assert sink.prepare_all([first, PEOPLE]) == [False, True]


def test_a_lock_that_others_hold_is_waited_for_within_a_bound(open_sink: OpenSink, database: MysqlDatabase) -> None:
    sink = open_sink(lock_timeout_s=1)
    loaded(sink, PEOPLE)
    write(sink, TableBatch(PEOPLE, upserts=[(1, "one", 1)]))
    other = database.connect()
    try:
        other.run("begin")
        other.run("update people set age = 2 where id = 1")
        with pytest.raises(TailraceError) as caught:
            sink.apply(TableBatch(PEOPLE, upserts=[(1, "uno", 1)]))
        assert caught.value.kind is ErrorKind.TARGET_THROTTLED
        sink.rollback()
    finally:
        other.close()
    assert write(sink, TableBatch(PEOPLE, upserts=[(1, "uno", 1)])) == []
    assert people(database) == {1: ("uno", "1")}


def test_writers_of_an_older_version_wait_until_they_know_the_newer_one(
    sink: MysqlSink, open_sink: OpenSink, database: MysqlDatabase
) -> None:
    def version(number: int, *names: str) -> TableSchema:
        columns = [Column(name, TEXT, "text", number=i) for i, name in enumerate(names, 2)]
        return table("swap", Column("id", INT, "bigint", number=1), *columns, number=9, version=number)

    first, second = version(1, "a", "b"), version(2, "b", "a")
    other = open_sink()
    for one in (sink, other):
        one.prepare(first)
    write(sink, TableBatch(first, upserts=[(1, "of 2", "of 3")]))
    other.prepare(second)
    with pytest.raises(TailraceError) as caught:
        sink.apply(TableBatch(first, upserts=[(2, "of 2", "of 3")]))
    assert caught.value.kind is ErrorKind.TARGET_THROTTLED
    sink.rollback()
    sink.prepare(second)
    write(sink, TableBatch(second, upserts=[(2, "of 2", "of 3")]))
    assert database.rows("select b, a from swap order by id") == [["of 2", "of 3"], ["of 2", "of 3"]]


@pytest.mark.parametrize("kill", ["connection", "query"])
def test_a_session_that_the_server_ends_loses_only_what_was_not_flushed(
    sink: MysqlSink, database: MysqlDatabase, kill: str
) -> None:
    loaded(sink, PEOPLE)
    sink.load_offsets([P0])
    write(sink, TableBatch(PEOPLE, upserts=[(1, "one", 1)]))
    sink.apply(TableBatch(PEOPLE, upserts=[(2, "two", 2)]))
    ids = database.rows(
        "select trx_mysql_thread_id from information_schema.innodb_trx t join information_schema.processlist p "
        f"on p.id = trx_mysql_thread_id where p.db = '{database.name}'"
    )
    for (number,) in ids:
        database.execute(f"kill {kill} {number}")
    if kill == "connection":
        with pytest.raises(TailraceError) as caught:
            sink.stage_offsets({P0: 9})
        assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    sink.rollback()
    assert set(people(database)) == {1}
    write(sink, TableBatch(PEOPLE, upserts=[(2, "two", 2)]))
    assert set(people(database)) == {1, 2}


def test_an_applier_that_loses_its_lock_changes_no_table_any_more(
    open_sink: OpenSink, database: MysqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one holds it by then, and has done the same: the columns would have changed places twice."""
    key = Column("id", INT, "bigint", nullable=False, number=1)
    first = table("moving", key, Column("a", INT, "bigint", number=2), Column("b", INT, "bigint", number=3))
    second = replace(first, columns=(key, replace(first.columns[1], name="b"), replace(first.columns[2], name="a")))
    second = replace(second, version=2)
    loser, other = open_sink(), open_sink()
    loser.prepare(first)
    loser.load_offsets([P0])
    write(loser, TableBatch(first, upserts=[(1, 7, 8)]))
    # As after a statement that took long.
    monkeypatch.setattr(connection, "IDLE_S", 0.0)
    announce = ControlTables.announce

    def announced(control: ControlTables, tables: Sequence[TableSchema]) -> None:
        announce(control, tables)
        if control is loser._definitions.control:
            (number,) = loser._definitions.link.rows("select connection_id()")[0]
            database.execute(f"kill connection {number}")
            other.prepare(second)
            write(other, TableBatch(second, upserts=[(2, 9, 10)]))

    monkeypatch.setattr(ControlTables, "announce", announced)
    with pytest.raises(TailraceError) as caught:
        loser.prepare(second)
    assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    loser.rollback()
    assert database.rows("select id, b, a from moving order by id") == [["1", "7", "8"], ["2", "9", "10"]]
    monkeypatch.undo()
    loser.prepare(second)
    assert write(loser, TableBatch(second, upserts=[(3, 11, 12)])) == []
    assert database.rows("select id, b, a from moving where id <> 2") == [["1", "7", "8"], ["3", "11", "12"]]


def test_the_rights_that_plan_prints_are_enough(database: MysqlDatabase) -> None:
    user = f"u{database.name[-10:]}"
    section = MysqlTarget.model_validate({**database.target_settings, "user": user, "password": "a'pass wörd"})
    lines = grants(section, ["public"])
    for _ in range(2):
        database.execute(*(line.replace("'…'", "'a''pass wörd'") for line in lines))
    sink = MysqlSink("shop", "replica", section)
    try:
        found = findings("shop", "replica", section, [PEOPLE, PETS])
        assert [f for f in found if f.severity is Severity.BLOCKS or f.code == "target-rights"] == []
        loaded(sink, PEOPLE, PETS)
        sink.load_offsets([P0])
        assert write(sink, TableBatch(PEOPLE, upserts=[(1, "one", 1)])) == []
        assert write(sink, TableBatch(PETS, upserts=[("cat", 1)])) == []
        sink.prepare(table("people", *PEOPLE.columns, Column("more", TEXT, "text"), version=2))
        sink.truncate([PETS])
        sink.stage_offsets({P0: 1})
        sink.flush()
        sink.drop(PETS)
        assert sorted(sink.forget()) == [f"1 row(s) of {database.name}.offsets", f"1 row(s) of {database.name}.tables"]
    finally:
        sink.close()
        database.execute(f"drop user {user}@'%'")


def test_a_server_that_takes_no_rows_any_more_gets_another_connection(sink: MysqlSink, database: MysqlDatabase) -> None:
    """As after a failover: the name may lead to another server by now."""
    loaded(sink, PEOPLE)
    sink._link.run("set session transaction read only")
    with pytest.raises(TailraceError) as caught:
        sink.apply(TableBatch(PEOPLE, upserts=[(1, "one", 1)]))
    assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    sink.rollback()
    assert write(sink, TableBatch(PEOPLE, upserts=[(1, "one", 1)])) == []
    assert people(database) == {1: ("one", "1")}


def test_a_server_that_takes_no_definitions_any_more_gets_another_connection(sink: MysqlSink) -> None:
    """Tables are made by a connection of its own, which leads to the same server."""
    loaded(sink, PETS)
    sink._definitions.link.run("set session transaction read only")
    with pytest.raises(TailraceError) as caught:
        sink.prepare(PEOPLE)
    assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    sink.rollback()
    loaded(sink, PEOPLE)
    assert write(sink, TableBatch(PEOPLE, upserts=[(1, "one", 1)])) == []


def test_a_table_is_emptied_without_the_rows_of_others(database: MysqlDatabase) -> None:
    database.execute(
        "create table people (id bigint primary key, mail longtext, age smallint)",
        "create table pets (name varchar(768) collate utf8mb4_bin primary key, owner bigint, "
        "constraint owners foreign key (owner) references people (id) on delete cascade)",
        "insert into people values (1, null, null), (9, null, null)",
        "insert into pets values ('old', 9)",
    )
    target = MysqlTarget.model_validate(database.target_settings)
    sink = MysqlSink("shop", "replica", target, existing_tables=ExistingTables.EMPTY)
    try:
        # The pets are loaded while their owners are still those that will go.
        for table, row in ((PETS, ("rex", 1)), (PEOPLE, (1, "one", 1))):
            sink.prepare(table)
            assert write(sink, TableBatch(table, upserts=[row])) == []
    finally:
        sink.close()
    assert database.rows("select name from pets") == [["rex"]]
    assert people(database) == {1: ("one", "1")}
    assert database.rows(
        "select count(*) from information_schema.referential_constraints "
        f"where constraint_schema = '{target.database}' and constraint_name = 'owners'"
    ) == [["1"]]


def test_names_that_go_to_other_columns_go_once(
    sink: MysqlSink, database: MysqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the version could not be recorded, and where values do not keep under another type."""
    key = Column("id", INT, "bigint", nullable=False, number=1)
    first = table("moving", key, Column("a", INT, "bigint", number=2), Column("b", TEXT, "text"))
    sink.prepare(first)
    sink.load_offsets([P0])
    write(sink, TableBatch(first, upserts=[(1, 7, "seven")]))
    columns = (key, Column("b", INT, "bigint", number=2), Column("a", TEXT, "text", number=3, filling="eight"))
    second = table("moving", *columns, version=2, comment="it's")
    with monkeypatch.context() as patch:
        patch.setattr(ControlTables, "record", Mock(side_effect=RuntimeError))
        with pytest.raises(RuntimeError):
            sink.prepare(second)
    database.execute("update moving set a = null")
    sink.rollback()
    sink.prepare(second)
    assert database.rows("select id, b, a from moving") == [["1", "7", "eight"]]
    columns = (key, Column("a", INT, "bigint", number=2), Column("b", INT, "bigint", number=3))
    sink.prepare(table("moving", *columns, version=3, comment="it's"))
    assert database.rows("select id, a, b from moving") == [["1", "7", None]]
    comment = (
        "select table_comment from information_schema.tables where table_schema = database() and table_name = 'moving'"
    )
    assert database.rows(comment) == [["it's"]]


def test_rows_of_an_earlier_version_get_what_a_column_was_filled_with(sink: MysqlSink, database: MysqlDatabase) -> None:
    """The target's default is another one by now, or none; rows that are there keep theirs."""
    key = Column("id", INT, "bigint", nullable=False, number=1)
    moment = LogicalType(Family.TIMESTAMPTZ)
    first = table("filled", key, Column("word", TEXT, "text", number=2))
    more = (
        Column("note", TEXT, "text", number=3, filling="it's"),
        Column("made", moment, "timestamp with time zone", default="now()", number=4, filling="2026-01-02 03:04:05+00"),
    )
    second = table("filled", *first.columns, *more, version=2)
    keyless = [replace(one, name=TableName("public", "bag"), key=()) for one in (first, second)]
    for one in (second, keyless[1]):
        sink.prepare(one)
    sink.load_offsets([P0])
    moved = "2026-01-02 03:04:05.000000"
    write(sink, TableBatch(second, upserts=[(1, "w", "own", 0)]))
    assert write(sink, TableBatch(first, upserts=[(1, "later"), (2, "new")], fresh=False)) == []
    assert write(sink, TableBatch(first, upserts=[(3, "fresh")], fresh=True)) == []
    assert write(sink, TableBatch(keyless[0], sequence=[("c", None, (5, "x"))])) == []
    assert database.rows("select id, word, note, made from filled order by id") == [
        ["1", "later", "own", "1970-01-01 00:00:00.000000"],
        ["2", "new", "it's", moved],
        ["3", "fresh", "it's", moved],
    ]
    assert database.rows("select * from bag") == [["5", "x", "it's", moved]]


def test_a_default_that_is_refused_takes_no_other_with_it(sink: MysqlSink, database: MysqlDatabase) -> None:
    """Rows that were there had null for all, and so had rows that others add to the target."""
    key = Column("id", INT, "bigint", nullable=False, number=1)
    short = LogicalType(Family.STRING, length=3)
    long = "'abcdef'::character varying"

    def columns(prefix: str, number: int) -> tuple[Column, ...]:
        return (
            Column(f"{prefix}_ten", INT, "bigint", default="10", number=number),
            Column(f"{prefix}_long", short, "character varying(3)", default=long, number=number + 1),
            Column(f"{prefix}_note", TEXT, "text", nullable=False, default="'it''s'::text", number=number + 2),
            Column(f"{prefix}_longer", short, "character varying(3)", nullable=False, default=long, number=number + 3),
        )

    first = table("refused", key, *columns("a", 2))
    sink.prepare(first)
    sink.load_offsets([P0])
    database.execute("insert into refused (id, a_longer) values (1, 'x')")
    sink.prepare(table("refused", *first.columns, *columns("b", 6), version=2))
    assert database.rows("select * from refused") == [["1", "10", None, "it's", "x", "10", None, "it's", None]]


def test_a_filling_that_has_no_place_suspends_the_table_and_says_so(sink: MysqlSink, database: MysqlDatabase) -> None:
    key = Column("id", INT, "bigint", nullable=False, number=1)
    first = table("filled", key)
    sink.prepare(first)
    sink.load_offsets([P0])
    write(sink, TableBatch(first, upserts=[(1,)]))
    real = Column("real", LogicalType(Family.FLOAT64), "double precision", number=2, filling="NaN")
    second = table("filled", key, real, version=2)
    for _ in range(2):
        with pytest.raises(TailraceError, match="'real' has no place in double") as caught:
            sink.prepare(second)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        sink.rollback()
    sink.prepare(table("filled", key, version=3))
    write(sink, TableBatch(first, upserts=[(2,)]))
    assert database.rows("select id from filled order by id") == [["1"], ["2"]]


def test_values_of_a_column_that_somebody_dropped_are_not_left_out(sink: MysqlSink, database: MysqlDatabase) -> None:
    sink.prepare(PEOPLE)
    sink.load_offsets([P0])
    write(sink, TableBatch(PEOPLE, upserts=[(1, "a", 1)]))
    database.execute("alter table people drop column age")
    for _ in range(2):
        with pytest.raises(TailraceError, match="lacks 'age'") as caught:
            write(sink, TableBatch(PEOPLE, upserts=[(1, "b", 2)]))
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        sink.rollback()
    database.execute("alter table people add column age smallint")
    write(sink, TableBatch(PEOPLE, upserts=[(1, "b", 2)]))
    assert database.rows("select mail, age from people") == [["b", "2"]]


def test_tables_that_share_one_have_each_what_it_was_filled_with(sink: MysqlSink, database: MysqlDatabase) -> None:
    fill(sink, SHARDED, (EAST, WEST))
    found = database.rows("select cast(id as char), shard, region from all_customers order by id, shard")
    assert [tuple(row) for row in found] == KEPT
