"""Checksums of real tables: equal where rows are equal, whatever the table's shape; different where a value is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from control.verify.comparison import Limits, TableResult, compare_tables
from control.verify.postgresql import Side
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.servers import Database

TEXT = LogicalType(Family.TEXT)

TABLES = {
    "numbers": (
        "create table numbers (id bigint primary key, a numeric, b real, c double precision, d text)",
        (
            "insert into numbers select n, n / 3.0, n / 7.0, case n % 3 when 0 then 'NaN' else n / 9.0 end,"
            " nullif(n % 4, 0)"
            " from generate_series(1, 3000) n"
        ),
        ("id",),
    ),
    "pairs": (
        "create table pairs (a text, b char(4), c timestamptz, primary key (a, b))",
        (
            "insert into pairs select 'k' || n % 50, n, timestamptz '2024-01-01 00:00:00+00' + n * interval '1 day'"
            " from generate_series(1, 500) n"
        ),
        ("a", "b"),
    ),
    'odd "name" 100%': (
        'create table "odd ""name"" 100%" ("per%cent" uuid primary key, "Ünï" jsonb)',
        (
            'insert into "odd ""name"" 100%" select md5(n::text)::uuid, jsonb_build_object(\'n\', n)'
            " from generate_series(1, 200) n"
        ),
        ("per%cent",),
    ),
    "keyless": (
        "create table keyless (a integer, b text)",
        "insert into keyless select n % 5, nullif('x', case n % 2 when 0 then 'x' end) from generate_series(1, 300) n",
        (),
    ),
    "parts": (
        (
            "create table parts (id integer primary key, v text) partition by range (id);"
            "create table parts_1 partition of parts for values from (0) to (100);"
            "create table parts_2 partition of parts default"
        ),
        "insert into parts select n, 'v' || n from generate_series(1, 400) n",
        ("id",),
    ),
}


class Passing:
    """A gate that is always open."""

    def wait(self, position: int, timeout_s: float) -> bool:
        return position > 0


class Silent:
    """Shows nothing."""

    def start(self, table: str) -> None: ...

    def advance(self, fraction: float) -> None: ...

    def note(self, text: str) -> None: ...

    def finish(self, result: TableResult) -> None: ...


def conninfo(database: Database) -> dict[str, str]:
    address = database.address
    return {
        "host": address.host,
        "port": str(address.port),
        "user": address.user,
        "password": address.password,
        "dbname": database.name,
    }


def schema(database: Database, table: str, key: tuple[str, ...]) -> TableSchema:
    rows = database.rows(
        "select attname from pg_attribute where attnum > 0 and attrelid = "
        f"(select oid from pg_class where relname = '{table}') order by attnum"
    )
    names = [str(name) for (name,) in rows]
    columns = tuple(Column(name, TEXT, "text") for name in names)
    return TableSchema(TableName("public", table), columns, tuple(names.index(k) for k in key))


@pytest.fixture
def sides(source_database_16: Database, target_database: Database) -> Iterator[tuple[Side, Side]]:
    for create, fill, _ in TABLES.values():
        source_database_16.execute(*create.split(";"), fill)
        target_database.execute(*create.split(";"), fill)
    source, target = Side("source", conninfo(source_database_16)), Side("target", conninfo(target_database))
    yield source, target
    source.close()
    target.close()


def compare(source_database: Database, sides: tuple[Side, Side]) -> dict[str, TableResult]:
    tables = [(schema(source_database, t, key), TableName("public", t), 3000) for t, (_, _, key) in TABLES.items()]
    results = compare_tables(*sides, tables, Passing(), Limits(wait_s=1), Silent())
    return {result.table.removeprefix("public."): result for result in results}


def test_equal_tables_of_every_shape_are_equal_across_major_versions(
    source_database_16: Database, sides: tuple[Side, Side]
) -> None:
    results = compare(source_database_16, sides)
    assert [name for name, result in results.items() if not result.equal] == []
    assert {name: result.source_rows for name, result in results.items()} == {
        "numbers": 3000,
        "pairs": 500,
        'odd "name" 100%': 200,
        "keyless": 300,
        "parts": 400,
    }


def test_a_changed_value_a_lost_row_and_one_too_many_are_named(
    source_database_16: Database, target_database: Database, sides: tuple[Side, Side]
) -> None:
    target_database.execute(
        "update numbers set d = '' where id = 8",
        "delete from pairs where a = 'k7' and b = '7'",
        'insert into "odd ""name"" 100%" values (\'00000000-0000-0000-0000-000000000000\', null)',
        "delete from keyless where ctid = (select min(ctid) from keyless)",
        "update parts set v = null where id = 399",
    )
    results = compare(source_database_16, sides)
    found = {name: [(d.key, d.kind) for d in result.differences] for name, result in results.items()}
    assert found["numbers"] == [(("8",), "different")]
    assert found["pairs"] == [(("k7", "7"), "missing")]
    assert found['odd "name" 100%'] == [(("00000000-0000-0000-0000-000000000000",), "extra")]
    assert [kind for _, kind in found["keyless"]] == ["different"]
    assert found["parts"] == [(("399",), "different")]


def test_null_and_the_empty_text_differ(
    source_database_16: Database, target_database: Database, sides: tuple[Side, Side]
) -> None:
    target_database.execute("update numbers set d = '' where id = 4")
    assert [d.key for d in compare(source_database_16, sides)["numbers"].differences] == [("4",)]


def test_a_table_is_compared_without_those_that_inherit_from_it(
    source_database_16: Database, target_database: Database, sides: tuple[Side, Side]
) -> None:
    """The rows of others counted at the source: at the target they are where they belong."""
    source_database_16.execute("create table heirs () inherits (numbers)", "insert into heirs select * from numbers")
    assert compare(source_database_16, sides)["numbers"].equal
    source_database_16.execute("update only numbers set d = 'x' where id = 7")
    assert [d.key for d in compare(source_database_16, sides)["numbers"].differences] == [("7",)]


@pytest.mark.parametrize(
    ("own", "theirs", "values"),
    [("text", "bigint", "'k' || n"), ("bigint", "smallint", "n * 100000"), ("bigint", "low", "n")],
)
def test_a_key_that_has_another_type_at_the_target_by_now_is_told(
    source_database_16: Database, target_database: Database, own: str, theirs: str, values: str
) -> None:
    """The target could not be read, it was said."""
    target_database.execute("create domain low as bigint check (value < 0)")
    for database, native, words in ((source_database_16, own, values), (target_database, theirs, "-n")):
        database.execute(
            f"create table a (k {native} primary key, v text)",
            f"insert into a select ({words})::{native}, n::text from generate_series(1, 3) n",
        )
    sides = Side("source", conninfo(source_database_16)), Side("target", conninfo(target_database))
    a = schema(source_database_16, "a", ("k",)), TableName("public", "a"), 3
    (result,) = compare_tables(*sides, [a], Passing(), Limits(wait_s=1), Silent())
    for side in sides:
        side.close()
    assert result.error is None
    assert sorted(d.kind for d in result.differences) == ["extra"] * 3 + ["missing"] * 3


def test_a_table_that_the_target_lacks_is_an_error_of_that_table_alone(
    source_database_16: Database, target_database: Database, sides: tuple[Side, Side]
) -> None:
    target_database.execute("drop table parts")
    results = compare(source_database_16, sides)
    assert "no such table" in str(results["parts"].error)
    assert [name for name, result in results.items() if not result.equal] == ["parts"]


def test_a_server_that_refuses_is_a_connection_error(
    new_database: Callable[..., Database],
) -> None:
    wrong = conninfo(new_database(18)) | {"password": "wrong"}
    with pytest.raises(TailraceError) as refused:
        Side("target", wrong)
    assert refused.value.kind is ErrorKind.TARGET_CONNECTION
    assert "wrong" not in str(refused.value)
