"""Objects of plain values: what is generated says the same as the forms of values, one by one."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from schemas.changes import UNCHANGED
from schemas.codecs.plain_rows import plain_fields
from schemas.twin import built
from schemas.types import Family, LogicalType
from schemas.types.calendar import INFINITY_US, MINUS_INFINITY_US, zoned_text
from schemas.types.numbers import EXACT, NAN
from schemas.types.plain import plain, timestamp_text
from tests.kit.twin import Find, unbuilt
from tests.kit.type_samples import SAMPLES

FINDS = [
    pytest.param(built, id="built"),
    pytest.param(cache(unbuilt), id="unbuilt"),
    pytest.param(lambda _: None, id="generated"),
]
COLUMNS = [(f"c{i}", sample.type) for i, sample in enumerate(SAMPLES)]


@pytest.mark.parametrize("find", FINDS)
def test_every_value_of_every_type_is_in_its_plain_form(find: Find) -> None:
    fields = plain_fields(COLUMNS, find)
    for turn in range(max(len(sample.values) for sample in SAMPLES)):
        row = tuple(sample.values[turn % len(sample.values)] for sample in SAMPLES)
        expected = {
            name: None if value is None else plain(type_)(value)
            for (name, type_), value in zip(COLUMNS, row, strict=True)
        }
        assert fields(row) == expected
        assert list(fields(row)) == list(expected)


@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("place", range(len(SAMPLES)))
def test_what_is_not_known_is_left_out_and_null_is_null(place: int, find: Find) -> None:
    fields = plain_fields(COLUMNS, find)
    row = [sample.values[0] for sample in SAMPLES]
    row[place] = UNCHANGED
    row[place - 1] = None
    made = fields(tuple(row))
    assert f"c{place}" not in made
    assert len(made) == len(SAMPLES) - 1
    assert made[f"c{(place - 1) % len(SAMPLES)}"] is None


@pytest.mark.parametrize("find", FINDS)
def test_names_are_any_text(find: Find) -> None:
    names = ["a'b", 'a"b', "a\\", "{v0}", "", "\n", "ü", "def"]
    fields = plain_fields([(name, LogicalType(Family.INT32)) for name in names], find)
    assert fields(tuple(range(8))) == dict(zip(names, range(8), strict=True))
    assert plain_fields([], find)(()) == {}


@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize("precision", [18, 60])
@pytest.mark.parametrize("scale", [0, 1, 2, 17, 18, 19, 40, -2])
def test_decimals_have_all_their_digits(scale: int, precision: int, find: Find) -> None:
    fields = plain_fields([("v", LogicalType(Family.DECIMAL, precision=precision, scale=scale))], find)

    def form(value: Any) -> Any:
        return fields((value,))["v"]

    for value in (0, 1, 9, 10, 99, 100, 10**17, 10**18 - 1, 10**18, 10**18 + 1, 10**50 + 7):
        for signed in (value, -value):
            assert form(signed) == format(Decimal(signed).scaleb(-scale, EXACT), "f")
    assert form(NAN) == "NaN"


@pytest.mark.parametrize(
    "us",
    [0, -1, 1, 999_999, 86_399_999_999, 86_400_000_000, 10**15 + 1, -(10**17), 10**18, INFINITY_US, MINUS_INFINITY_US],
)
@pytest.mark.parametrize("find", FINDS)
def test_times_are_written_alike_however_often(us: int, find: Find) -> None:
    fields = plain_fields([("v", LogicalType(Family.TIMESTAMPTZ))], find)
    assert fields((us,)) == fields((us,)) == {"v": zoned_text(us)}
    assert timestamp_text(us) == zoned_text(us).removesuffix("Z")


@pytest.mark.parametrize("find", FINDS)
def test_rows_of_other_widths_are_refused(find: Find) -> None:
    fields = plain_fields([("a", LogicalType(Family.INT32)), ("b", LogicalType(Family.INT32))], find)
    for row in ((1,), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"^"):
            fields(row)
