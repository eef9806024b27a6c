"""Characters that become others, and large values that are cut off."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from apply.sink import TableBatch
from apply.values import Values
from schemas.changes import UNCHANGED
from schemas.mappings.rules import parse
from schemas.mappings.selection import lob_max_kb
from schemas.substitution import ValueSettings, key_function, points, row_function
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TABLE = TableSchema(
    TableName("s", "t"),
    (
        Column("id", LogicalType(Family.STRING), "text", nullable=False),
        Column("word", LogicalType(Family.STRING, length=2000), "varchar(2000)"),
        Column("text", LogicalType(Family.STRING), "text"),
        Column("data", LogicalType(Family.BYTES), "bytea"),
        Column("number", LogicalType(Family.INT64), "bigint"),
    ),
    key=(0,),
)


def test_table_settings_say_for_one_table_where_large_values_are_cut_off() -> None:
    rules = parse(
        {
            "rules": [
                {
                    "rule-type": "table-settings",
                    "rule-id": table,
                    "object-locator": {"schema-name": "s", "table-name": table},
                    "lob-settings": lobs,
                }
                for table, lobs in (
                    ("t", {"mode": "limited", "bulk-max-size": 2}),
                    ("whole", {"mode": "unlimited", "bulk-max-size": 0}),
                    ("same", {"mode": "none"}),
                )
            ]
        }
    ).table_settings
    sizes = [lob_max_kb(rules, TableName("s", name), 7) for name in ("t", "whole", "same", "other")]
    assert sizes == [2, None, 7, 7]
    values = Values(ValueSettings(lob_max_kb=1), "copy", rules)
    row = ("a", "b", "x" * 5000, b"y" * 5000, 1)
    kept = {
        name: values.batch(TableBatch(replace(TABLE, name=TableName("s", name)), upserts=[row])).upserts[0]
        for name in ("t", "whole", "same")
    }
    assert {name: (len(made[2]), len(made[3])) for name, made in kept.items()} == {
        "t": (2048, 2048),
        "whole": (5000, 5000),
        "same": (1024, 1024),
    }


def test_large_values_are_cut_off_outside_of_the_key_and_counted() -> None:
    cut: list[str] = []
    change = row_function(ValueSettings(lob_max_kb=1), TABLE, cut.append)
    assert change is not None
    long = "x" * 2000
    rows = [
        (long, long, long, b"y" * 1025, 1),
        ("a", "b", "x" * 1024, b"y" * 1024, None),
        ("a", None, UNCHANGED, None, UNCHANGED),
        # A character is never cut in two.
        ("a", None, "é" * 513, b"", 0),
        ("a", None, "x" + "é" * 512, b"", 0),
    ]
    assert change(rows) == [
        (long, long, "x" * 1024, b"y" * 1024, 1),
        rows[1],
        rows[2],
        ("a", None, "é" * 512, b"", 0),
        ("a", None, "x" + "é" * 511, b"", 0),
    ]
    assert cut == ["text", "data", "text", "text"]
    assert key_function(ValueSettings(lob_max_kb=1), TABLE) is None


def test_characters_become_others_in_all_texts_and_keys() -> None:
    # The guide's example: b becomes a and B becomes A; and % is taken out.
    listed = points(
        [
            {"SourceCharacterCodePoint": 62, "TargetCharacterCodePoint": 99},
            {"SourceCharacterCodePoint": 62, "TargetCharacterCodePoint": 61},
            {"SourceCharacterCodePoint": 42, "TargetCharacterCodePoint": 41},
            {"SourceCharacterCodePoint": 25, "TargetCharacterCodePoint": 0},
        ]
    )
    settings = ValueSettings(characters=listed)
    change, keys = row_function(settings, TABLE, lambda _name: None), key_function(settings, TABLE)
    assert change is not None
    assert keys is not None
    assert change([("bB%", "b", UNCHANGED, b"b", 1)]) == [("aA", "a", UNCHANGED, b"b", 1)]
    assert keys([("bB%",)]) == [("aA",)]


@pytest.mark.parametrize(
    ("name", "replacement", "expected"),
    [
        ("UTF16_PlatformEndian", "0", "aé€"),
        ("UTF16_PlatformEndian", "3F", "aé€?"),
        ("ISO-8859-1", "3F", "aé??"),
        ("ascii", "0", "a"),
        ("UTF-8", "0", "aé€\U0001f600"),
    ],
)
def test_characters_that_are_not_of_a_set_are_replaced(name: str, replacement: str, expected: str) -> None:
    settings = ValueSettings(character_set=name, character_replacement=replacement)
    change = row_function(settings, TABLE, lambda _name: None)
    assert change is not None
    assert change([("k", "aé€\U0001f600", None, None, None)])[0][1] == expected


def test_nothing_is_done_where_nothing_is_said_or_can_be() -> None:
    assert not ValueSettings().any
    assert row_function(ValueSettings(), TABLE, lambda _name: None) is None
    numbers = TableSchema(TABLE.name, TABLE.columns[4:], ())
    assert row_function(ValueSettings(lob_max_kb=1, characters={"61": "62"}), numbers, lambda _name: None) is None
    with pytest.raises(ValidationError, match="character_set"):
        ValueSettings(character_set="klingon")
