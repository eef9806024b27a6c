"""A unique index that comes while appliers run: no row is written over another one, whatever the key is of."""

from __future__ import annotations

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql.sink import MysqlSink
from capture.sources.mysql.catalog import Catalog
from capture.sources.mysql.snapshot import MysqlSnapshotReader
from schemas.changes import Row
from schemas.errors import ErrorKind
from schemas.selection import Selection
from tests.kit.mysql import MysqlDatabase

KEYS = {
    "whole": ("id bigint unsigned", ("0", "18446744073709551615")),
    "text": ("id varchar(20)", ("'a'", "'a '")),
    "bytes": ("id varbinary(5)", ("x''", "x'ff0027'")),
    "exact": ("id decimal(20,5)", ("-1.50000", "100000.00001")),
    "real_": ("id double", ("0.1", "-1e300")),
    "moment": ("id datetime(6)", ("'1000-01-01'", "'2024-01-01 00:00:00.000001'")),
    "time_": ("id time(2)", ("'-838:59:59'", "'00:00:00.5'")),
    "label": ("id enum('z','a','m')", ("'z'", "'a'")),
    "labels": ("id set('z','a')", ("''", "'z,a'")),
    "bits": ("id bit(9)", ("b'0'", "b'100000001'")),
    "year_": ("id year", ("1999", "2024")),
    "counted": ("id bigint auto_increment", ("1", "2")),
    "single_": ("id float", ("0.1", "-1e30")),
    "padded": ("id binary(4)", ("'ab'", "'b'")),
    "fixed": ("id char(4)", ("'ab'", "'b'")),
    "stamp": ("id timestamp(3)", ("'2024-01-01 00:00:00.001'", "'2030-01-01'")),
    "pair": ("more int not null, id varchar(9)", ("1, 'x'", "1, 'y'")),
    "mariadbs": ("id uuid", ("'123e4567-e89b-12d3-a456-426655440000'", "'00000000-0000-0000-0000-000000000000'")),
}


@pytest.mark.parametrize("key", KEYS)
def test_no_row_is_written_over_another_one(sink: MysqlSink, database: MysqlDatabase, key: str) -> None:
    if key == "mariadbs" and not database.is_mariadb:
        pytest.skip("MySQL has no such type")
    columns, keys = KEYS[key]
    names = "more, id" if key == "pair" else "id"
    bin_ = "utf8mb4_nopad_bin" if database.is_mariadb else "utf8mb4_0900_bin"
    database.execute(
        f"create table {key} ({columns} not null, v int, w text, primary key ({names})) collate {bin_}",
        f"insert into {key} ({names}, v) values ({keys[0]}, 1), ({keys[1]}, 2)",
    )
    reader = MysqlSnapshotReader(database.source())
    connection = database.connect()
    catalog = Catalog(lambda: connection)
    (table,) = catalog.read_tables(catalog.read_relations(Selection([f"{database.name}.{key}"])))

    def rows() -> list[Row]:
        (chunk,) = reader.plan(table, 10)
        return [row for batch in reader.read(table, chunk, 10) for row in batch]

    def write(*some: Row) -> list[tuple[int, ErrorKind]]:
        refused = sink.apply(TableBatch(table, upserts=list(some)))
        sink.flush()
        return sorted((each.index, each.error.kind) for each in refused)

    sink.prepare(table)
    first, second = (row[:-2] for row in sorted(rows(), key=lambda row: row[-2] or 0))
    assert write((*first, 3, "three"), (*second, 4, "four")) == []
    assert sorted(rows(), key=str) == sorted([(*first, 3, "three"), (*second, 4, "four")], key=str)
    connection.run(f"delete from {key} where v = 4")
    connection.run(f"alter table {key} add unique (v)")
    # The new row has the value of the one that is there; both do; each its own.
    assert write((*second, 3, "late")) == [(0, ErrorKind.ROW_CONFLICT)]
    assert rows() == [(*first, 3, "three")]
    assert write((*first, 5, "five"), (*second, 5, "late"))[0][1] is ErrorKind.ROW_CONFLICT
    assert write((*first, 6, "six"), (*second, 7, "late")) == []
    assert sorted(rows(), key=str) == sorted([(*first, 6, "six"), (*second, 7, "late")], key=str)
    reader.close()
    connection.close()
