"""Small tables that are read together, in one snapshot; and those that are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from multiprocessing import Pipe

import pytest

from capture.full_load.process import received
from capture.full_load.worker import Answer, Ended, Failed, GroupRequest, Held, Opened, Rows, _Loader
from capture.source import WHOLE
from capture.sources.postgresql.snapshot import PostgresqlSnapshot, PostgresqlSnapshotReader
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings
from schemas.table import TableSchema
from tests.integration.postgresql_source import reading
from tests.kit.servers import Database

TABLES = (
    "create table few (id int primary key, v text)",
    "insert into few select i, 'v' || i from generate_series(1, 20) i",
    "create table many (id int primary key, v text)",
    "insert into many select i, repeat('x', 200) from generate_series(1, 500) i",
    "create table keyless (v text)",
    "alter table keyless replica identity full",
    "insert into keyless values ('a'), (null)",
    "create table none (id int primary key)",
    "create table parts (id int primary key) partition by range (id)",
    "create table part partition of parts for values from (1) to (9)",
    "insert into parts values (1), (2)",
)
ROWS = 300
"""As many fit into one page of the heap, by the smallest rows that there can be."""


@pytest.fixture
def settings(source_database: Database, replication: str) -> Settings:
    source_database.execute(*TABLES)
    return reading.settings_for(source_database, replication)


@pytest.fixture
def tables(settings: Settings) -> dict[str, TableSchema]:
    with closing(reading.database_of(settings)) as source:
        return {table.name.table: table for table in source.tables()}


@pytest.fixture
def reader(settings: Settings) -> Iterator[PostgresqlSnapshotReader]:
    with closing(PostgresqlSnapshotReader(reading.section(settings))) as reader:
        yield reader


def _held(reader: PostgresqlSnapshotReader, tables: dict[str, TableSchema], rows: int = ROWS) -> list[str]:
    return [list(tables)[place] for place in reader.hold([*tables.values()], rows)]


def _count(reader: PostgresqlSnapshotReader, table: TableSchema) -> int:
    return sum(len(batch) for batch in reader.read(table, WHOLE, 1000))


def test_small_tables_are_read_in_one_snapshot(
    reader: PostgresqlSnapshotReader, tables: dict[str, TableSchema], source_database: Database
) -> None:
    assert _held(reader, tables) == ["few", "keyless", "none"]
    source_database.execute("insert into few values (0, 'later')", "insert into none values (0)")
    snapshots: list[PostgresqlSnapshot] = []
    for name, count in (("few", 20), ("none", 0), ("keyless", 2)):
        assert _count(reader, tables[name]) == count
        snapshots.append(reader.snapshot())
    assert snapshots[0] is snapshots[1] is snapshots[2]
    # What is no part of it ends it.
    assert len(reader.plan(tables["many"], ROWS)) > 1
    assert [_count(reader, tables[name]) for name in ("parts", "few", "none")] == [2, 21, 1]
    assert reader.snapshot().high > snapshots[0].high


def test_nobody_is_waited_for_while_others_may_wait_for_us(
    reader: PostgresqlSnapshotReader, tables: dict[str, TableSchema], source_database: Database
) -> None:
    with source_database.connect() as other:
        other.autocommit = False
        other.execute("alter table none add c int")
        with pytest.raises(TailraceError) as caught:
            _held(reader, tables)
        assert caught.value.kind is ErrorKind.SOURCE_CONNECTION
        locks = "select count(*) from pg_locks where relation = 'few'::regclass"
        assert source_database.rows(locks) == [(0,)]
        assert _count(reader, tables["few"]) == 20
        other.rollback()
    assert _held(reader, tables) == ["few", "keyless", "none"]
    reader.release()
    assert source_database.rows(locks) == [(0,)]


def test_types_whose_operators_are_elsewhere_are_read_alone(
    reader: PostgresqlSnapshotReader, settings: Settings, source_database: Database
) -> None:
    source_database.execute(
        "create type shade as enum ('a', 'b')", "create table shades (k shade primary key, v shade)"
    )
    source_database.execute("insert into shades values ('b', 'a')")
    with closing(reading.database_of(settings)) as source:
        tables = {table.name.table: table for table in source.tables()}
    assert _held(reader, {"shades": tables["shades"]}) == []
    assert [row for batch in reader.read(tables["shades"], WHOLE, 10) for row in batch] == [("b", "a")]
    assert "few" in _held(reader, tables)
    assert "shades" not in _held(reader, tables)


def test_a_loader_answers_for_those_of_a_group_that_are_small(
    settings: Settings, tables: dict[str, TableSchema]
) -> None:
    found = _answers(settings, tables)
    assert {name: [type(answer) for answer in answers] for name, answers in found.items()} == {
        "few": [Opened, Rows, Ended],
        "keyless": [Opened, Rows, Ended],
        "none": [Opened, Ended],
    }


def test_a_loader_ends_a_group_with_the_first_that_fails(
    settings: Settings, tables: dict[str, TableSchema], source_database: Database
) -> None:
    """One is gone, and one has other columns now."""
    source_database.execute("alter table keyless alter v type varchar(40)", "drop table none")
    found = _answers(settings, tables)
    assert list(found) == ["few", "keyless"]
    assert isinstance(found["few"][-1], Ended)
    (failed,) = found["keyless"]
    assert isinstance(failed, Failed)
    assert failed.kind is ErrorKind.SOURCE_SCHEMA
    assert list(_answers(settings, {"few": tables["few"]})) == ["few"], "and serves the next one"


def _answers(settings: Settings, tables: dict[str, TableSchema]) -> dict[str, list[Answer]]:
    """Let a loader answer for all tables in one request; return what it says of each, up to the first failure."""
    ours, theirs = Pipe()
    loader = _Loader(theirs, settings, "postgresql")
    try:
        loader.serve(GroupRequest((*tables.values(),), (None,) * len(tables), ROWS))
        held = received(ours)
        assert isinstance(held, Held)
        found: dict[str, list[Answer]] = {}
        for place in held.places:
            answers = found[list(tables)[place]] = [received(ours)]
            while not isinstance(answers[-1], Failed | Ended):
                answers.append(received(ours))
            if isinstance(answers[-1], Failed):
                break
        assert not ours.poll()
    finally:
        loader.close()
        ours.close()
        theirs.close()
    return found
