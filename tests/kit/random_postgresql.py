"""PostgreSQL under random transactions: its session, and the writer that speaks to it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.kit.postgresql_samples import NativeSample
from tests.kit.random_definitions import DefinitionSteps
from tests.kit.random_rows import RowSteps
from tests.kit.random_tables import SCHEMAS, PostgresqlDesigner, Table, quoted
from tests.kit.random_world import World
from tests.kit.random_writer import Writer

_REFUSALS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.DataError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.InvalidTableDefinition,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UndefinedObject,
    # Of a type that cannot be sorted, where the column has an index.
    psycopg.errors.UndefinedFunction,
    # "Unexpected object depending on column": PostgreSQL 13, of generated columns.
    psycopg.errors.InternalError_,
)
"""What a server may refuse of what is written here; anything else is a mistake of the generator."""


@dataclass(slots=True)
class PostgresqlEngine:
    """Implements `random_world.Engine`."""

    connection: psycopg.Connection
    empty_row: str = "default values"

    def run(self, statement: str) -> None:
        """Run a statement."""
        self.connection.execute(statement.encode())

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """Return a query's rows."""
        return self.connection.execute(query.encode()).fetchall()

    def is_refusal(self, error: Exception) -> bool:
        """Tell a refusal from a mistake."""
        return isinstance(error, _REFUSALS)

    def some(self, table: Table, salt: int, count: int) -> str:
        """Return a condition that does not depend on where rows lie."""
        listed = f"md5(the_row::text || '{salt}')"
        return (
            f" where (tableoid, ctid) in (select the_row.tableoid, the_row.ctid from {table.sql} the_row "
            f"order by {listed}, the_row.ctid limit {count})"
        )

    def insert(self, table: Table, columns: str, rows: str) -> str:
        """Return an insert that leaves out what is there."""
        return f"insert into {table.sql} ({columns}) {rows}{' on conflict do nothing' if table.key else ''}"

    def series(self, count: int) -> str:
        """Return numbers from 100 on."""
        return f"generate_series(100, {99 + count}) n"


def begin_writer(
    connection: psycopg.Connection,
    seed: int,
    samples: Sequence[NativeSample],
    design: type[PostgresqlDesigner] = PostgresqlDesigner,
) -> Writer:
    """Make the schemas and the first tables, with rows."""
    choose = random.Random(seed)
    world = World(PostgresqlEngine(connection), choose)
    rows = RowSteps(world)
    weighted = [*rows.weighted(), (rows.truncate, 1.5)]
    definitions = DefinitionSteps(world, design(choose, samples, connection), connection)
    connection.execute("set client_min_messages = error; set extra_float_digits = 3")
    for schema in SCHEMAS:
        connection.execute(f"create schema if not exists {quoted(schema)}")
    writer = Writer(world, weighted, definitions)
    writer.begin()
    return writer
