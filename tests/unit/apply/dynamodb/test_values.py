"""Decimals as DynamoDB's numbers: what is written quickly is what `number` says."""

from __future__ import annotations

from decimal import Decimal

import pytest

from apply.sinks.dynamodb.items import Item
from apply.sinks.dynamodb.values import encoder, item_size, number, size
from schemas.types import Family, LogicalType
from schemas.types.numbers import EXACT, NAN


@pytest.mark.parametrize("scale", [0, 1, 2, 9, 18, 19, 37])
def test_decimals_are_numbers_without_zeros_that_say_nothing(scale: int) -> None:
    encode = encoder(LogicalType(Family.DECIMAL, precision=60, scale=scale))
    for value in (0, 1, 5, 10, 100, 120, 1000, 1050, 10**17, 10**18 - 1, 10**18, 10**37 + 1):
        for signed in (value, -value):
            assert encode(signed) == number(Decimal(signed).scaleb(-scale, EXACT))
    assert encode(NAN) == {"S": "NaN"}
    assert set(encode(10**40 + 1)) == {"S"}


def test_an_item_counts_its_names_and_values() -> None:
    item: Item = {"id": {"N": "12"}, "wörd": {"S": "ü"}, "raw": {"B": b"12"}, "m": {"M": {"a": {"BOOL": True}}}}
    assert item_size(item) == sum(len(name.encode()) + size(attribute) for name, attribute in item.items())
