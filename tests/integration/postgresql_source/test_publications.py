"""What a publication publishes: the catalogue is asked, and says what the server's own view does."""

from __future__ import annotations

from capture.sources.postgresql.queries import published
from schemas.table import TableName
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
