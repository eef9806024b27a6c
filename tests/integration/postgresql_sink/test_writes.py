"""What the suite of all sinks cannot know: refused rows, moving unique values, foreign keys, triggers, old tables."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from apply.sink import TableBatch, TopicPartition
from apply.sink_kinds.relational import stages as relational_stages
from apply.sinks.postgresql import stages
from apply.sinks.postgresql.sink import PostgresqlSink
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, ForeignKey, Index, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.integration.postgresql_sink.conftest import OpenSink
from tests.kit.servers import Database

pytestmark = pytest.mark.integration

INT64 = LogicalType(Family.INT64)
STRING = LogicalType(Family.STRING)

PEOPLE = TableSchema(
    TableName("public", "people"),
    (
        Column("id", INT64, "bigint", nullable=False),
        Column("email", STRING, "character varying(12)", nullable=False),
        Column("boss", INT64, "bigint"),
        Column("amount", LogicalType(Family.DECIMAL, precision=6, scale=2), "numeric(6,2)"),
    ),
    (0,),
    indexes=(
        Index("people_email", unique=True, definition="using btree (email)", constraint=True),
        Index("people_boss", unique=False, definition="using btree (boss) where (boss > 0)"),
    ),
    foreign_keys=(ForeignKey("people_boss_fk", ("boss",), TableName("public", "people"), ("id",)),),
)
NOTES = TableSchema(
    TableName("public", "notes"),
    (Column("id", INT64, "bigint", nullable=False), Column("person", INT64, "bigint"), Column("text", STRING, "text")),
    (0,),
    foreign_keys=(
        ForeignKey("notes_person", ("person",), TableName("public", "people"), ("id",), on_delete="cascade"),
    ),
)


def people(sink: PostgresqlSink, *rows: tuple[object, ...]) -> None:
    """Prepare, load and complete the table."""
    sink.prepare(PEOPLE)
    assert sink.apply(TableBatch(PEOPLE, upserts=list(rows), fresh=True)) == []
    sink.flush()
    sink.complete_load(PEOPLE)


def test_refused_rows_are_returned_and_all_others_are_written(sink: PostgresqlSink, target_database: Database) -> None:
    sink.prepare(PEOPLE)
    rows: list[Row] = [(n, f"p{n}", None, n) for n in range(200)]
    rows[17] = (17, "longer than the column", None, 1)
    rows[90] = (90, None, None, 1)
    rows[91] = (91, "nul\0", None, 1)
    rows[92] = (92, "lone \ud800", None, 1)
    rows[150] = (150, "p150", 1 << 70, 1)
    rejections = sink.apply(TableBatch(PEOPLE, upserts=rows, deletes=[("no number",)]))
    sink.flush()
    refused = {(rejection.kind, rejection.index) for rejection in rejections}
    assert refused == {("deletes", 0), *(("upserts", n) for n in (17, 90, 91, 92, 150))}
    assert {rejection.error.kind for rejection in rejections} == {ErrorKind.ROW_REJECTED}
    assert not any("longer than" in str(rejection.error) for rejection in rejections)
    assert target_database.rows("select count(*) from people") == [(195,)]


POISON = """
create function poison() returns trigger language plpgsql as $$ begin
    case new.id % 100
        when 1 then perform * from missing_table;
        when 2 then perform missing_function(new.id);
        when 3 then raise exception using errcode = 'ZZ001';
        when 4 then execute 'select 1 from people where id = ' || new.id || ' for update of nothing';
        when 5 then raise exception using errcode = 'feature_not_supported';
        else null;
    end case; return new; end $$
