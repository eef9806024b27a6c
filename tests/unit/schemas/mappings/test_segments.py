"""Segments of full loads: which parts rules make of a table, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest

from capture.full_load.cuts import PLAN_BYTES_MAX, by_turns, fit
from capture.full_load.state import LoadState, TableLoad
from capture.source import Chunk
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.rules import parse
from schemas.mappings.segments import Partition, Segment, columns_of, cut, leaves_key, loads_part, rule_of
from schemas.mappings.table_settings_rule import TableSettingsRule
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TABLE = TableSchema(
    TableName("shop", "sales"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("region", LogicalType(Family.STRING), "text"),
        Column("at", LogicalType(Family.DATE), "date"),
        Column("ratio", LogicalType(Family.FLOAT64), "double precision"),
        Column("data", LogicalType(Family.BYTES), "bytea"),
    ),
    (0,),
)
KEYLESS = TableSchema(TABLE.name, TABLE.columns, ())
PARTITIONS = [
    Partition("a", "", "1"),
    Partition("a1", "a", "2"),
    Partition("a2", "a", "3"),
    Partition("b", "", "4"),
    Partition("c", "", "5", "grant it"),
]


def rule(**load: Any) -> TableSettingsRule:
    document = {
        "rule-type": "table-settings",
        "rule-id": "7",
        "object-locator": {"schema-name": "shop", "table-name": "sales"},
        "parallel-load": load,
    }
    return parse({"rules": [document]}).table_settings[0]


def names(found: list[Segment]) -> list[str]:
    return [segment.partition for segment in found]


def test_a_table_is_cut_into_its_partitions_or_into_those_that_are_named() -> None:
    readable = PARTITIONS[:4]
    assert names(cut(rule(type="partitions-auto"), TABLE, lambda: readable)) == ["a", "b"]
    assert names(cut(rule(type="subpartitions-auto"), TABLE, lambda: readable)) == ["a1", "a2", "b"]
    assert cut(rule(type="partitions-auto"), TABLE, list) == []
    chosen = rule(type="partitions-list", partitions=["b", "b"], subpartitions=["a2"])
    assert cut(chosen, TABLE, lambda: PARTITIONS) == [Segment("b", "4"), Segment("a2", "3")]
    # All of a partition is loaded once.
    chosen = rule(type="partitions-list", partitions=["a"], subpartitions=["a2"])
    assert names(cut(chosen, TABLE, lambda: PARTITIONS)) == ["a"]
    nested = [*PARTITIONS, Partition("a2x", "a2", "6")]
    chosen = rule(type="partitions-list", subpartitions=["a2x", "a2", "a1"])
    assert names(cut(chosen, TABLE, lambda: nested)) == ["a2", "a1"]
    # Without a key all rows are of one snapshot.
    assert cut(rule(type="partitions-auto"), KEYLESS, lambda: PARTITIONS) == []
    assert cut(rule(type="ranges", columns=["id"], boundaries=[[1]]), KEYLESS, list) == []
    assert rule_of([rule(type="none")], TABLE) is None
    assert loads_part([chosen], TABLE.name)
    assert not loads_part([chosen], TableName("shop", "others"))
    assert not loads_part([rule(type="partitions-auto")], TABLE.name)


def test_boundaries_cut_a_table_whole() -> None:
    found = cut(rule(type="ranges", columns=["id"], boundaries=[[10], ["20"]]), TABLE, list)
    assert [(s.above, s.below) for s in found] == [((), ("10",)), ((("10",),), ("20",)), ((("20",),), None)]
    # Servers sort texts by rules of their own: a row is of the first segment whose boundary it is below.
    pairs = rule(type="ranges", columns=["region", "at"], boundaries=[["N", "2020-01-01"], ["B", "2021-01-01"]])
    found = cut(pairs, TABLE, list)
    assert found[2] == Segment(columns=("region", "at"), above=(("N", "2020-01-01"), ("B", "2021-01-01")))
    assert leaves_key(pairs, TABLE)
    assert not leaves_key(rule(type="ranges", columns=["id"], boundaries=[[1]]), TABLE)
    assert not leaves_key(None, TABLE)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ({"type": "ranges", "columns": ["ids"], "boundaries": [[1]]}, "no column ids to cut by; did you mean id"),
        ({"type": "ranges", "columns": ["ratio"], "boundaries": [[1]]}, "boundaries are of exact values"),
        ({"type": "ranges", "columns": ["data"], "boundaries": [["x"]]}, "boundary 1: column data is bytea"),
        ({"type": "ranges", "columns": ["id"], "boundaries": [[1], ["secret"]]}, "boundary 2: column id is bigint"),
        ({"type": "ranges", "columns": ["id"], "boundaries": [[2], [1]]}, "boundary 2 is not above the one before"),
        ({"type": "ranges", "columns": ["region"], "boundaries": [["a"], ["a"]]}, "boundary 2 is not above"),
        ({"type": "ranges", "columns": ["at"], "boundaries": [["2020-13-01"]]}, "boundary 1: column at is date"),
        ({"type": "partitions-list", "partitions": ["bb"]}, "no partition bb; did you mean b"),
        ({"type": "partitions-list", "partitions": ["a1"]}, "no partition a1"),
        ({"type": "partitions-list", "subpartitions": ["z"]}, "no subpartition z"),
    ],
)
def test_what_does_not_fit_the_table_is_refused_by_the_rules_id(load: dict[str, Any], message: str) -> None:
    with pytest.raises(TailraceError, match=f"rule 7: shop.sales: .*{message}") as caught:
        cut(rule(**load), TABLE, lambda: PARTITIONS)
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert "secret" not in str(caught.value)


def test_a_table_that_has_lost_a_column_is_to_be_cut_anew() -> None:
    (first, _) = cut(rule(type="ranges", columns=["region", "id"], boundaries=[["a", 1]]), TABLE, list)
    assert [column.name for column in columns_of(TABLE, first)] == ["region", "id"]
    smaller = replace(TABLE, columns=TABLE.columns[:1])
    with pytest.raises(TailraceError, match="no longer has the columns") as caught:
        columns_of(smaller, first)
    assert caught.value.kind is ErrorKind.SOURCE_SCHEMA


def test_what_cannot_be_read_alone_is_refused() -> None:
    with pytest.raises(TailraceError, match="the partition c cannot be read by itself") as caught:
        cut(rule(type="partitions-auto"), TABLE, lambda: PARTITIONS)
    assert (caught.value.kind, caught.value.remedy) == (ErrorKind.PREREQUISITE, "grant it")
    with pytest.raises(TailraceError, match=r"rule 7: .*without a key"):
        cut(rule(type="partitions-list", partitions=["a"]), KEYLESS, lambda: PARTITIONS)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ({"type": "ranges", "columns": ["id"]}, "type ranges needs columns and boundaries"),
        ({"type": "ranges", "boundaries": [[1]]}, "type ranges needs columns and boundaries"),
        ({"type": "ranges", "columns": ["id", "at"], "boundaries": [["1"]]}, "boundary 1 has 1 values, for 2 columns"),
        ({"type": "ranges", "columns": ["id", "id"], "boundaries": [[1, 1]]}, "a column stands in columns twice"),
        ({"type": "ranges", "columns": [f"c{i}" for i in range(11)], "boundaries": [[1] * 11]}, "at most 10"),
        ({"type": "partitions-list"}, "type partitions-list needs partitions or subpartitions"),
        ({"type": "partitions-auto", "partitions": ["a"]}, "partitions are of type partitions-list"),
        ({"type": "partitions-auto", "columns": ["a"]}, "columns are of type ranges"),
    ],
)
def test_a_rule_that_says_half_is_refused(load: dict[str, Any], message: str) -> None:
    with pytest.raises(TailraceError, match=f"(?s)rule 7: .*{message}"):
        rule(**load)


def test_a_plan_with_segments_is_read_as_it_was_written() -> None:
    load = TableLoad(TABLE, state=LoadState.LOADING)
    ranges = cut(rule(type="ranges", columns=["id"], boundaries=[[10]]), TABLE, list)
    load.chunks = [
        Chunk(0, None, ("5",), ranges[0]),
        Chunk(1, None, None, ranges[1]),
        Chunk(2, ("5",), None, ranges[0]),
        Chunk(3, None, None, Segment("a", "1")),
        Chunk(4, None, None),
    ]
    document = orjson.loads(orjson.dumps(load.plan_document()))
    assert TableLoad.from_documents(TABLE, document, None).chunks == load.chunks
    for damage in ([["a"]], [["a", 1, [], [], None]], [["a", "b", [], ["c"], None]], []):
        with pytest.raises(TailraceError, match="cannot be read"):
            TableLoad.from_documents(TABLE, document | {"segments": damage}, None)


def test_a_plan_is_one_record_however_many_chunks_there_are() -> None:
    load = TableLoad(TABLE, state=LoadState.LOADING)
    parts = [Segment(f"sales_{n}", str(n)) for n in range(3000)]
    edges = [None, *((f"{n:0>200}",) for n in range(1, 8)), None]
    load.chunks = by_turns([[(*pair, part) for pair in pairwise(edges)] for part in parts])
    assert len(orjson.dumps(load.plan_document())) > 8_000_000
    fit(load)
    assert 600 < len(orjson.dumps(load.plan_document())) <= PLAN_BYTES_MAX
    assert [chunk.number for chunk in load.chunks] == list(range(len(load.chunks)))
    # Each segment is still covered, without a gap.
    for part in parts:
        found = [chunk for chunk in load.chunks if chunk.segment is part]
        assert (found[0].lower, found[-1].upper) == (None, None)
        assert all(one.upper == other.lower for one, other in pairwise(found))
    load.chunks = by_turns([[(None, None, Segment(f"{n:0>64}", "1"))] for n in range(20_000)])
    with pytest.raises(TailraceError, match="cuts the table into 20,000 segments") as caught:
        fit(load)
    assert caught.value.kind is ErrorKind.CONFIGURATION
