"""Every type of every engine reaches a MySQL target as it was, or is refused: staged, straight, and in old rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql.sink import MysqlSink
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.integration.mysql_sink.values import found, is_refused, normal
from tests.integration.mysql_source.reading import Reading
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.mysql_samples import samples_of
from tests.kit.type_samples import SAMPLES

EACH = pytest.mark.parametrize("database", ["mariadb", "mysql", "strict", "strict_mysql"], indirect=True)


@EACH
@pytest.mark.usefixtures("few_overwritten")
@pytest.mark.parametrize("fresh", [True, False])
def test_values_of_other_engines_are_loaded_straight_or_refused(
    sink: MysqlSink, database: MysqlDatabase, fresh: bool
) -> None:
    kept: list[dict[int, Any]] = []
    columns = [Column("v", sample.type, sample.native) for sample in SAMPLES]
    for number, (sample, column) in enumerate(zip(SAMPLES, columns, strict=True)):
        key = Column("id", LogicalType(Family.INT32), "integer", nullable=False)
        table = TableSchema(TableName("public", f"t{number:02}"), (key, column), (0,))
        values = [*sample.values, None]
        sink.prepare(table)
        rejected = sink.apply(TableBatch(table, upserts=list(enumerate(values)), fresh=fresh))
        assert {r.error.kind for r in rejected} <= {ErrorKind.ROW_REJECTED}
        refused = {
            i
            for i, v in enumerate(values)
            if v is not None and is_refused(sample.type, v, is_mariadb=database.is_mariadb)
        }
        assert {r.index for r in rejected} == refused, f"{sample.native}: refused"
        kept.append({i: v for i, v in enumerate(values) if i not in refused})
    sink.flush()
    reading = Reading(database)
    try:
        tables = {table.name.table: table for table in reading.tables}
        for number, column in enumerate(columns):
            table = tables[f"t{number:02}"]
            rows = {
                row[0]: found(column, row[1], table.columns[1], is_mariadb=database.is_mariadb)
                for row in reading.rows(table)
            }
            wanted = {i: normal(column, v, is_mariadb=database.is_mariadb) for i, v in kept[number].items()}
            assert rows == wanted, f"{column.native} as {table.columns[1].native}"
    finally:
        reading.close()


@pytest.fixture(params=["mariadb", "mysql"])
def source_database(request: pytest.FixtureRequest) -> Iterator[MysqlDatabase]:
    """A database to read from."""
    made = create_mysql_database(request.getfixturevalue(f"{request.param}_server"))
    yield made
    drop_mysql_database(made)


@EACH
@pytest.mark.parametrize("forms", [False, True])
def test_values_of_either_server_reach_the_other_one(
    source_database: MysqlDatabase, database: MysqlDatabase, sink: MysqlSink, forms: bool
) -> None:
    """Also old rows of tables without a key: each is found by its values, and goes."""
    samples = samples_of(source_database, forms=forms)
    literals = [[literal for literal, value in values if value is not None] for _, values in samples]
    columns = ", ".join(
        f"c{n:02} {native}{'' if 'null' in native else ' null'}" for n, (native, _) in enumerate(samples)
    )
    rows = [
        ", ".join(some[at] if at < len(some) else "null" for some in literals)
        for at in range(max(map(len, literals)) + 1)
    ]
    source_database.execute(
        f"create table keyed (id int primary key, {columns})",
        f"insert into keyed values {', '.join(f'({i}, {row})' for i, row in enumerate(rows))}",
        f"create table bag (id int, {columns})",
        "insert into bag select * from keyed",
    )
    source, target = Reading(source_database), None
    try:
        bag, keyed = sorted(source.tables, key=lambda table: table.name.table)
        wanted = sorted(source.rows(keyed))
        for table in (bag, keyed):
            sink.prepare(table)
        assert sink.apply(TableBatch(keyed, upserts=wanted)) == []
        assert sink.apply(TableBatch(bag, sequence=[("c", None, row) for row in (*wanted, *wanted)])) == []
        assert sink.apply(TableBatch(bag, sequence=[("d", row, None) for row in wanted])) == []
        sink.flush()
        target = Reading(database)
        found = {table.name.table: table for table in target.tables}
        for name in ("keyed", "bag"):
            read = sorted(target.rows(found[name]))
            for number, column in enumerate(keyed.columns):
                shown = [_comparable(column, row[number]) for row in read]
                what = f"{name}: {column.native} as {found[name].columns[number].native}"
                assert shown == [_comparable(column, row[number]) for row in wanted], what
    finally:
        source.close()
        if target is not None:
            target.close()


def _comparable(column: Column, value: Any) -> Any:
    # A JSON that is read as text again: 1.50 is 1.5 then, to MySQL.
    return json.loads(value) if column.type.family is Family.JSON and value is not None else value


@pytest.mark.parametrize("database", ["strict", "strict_mysql"], indirect=True)
def test_a_value_too_large_for_a_packet_is_refused_alone(database: MysqlDatabase) -> None:
    limit = int(str(database.rows("select @@max_allowed_packet")[0][0]))
    table = TableSchema(
        TableName("public", "large"),
        (
            Column("id", LogicalType(Family.INT32), "integer", nullable=False),
            Column("v", LogicalType(Family.BYTES), ""),
        ),
        (0,),
    )
    sink = MysqlSink("shop", "replica", MysqlTarget.model_validate(database.target_settings))
    try:
        sink.prepare(table)
        rows = [(1, b"a" * (limit + 1)), (2, b"b" * (limit // 4))]
        rejected = sink.apply(TableBatch(table, upserts=rows))
        assert [(r.index, r.error.kind) for r in rejected] == [(0, ErrorKind.ROW_REJECTED)]
        sink.flush()
        assert database.rows("select id, length(v) from large") == [["2", str(limit // 4)]]
    finally:
        sink.close()
