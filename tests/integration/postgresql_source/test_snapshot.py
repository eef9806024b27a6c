"""Chunks that cover a table exactly, whatever its key; and snapshots that know what they saw."""

from __future__ import annotations

import time

import pytest

from capture.source import Chunk
from capture.sources.postgresql.snapshot import PostgresqlSnapshotReader
from schemas.changes import Begin, RowChanges
from schemas.errors import ErrorKind, TailraceError
from tests.integration.postgresql_source import reading
from tests.kit.servers import Database

KEYS = {
    "whole": ("id bigint primary key", "i"),
    "pair": ("a int, b text, primary key (b, a)", "i % 7, chr(65 + i % 11) || i"),
    "words": ('k text collate "C" primary key', "chr(33 + i % 90) || 'é''\"\\' || i"),
    "collated": ("k text primary key", "case when i % 2 = 0 then 'a' else 'A' end || i"),
    "exact": ("k numeric(20,6) primary key", "case when i = 5 then 'NaN' else (i * 1.5)::text end::numeric"),
    "times": (
        "k timestamptz primary key",
        "case when i = 3 then '-infinity' else timestamptz '0001-01-01 BC' + i * interval '61 d' end",
    ),
    "floats": ("k double precision primary key", "case when i = 9 then 'NaN' else 1 / (i + 0.1) end"),
    "arrays": ("k int[] primary key", "array[i % 3, i]"),
    "uuids": ("k uuid primary key", "md5(i::text)::uuid"),
    "bytes": ("k bytea primary key", "decode(md5(i::text), 'hex')"),
    "padded": ("k character(12) primary key", "'p' || i"),
    "enums": (
        "k public.shade, n int, primary key (k, n)",
        "(array['dark','bright','NULL'])[1 + i % 3]::public.shade, i",
    ),
    "addresses": ("k inet primary key", "'10.0.0.0'::inet + i"),
    'Odd "name".%s': ('"Key %s" int primary key, "n" int unique', "i, i"),
}


