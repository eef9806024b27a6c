"""Rows of one version, cut to what another version's target has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apply.batching.projection import Projection, same_shape
from apply.sink import Origin, TableBatch, TopicPartition
from schemas.changes import UNCHANGED
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column
from tests.conformance.sink_suite import INT64, ORDERS, ORDERS_2, STRING


def test_rows_of_the_targets_own_version_go_as_they_are() -> None:
    batch = TableBatch(ORDERS, upserts=[(1, "a", None)])
    assert Projection(ORDERS, ORDERS).batch(batch) is batch


def test_columns_that_the_target_has_lost_are_left_out() -> None:
    batch = TableBatch(ORDERS, upserts=[(1, "a", True)], updates=[(2, "b", UNCHANGED)], deletes=[(3,)], fresh=True)
    cut = Projection(ORDERS, ORDERS_2).batch(batch)
    assert cut.table.column_names == ("id", "paid")
    assert cut.table.key_names == ("id",)
    assert (cut.upserts, cut.updates, cut.deletes, cut.fresh) == ([(1, True)], [(2, UNCHANGED)], [(3,)], True)


def test_a_renamed_column_is_known_by_its_number() -> None:
    one = replace(ORDERS, columns=(Column("id", INT64, "bigint", number=1), Column("a", STRING, "text", number=2)))
    two = replace(one, version=2, columns=(one.columns[0], Column("b", STRING, "text", number=2)))
    projection = Projection(one, two)
    assert projection.table.column_names == ("id", "b")
    assert projection.batch(TableBatch(one, upserts=[(1, "x")])).upserts == [(1, "x")]


def test_a_column_that_took_over_a_name_is_not_the_old_one() -> None:
    one = replace(ORDERS, columns=(Column("id", INT64, "bigint", number=1), Column("a", STRING, "text", number=2)))
    two = replace(one, version=2, columns=(one.columns[0], Column("a", INT64, "bigint", number=3)))
    assert Projection(one, two).table.column_names == ("id",)


def test_a_lost_key_column_is_refused_with_the_remedy() -> None:
    two = replace(ORDERS, version=2, columns=(ORDERS.columns[1],), key=(0,))
    with pytest.raises(TailraceError) as caught:
        Projection(ORDERS, two)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert "reset" in str(caught.value.remedy)


def test_rows_of_tables_without_a_key_are_cut_before_and_after() -> None:
    one = replace(ORDERS, key=(), full_before=True)
    two = replace(ORDERS_2, key=(), full_before=True)
    batch = TableBatch(one, sequence=[("u", (1, "a", True), (1, "b", False)), ("c", None, (2, "x", None))])
    cut = Projection(one, two).batch(batch)
    assert cut.sequence == [("u", (1, True), (1, False)), ("c", None, (2, None))]


def test_versions_of_one_shape_need_no_alteration() -> None:
    assert same_shape(ORDERS, replace(ORDERS, version=5, comment="x"))
    assert not same_shape(ORDERS, ORDERS_2)


def test_old_rows_beside_a_batch_are_cut_like_its_rows() -> None:
    origin = Origin(TopicPartition("shop.orders", 0), 1, 1, 1, None, before=(2, "old", UNCHANGED))
    other = origin._replace(before=None)
    found = {"updates": [origin, other], "deletes": [origin]}
    cut = Projection(ORDERS, ORDERS_2).origins(found)
    assert [[one.before for one in origins] for origins in cut.values()] == [[(2, UNCHANGED), None], [(2, UNCHANGED)]]
    assert Projection(ORDERS, ORDERS).origins(found) is found
