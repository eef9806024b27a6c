"""Values in BSON that are made quickly are those that the driver makes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import Decimal128

from apply.sinks.mongodb.documents import MICROSECONDS, SEQUENCE, change, whole
from apply.sinks.mongodb.values import form, nested
from schemas.types import Family, LogicalType
from schemas.types.numbers import EXACT, NAN


@pytest.mark.parametrize("scale", [0, 1, 2, 17, 18, 19, 30])
def test_decimals_have_all_their_digits(scale: int) -> None:
    make = form(LogicalType(Family.DECIMAL, precision=40, scale=scale), "document")
    for value in (0, 1, 9, 10, 1200, 10**17, 10**18 - 1, 10**18, 10**33 + 1):
        for signed in (value, -value):
            made, expected = make(signed), Decimal128(Decimal(signed).scaleb(-scale, EXACT))
            assert (made.bid, str(made)) == (expected.bid, str(expected))
    assert make(NAN) == Decimal128("NaN")
    assert isinstance(make(10**35 + 1), str)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "b": [1.5, "x"]}', {"a": 1, "b": [1.5, "x"]}),
        ('{"a": -0, "b": 0.10, "c": -0.0}', {"a": Decimal128("-0"), "b": 0.1, "c": Decimal128("-0.0")}),
        ('{"a": 123456789012345678901}', {"a": Decimal128("123456789012345678901")}),
        ('{"a": 1.00000000000000000001}', {"a": Decimal128("1.00000000000000000001")}),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ('{"a\\u0000": 1}', '{"a\\u0000": 1}'),
        ('{"a": NaN}', '{"a": NaN}'),
        ("\ufeff{}", "\ufeff{}"),
        ("1", "1"),
        ("{", "{"),
    ],
)
def test_json_is_nested_where_it_says_the_same(text: str, expected: Any) -> None:
    assert nested(text) == expected


def test_times_have_their_microseconds_beside_them() -> None:
    document = whole({"_id": 1}, {"at": 5, "word": None}, {"at": 7, "then": 0}, 9)
    assert bson.decode(document.raw) == {"_id": 1, "at": 5, "word": None, MICROSECONDS: {"at": 7}, SEQUENCE: 9}
    update = change({"at": 5}, {"at": 7, "then": 0}, 9)
    assert update == {
        "$set": {"at": 5, f"{MICROSECONDS}.at": 7, SEQUENCE: 9},
        "$unset": {f"{MICROSECONDS}.then": ""},
    }
