"""Filters on the stream: every change reaches somebody who sees the filtered rows alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.filters import Filters
from capture.full_load.window import Horizon
from capture.publishing.feed import Feed
from capture.publishing.publisher import Publisher
from capture.publishing.transactions import Transactions
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import Format, compile_decoder, compile_encoder
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.filters import rules, where

INT, TEXT = LogicalType(Family.INT64), LogicalType(Family.STRING)
BY_KEY = TableSchema(
    TableName("s", "t"),
    (Column("id", INT, "bigint", nullable=False), Column("grade", INT, "bigint"), Column("essay", TEXT, "text")),
    (0,),
)
WHOLE = replace(BY_KEY, full_before=True)
TXN = Transaction("1", 1, 1, 1)
U = UNCHANGED

Change = tuple[str, Row | None, Row | None]


class Stream:
    """Changes through a filter `grade >= 5`, and a source that says what it was asked."""

    def __init__(self, table: TableSchema = BY_KEY, column: str = "grade", now: dict[Any, Row] | None = None) -> None:
        self.table = table
        self.now = {} if now is None else now
        self.asked: list[Any] = []
        self._filters = Filters(rules("s", "%", [where(column, "gte", "5")]), self._complete)

    def kept(self, *changes: Change) -> list[Change]:
        ops, before, after = (list(part) for part in zip(*changes, strict=True))
        found = self._filters.kept(RowChanges(self.table, TXN, ops, before, after))
        return list(zip(found.ops, found.before, found.after, strict=True))

    def _complete(self, changes: RowChanges) -> None:
        for i, (before, after) in enumerate(zip(changes.before, changes.after, strict=True)):
            assert before is not None
            assert after is not None
            self.asked.append(after[0])
            present = self.now.get(after[0], after)
            changes.after[i] = tuple(p if a is U else a for a, p in zip(after, present, strict=True))


class Keeping:
    """A producer that keeps the values that it is given."""

    in_transaction = False

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def begin(self) -> None:
        self.in_transaction = True

    def produce_run(self, _topic: str, pairs: list[Any], _partition: int | None = None) -> None:
        self.values += [value for _, value in pairs]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("c", None, (1, 5, "x")), [("c", None, (1, 5, "x"))]),
        (("c", None, (1, 4, "x")), []),
        (("c", None, (1, None, "x")), []),
        # Whether the old row was taken is not known: deletes are never lost, and targets write what they may not have.
        (("d", (1, U, U), None), [("d", (1, U, U), None)]),
        (("u", None, (1, 5, "x")), [("u", None, (1, 5, "x"))]),
        (("u", None, (1, 4, "x")), [("d", (1, U, U), None)]),
        (("u", (1, U, U), (2, 4, "x")), [("d", (1, U, U), None)]),
        (("u", (1, U, U), (2, 5, "x")), [("u", (1, U, U), (2, 5, "x"))]),
    ],
)
def test_old_rows_of_the_key_alone(change: Change, expected: list[Change]) -> None:
    assert Stream().kept(change) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((1, 5, "x"), (1, 6, "x"), "u"),
        ((1, 5, "x"), (1, 4, "x"), "d"),
        ((1, 4, "x"), (1, 5, "x"), "c"),
        ((1, 4, "x"), (1, 3, "x"), ""),
        ((1, 4, "x"), None, ""),
        ((1, 5, "x"), None, "d"),
    ],
)
def test_whole_old_rows_tell_exactly(before: Row, after: Row | None, expected: str) -> None:
    op = "u" if after else "d"
    kept = Stream(WHOLE).kept((op, before, after))
    assert [change[0] for change in kept] == list(expected)
    if expected == "d":
        assert kept == [("d", before, None)]
    if expected == "c":
        assert kept == [("c", None, after)]


def test_a_filter_on_the_key_needs_no_old_rows() -> None:
    stream = Stream(column="id")
    assert stream.kept(("u", None, (4, 1, U)), ("d", (4, U, U), None)) == []
    assert stream.kept(("u", None, (5, 1, U)), ("d", (5, U, U), None)) == [
        ("u", None, (5, 1, U)),
        ("d", (5, U, U), None),
    ]
    assert stream.kept(("u", (4, U, U), (6, 1, "x")), ("u", (6, U, U), (4, 1, "x"))) == [
        ("c", None, (6, 1, "x")),
        ("d", (6, U, U), None),
    ]
    assert stream.asked == []


def test_a_row_that_is_gone_is_taken_where_what_decides_is_known() -> None:
    stream = Stream()
    assert stream.kept(
        ("u", (1, U, U), (2, U, "x")),
        ("u", None, (2, U, "y")),
        ("u", None, (2, 7, U)),
        ("u", (2, U, U), (3, 5, U)),
        ("d", (3, U, U), None),
    ) == [
        ("d", (1, U, U), None),
        ("d", (2, U, U), None),
        ("u", None, (2, 7, U)),
        ("u", (2, U, U), (3, 5, U)),
        ("d", (3, U, U), None),
    ]
    assert stream.asked == [2, 2, 2, 3]


def test_what_became_an_insert_is_not_asked_for_again() -> None:
    """A source may fill what an insert lacks with defaults: they stood on the topic for what nobody could tell."""
    by_key = Stream(column="id")
    changes = by_key.kept(("u", (4, U, U), (11, U, "x")), ("u", (12, U, U), (13, U, "y")))
    assert changes == [("c", None, (11, U, "x")), ("u", (12, U, U), (13, U, "y"))]
    asked: list[Change] = []

    def complete(run: RowChanges) -> None:
        asked.extend(zip(run.ops, run.before, run.after, strict=True))
        run.after[:] = [tuple(0 if v is U else v for v in row or ()) for row in run.after]

    sent = Keeping()
    publisher = Publisher(
        sent,  # type: ignore[arg-type]  # all that is used of it
        Horizon(()),
        sequence=1 << 56,
        transactions=Transactions(1 << 56, metadata=False, is_cut=False, cut=None),
        transactions_topic="transactions",
        complete=complete,
        now_us=lambda: 1,
    )
    encoder = compile_encoder(BY_KEY, Format.JSON, replication="shop", connector="mysql", database="shop")
    publisher.feeds[BY_KEY.name] = Feed(BY_KEY, BY_KEY, encoder, "t", 1)
    ops, before, after = (list(part) for part in zip(*changes, strict=True))
    publisher.rows(RowChanges(BY_KEY, TXN, ops, before, after))
    publisher.flush()
    assert asked == [("u", (12, U, U), (13, U, "y"))]
    read = compile_decoder(BY_KEY, Format.JSON).decode_many(sent.values)
    assert [(op, after) for op, _, after in read] == [("c", (11, U, "x")), ("d", None), ("c", (13, 0, "y"))]


def test_what_the_log_left_out_is_asked_of_the_source_where_it_matters() -> None:
    stream = Stream(now={1: (1, 5, "now"), 2: (2, 4, "now")})
    # The filter's own column is missing: a large value that did not change.
    assert stream.kept(("u", None, (1, U, "x")), ("u", None, (2, U, "x")), ("u", None, (3, U, "x"))) == [
        ("u", None, (1, 5, "x")),
        ("d", (2, U, U), None),
        ("d", (3, U, U), None),
    ]
    # It may have entered: targets without the row need it whole.
    assert stream.kept(("u", None, (1, 7, U))) == [("u", None, (1, 7, "now"))]
    assert stream.asked == [1, 2, 3, 1]
    whole = Stream(WHOLE)
    assert whole.kept(("u", (1, 4, "essay"), (1, 5, U))) == [("c", None, (1, 5, "essay"))]
    assert whole.asked == []


def test_a_table_without_filters_is_left_alone() -> None:
    stream = Stream(replace(BY_KEY, name=TableName("other", "t")))
    changes = RowChanges(stream.table, TXN, ["c"], [None], [(1, 1, "x")])
    assert stream._filters.kept(changes) is changes


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.none() | st.integers(3, 6)), max_size=25),
    st.booleans(),
    st.sampled_from(["grade", "id"]),
)
def test_whoever_sees_the_filtered_stream_ends_with_the_filtered_rows(
    steps: list[tuple[int, int, int | None]], is_whole: bool, column: str
) -> None:
    table = WHOLE if is_whole else BY_KEY
    source: dict[int, Row] = {}
    target: dict[int, Row] = {}
    stream = Stream(table, column, source)
    for kind, key, grade in steps:
        id_ = key + 3
        before = source.get(id_)
        row = (id_, grade, f"e{key}")
        told = before if is_whole else (id_, U, U)
        if kind == 0 and before is None:
            change: Change = ("c", None, row)
            source[id_] = row
        elif kind == 1 and before is not None:
            change = ("d", told, None)
            del source[id_]
        elif before is not None:
            source[id_] = row
            change = ("u", told if is_whole else None, (id_, grade, U))
        else:
            continue
        for op, old, new in stream.kept(change):
            if op == "d":
                assert old is not None
                target.pop(old[0], None)
            else:
                assert new is not None
                known = target.get(new[0])
                # A partial row changes one that is there, and makes none.
                if U not in new:
                    target[new[0]] = new
                elif known is not None:
                    target[new[0]] = tuple(k if n is U else n for n, k in zip(new, known, strict=True))
    index = table.column_names.index(column)
    assert target == {k: row for k, row in source.items() if row[index] is not None and row[index] >= 5}


def test_a_null_in_an_old_row_of_mysql_may_be_a_value_that_a_session_did_not_log() -> None:
    """The row may have been taken: targets are told that it goes."""
    stream = Stream(replace(WHOLE, engine="mysql"))
    assert stream.kept(("u", (1, None, None), (1, 4, "x")), ("d", (2, None, None), None)) == [
        ("d", (1, None, None), None),
        ("d", (2, None, None), None),
    ]
    assert Stream(WHOLE).kept(("u", (1, None, None), (1, 4, "x")), ("d", (2, None, None), None)) == []