@pytest.mark.parametrize("major", [18, 16])
def test_chunks_cover_each_row_once(major: int, replication: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue("new_database")(major, "chunks")
    database.execute("create type public.shade as enum ('dark', 'bright', 'NULL')")
    for name, (columns, values) in KEYS.items():
        quoted = '"' + name.replace('"', '""') + '"'
        database.execute(
            f"create table {quoted} ({columns})", f"insert into {quoted} select {values} from generate_series(1, 250) i"
        )
    settings = reading.settings_for(database, replication)
    source = reading.database_of(settings)
    reader = PostgresqlSnapshotReader(reading.section(settings))
    try:
        tables = source.tables()
        assert {table.name.table for table in tables} == KEYS.keys()
        for table in tables:
            chunks = reader.plan(table, 40)
            assert len(chunks) == 7, table.name
            sizes = [sum(len(batch) for batch in reader.read(table, chunk, 16)) for chunk in chunks]
            assert sizes == [40] * 6 + [10], (table.name, sizes)
            whole = [row for batch in reader.read(table, Chunk(0, None, None), 1000) for row in batch]
            assert len(whole) == 250
    finally:
        reader.close()
        source.close()


@pytest.mark.usefixtures("arrival")
def test_a_snapshot_sees_what_was_committed_and_its_log_position_covers_it(
    source_database: Database, replication: str
) -> None:
    source_database.execute("create table a (id int primary key)", "insert into a values (1)")
    settings = reading.settings_for(source_database, replication)
    source = reading.database_of(settings)
    reader = PostgresqlSnapshotReader(reading.section(settings))
    try:
        (table,) = source.tables()
        start = source.prepare([table])
        with source_database.connect() as open_one:
            open_one.autocommit = False
            open_one.execute("insert into a values (2)")
            source_database.execute("insert into a values (3)")
            rows = [row for batch in reader.read(table, Chunk(0, None, None), 10) for row in batch]
            snapshot = reader.snapshot()
            early = reader.look()
            source_database.execute("insert into a values (4)")
            open_one.commit()
        log = source.open_log(start, [table])
        try:
            changes = reading.read_to_end(source, log)
        finally:
            log.close()
        by_id = {
            row[0]: change.txn
            for change in changes
            if isinstance(change, RowChanges)
            for row in change.after
            if row is not None
        }
        seen = {key: snapshot.sees(txn) for key, txn in by_id.items()}
        # Without reading anything: what every later snapshot sees, once whoever else is at the server has ended.
        assert [early.settled(by_id[key]) for key in (2, 4)] == [False, False]
        deadline = time.monotonic() + reading.DEADLINE_S
        while not all(reader.look().settled(by_id[key]) for key in (2, 4)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert sorted(rows) == [(1,), (3,)]
        assert seen == {2: False, 3: True, 4: False}
        assert all(b.txn.commit < snapshot.high for b in changes if isinstance(b, Begin) and snapshot.sees(b.txn))
    finally:
        reader.close()
        source.destroy()
        source.close()


def test_a_table_that_changed_is_not_read_under_its_old_schema(source_database: Database, replication: str) -> None:
    source_database.execute("create table a (id int primary key, v text)", "create table b (id int primary key)")
    settings = reading.settings_for(source_database, replication)
    source = reading.database_of(settings)
    reader = PostgresqlSnapshotReader(reading.section(settings))
    try:
        a, b = source.tables()
        source_database.execute("alter table a alter v type varchar(3)", "drop table b")
        for table in (a, b):
            with pytest.raises(TailraceError) as caught:
                list(reader.read(table, Chunk(0, None, None), 10))
            assert caught.value.kind is ErrorKind.SOURCE_SCHEMA
    finally:
        reader.close()
        source.close()


def test_the_connection_may_break_and_the_next_read_connects_again(source_database: Database, replication: str) -> None:
    source_database.execute("create table a (id int primary key)", "insert into a select generate_series(1, 50000)")
    settings = reading.settings_for(source_database, replication)
    source = reading.database_of(settings)
    reader = PostgresqlSnapshotReader(reading.section(settings))
    try:
        (table,) = source.tables()
        batches = reader.read(table, Chunk(0, None, None), 10)
        next(batches)
        source_database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
            "and pid <> pg_backend_pid()"
        )
        with pytest.raises(TailraceError) as caught:
            list(batches)
        assert caught.value.kind is ErrorKind.SOURCE_CONNECTION
        assert sum(len(batch) for batch in reader.read(table, Chunk(0, None, None), 1000)) == 50000
        # The catalogue connection was ended too: one failure, then it is there again.
        with pytest.raises(TailraceError) as caught:
            source.tables()
        assert caught.value.kind is ErrorKind.SOURCE_CONNECTION
        assert source.tables() == [table]
    finally:
        reader.close()
        source.close()


def test_a_role_with_the_printed_grants_and_nothing_more_is_enough(source_database: Database, replication: str) -> None:
    role = f"cap_{replication}"
    source_database.execute("create schema app", "create table app.a (id int primary key, v text)")
    admin = reading.database_of(reading.settings_for(source_database, replication, "app.*"))
    settings = reading.settings_for(
        source_database, replication, "app.*", user=role, password="secret", manage_publication=False
    )
    try:
        (table,) = admin.tables()
        source_database.execute(f"create role \"{role}\" login password 'secret'")
        source = reading.database_of(settings)
        source_database.execute(source.grants([table]))
        try:
            assert [f for f in source.findings([table]) if f.severity == "blocks"] == []
            start = source.prepare([table])
            source_database.execute("insert into app.a values (1, 'x')")
            log = source.open_log(start, [table])
            try:
                assert reading.rows_of(reading.read_to_end(source, log)) == [("c", None, (1, "x"))]
            finally:
                log.close()
            assert reading.load(settings, table) == [(1, "x")]
            source.check_position(source.identity(), start)
            source.destroy()
        finally:
            source.close()
    finally:
        admin.destroy()
        admin.close()
        source_database.execute(f'drop owned by "{role}"', f'drop role "{role}"')
