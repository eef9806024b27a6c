"""Unique values that change places within a batch: any legal state of a table leads to any other, in any pieces."""

from __future__ import annotations

import random

import pytest

from apply.sink import TableBatch
from apply.sinks.postgresql.sink import PostgresqlSink
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.servers import Database

pytestmark = pytest.mark.integration

INT64 = LogicalType(Family.INT64)
STRING = LogicalType(Family.STRING)
TEXT = LogicalType(Family.TEXT)

PLACES = TableSchema(
    TableName("public", "places"),
    (
        Column("id", INT64, "bigint", nullable=False),
        Column("code", STRING, "character varying(12)", nullable=False),
        Column("label", STRING, "text"),
        Column("rank", INT64, "bigint"),
        Column("turn", INT64, "bigint"),
        Column("span", TEXT, "int8range"),
        Column("about", STRING, "text"),
    ),
    (0,),
)
TABLE = """
create table places (
    id bigint generated always as identity primary key, code varchar(12) not null unique, label text, rank bigint,
    turn bigint unique deferrable, span int8range, about text, here int default 7,
    loud text generated always as (upper(code)) stored,
    exclude using gist (span with &&), unique nulls not distinct (label, turn));
create unique index on places (lower(label));
create unique index on places (rank) where rank % 2 = 0;
create unique index on places (loud);
create table guests (id int primary key, place bigint not null references places,
    code varchar(12) references places (code) deferrable);
"""
KEYS, ROUNDS = 14, 40


def legal_rows(chance: random.Random) -> dict[int, Row]:
    """Return rows that share no unique value."""
    ids = chance.sample(range(KEYS), chance.randint(2, KEYS))
    codes, labels, ranks, turns, spans = (chance.sample(range(KEYS), len(ids)) for _ in range(5))
    rows: dict[int, Row] = {}
    for n, i in enumerate(ids):
        label = chance.choice([f"Label {labels[n]}", f"label {labels[n]}", None])
        span = None if chance.random() < 0.2 else f"[{10 * spans[n]},{10 * spans[n] + 10})"
        rank = chance.choice([2 * ranks[n], 1, None])
        rows[i] = (i, f"code {codes[n]}", label, rank, turns[n], span, chance.choice(["x", "y", None]))
    return rows


def steps(chance: random.Random, old: dict[int, Row], new: dict[int, Row]) -> TableBatch:
    """Return a batch that leads from one state to the other; what did not change is left out of some rows."""
    batch = TableBatch(PLACES, deletes=[(i,) for i in old if i not in new])
    for i, row in new.items():
        if i not in old or chance.random() < 0.4:
            batch.upserts = [*batch.upserts, row]
        else:
            known = [v if n == 0 or v != old[i][n] or chance.random() < 0.3 else UNCHANGED for n, v in enumerate(row)]
            batch.updates = [*batch.updates, tuple(known)]
    return batch


def read(database: Database) -> list[tuple[object, ...]]:
    query = "select id, code, label, rank, turn, span::text, about, loud = upper(code), here from places order by id"
    return database.rows(query)


def expected(rows: dict[int, Row], here: dict[int, int]) -> list[tuple[object, ...]]:
    return [(*rows[i], True, here.get(i, 7)) for i in sorted(rows)]


def test_any_legal_state_leads_to_any_other_in_one_batch(sink: PostgresqlSink, target_database: Database) -> None:
    chance = random.Random(3)
    target_database.execute(TABLE)
    sink.prepare(PLACES)
    old: dict[int, Row] = {}
    here: dict[int, int] = {}
    for number in range(ROUNDS):
        new = legal_rows(chance)
        assert sink.apply(steps(chance, old, new)) == [], f"round {number}"
        sink.flush()
        here = {i: n for i, n in here.items() if i in new}
        assert read(target_database) == expected(new, here), f"round {number}"
        # What only the target's table has stays with its row; and referring rows let its key go and come back.
        i = chance.choice(sorted(new))
        here[i] = number
        target_database.execute(
            "delete from guests",
            f"update places set here = {number} where id = {i}",
            f"insert into guests select 1, id, null from places where id = {i}",
        )
        gone = steps(chance, new, new)
        gone.deletes = [*gone.deletes, (i,)]
        gone.upserts = [row for row in gone.upserts if row[0] != i]
        gone.updates = [row for row in gone.updates if row[0] != i]
        assert [(r.kind, r.error.kind) for r in sink.apply(gone)] == [("deletes", ErrorKind.ROW_CONFLICT)]
        sink.flush()
        old = new
        old_guest = dict(old)
        if number % 2:
            # Its key stays although everything else of it moves.
            moved = legal_rows(chance)
            moved[i] = moved.get(i) or (i, "own", "own", None, 99, None, None)
            assert sink.apply(steps(chance, old_guest, moved)) == [], f"round {number}"
            sink.flush()
            here = {k: n for k, n in here.items() if k in moved}
            assert read(target_database) == expected(moved, here), f"round {number}"
            old = moved
        target_database.execute("delete from guests")


