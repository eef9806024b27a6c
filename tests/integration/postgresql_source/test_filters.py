"""Filters on PostgreSQL: what its WHERE takes is what the compiled predicate takes, whatever the types."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings

from capture.source import Chunk
from capture.sources.postgresql.filters import condition
from capture.sources.postgresql.snapshot import PostgresqlSnapshotReader
from schemas.mappings.filters import row_filter
from tests.integration.postgresql_source import reading
from tests.kit import filters
from tests.kit.servers import Database

COLUMNS: dict[str, tuple[str, list[str], list[str]]] = {
    # Type, values in SQL, values to compare with.
    "small": ("smallint", ["-32768", "-1", "0", "7", "32767"], ["-1", "7", "6.5", "40000"]),
    "large": ("bigint", ["-9223372036854775808", "0", "9223372036854775807"], ["0", "9223372036854775806.5", "1e30"]),
    "price": ("numeric(10,2)", ["-0.01", "0", "10.5", "'NaN'"], ["10.50", "0.001", "-5"]),
    "exact": ("numeric", ["1.000000000000000000000001", "1", "'NaN'", "'Infinity'", "'-Infinity'"], ["1.0", "2"]),
    "ratio": (
        "double precision",
        ["0.1", "-0.0", "'NaN'", "'Infinity'", "'-Infinity'", "1e300"],
        ["0.1", "0", "1e300"],
    ),
    "thin": ("real", ["1.1", "0.1", "'NaN'", "3"], ["1.1", "0.1", "3", "1.10000001"]),
    "word": (
        "text",
        ["''", "'a'", "'B'", "'ä'", "'Z'", "'a '", "'\U0001f600'", "'\uffff'", "'o''c'"],
        ["a", "B", "Z", "\uffff"],
    ),
    "code": ("character(5)", ["'ab'", "'ab c'", "''", "'AB'"], ["ab", "ab ", ""]),
    "mood": ("mood", ["'sad'", "'ok'", "'happy'"], ["ok", "sad"]),
    "born": ("date", ["'2002-01-01'", "'0044-03-15 BC'", "'infinity'", "'-infinity'", "'12002-01-01'"], ["2002-01-01"]),
    "at": ("timestamp", ["'2002-01-01 10:00:00.000001'", "'infinity'", "'0044-03-15 BC'"], ["2002-01-01 10:00:00"]),
    "seen": ("timestamptz", ["'2002-01-01 10:00:00+02'", "'-infinity'"], ["2002-01-01 08:00:00", "2002-01-01"]),
    "hour": ("time", ["'00:00'", "'12:30:00.5'", "'24:00'"], ["12:30:00", "12:30:00.5"]),
    "ok": ("boolean", ["true", "false"], ["true", "0"]),
    "tag": ("uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"], ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    "data": ("jsonb", ["'{}'", "'null'"], []),
    "pair": ("pair", ["(1, null)", "(null, null)"], []),
    "blob": ("bytea", ["''", "'x'"], []),
}
VALUES = {name: values for name, (_, _, values) in COLUMNS.items()}


def test_the_servers_where_takes_the_rows_that_the_predicate_takes(source_database: Database, replication: str) -> None:
    source_database.execute(
        "create type mood as enum ('sad', 'ok', 'happy')",
        "create type pair as (a int, b text)",
        f"create table t (id int primary key, {', '.join(f'{name} {column[0]}' for name, column in COLUMNS.items())})",
    )
    for turn in range(10):
        cells = [([*literals, "null"] * 10)[turn] for _, literals, _ in COLUMNS.values()]
        source_database.execute(f"insert into t values ({turn}, {', '.join(cells)})")
    configuration = reading.settings_for(source_database, replication)
    source = reading.database_of(configuration)
    reader = PostgresqlSnapshotReader(reading.section(configuration))
    (table,) = source.tables()
    whole = [row for batch in reader.read(table, Chunk(0, None, None), 1000) for row in batch]
    asked = source_database.connect()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(filters.documents(VALUES))
    def same(documents: list[list[dict[str, Any]]]) -> None:
        found = row_filter(filters.rules("public", "t", *documents), table)
        assert found is not None
        expected = sorted(row[0] for row in whole if found.matches(row))
        said = condition(found)
        ids = {id_ for (id_,) in asked.execute(f"select id from t as t where {said or 'true'}").fetchall()}
        if not _is_partly_said(documents):
            assert sorted(ids) == expected, (said, json.dumps(documents))
        assert ids >= set(expected), (said, json.dumps(documents))

    try:
        same()
        # By the reader, beside a chunk's own condition.
        found = row_filter(filters.rules("public", "t", [filters.where("word", "notnull")]), table)
        batches = reader.read(table, Chunk(0, ("2",), ("7",)), 1000, found)
        expected_ids = [
            row[0] for row in whole if 2 < row[0] <= 7 and row[table.column_names.index("word")] is not None
        ]
        assert sorted(row[0] for batch in batches for row in batch) == expected_ids
    finally:
        asked.close()
        reader.close()
        source.close()


def _is_partly_said(documents: list[list[dict[str, Any]]]) -> bool:
    """Whether a filter is about a column of which the source is not asked."""
    return any(f["column-name"] == "pair" for filters_ in documents for f in filters_)
