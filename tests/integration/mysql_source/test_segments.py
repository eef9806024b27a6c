"""Segments on MySQL and MariaDB: partitions and ranges hold each row once, whatever the types, nulls and collations."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from capture.sources.mysql import segments
from capture.sources.mysql.connection import Connection
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.rules import parse
from schemas.mappings.segments import Partition, Segment, cut
from schemas.table import TableSchema
from tests.integration.mysql_source.reading import Reading

RANGES: list[tuple[list[str], list[list[Any]]]] = [
    (["id"], [[10], [50]]),
    (["a", "id"], [[1, 30], [2, 5.5]]),
    (["price"], [["0.305"], ["10.125"]]),
    (["word"], [["b"], ["N"]]),
    (["word", "born"], [["a", "2020-01-10"], ["N", "2020-02-01"]]),
    (["born"], [["2020-01-10"]]),
    (["seen", "mood"], [["2020-01-10 00:00:00", "ok"]]),
]
PARTITIONED = {
    "by_range": """partition by range (id) subpartition by hash (v) subpartitions 2
        (partition p0 values less than (20), partition p1 values less than (40),
         partition p2 values less than maxvalue)""",
    "by_list": "partition by list (v) (partition small values in (0, 1), partition `od d` values in (2))",
    "by_hash": "partition by hash (id) partitions 3",
    "by_key": "partition by key (v) partitions 2",
}


def test_segments_hold_each_row_once(any_reading: Reading) -> None:
    reading = any_reading
    database = reading.database
    database.execute(
        "create table t (id int primary key, a int, price decimal(10,2), word varchar(20), born date, seen datetime, "
        "mood enum('sad', 'ok', 'happy'))"
    )
    words = ["N", "n", "a", "B", "NORTH"]
    for i in range(1, 61):
        word, price, born = (f"'{words[i % 5]}'", i / 4, f"'2020-01-01' + interval {i} day") if i % 7 else ("null",) * 3
        mood = ("'sad'", "'ok'", "null")[i % 3]
        database.execute(
            f"insert into t values "
            f"({i}, {i % 3}, {price}, {word}, {born}, '2020-01-01' + interval {9 * i} hour, {mood})"
        )
    values = ", ".join(f"({i}, {i % 3})" for i in range(60))
    for name, how in PARTITIONED.items():
        database.execute(
            f"create table {name} (id int, v int, primary key (id, v)) {how}", f"insert into {name} values {values}"
        )
    tables = {table.name.table: table for table in reading.source.tables()}
    for columns, boundaries in RANGES:
        segments = cut(_rule(type="ranges", columns=columns, boundaries=boundaries), tables["t"], list)
        found = _read_once(reading, tables["t"], segments, 60)
        assert len(found) == len(boundaries) + 1, (columns, found)
        assert all(found), (columns, found)
    for name in PARTITIONED:
        table = tables[name]
        for kind, count in (
            ("partitions-auto", 3 if name in ("by_range", "by_hash") else 2),
            ("subpartitions-auto", 0),
        ):
            segments = cut(_rule(type=kind), table, partial(reading.reader.partitions, table))
            found = _read_once(reading, table, segments, 60)
            wanted = count or (6 if name == "by_range" else len(found))
            assert len(found) == wanted, (name, kind, found, [segment.partition for segment in segments])
    by_range, by_hash = tables["by_range"], tables["by_hash"]
    chosen = _rule(type="partitions-list", partitions=["p0"], subpartitions=["p1sp1"])
    found = _read_once(reading, by_range, cut(chosen, by_range, lambda: reading.reader.partitions(by_range)), None)
    assert found[0] == 20, found
    assert 0 < found[1] < 20, found

    # What another partition holds now is not looked for where it was; the others stay what they are.
    segments = cut(_rule(type="partitions-auto"), by_range, lambda: reading.reader.partitions(by_range))
    hashed = cut(_rule(type="partitions-auto"), by_hash, lambda: reading.reader.partitions(by_hash))
    database.execute(
        "alter table by_range reorganize partition p1 into "
        "(partition p1 values less than (30), partition p1b values less than (40))",
        "alter table by_hash add partition partitions 1",
    )
    assert _stale(reading, by_range, segments) == ["p1"]
    assert _stale(reading, by_hash, hashed) == ["p0", "p1", "p2"]


def test_partitions_are_listed_once_for_all_segments_that_are_cut(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading.database.execute(
        "create table t (id int primary key) partition by hash (id) partitions 8",
        f"insert into t values {', '.join(f'({n})' for n in range(40))}",
    )
    (table,) = reading.source.tables()
    cuts = cut(_rule(type="partitions-auto"), table, lambda: reading.reader.partitions(table))
    listed: list[TableSchema] = []
    list_partitions = segments.partitions

    def counted(connection: Connection, of: TableSchema) -> list[Partition]:
        listed.append(of)
        return list_partitions(connection, of)

    monkeypatch.setattr(segments, "partitions", counted)
    chunks = reading.reader.plan(table, 2, cuts)
    assert len(chunks) > len(cuts) == 8
    assert listed == [table]
    # Each read looks again, in its transaction.
    assert sum(len(batch) for batch in reading.reader.read(table, chunks[0], 10)) == 2
    assert listed == [table, table]


def _stale(reading: Reading, table: TableSchema, segments: list[Segment]) -> list[str]:
    """Return the partitions that are said to be others."""
    found = []
    for segment in segments:
        try:
            list(reading.reader.plan(table, 100, [segment]))
        except TailraceError as error:
            assert error.kind is ErrorKind.SOURCE_SCHEMA  # noqa: PT017 - most are no errors
            found.append(segment.partition)
    return found


def _rule(**load: Any) -> Any:
    locator = {"schema-name": "shop", "table-name": "t"}
    rule = {"rule-type": "table-settings", "rule-id": "1", "object-locator": locator, "parallel-load": load}
    return parse({"rules": [rule]}).table_settings[0]


def _read_once(reading: Reading, table: TableSchema, segments: list[Segment], count: int | None) -> list[int]:
    """Read all chunks of a plan; return the rows of each segment. No row may come twice, and `count` all together."""
    keys: list[Any] = []
    sizes = dict.fromkeys(segments, 0)
    for chunk in reading.reader.plan(table, 7, segments):
        assert chunk.segment is not None
        rows = [row for batch in reading.reader.read(table, chunk, 5) for row in batch]
        assert len(rows) <= 7, (table.name, chunk, rows)
        sizes[chunk.segment] += len(rows)
        keys += [tuple(row[i] for i in table.key) for row in rows]
    assert len(keys) == len(set(keys)), f"a row came twice: {sorted(keys)}"
    assert count is None or len(keys) == count, (table.name, sizes, sorted(keys))
    return list(sizes.values())


def test_a_partition_that_is_gone_is_no_partition_without_rows(reading: Reading) -> None:
    reading.database.execute(
        "create table t (id int primary key) partition by range (id) "
        "(partition p0 values less than (5), partition p1 values less than (9))",
        "insert into t values (1), (7)",
    )
    (table,) = reading.source.tables()
    segments = cut(_rule(type="partitions-auto"), table, lambda: reading.reader.partitions(table))
    chunks = reading.reader.plan(table, 10, segments)
    reading.database.execute("alter table t drop partition p1")
    with pytest.raises(TailraceError, match="p1 no longer holds") as caught:
        list(reading.reader.read(table, chunks[1], 10))
    assert caught.value.kind is ErrorKind.SOURCE_SCHEMA
    assert sum(len(batch) for batch in reading.reader.read(table, chunks[0], 10)) == 1
