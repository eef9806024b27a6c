"""Every type, by all three ways in: a chunk's COPY, the log in binary form, the log in text form."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from capture.sources.postgresql.literals import text_of
from schemas.changes import Row
from tests.integration.postgresql_source import reading
from tests.kit.postgresql_samples import SAMPLES, NativeSample
from tests.kit.servers import Database

_SESSION = (
    "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'iso_8601'; set extra_float_digits = 3; "
    "set lc_monetary = 'C'"
)


def _make_tables(database: Database) -> dict[str, NativeSample]:
    """Make a table of each sample that the server can have; return them by table name."""
    made: dict[str, NativeSample] = {}
    with database.connect() as connection:
        connection.execute("set lc_monetary = 'C'")
        for i, sample in enumerate(SAMPLES):
            if connection.info.server_version // 10000 < sample.since:
                continue
            table = f"t{i:03d}_{sample.name}"[:63]
            try:
                with connection.transaction():
                    if sample.extension:
                        connection.execute(f"create extension if not exists {sample.extension}")
                    for statement in sample.setup:
                        if "public.mood as" not in statement or not _has_type(connection, "mood"):
                            connection.execute(statement)
                    connection.execute(
                        sql.SQL("create table {} (id int primary key, v {})").format(
                            sql.Identifier(table), sql.SQL(sample.native)
                        )
                    )
                    _insert(connection, table, sample)
            except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
                # The wheel's server has no contrib modules, and may have no libxml.
                if not (sample.extension or sample.native == "xml"):
                    raise
                continue
            made[table] = sample
    return made


def _has_type(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("select 1 from pg_type where typname = %s", [name]).fetchone() is not None


def _insert(connection: psycopg.Connection, table: str, sample: NativeSample) -> None:
    for i, literal in enumerate(("null", *sample.literals)):
        connection.execute(
            sql.SQL("insert into {} values ({}, {}::{})").format(
                sql.Identifier(table), sql.Literal(i), sql.SQL(literal), sql.SQL(sample.native)
            )
        )


def _comparable(rows: list[Row]) -> list[str]:
    # As text: NaN is not equal to itself, and 0.0 is equal to -0.0.
    return [repr(row) for row in sorted(rows, key=lambda row: row[0])]


@pytest.mark.parametrize("major", [18, 16])
def test_every_type_arrives_equal_by_copy_and_by_both_forms_of_the_log(
    new_database: Callable[..., Database], major: int, replication: str
) -> None:
    database = new_database(major, "types")
    samples = _make_tables(database)
    assert len(samples) > 70
    settings = reading.settings_for(database, replication)
    source = reading.database_of(settings)
    # The same slot, without the tables that turn a stream to text.
    printable = reading.database_of(
        reading.settings_for(
            database, replication, "public.*", *(f"!public.{n}" for n, s in samples.items() if not s.printable)
        )
    )
    try:
        tables = {table.name.table: table for table in source.tables()}
        assert tables.keys() == samples.keys()
        loaded = {name: reading.load(settings, table) for name, table in tables.items()}
        start = source.prepare(list(tables.values()))
        with database.connect() as connection:
            connection.execute("set lc_monetary = 'C'")
            for name, sample in samples.items():
                connection.execute(sql.SQL("delete from {}").format(sql.Identifier(name)))
                _insert(connection, name, sample)
        streamed = {}
        for form in ("binary", "mixed", "text"):
            reader = source if form != "binary" else printable
            log = reader.open_log(start, list(tables.values()), binary=form != "text")
            try:
                changes = reading.read_to_end(source, log)
                assert log.is_binary is (form == "binary")
            finally:
                log.close()
            streamed[form] = {
                name: [after for op, _, after in reading.rows_of(changes, name) if op == "c" and after is not None]
                for name in tables
            }
        problems = [
            (sample.native, form, got, want)
            for form, by_table in streamed.items()
            for name, sample in samples.items()
            if form != "binary" or sample.printable
            for got, want in zip(_comparable(by_table[name]), _comparable(loaded[name]), strict=True)
            if got != want
        ]
        assert not problems
        with database.connect() as connection:
            connection.execute(_SESSION)
            for name, sample in samples.items():
                _check_text(connection, name, sample, tables[name].columns[1].type, loaded[name])
    finally:
        source.destroy()
        source.close()
        printable.close()


def _check_text(connection: psycopg.Connection, name: str, sample: NativeSample, kind: object, rows: list[Row]) -> None:
    """Hold canonical values against the server: turned back into the type they print the same."""
    for number, value in rows:
        if value is None:
            assert number == 0
            continue
        # By the output functions: a cast to text keeps XML declarations, which output drops.
        query = sql.SQL("select format('%s', {}::text::{}) = format('%s', v), v::text from {} where id = {}").format(
            sql.Literal(text_of(value, kind)),  # type: ignore[arg-type]
            sql.SQL(sample.native),
            sql.Identifier(name),
            sql.Literal(number),
        )
        row = connection.execute(query).fetchone()
        assert row is not None
        assert row[0], (sample.native, value, row[1])
