"""Segments on PostgreSQL: partitions and ranges hold each row once, whatever the types, nulls and collations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from capture.source import Chunk
from capture.sources.postgresql.snapshot import PostgresqlSnapshotReader
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.rules import parse
from schemas.mappings.segments import Segment, cut
from schemas.table import TableSchema
from tests.integration.postgresql_source import reading
from tests.kit.servers import Database

RANGES: list[tuple[list[str], list[list[Any]], list[int]]] = [
    # Columns, boundaries, rows in each segment; of 60 rows every seventh has nulls.
    (["id"], [[10], [50]], [9, 40, 11]),
    (["a", "id"], [[1, 30], [2, 5.5]], [30, 12, 18]),
    (["price"], [["0.005"], ["10.125"]], [0, 0, 0]),
    (["word"], [["N"], ["b"]], [0, 0, 0]),
    (["word", "born"], [["N", "2020-02-01"], ["a", "2020-01-10"]], [0, 0, 0]),
    (["born"], [["2020-01-10"]], [0, 0]),
    (["seen", "mood"], [["2020-01-10 00:00:00", "ok"]], [0, 0]),
    (["tag"], [["80000000-0000-0000-0000-000000000000"]], [0, 0]),
]


def test_segments_hold_each_row_once(new_database: Callable[..., Database], replication: str) -> None:
    database = new_database(18, "segments")
    database.execute(
        "create schema other",
        "create type mood as enum ('sad', 'ok', 'happy')",
        """create table t (id int primary key, a int, price numeric(10,2), word varchar(20) collate "C", born date,
           seen timestamptz, mood mood, tag uuid)""",
        """insert into t select i, i % 3, case i % 7 when 0 then null else i / 4.0 end,
               case i % 7 when 0 then null else (array['N', 'n', 'a', 'B', 'NORTH'])[1 + i % 5] end,
               case i % 7 when 0 then null else date '2020-01-01' + i end,
               timestamptz '2020-01-01Z' + i * interval '9 h',
               (array['sad', 'ok', null]::mood[])[1 + i % 3], md5(i::text)::uuid from generate_series(1, 60) i""",
        "create table p (id int, at date, note text, primary key (id, at)) partition by range (at)",
        "create table p_old partition of p for values from (minvalue) to ('2020-01-01')",
        "create table other.p_mid (note text, gone int, id int not null, at date not null)",
        "alter table other.p_mid drop column gone",
        "alter table p attach partition other.p_mid for values from ('2020-01-01') to ('2021-01-01')",
        "create table p_new partition of p for values from ('2021-01-01') to (maxvalue) partition by hash (id)",
        "create table p_new_0 partition of p_new for values with (modulus 2, remainder 0)",
        "create table p_new_1 partition of p_new for values with (modulus 2, remainder 1)",
        "insert into p select i, date '2019-06-01' + i * 20, 'n' || i from generate_series(1, 90) i",
    )
    settings = reading.settings_for(database, replication)
    source = reading.database_of(settings)
    reader = PostgresqlSnapshotReader(reading.section(settings))
    tables = {table.name.table: table for table in source.tables()}
    try:
        for columns, boundaries, sizes in RANGES:
            segments = cut(_rule(type="ranges", columns=columns, boundaries=boundaries), tables["t"], list)
            found = _read_once(reader, tables["t"], segments, 60)
            assert len(found) == len(boundaries) + 1
            assert sum(sizes) == 0 or found == sizes, (columns, found)
            assert all(found), (columns, found)

        p = tables["p"]
        tops = cut(_rule(type="partitions-auto"), p, lambda: reader.partitions(p))
        assert sorted(s.partition for s in tops) == ["other.p_mid", "p_new", "p_old"]
        assert all(_read_once(reader, p, tops, 90))
        leaves = cut(_rule(type="subpartitions-auto"), p, lambda: reader.partitions(p))
        assert sorted(s.partition for s in leaves) == ["other.p_mid", "p_new_0", "p_new_1", "p_old"]
        assert all(_read_once(reader, p, leaves, 90))
        chosen = _rule(type="partitions-list", partitions=["p_old"], subpartitions=["p_new_1"])
        found = _read_once(reader, p, cut(chosen, p, lambda: reader.partitions(p)), None)
        expected = "select (select count(*) from p_old) + (select count(*) from p_new_1)"
        assert [(sum(found),)] == database.rows(expected)

        # A partition that is another one now is not taken for what it was.
        chunks = reader.plan(p, 10, tops)
        database.execute("alter table p detach partition p_old", "drop table p_old")
        database.execute("create table p_old partition of p for values from (minvalue) to ('2020-01-01')")
        old = [chunk for chunk in chunks if chunk.segment and chunk.segment.partition == "p_old"]
        with pytest.raises(TailraceError, match="no longer part of the table") as caught:
            list(reader.read(p, old[0], 100))
        assert caught.value.kind is ErrorKind.SOURCE_SCHEMA
        rest = [chunk for chunk in chunks if chunk not in old]
        assert [(sum(len(batch) for c in rest for batch in reader.read(p, c, 100)),)] == database.rows(
            "select count(*) from p"
        )
        # Whoever may read the table need not be allowed to read a partition by itself.
        assert all(not partition.refusal for partition in reader.partitions(p))
    finally:
        reader.close()
        source.close()


def _rule(**load: Any) -> Any:
    locator = {"schema-name": "public", "table-name": "t"}
    rule = {"rule-type": "table-settings", "rule-id": "1", "object-locator": locator, "parallel-load": load}
    return parse({"rules": [rule]}).table_settings[0]


def _read_once(
    reader: PostgresqlSnapshotReader, table: TableSchema, segments: list[Segment], count: int | None
) -> list[int]:
    """Read all chunks of a plan; return the rows of each segment. No row may come twice, and `count` all together."""
    keys: list[Any] = []
    sizes = dict.fromkeys(segments, 0)
    chunks: list[Chunk] = reader.plan(table, 7, segments)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    # By turns, so that processes read several segments.
    assert len({chunk.segment for chunk in chunks[: len(segments)]}) == len(segments)
    for chunk in chunks:
        assert chunk.segment is not None
        rows = [row for batch in reader.read(table, chunk, 5) for row in batch]
        assert len(rows) <= 7
        sizes[chunk.segment] += len(rows)
        keys += [tuple(row[i] for i in table.key) for row in rows]
    assert len(keys) == len(set(keys)), "a row came twice"
    assert count is None or len(keys) == count
    return list(sizes.values())
