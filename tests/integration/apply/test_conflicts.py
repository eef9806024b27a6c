"""Foreign and unique keys that partitions violate only because they advance at different speeds are waited out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from apply.error_handling import dead_letters
from schemas.changes import UNCHANGED
from schemas.settings import Settings
from schemas.table import Column, ForeignKey, Index, TableName, TableSchema
from tests.conformance.sink_suite import INT64, STRING
from tests.integration.apply.publishing import Publisher
from tests.integration.apply.test_service import Running, apply_now
from tests.kit.servers import Database

pytestmark = pytest.mark.integration

PRODUCTS = TableSchema(
    TableName("public", "products"),
    (Column("id", INT64, "bigint", nullable=False), Column("sku", STRING, "text")),
    key=(0,),
    indexes=(Index("products_sku_key", True, "using btree (sku)", constraint=True),),
)
ITEMS = TableSchema(
    TableName("public", "items"),
    (Column("id", INT64, "bigint", nullable=False), Column("product", INT64, "bigint")),
    key=(0,),
    foreign_keys=(ForeignKey("items_product_fkey", ("product",), PRODUCTS.name, ("id",)),),
)


def test_rows_that_wait_for_each_other_all_arrive_and_none_is_parked(
    settings: Settings, publisher: Publisher, target_database: Database
) -> None:
    chance = random.Random(5)
    publisher.add(PRODUCTS, ITEMS)
    skus = {i: f"sku{i}" for i in range(60)}
    items: dict[int, int] = {}
    publisher.load(PRODUCTS, list(skus.items()))
    for table in (PRODUCTS, ITEMS):
        publisher.loaded(table)
    assert apply_now(settings) == 0
    constraints = {name for (name,) in target_database.rows("select conname from pg_constraint")}
    assert {"products_sku_key", "items_product_fkey"} <= constraints
    with Running(settings):
        for n in range(60):
            one, two = chance.sample(sorted(skus), 2)
            skus[one], skus[two] = skus[two], skus[one]
            swap: list[tuple[str, Any, Any]] = [("u", None, (one, None)), ("u", None, (two, skus[two]))]
            publisher.change(PRODUCTS, *swap, ("u", None, (one, skus[one])))
            # The child is published first: its parent comes a Kafka transaction later.
            product = 1000 + n
            new = [(n * 10 + i, product) for i in range(3)]
            publisher.change(ITEMS, *[("c", None, row) for row in new])
            skus[product] = f"sku{product}"
            publisher.change(PRODUCTS, ("c", None, (product, skus[product])))
            items.update(new)
            if n % 10 == 9:
                gone = product - 5
                publisher.change(PRODUCTS, ("d", (gone, UNCHANGED), None))
                publisher.change(ITEMS, *[("d", (i, UNCHANGED), None) for i, p in items.items() if p == gone])
                del skus[gone]
                items = {i: p for i, p in items.items() if p != gone}
    assert apply_now(settings) == 0
    assert set(target_database.rows("select id, sku from public.products")) == set(skus.items())
    assert set(target_database.rows("select id, product from public.items")) == set(items.items())
    assert not dead_letters.read_lot(settings, "replica").keys
