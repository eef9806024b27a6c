"""PostgreSQL's arrays as JSON that MySQL keeps as it is."""

from __future__ import annotations

import json

import pytest

from apply.sinks.mysql.arrays import array_json, array_reader
from apply.sinks.mysql.foreign import Server, translated
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType


@pytest.mark.parametrize(
    ("native", "text", "expected"),
    [
        ("integer[]", "{1,NULL,-2147483648}", "[1, null, -2147483648]"),
        ("bigint[]", "{-9223372036854775808}", "[-9223372036854775808]"),
        ("numeric[]", "{18446744073709551615,18446744073709551616}", '[18446744073709551615, "18446744073709551616"]'),
        ("numeric(30,20)[]", "{1.50,0.12345678901234567890}", '[1.50, "0.12345678901234567890"]'),
        ("numeric[]", "{NaN,1" + "0" * 400 + "}", '["NaN", "1' + "0" * 400 + '"]'),
        ("double precision[]", "{1e+300,5e-324,-0,Infinity}", '[1e+300, 5e-324, -0, "Infinity"]'),
        ("real[]", "{3.4028235e+38}", "[3.4028235e+38]"),
        ("boolean[]", "{t,f,NULL}", "[true, false, null]"),
        ("text[]", '[0:1]={"a,;b",c;d}', '["a,;b", "c;d"]'),
        (
            "box[]",
            "{{(1,1),(0,0);NULL};{(2,2),(1,1);(1,1),(0,0)}}",
            '[["(1,1),(0,0)", null], ["(2,2),(1,1)", "(1,1),(0,0)"]]',
        ),
    ],
)
def test_elements_are_what_the_servers_keep(native: str, text: str, expected: str) -> None:
    found = array_json(array_reader(native))(text)
    assert found == expected
    json.loads(found)


def test_rows_that_were_there_when_an_array_was_added_are_filled_with_json() -> None:
    added = Column("tags", LogicalType(Family.TEXT), "int4range[]", filling='{"[1,5)",empty}')
    table = TableSchema(TableName("public", "t"), (added,), key=())
    for is_mariadb in (True, False):
        (column,) = translated(table, Server(is_mariadb, (9, 7, 0))).columns
        assert (column.native, column.filling) == ("json", '["[1,5)", "empty"]')