def test_rows_that_come_apart_wait_for_each_other_and_for_nobody_else(
    sink: PostgresqlSink, target_database: Database
) -> None:
    chance = random.Random(4)
    target_database.execute(TABLE)
    sink.prepare(PLACES)
    old: dict[int, Row] = {}
    for number in range(ROUNDS):
        new = legal_rows(chance)
        whole = steps(chance, old, new)
        # Changes come one after the other in any order; those in conflict are tried again with the next ones.
        left = [(kind, row) for kind in ("deletes", "upserts", "updates") for row in getattr(whole, kind)]
        chance.shuffle(left)
        waiting: list[tuple[str, Row]] = []
        while left:
            count = chance.randint(1, 5)
            some, left = waiting + left[:count], left[count:]
            batch = TableBatch(PLACES)
            for kind, row in some:
                getattr(batch, kind).append(row)
            rejections = sink.apply(batch)
            sink.flush()
            assert {r.error.kind for r in rejections} <= {ErrorKind.ROW_CONFLICT}
            waiting = [(r.kind, getattr(batch, r.kind)[r.index]) for r in rejections]
        assert waiting == [], f"round {number}"
        assert read(target_database) == expected(new, {}), f"round {number}"
        old = new


def test_a_long_chain_behind_one_row_that_waits_is_found_at_once(
    sink: PostgresqlSink, target_database: Database
) -> None:
    target_database.execute(TABLE)
    sink.prepare(PLACES)
    rows: list[Row] = [(n, f"code {n}", None, None, n, None, None) for n in range(1001)]
    assert sink.apply(TableBatch(PLACES, upserts=rows)) == []
    # Everybody takes the next one's code; the last one's holder is not among them. Another pair swaps.
    chain: list[Row] = [(n, f"code {n + 1}", UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED) for n in range(990)]
    pair: list[Row] = [(995, "code 996", None, None, 995, None, "new"), (996, "code 995", None, None, 996, None, "new")]
    rejections = sink.apply(TableBatch(PLACES, updates=chain, upserts=pair))
    assert [(r.kind, r.index) for r in rejections] == [("updates", n) for n in range(990)]
    assert sink.apply(TableBatch(PLACES, updates=chain, deletes=[(990,)])) == []
    sink.flush()
    assert target_database.rows("select id, code from places where id in (0, 500, 990, 995) order by id") == [
        (0, "code 1"),
        (500, "code 501"),
        (995, "code 996"),
    ]


def test_a_bag_lets_unique_values_move(sink: PostgresqlSink, target_database: Database) -> None:
    target_database.execute("create table bag (code text unique, about text)")
    bag = TableSchema(
        TableName("public", "bag"), (Column("code", STRING, "text"), Column("about", STRING, "text")), key=()
    )
    sink.prepare(bag)
    assert sink.apply(TableBatch(bag, sequence=[("c", None, ("a", "1")), ("c", None, ("b", "2"))])) == []
    moves: list[tuple[str, Row | None, Row | None]] = [
        ("u", ("a", "1"), ("a", "new")),
        ("d", ("b", "2"), None),
        ("c", None, ("b", "3")),
        ("c", None, ("c", "4")),
        ("d", ("c", UNCHANGED), None),
    ]
    assert sink.apply(TableBatch(bag, sequence=moves)) == []
    sink.flush()
    assert target_database.rows("select * from bag order by 1") == [("a", "new"), ("b", "3")]
