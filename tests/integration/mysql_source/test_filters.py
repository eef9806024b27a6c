"""Filters on MariaDB and MySQL: what their WHERE takes is what the compiled predicate takes, whatever the types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from capture.source import Chunk
from capture.sources.mysql.filters import condition
from schemas.mappings.filters import row_filter
from tests.integration.mysql_source.reading import Reading
from tests.kit import filters

COLUMNS: dict[str, tuple[str, list[str], list[str]]] = {
    # Type, values in SQL, values to compare with.
    "tiny": ("tinyint", ["-128", "0", "127"], ["0", "0.5", "-128"]),
    "large": ("bigint unsigned", ["0", "18446744073709551615"], ["0", "18446744073709551614.5", "1e30"]),
    "price": ("decimal(10,2)", ["-0.01", "0", "10.5"], ["10.50", "0.001", "-5"]),
    "ratio": ("double", ["0.1", "-0.0", "1e300"], ["0.1", "0", "1e300"]),
    "thin": ("float", ["1.1", "0.1", "3"], ["1.1", "0.1", "3", "1.10000001"]),
    "flag": ("bit(1)", ["b'0'", "b'1'"], ["true", "0"]),
    "word": (
        "varchar(20) character set utf8mb4",
        ["''", "'a'", "'B'", "'ä'", "'a '", "'A'", "'\U0001f600'", "'o''c'"],
        ["a", "B", "Z"],
    ),
    "code": ("char(5) character set utf8mb4", ["'ab'", "'ab c'", "''", "'AB'"], ["ab", ""]),
    "old": ("varchar(20) character set latin1", ["'ä'", "'z'", "'Z'", "'a '"], ["a", "z", "ä"]),
    "mood": ("enum('sad','ok','happy')", ["'sad'", "'ok'", "'happy'"], ["ok", "sad"]),
    "born": ("date", ["'2002-01-01'", "'1000-01-01'", "'9999-12-31'"], ["2002-01-01"]),
    "at": ("datetime(6)", ["'2002-01-01 10:00:00.000001'", "'9999-12-31'"], ["2002-01-01 10:00:00", "2002-01-01"]),
    "seen": ("timestamp(3) null", ["'2002-01-01 10:00:00'"], ["2002-01-01 10:00:00+00", "2002-01-01"]),
    "data": ("blob", ["''", "'x'"], []),
}
VALUES = {name: values for name, (_, _, values) in COLUMNS.items()}


@pytest.mark.parametrize("any_reading", ["mariadb", "mysql", "oldest_mysql"], indirect=True)
def test_the_servers_where_takes_the_rows_that_the_predicate_takes(any_reading: Reading) -> None:
    reading = any_reading
    database = reading.database
    columns = ", ".join(f"{name} {column[0]}" for name, column in COLUMNS.items())
    database.execute(f"create table t (id int primary key, {columns})")
    for turn in range(10):
        cells = [([*literals, "null"] * 10)[turn] for _, literals, _ in COLUMNS.values()]
        database.execute(f"insert into t values ({turn}, {', '.join(cells)})")
    (table,) = reading.source.tables()
    whole = reading.rows(table)
    connection = database.connect()
    connection.run("set session time_zone = '+00:00'")

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(filters.documents(VALUES))
    def same(documents: list[list[dict[str, Any]]]) -> None:
        found = row_filter(filters.rules(database.name, "t", *documents), table)
        assert found is not None
        expected = {row[0] for row in whole if found.matches(row)}
        said = condition(found, "error")
        ids = {int(str(row[0])) for row in connection.rows(f"select id from t where {said or 'true'}")}
        if _is_said(documents):
            assert ids == expected, (said, json.dumps(documents))
        assert ids >= expected, (said, json.dumps(documents))
        # Dates that stand for zeros are ours alone to compare.
        said = condition(found, "null")
        assert "born" not in said
        ids = {int(str(row[0])) for row in connection.rows(f"select id from t where {said or 'true'}")}
        assert ids >= expected, (said, json.dumps(documents))

    try:
        same()
        # MySQL 8.0.15 joins what two conditions say of one column, and compared plain hexadecimal literals as numbers.
        for pair in ([("ste", "ab"), ("eq", "AB")], [("ste", "ab"), ("eq", "ab")], [("gte", "AB"), ("eq", "ab c")]):
            two = row_filter(filters.rules(database.name, "t", [filters.where("code", *each) for each in pair]), table)
            assert two is not None
            found_ids = {int(str(i)) for (i,) in connection.rows(f"select id from t where {condition(two, 'error')}")}
            assert found_ids == {row[0] for row in whole if two.matches(row)} != set(), pair
        found = row_filter(filters.rules(database.name, "t", [filters.where("word", "notnull")]), table)
        batches = reading.reader.read(table, Chunk(0, ("2",), ("7",)), 1000, found)
        word = table.column_names.index("word")
        assert sorted(r[0] for batch in batches for r in batch) == [
            row[0] for row in whole if 2 < row[0] <= 7 and row[word] is not None
        ]
    finally:
        connection.close()


def _is_said(documents: list[list[dict[str, Any]]]) -> bool:
    """Whether the server is asked all of it."""
    left = {"old", "data"}
    return not any(f["column-name"] in left for filters_ in documents for f in filters_)
