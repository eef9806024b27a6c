"""Every native type that the source can describe is made at the target, and its values arrive with equal text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from apply.sink import TableBatch
from apply.sinks.postgresql.sink import PostgresqlSink
from capture.sources.postgresql.snapshot import PostgresqlSnapshotReader
from capture.sources.postgresql.source import PostgresqlDatabase
from schemas.changes import Row
from schemas.endpoints.postgresql import PostgresqlSource, PostgresqlTarget
from schemas.table import TableSchema
from tests.kit.postgresql_samples import SAMPLES, NativeSample
from tests.kit.servers import Database

pytestmark = pytest.mark.integration


def make(database: Database, major: int) -> dict[str, NativeSample]:
    """Make a table for each sample that the server has; return the samples by table name."""
    made: dict[str, NativeSample] = {}
    with database.connect() as connection:
        for number, sample in enumerate(SAMPLES):
            if sample.since > major:
                continue
            name = f"t{number:03}"
            try:
                if sample.extension:
                    connection.execute(f"create extension if not exists {sample.extension}")
                for statement in sample.setup:
                    connection.execute(statement)
            except psycopg.errors.DuplicateObject:
                pass
            except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported):
                continue
            values = ", ".join(f"({n}, {text}::{sample.native})" for n, text in enumerate((*sample.literals, "null")))
            try:
                connection.execute(f"create table {name} (id int primary key, v {sample.native})")
                connection.execute(f"insert into {name} values {values}")
            except psycopg.errors.FeatureNotSupported:
                # XML, where the server was built without libxml.
                connection.execute(f"drop table {name}")
                continue
            made[name] = sample
    return made


def rows_of(reader: PostgresqlSnapshotReader, table: TableSchema) -> Iterator[Row]:
    """Read a table as the loader does."""
    for chunk in reader.plan(table, 100_000):
        for batch in reader.read(table, chunk, 1000):
            yield from batch


@pytest.mark.slow
@pytest.mark.parametrize(("source_major", "target_major"), [(18, 18), (16, 18)])
def test_every_native_type_arrives(new_database: Callable[..., Database], source_major: int, target_major: int) -> None:
    source_database, target_database = new_database(source_major, "source"), new_database(target_major, "target")
    samples = make(source_database, source_major)
    source_settings = PostgresqlSource.model_validate({**source_database.settings, "tables": ["public.*"]})
    source = PostgresqlDatabase(source_settings, "unused", "unused")
    reader = PostgresqlSnapshotReader(source_settings)
    sink = PostgresqlSink("shop", "replica", PostgresqlTarget.model_validate(target_database.settings))
    there, here = source_database.connect(), target_database.connect()
    failures = []
    seen = "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = '{0}'::regclass and attnum = 2"
    shown = "select id, case when v is not null then format('%s', v) end from {0} order by id"
    try:
        for table in source.tables():
            name = table.name.table
            sink.prepare(table)
            rows = list(rows_of(reader, table))
            for fresh in (True, False):
                if refused := sink.apply(TableBatch(table, upserts=rows, fresh=fresh)):
                    failures.append((samples[name].native, str(refused[0].error)))
                sink.flush()
            queries = (seen.format(name), shown.format(name))
            differing = [q for q in queries if there.execute(q).fetchall() != here.execute(q).fetchall()]
            failures += [(samples[name].native, query) for query in differing]
    finally:
        there.close()
        here.close()
        sink.close()
        reader.close()
        source.close()
    assert failures == []
    assert len(samples) > 80
