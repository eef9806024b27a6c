"""Bundles hold what was put into them, and the records that are made of them late are those that are made at once."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import bundles
from schemas.bundles import Bundle
from schemas.codecs import Encoder, Format, compile_encoder
from schemas.table import Column, TableName, TableSchema
from schemas.twin import built
from schemas.types import Family, LogicalType
from tests.kit.twin import unbuilt

COLUMNS = (Column("id", LogicalType(Family.INT64), "bigint"), Column("body", LogicalType(Family.TEXT), "text"))
ROWS = [(1, "one"), (2, ""), (3, None), (4, "é" * 1000)]
MODULES = [
    pytest.param(None, id="none"),
    pytest.param(unbuilt("bundles"), id="unbuilt"),
    pytest.param(built("bundles"), id="built"),
]


def encoder(format_: Format, key: tuple[int, ...] = (0,)) -> Encoder:
    table = TableSchema(TableName("public", "orders"), COLUMNS, key)
    return compile_encoder(table, format_, replication="shop", connector="postgresql", database="shop")


@pytest.mark.parametrize("module", MODULES)
@given(rows=st.lists(st.tuples(st.none() | st.binary(max_size=20), st.binary(max_size=300))))
def test_what_is_taken_apart_is_what_was_bundled(
    module: ModuleType | None, rows: list[tuple[bytes | None, bytes]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "built", lambda _: module)
        bundle = Bundle.of([key for key, _ in rows], [body for _, body in rows])
        assert len(bundle) == len(rows)
        assert bundle.pairs() == rows


@pytest.mark.parametrize("module", [case for case in MODULES if case.id != "none"])
@pytest.mark.parametrize(
    "cut",
    [
        lambda content: content[:15],
        lambda content: content[:-1],
        lambda content: content[:-4],
        lambda content: bytearray(bundles.LENGTHS.pack(1 << 62, 1 << 62)) + content[16:],
        lambda content: bytearray(bundles.LENGTHS.pack(3, -1)) + content[16:],
    ],
)
def test_a_bundle_that_is_not_whole_is_refused(
    module: ModuleType | None, cut: Callable[[bytearray], bytearray]
) -> None:
    if module is None:
        pytest.skip("it is not built: no compiler was there")
    with pytest.raises(ValueError, match="too soon"):
        module.apart(cut(Bundle.of([b"key"], [b"body"]).content), 0, 1)


@pytest.mark.parametrize("key", [(0,), ()])
@pytest.mark.parametrize("format_", Format)
def test_records_of_a_bundle_are_those_of_its_rows(format_: Format, key: tuple[int, ...]) -> None:
    writes = encoder(format_, key)
    block = writes.block(snapshot="true", position_lsn=7, ts_us=5, txid=None, now_us=6)
    # (In Avro a sequence has low and high bits.)
    for seq in (1 << 56, (1 << 56) + 8190):
        bundle = writes.loaded(ROWS)
        expected, last = writes.read_many(bundle.pairs(), block, seq)
        found, reached = writes.read_bundle(bundle, block, seq)
        assert (len(found), reached) == (len(ROWS), last)
        assert list(found) == expected
        assert [found[i] for i in range(-4, 4)] == expected * 2
        assert (found[1:3], found[2:], found[4:]) == (expected[1:3], expected[2:], [])
        assert found.size_bytes >= 0.9 * sum(len(value or b"") for _, value in expected)


def test_rows_are_found_in_any_order() -> None:
    bundle = encoder(Format.JSON).loaded(ROWS)
    records, _ = encoder(Format.JSON).read_bundle(
        bundle, encoder(Format.JSON).block(snapshot="true", position_lsn=7, ts_us=5, txid=None, now_us=6), 1
    )
    places = [records.place(i) for i in range(5)]
    assert places[0] == 0
    assert places[4] == len(bundle.content)
    records.reached(2, places[2])
    assert [records.place(i) for i in (3, 1, 0, 4, 2)] == [places[i] for i in (3, 1, 0, 4, 2)]