"""


def test_whatever_an_error_is_it_is_of_the_row_if_the_table_takes_others(
    open_sink: OpenSink, target_database: Database
) -> None:
    """Triggers and policies can raise any error; one that is of no row raises the same ones."""
    keyless = replace(NOTES, key=(), foreign_keys=())
    sink = open_sink()
    for table, name in ((PEOPLE, "people"), (keyless, "notes")):
        sink.prepare(table)
        sink.flush()
        if table is PEOPLE:
            target_database.execute(POISON)
        target_database.execute(f"create trigger poison before insert on {name} for each row execute function poison()")
    for _ in range(2):
        rows: list[Row] = [(n, f"p{n}", None, 1) for n in range(50)]
        refused = [(r.kind, r.index, r.error.kind) for r in sink.apply(TableBatch(PEOPLE, upserts=rows))]
        assert refused == [("upserts", n, ErrorKind.ROW_REJECTED) for n in range(1, 6)]
        entries: list[tuple[str, Row | None, Row | None]] = [("c", None, (n, n, "note")) for n in range(20)]
        assert [r.index for r in sink.apply(TableBatch(keyless, sequence=entries))] == [1, 2, 3, 4, 5]
        # Alone it is told from its table, too.
        assert [r.index for r in sink.apply(TableBatch(PEOPLE, upserts=[(101, "q", None, 1)]))] == [0]
        sink.flush()
    assert target_database.rows("select (select count(*) from people), (select count(*) from notes)") == [(45, 30)]
    for rows in ([(100 * n + 1, f"r{n}", None, 1) for n in range(500)], [(201, "s", None, 1), (301, "t", None, 1)]):
        # No row is taken: that is the table's trouble.
        with pytest.raises(TailraceError) as caught:
            sink.apply(TableBatch(PEOPLE, upserts=rows))
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        sink.rollback()
    target_database.execute("drop table people")
    with pytest.raises(TailraceError) as caught:
        sink.apply(TableBatch(PEOPLE, upserts=[(7, "u", None, 1)]))
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA


def test_a_table_that_takes_rows_only_as_they_swap_values_takes_rows(
    sink: PostgresqlSink, target_database: Database
) -> None:
    people(sink, (10, "a", None, 1), (20, "b", None, 1))
    target_database.execute(POISON)
    target_database.execute("create trigger poison before insert on people for each row execute function poison()")
    rejections = sink.apply(TableBatch(PEOPLE, upserts=[(10, "b", None, 1), (20, "a", None, 1), (3, "c", None, 1)]))
    assert [(r.index, r.error.kind) for r in rejections] == [(2, ErrorKind.ROW_REJECTED)]
    sink.flush()
    assert target_database.rows("select id, email from people order by id") == [(10, "b"), (20, "a")]


def test_rows_that_a_load_brings_again_are_found_before_the_load_is_complete(
    sink: PostgresqlSink, target_database: Database
) -> None:
    sink.prepare(NOTES)
    for rows in ([(1, None, "a"), (2, None, "b")], [(2, None, "later"), (3, None, "c")]):
        # As `signal reload` has it in the midst of a load: nothing in the topic tells that a row comes again.
        assert sink.apply(TableBatch(NOTES, upserts=rows, fresh=True)) == []
        sink.flush()
    assert target_database.rows("select id, text from notes order by id") == [(1, "a"), (2, "later"), (3, "c")]


def test_a_unique_value_taken_by_another_row_is_a_conflict(sink: PostgresqlSink, target_database: Database) -> None:
    people(sink, (1, "a", None, 1), (2, "b", None, 1))
    rejections = sink.apply(TableBatch(PEOPLE, upserts=[(3, "a", None, 1), (4, "d", None, 1)]))
    assert [(r.kind, r.index, r.error.kind) for r in rejections] == [("upserts", 0, ErrorKind.ROW_CONFLICT)]
    sink.flush()
    assert target_database.rows("select id, email from people order by id") == [(1, "a"), (2, "b"), (4, "d")]


def test_rows_swap_unique_values(sink: PostgresqlSink, target_database: Database) -> None:
    people(sink, *((n, f"e{n}", None, 1) for n in range(10)))
    bad = (99, "much too long for it", None, 1)
    for upserts in (
        [(1, "e2", None, 1), (2, "e3", None, 1), (3, "e1", None, 1)],
        [(1, "e1", None, 1), bad, (2, "e2", None, 1), (3, "e3", None, 1)],
    ):
        rejections = sink.apply(TableBatch(PEOPLE, upserts=upserts))
        assert {rejection.index for rejection in rejections} == ({1} if bad in upserts else set())
        sink.flush()
    assert target_database.rows("select id, email from people where id < 4 order by id") == [
        (0, "e0"),
        (1, "e1"),
        (2, "e2"),
        (3, "e3"),
    ]


def test_partial_updates_swap_unique_values(sink: PostgresqlSink, target_database: Database) -> None:
    people(sink, *((n, f"e{n}", n, n) for n in range(1, 9)))
    updates: list[Row] = [(1, "e2", UNCHANGED, UNCHANGED), (2, "e1", UNCHANGED, UNCHANGED)]
    assert sink.apply(TableBatch(PEOPLE, updates=[*updates, (3, "e4", UNCHANGED, 5), (4, "e3", UNCHANGED, 6)])) == []
    sink.flush()
    assert target_database.rows("select id, email, boss, amount::text from people where id < 5 order by id") == [
        (1, "e2", 1, "0.01"),
        (2, "e1", 2, "0.02"),
        (3, "e4", 3, "0.05"),
        (4, "e3", 4, "0.06"),
    ]


def test_rows_that_take_a_value_of_a_row_that_does_not_move_are_told_from_the_others(
    sink: PostgresqlSink, target_database: Database
) -> None:
    people(sink, *((n, f"e{n}", None, 1) for n in range(200)))
    rows: list[Row] = [(n, f"new{n}", None, 1) for n in range(150)]
    # 5 wants what 170 has; 6 and 7 swap; 8 wants what 5 would have given up.
    rows[5], rows[6], rows[7], rows[8] = (
        (5, "e170", None, 1),
        (6, "e7", None, 1),
        (7, "e6", None, 1),
        (8, "e5", None, 1),
    )
    late = sink.apply(TableBatch(PEOPLE, upserts=rows))
    assert {(r.index, r.error.kind) for r in late} == {(5, ErrorKind.ROW_CONFLICT), (8, ErrorKind.ROW_CONFLICT)}
    sink.flush()
    assert target_database.rows("select id, email from people where id between 5 and 9 order by id") == [
        (5, "e5"),
        (6, "e7"),
        (7, "e6"),
        (8, "e8"),
        (9, "new9"),
    ]
    assert sink.apply(TableBatch(PEOPLE, upserts=[rows[5], rows[8], (170, "free", None, 1)])) == []


def test_a_deleted_rows_unique_value_can_be_taken_in_the_same_batch(
    sink: PostgresqlSink, target_database: Database
) -> None:
    people(sink, (1, "a", None, 1), (2, "b", None, 1))
    assert (
        sink.apply(TableBatch(PEOPLE, deletes=[(1,)], upserts=[(3, "a", 2, 1)], updates=[(2, "z", 3, UNCHANGED)])) == []
    )
    sink.flush()
    assert target_database.rows("select id, email, boss from people order by id") == [(2, "z", 3), (3, "a", 2)]


def test_foreign_keys_come_when_both_tables_are_loaded_and_never_cascade(
    sink: PostgresqlSink, target_database: Database
) -> None:
    sink.prepare(NOTES)
    sink.apply(TableBatch(NOTES, upserts=[(1, 1, "n")]))
    sink.flush()
    sink.complete_load(NOTES)
    people(sink, (1, "a", None, 1), (2, "b", 1, 1))
    keys = "select conname, convalidated, confdeltype::text from pg_constraint where contype = 'f' order by 1"
    assert target_database.rows(keys) == [("notes_person", True, "a"), ("people_boss_fk", True, "a")]
    early = sink.apply(TableBatch(NOTES, upserts=[(2, 77, "its parent is late"), (3, 2, "n")]))
    assert [(r.index, r.error.kind) for r in early] == [(0, ErrorKind.ROW_CONFLICT)]
    late = sink.apply(TableBatch(PEOPLE, deletes=[(1,), (2,)]))
    assert {r.error.kind for r in late} == {ErrorKind.ROW_CONFLICT}
    assert sink.apply(TableBatch(NOTES, deletes=[(1,), (3,)])) == []
    assert sink.apply(TableBatch(PEOPLE, deletes=[(1,), (2,)])) == []
    sink.flush()
    assert target_database.rows("select id from people") == []
    assert target_database.rows("select indexname from pg_indexes where tablename = 'people' order by 1") == [
        ("people_boss",),
        ("people_email",),
        ("people_pkey",),
    ]


def test_many_rows_without_parents_are_told_from_the_others(sink: PostgresqlSink, target_database: Database) -> None:
    people(sink, *((n, f"e{n}", None, 1) for n in range(0, 400, 2)))
    sink.prepare(NOTES)
    sink.complete_load(NOTES)
    rows: list[Row] = [(n, n, "text") for n in range(400)]
    rows[10] = (10, None, "text")
    rows[12] = (12, 12, "nul\0")
    late = sink.apply(TableBatch(NOTES, upserts=rows))
    assert {r.index for r in late if r.error.kind is ErrorKind.ROW_CONFLICT} == set(range(1, 400, 2))
    assert {r.index for r in late if r.error.kind is ErrorKind.ROW_REJECTED} == {12}
    late = sink.apply(TableBatch(NOTES, updates=[(20, 21, UNCHANGED), (22, UNCHANGED, "new"), (24, 26, "new")]))
    assert [r.index for r in late] == [0]
    bosses: list[Row] = [(1, "one", 3, 1), (3, "three", 999, 1), (5, "five", 7, 1), (7, "seven", None, 1)]
    late = sink.apply(TableBatch(PEOPLE, upserts=bosses))
    assert [r.index for r in late] == [1, 0]
    late = sink.apply(TableBatch(PEOPLE, deletes=[(10,), (12,), (14,), (24,), (7,)]))
    assert [(r.index, r.error.kind) for r in late] == [(2, ErrorKind.ROW_CONFLICT), (4, ErrorKind.ROW_CONFLICT)]
    sink.flush()
    found = target_database.rows("select id from people where id < 26 order by id")
    assert [row[0] for row in found] == [0, 2, 4, 5, 6, 7, 8, 14, 16, 18, 20, 22]


def test_a_foreign_key_whose_parents_are_late_is_validated_by_a_later_call(
    sink: PostgresqlSink, target_database: Database
) -> None:
    people(sink, (1, "a", None, 1))
    sink.prepare(NOTES)
    assert sink.apply(TableBatch(NOTES, upserts=[(1, 7, "n")], fresh=True)) == []
    sink.flush()
    sink.complete_load(NOTES)
    valid = "select convalidated from pg_constraint where conname = 'notes_person'"
    assert target_database.rows(valid) == [(False,)]
    assert sink.apply(TableBatch(PEOPLE, upserts=[(7, "late", None, 1)])) == []
    sink.flush()
    sink.complete_load(PEOPLE)
    assert target_database.rows(valid) == [(True,)]


def test_truncate_does_not_cascade(sink: PostgresqlSink, target_database: Database) -> None:
    people(sink, (1, "a", None, 1))
    sink.prepare(NOTES)
    sink.apply(TableBatch(NOTES, upserts=[(1, 1, "n")]))
    sink.flush()
    sink.complete_load(NOTES)
    with pytest.raises(TailraceError) as caught:
        sink.truncate([PEOPLE])
    assert caught.value.kind is ErrorKind.ROW_CONFLICT
    sink.rollback()
    sink.truncate([NOTES])
    sink.truncate([PEOPLE])
    sink.flush()
    assert target_database.rows("select (select count(*) from people), (select count(*) from notes)") == [(0, 0)]


def test_a_table_of_somebody_else_is_used_if_it_can_hold_the_rows(
    sink: PostgresqlSink, target_database: Database
) -> None:
    target_database.execute(
        "create table people (extra int default 7, amount numeric, id numeric(30), email text not null, "
        "shout text generated always as (upper(email)) stored)"
    )
    sink.prepare(PEOPLE)
    rows = [(1, "a", None, 150), (2, "b", 1, None)]
    # No unique index there: written all the same.
    for _ in range(2):
        assert sink.apply(TableBatch(PEOPLE, upserts=rows, deletes=[(9,)], updates=[(3, UNCHANGED, 1, 1)])) == []
        sink.flush()
    found = target_database.rows("select id, email, boss, amount, extra, shout from people order by id")
    assert [tuple(map(str, row)) for row in found] == [
        ("1", "a", "None", "1.50", "7", "A"),
        ("2", "b", "1", "None", "7", "B"),
    ]


@pytest.mark.parametrize(
    "columns",
    [
        "id int primary key, email varchar(12), boss bigint, amount numeric(6,2)",
        "id bigint primary key, email varchar(11), boss bigint, amount numeric(6,2)",
        "id bigint primary key, email text, boss bigint, amount numeric(6,1)",
        "id bigint primary key, email text, boss bigint, amount numeric, extra int not null",
        "id bigint primary key, email text, boss bigint, amount text generated always as ('x') stored",
    ],
)
def test_a_table_that_would_lose_values_is_refused(
    sink: PostgresqlSink, target_database: Database, columns: str
) -> None:
    target_database.execute(f"create table people ({columns})")
    with pytest.raises(TailraceError) as caught:
        sink.prepare(PEOPLE)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert caught.value.table == "public.people"


def test_another_appliers_alteration_is_noticed(open_sink: OpenSink, target_database: Database) -> None:
    first, second = open_sink(), open_sink()
    for sink in (first, second):
        sink.prepare(PEOPLE)
        assert sink.apply(TableBatch(PEOPLE, upserts=[(1, "a", None, 1)])) == []
        sink.flush()
    newer = replace(PEOPLE, version=2, columns=(*PEOPLE.columns[:2], Column("city", STRING, "text", default="'?'")))
    first.prepare(newer)
    with pytest.raises(TailraceError, match="knows 1"):
        second.apply(TableBatch(PEOPLE, upserts=[(2, "b", None, 1)]))
    second.rollback()
    second.prepare(newer)
    cut = replace(PEOPLE, columns=PEOPLE.columns[:2])
    assert second.apply(TableBatch(cut, upserts=[(2, "b")])) == []
    second.flush()
    assert second.apply(TableBatch(newer, upserts=[(3, "c", "x")])) == []
    second.flush()
    assert target_database.rows("select id, email, city from people order by id") == [
        (1, "a", "?"),
        (2, "b", "?"),
        (3, "c", "x"),
    ]


def test_many_tables_share_few_staging_tables(
    sink: PostgresqlSink, target_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relational_stages, "STAGES_MAX", 10)
    tables = [replace(NOTES, name=TableName("many", f"t{n}"), foreign_keys=()) for n in range(30)]
    for table in tables:
        sink.prepare(table)
    for round_number in range(2):
        for table in tables:
            assert sink.apply(TableBatch(table, upserts=[(round_number, 1, "x")])) == []
        if not round_number:
            sink.rollback()
        sink.flush()
    assert target_database.rows("select a.id, b.id from many.t0 a, many.t29 b") == [(1, 1)]


def test_merged_rows_that_stay_in_the_staging_table_are_not_merged_again(
    sink: PostgresqlSink, target_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "STALE_ROWS_MAX", 5)
    sink.prepare(NOTES)
    for turn in range(12):
        assert (
            sink.apply(TableBatch(NOTES, upserts=[(1, turn, "a"), (turn + 2, 0, "b")], deletes=[(turn + 100,)])) == []
        )
        if turn % 4 == 3:
            sink.rollback()
        sink.flush()
        target_database.execute(f"delete from notes where id = {turn + 2}")
    assert target_database.rows("select id, person from notes") == [(1, 10)]


def test_a_lost_connection_is_reported_and_the_sink_goes_on_after_a_rollback(
    sink: PostgresqlSink, target_database: Database
) -> None:
    sink.prepare(PEOPLE)
    partition = TopicPartition("shop.public.people", 0)
    sink.load_offsets([partition])
    assert sink.apply(TableBatch(PEOPLE, upserts=[(1, "a", None, 1)])) == []
    target_database.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and application_name like 'tailrace apply%'"
    )
    for _ in range(2):
        with pytest.raises(TailraceError) as caught:
            sink.stage_offsets({partition: 5})
        assert caught.value.kind is ErrorKind.TARGET_CONNECTION
    sink.rollback()
    assert sink.apply(TableBatch(PEOPLE, upserts=[(2, "b", None, 1)])) == []
    sink.stage_offsets({partition: 6})
    sink.flush()
    assert target_database.rows("select id from people") == [(2,)]
    assert sink.load_offsets([partition]) == {partition: 6}


def test_forgetting_a_replication_leaves_its_rows(open_sink: OpenSink, target_database: Database) -> None:
    sink = open_sink()
    people(sink, (1, "a", None, 1))
    sink.load_offsets([TopicPartition("t", 0)])
    assert sink.forget() == ["1 row(s) of tailrace.offsets", "1 row(s) of tailrace.tables"]
    assert target_database.rows("select id from people") == [(1,)]
    assert open_sink().load_offsets([TopicPartition("t", 0)]) == {}


@pytest.mark.parametrize("key", [(0,), ()])
def test_a_value_that_names_what_the_target_has_not_is_a_refused_row(
    sink: PostgresqlSink, target_database: Database, key: tuple[int, ...]
) -> None:
    columns = (
        Column("id", INT64, "bigint", nullable=False),
        Column("of", LogicalType(Family.TEXT), "regclass"),
        Column("at", LogicalType(Family.TEXT), "timetz"),
    )
    named = TableSchema(TableName("public", "named"), columns, key, full_before=not key)
    sink.prepare(named)
    rows: list[Row] = [(n, "pg_class" if n % 7 else f"gone_{n}", "12:00+00") for n in range(1, 30)]
    batch = TableBatch(named, upserts=rows) if key else TableBatch(named, sequence=[("c", None, row) for row in rows])
    rejections = sink.apply(batch)
    sink.flush()
    assert sorted(rows[rejection.index][0] for rejection in rejections) == [7, 14, 21, 28]
    assert {rejection.error.kind for rejection in rejections} == {ErrorKind.ROW_REJECTED}
    assert target_database.rows("select count(*) from named") == [(25,)]
    target_database.execute("drop table named")
    with pytest.raises(TailraceError) as caught:
        sink.apply(batch)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    sink.rollback()


def test_a_right_to_one_table_is_told_from_one_to_the_control_tables(
    sink: PostgresqlSink, target_database: Database
) -> None:
    people(sink)
    role = f"r{secrets.token_hex(5)}"
    target_database.execute(f"create role {role}", f"grant select on people to {role}")
    try:
        sink._link.run(f"set role {role}")
        kinds = []
        for _ in range(2):
            with pytest.raises(TailraceError) as caught:
                sink.apply(TableBatch(PEOPLE, upserts=[(1, "a", None, 1)]))
            kinds.append(caught.value.kind)
            sink.rollback()
            target_database.execute(
                f"grant usage on schema tailrace to {role}", f"grant select on tailrace.tables to {role}"
            )
        assert kinds == [ErrorKind.PREREQUISITE, ErrorKind.TARGET_SCHEMA]
    finally:
        sink._link.discard()
        target_database.execute(f"drop owned by {role}", f"drop role {role}")
