"""What a publication publishes: the catalogue is asked, and says what the server's own view does; and since when."""

from __future__ import annotations

from contextlib import closing

import pytest

from capture.source import LockedError
from capture.sources.postgresql import publication
from capture.sources.postgresql.queries import published
from schemas.table import TableName
from tests.integration.postgresql_source import reading
from tests.kit.servers import Database


def test_what_is_published_is_told_as_the_server_does_and_while_tables_are_locked(
    source_database: Database, replication: str
) -> None:
    source_database.execute(
        "create schema other",
        "create table a (id int primary key, n int)",
        "create unlogged table u (id int primary key)",
        "create view v as select 1 as one",
        "create table other.b (id int primary key)",
        "create table p (id int primary key) partition by range (id)",
        "create table other.p1 partition of p for values from (0) to (10)",
        "create table p2 partition of p for values from (10) to (20) partition by range (id)",
        "create table p3 partition of p2 for values from (10) to (20)",
    )
    view = f"select schemaname, tablename from pg_publication_tables where pubname = '{replication}'"
    for of in (
        "for all tables",
        "for tables in schema public",
        "for tables in schema other, public",
        "for tables in schema other",
        "for table p2, p3, other.b",
        "for table a where (id > 3), p, tables in schema other",
        "for table a (id), other.p1",
        "",
    ):
        source_database.execute(
            f'drop publication if exists "{replication}"',
            f'create publication "{replication}" {of} with (publish_via_partition_root = true)',
        )
        with source_database.connect() as connection, source_database.connect() as holder:
            connection.execute("set lock_timeout = '1s'")
            told = {TableName(s, t) for s, t in connection.execute(view).fetchall()}
            holder.execute("begin")
            holder.execute("lock table a, p, other.b in access exclusive mode")
            # (A lock that is waited for ends the query.)
            query = published(connection.info.server_version)
            found = connection.execute(query, {"name": replication}).fetchall()
            assert {TableName(s, t) for s, t, *_ in found} == told, of


def test_a_table_that_others_wrote_before_it_was_published_is_waited_for_whoever_published_it(
    source_database: Database, replication: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_database.execute("create table a (id int primary key)", "create table b (id int primary key)")
    settings = reading.settings_for(source_database, replication)
    with closing(reading.database_of(reading.settings_for(source_database, replication, "public.a"))) as first:
        first.prepare(first.tables())
        marks = first.marks(captured := first.tables())
    monkeypatch.setattr(publication, "_WRITERS_WAIT_S", 0.5)
    with source_database.connect() as writer, source_database.connect() as other:
        writer.execute("begin")
        writer.execute("insert into b values (1)")
        # As a capture does that dies right behind it; what the writer did before is in no log.
        source_database.execute(f'alter publication "{settings.publication}" add table b')
        other.execute("begin")
        with closing(reading.database_of(settings)) as second:
            second.check_published(captured, marks)
            for _ in range(2):
                with pytest.raises(LockedError, match=f"server processes: {writer.info.backend_pid}\\)"):
                    second.prepare(second.tables())
                # One that comes later is in the log, and need not end.
                other.execute("insert into b values (2) on conflict do nothing")
            writer.execute("commit")
            second.prepare(second.tables())


def test_a_table_is_not_waited_for_that_was_published_before_it_was_made(
    source_database: Database, replication: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = reading.settings_for(source_database, replication)
    made = f'create publication "{settings.publication}" for all tables with (publish_via_partition_root = true)'
    source_database.execute(made)
    monkeypatch.setattr(publication, "_WRITERS_WAIT_S", 0)
    with closing(reading.database_of(settings)) as source:
        source.prepare(source.tables())
        source_database.execute("create table b (id int primary key)")
        with source_database.connect() as writer:
            writer.execute("begin")
            writer.execute("insert into b values (1)")
            source.prepare(source.tables())


def test_a_table_that_is_dropped_before_it_is_published_is_left_out(
    source_database: Database, replication: str
) -> None:
    source_database.execute("create schema other", *(f"create table {t} (id int primary key)" for t in "abcd"))
    source_database.execute("create table other.e (id int primary key)")
    settings = reading.settings_for(source_database, replication)
    query = f"select tablename from pg_publication_tables where pubname = '{settings.publication}' order by 1"
    with closing(reading.database_of(settings)) as source:
        first, later = source.tables(), reading.settings_for(source_database, replication)
        source_database.execute("drop table b")
        source.prepare([table for table in first if table.name.table in "ab"])
        assert source_database.rows(query) == [("a",)]
    with closing(reading.database_of(later)) as source:
        source_database.execute("drop table c", "drop schema other cascade")
        source.prepare(first)
        assert source_database.rows(query) == [("a",), ("d",)]
        source_database.execute("drop table d")
        # Nothing is left to publish: nothing is wrong.
        source.prepare([table for table in first if table.name.table == "d"])
