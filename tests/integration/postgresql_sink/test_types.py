"""Every value of the shared type samples arrives in the target as it was: staged, straight, and in old row images."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from struct import pack
from typing import Any

import pytest

from apply.sink import TableBatch
from apply.sinks.postgresql.sink import PostgresqlSink
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType
from schemas.types.calendar import INFINITY_US, MINUS_INFINITY_US
from schemas.types.numbers import NAN
from tests.kit.servers import Database
from tests.kit.type_samples import SAMPLES as ALL_SAMPLES
from tests.kit.type_samples import TypeSample

pytestmark = pytest.mark.integration

# The servers of the wheels are built without libxml: XML is shown by the unit tests of the fragments.
SAMPLES = tuple(sample for sample in ALL_SAMPLES if sample.type.family is not Family.XML)

MOOD = UserType("public", "mood", "enum", ("sad", "ok", "happy", "très heureux", "it's", 'with "quotes"'))


def table_of(*, keyless: bool) -> TableSchema:
    """Return a table with a column for each sample."""
    columns = tuple(
        Column(f"c{place}", sample.type, "public.mood" if sample.native == "mood" else sample.native)
        for place, sample in enumerate(SAMPLES)
    )
    if keyless:
        return TableSchema(TableName("s", "bag"), columns, (), primary_key=False, full_before=True, user_types=(MOOD,))
    number = Column("n", LogicalType(Family.INT32), "integer", nullable=False)
    return TableSchema(TableName("s", "values"), (number, *columns), (0,), user_types=(MOOD,))


def rows_of() -> list[tuple[Any, ...]]:
    """Return rows that hold each sample's values, with nulls where a list has ended."""
    longest = max(len(sample.values) for sample in SAMPLES)
    rows = [tuple(sample.values[n] if n < len(sample.values) else None for sample in SAMPLES) for n in range(longest)]
    return [*rows, tuple(None for _ in SAMPLES)]


def seen(sample: TypeSample, name: str) -> str:
    """Return the expression that reads a column in a form that `expected` knows, by the server's own means."""
    match sample.type.family:
        case Family.TIMESTAMP | Family.TIMESTAMPTZ:
            # Seconds and fraction apart: `extract` rounds the epoch of the last timestamps.
            seconds = f"extract(epoch from date_trunc('second', {name}))::numeric(30,0) * 1000000"
            fraction = f"extract(microseconds from {name})::numeric(30,0) % 1000000"
            return f"case when isfinite({name}) then ({seconds} + {fraction})::text else {name}::text end"
        case Family.DATE:
            return f"case when isfinite({name}) then ({name} - date '1970-01-01')::text else {name}::text end"
        case Family.TIME:
            return f"((extract(epoch from {name}) * 1000000)::numeric(30,0))::text"
        case Family.BYTES:
            return f"encode({name}, 'hex')"
        case _:
            # A type's own output: a cast to text trims characters and adds a network's length to an address.
            return f"case when {name} is not null then format('%s', {name}) end"


def placed(value: int, scale: int) -> str:
    """Return an unscaled integer with its point, exactly."""
    digits = tuple(int(digit) for digit in str(abs(value)))
    return format(Decimal((value < 0, digits, -scale)), "f")


def expected(sample: TypeSample, value: Any) -> Any:
    """Return what `seen` should read."""
    if value is None:
        return None
    match sample.type.family:
        case Family.TIMESTAMP | Family.TIMESTAMPTZ:
            if value in {INFINITY_US, MINUS_INFINITY_US}:
                return "infinity" if value > 0 else "-infinity"
            return str(value if value > -(1 << 60) else value + (1 << 64))
        case Family.DATE:
            if abs(value) >= (1 << 31) - 1:
                return "infinity" if value > 0 else "-infinity"
            return str(value)
        case Family.BYTES:
            return value.hex()
        case Family.DECIMAL | Family.UINT64:
            return "NaN" if value is NAN else placed(value, sample.type.scale or 0)
        case Family.NUMERIC:
            return str(value) if not value.is_finite() else format(value, "f")
        case Family.BOOLEAN:
            return "t" if value else "f"
        case _:
            return value


def check(sample: TypeSample, value: Any, found: Any) -> None:
    """Compare one value; floats as floats, and decimals as text without the driver's context limits."""
    family = sample.type.family
    if value is not None and family in {Family.FLOAT32, Family.FLOAT64}:
        letter = "f" if family is Family.FLOAT32 else "d"
        assert math.isnan(float(found)) if math.isnan(value) else pack(letter, float(found)) == pack(letter, value)
        return
    want = expected(sample, value)
    if value is not None and family in {Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.TIME}:
        want = str(value)
    if sample.native == "jsonb" and want is not None:
        want = want.strip()
    assert found == want, (sample.native, family)


@pytest.fixture(params=[18, 16])
def database(request: pytest.FixtureRequest, new_database: Callable[..., Database]) -> Database:
    """An empty database of either version."""
    return new_database(request.param, "types")


def read(database: Database, table: TableSchema, order: str) -> list[tuple[Any, ...]]:
    """Read all values with a client of the test's own."""
    names = [column.name for column in table.columns if column.name != "n"]
    shown = ", ".join(seen(sample, name) for sample, name in zip(SAMPLES, names, strict=True))
    with database.connect() as connection:
        connection.execute("set intervalstyle = iso_8601; set timezone = 'UTC'")
        return connection.execute(f"select {shown} from s.{table.name.table} {order}").fetchall()


@pytest.mark.parametrize("fresh", [False, True])
def test_every_value_arrives_as_it_was(database: Database, fresh: bool) -> None:
    sink = PostgresqlSink("shop", "replica", PostgresqlTarget.model_validate(database.settings))
    table, rows = table_of(keyless=False), rows_of()
    sink.prepare(table)
    assert sink.apply(TableBatch(table, upserts=[(n, *row) for n, row in enumerate(rows)], fresh=fresh)) == []
    sink.flush()
    sink.close()
    found = read(database, table, "order by n")
    assert len(found) == len(rows)
    for row, found_row in zip(rows, found, strict=True):
        for sample, value, found_value in zip(SAMPLES, row, found_row, strict=True):
            check(sample, value, found_value)


def test_equal_rows_are_found_by_every_type(database: Database) -> None:
    sink = PostgresqlSink("shop", "replica", PostgresqlTarget.model_validate(database.settings))
    table, rows = table_of(keyless=True), rows_of()
    sink.prepare(table)
    assert sink.apply(TableBatch(table, sequence=[("c", None, row) for row in (*rows, *rows)])) == []
    sink.flush()
    assert sink.apply(TableBatch(table, sequence=[("d", row, None) for row in (*rows, *rows[1:])])) == []
    sink.flush()
    sink.close()
    (left,) = read(database, table, "")
    for sample, value, found in zip(SAMPLES, rows[0], left, strict=True):
        check(sample, value, found)
