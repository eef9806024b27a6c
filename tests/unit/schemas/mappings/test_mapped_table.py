"""What rules make of tables and rows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.changes import UNCHANGED
from schemas.errors import TailraceError
from schemas.mappings.mapped_table import map_table
from schemas.mappings.rules import TransformationRule, parse
from schemas.table import Column, ForeignKey, GeneratedColumn, Index, TableName, TableSchema
from schemas.types import Family, LogicalType

TABLE = TableSchema(
    name=TableName("shop", "customer"),
    columns=(
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("first", LogicalType(Family.STRING), "text"),
        Column("last", LogicalType(Family.STRING), "text"),
        Column("salary", LogicalType(Family.DECIMAL, 10, 2), "numeric(10,2)"),
        Column("born", LogicalType(Family.DATE), "date"),
        Column("passport", LogicalType(Family.STRING), "text", default="'none'"),
    ),
    key=(0,),
    indexes=(Index("by_last", False, "using btree (last)"), Index("by_first", False, 'using btree ("first")')),
    foreign_keys=(ForeignKey("to_boss", ("last",), TableName("shop", "boss"), ("name",)),),
    generated=(GeneratedColumn("full", "text", "(first || last)", 6),),
)
ROW = (1, "Ada", "King", 2_000_050, -56_500, "C6BGJ56669K")


def rule(action: str, target: str = "column", column: str | None = None, **more: Any) -> TransformationRule:
    locator = {"schema-name": "shop", "table-name": "%"} | ({"column-name": column} if column else {})
    document = {
        "rule-type": "transformation",
        "rule-id": f"{action}-{column}",
        "rule-action": action,
        "rule-target": target,
        "object-locator": locator,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    (parsed,) = parse({"rules": [document]}).transformations
    return parsed


def added(expression: str, type_: str = "string", **more: Any) -> Any:
    mapped = map_table([rule("add-column", value="x", expression=expression, data_type={"type": type_, **more})], TABLE)
    assert mapped.rows is not None
    return mapped.rows([ROW])[0][-1]


def test_a_table_that_no_rule_concerns_stays_the_same_object() -> None:
    mapped = map_table(
        [rule("rename", "table", value="x").model_copy(update={"rule_target": "index-tablespace"})], TABLE
    )
    assert mapped.table is TABLE
    assert mapped.rows is None


def test_names_change_everywhere_and_what_speaks_of_others_is_left_out() -> None:
    mapped = map_table(
        [
            rule("rename", "schema", value="crm"),
            rule("add-prefix", "table", value="c_"),
            rule("rename", column="last", value="surname"),
            rule("convert-uppercase", column="name"),
        ],
        TABLE,
    )
    assert mapped.table.name == ("crm", "c_customer")
    assert mapped.table.column_names == ("id", "first", "surname", "salary", "born", "passport")
    assert mapped.rows is None
    assert [i.name for i in mapped.table.indexes] == ["by_first"]
    assert mapped.table.foreign_keys == (ForeignKey("to_boss", ("surname",), TableName("crm", "c_boss"), ("NAME",)),)
    assert mapped.left_out == ("index by_last", "generated column full")


def test_columns_go_and_come() -> None:
    mapped = map_table(
        [
            rule("remove-column", column="%s%t"),
            rule("add-column", value="source", expression="$AR_M_SOURCE_TABLE_NAME", data_type={"type": "string"}),
            rule("add-column", value="empty", data_type={"type": "int4"}).model_copy(update={"rule_id": "e"}),
        ],
        TABLE,
    )
    assert mapped.table.column_names == ("id", "salary", "born", "source", "empty")
    assert mapped.rows is not None
    assert mapped.rows([ROW]) == [(1, 2_000_050, -56_500, "customer", None)]
    only = map_table([rule("include-column", column="id"), rule("include-column", column="born")], TABLE)
    assert only.table.column_names == ("id", "born")


@pytest.mark.parametrize(
    ("expression", "type_", "expected"),
    [
        ("$first||'_'||$last", "string", "Ada_King"),
        (
            "CASE WHEN round($salary)>=20000 THEN \N{LEFT SINGLE QUOTATION MARK}SENIOR' ELSE 'JUNIOR' END",
            "string",
            "SENIOR",
        ),
        ("round($salary)", "int8", 20_001),
        ("$salary * 2", "numeric", Decimal("40001.0")),
        ("upper(substr($first, 1, 2)) || '$last'", "string", "AD$last"),
        ("hash_sha256($first)", "string", "9789a18abe9ecf48f4aabc8a8e1d0a1a5fa3b6f0a5bb1f5e5e0a3c9c0d6d4a2f"),
        ("replaceChars('abcde','abcd','123')", "string", "1231e"),
        ("strftime('%Y', $born)", "int4", 1815),
        ("$born", "date", -56_500),
        ("date($born, '+1 day')", "date", -56_499),
        ('$"first" IS NULL', "boolean", False),
        ("nullif(1, 1)", "string", None),
    ],
)
def test_expressions_are_sqlites(expression: str, type_: str, expected: object) -> None:
    import hashlib

    if expression.startswith("hash"):
        expected = hashlib.sha256(b"Ada").hexdigest()
    assert added(expression, type_) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("$nobody", "the table has no column nobody"),
        ("upper(", "SQLite says of the expression"),
        ("load_extension('x')", "SQLite says of the expression"),
        ("(select 1 from sqlite_master)", "SQLite says of the expression"),
        ("1; drop table x", "SQLite says of the expression"),
        ("operation_indicator('D', 'U')", "SQLite says of the expression: wrong number of arguments"),
        ("operation_indicator('D', 'U', $id)", "stands in expressions with texts"),
    ],
)
def test_an_expression_that_cannot_be_is_refused(expression: str, message: str) -> None:
    with pytest.raises(TailraceError, match=message):
        added(expression)


def test_columns_of_an_expression_have_any_letters() -> None:
    table = replace(TABLE, columns=(*TABLE.columns[:-1], Column("größe_名", LogicalType(Family.INT32), "integer")))
    mapped = map_table([rule("add-column", value="x", expression="$größe_名+1", data_type={"type": "int4"})], table)
    assert mapped.rows is not None
    assert mapped.rows([(*ROW[:-1], 41)])[0][-1] == 42


def test_values_of_an_expression_that_fit_no_type_say_nothing_of_the_value() -> None:
    with pytest.raises(ValueError, match="rule add-column-None: what the expression gives is no int32") as caught:
        added("$passport", "int4")
    assert "C6BGJ" not in str(caught.value)


def test_a_row_in_part_leaves_an_expression_alone_or_is_refused() -> None:
    mapped = map_table([rule("add-column", value="x", expression="$first||$last", data_type={"type": "string"})], TABLE)
    assert mapped.rows is not None
    row = list(ROW)
    row[1] = row[2] = UNCHANGED
    assert mapped.rows([tuple(row)])[0][-1] is UNCHANGED
    row[1] = "Eve"
    with pytest.raises(ValueError, match="replica identity full"):
        mapped.rows([tuple(row)])


@pytest.mark.parametrize(
    ("column", "type_", "value", "expected"),
    [
        ("salary", {"type": "string"}, 2_000_050, "20000.50"),
        ("salary", {"type": "int4"}, 2_000_000, 20_000),
        ("salary", {"type": "numeric", "precision": 12, "scale": 3}, 2_000_050, 20_000_500),
        ("born", {"type": "datetime"}, 0, 0),
        ("born", {"type": "string"}, -56_500, "1815-04-24"),
        ("passport", {"type": "int8"}, "12", 12),
        ("passport", {"type": "boolean"}, "yes", True),
        ("passport", {"type": "date"}, "1970-01-02", 1),
        ("passport", {"type": "date"}, "1970:01:02 ", 1),
        ("passport", {"type": "date"}, "1970-01-02 23:59:59.5+02", 1),
        ("passport", {"type": "date"}, "1970:01:02 23:59:59.123456789", 1),
        ("passport", {"type": "date"}, "1970-01-02 23:59:59.1234567 +02:00", 1),
        ("passport", {"type": "datetime"}, "1970:01:02 00:00:01", 86_401_000_000),
        ("passport", {"type": "datetime"}, "1970-01-02 00:00:01 -01:00", 90_001_000_000),
        ("passport", {"type": "datetime"}, "1970-01-02", 86_400_000_000),
        ("passport", {"type": "time"}, "24:00", 86_400_000_000),
        ("passport", {"type": "bytes"}, "é", "é".encode()),
        ("id", {"type": "string", "length": 3}, 123, "123"),
        ("id", {"type": "real8"}, 2, 2.0),
    ],
)
def test_types_change(column: str, type_: dict[str, Any], value: object, expected: object) -> None:
    mapped = map_table([rule("change-data-type", column=column, data_type=type_)], TABLE)
    place = TABLE.column_names.index(column)
    row = list(ROW)
    row[place] = value
    assert mapped.rows is not None
    assert mapped.rows([tuple(row)])[0][place] == expected
    row[place] = None
    assert mapped.rows([tuple(row)])[0][place] is None
    row[place] = UNCHANGED
    assert mapped.rows([tuple(row)])[0][place] is UNCHANGED
    if column == "id":
        assert mapped.keys is not None
        assert mapped.keys([(value,)]) == [(expected,)]


@pytest.mark.parametrize(
    ("column", "type_", "value"),
    [
        ("salary", {"type": "int4"}, 2_000_050),
        ("id", {"type": "int2"}, 1 << 20),
        ("passport", {"type": "string", "length": 3}, "abcd"),
        ("passport", {"type": "date"}, "2001-02-30"),
        ("passport", {"type": "date"}, "2026-11-30garbage"),
        ("passport", {"type": "date"}, "2026-11-30 25:00"),
        ("passport", {"type": "date"}, "2026:11-30"),
        ("passport", {"type": "datetime"}, "2026-11-30 10:00:00 garbage"),
        ("passport", {"type": "datetime"}, "x2026-11-30"),
        ("passport", {"type": "datetime"}, "2026-11-30 24:30"),
        ("passport", {"type": "datetime"}, "2026-11-30 10:00:00.1234567"),
        ("passport", {"type": "date"}, "2026-11-30 24:00:00.000000001"),
        ("passport", {"type": "time"}, "10:00:00.123456789"),
        ("passport", {"type": "time"}, "99:99"),
        ("passport", {"type": "int8"}, "1_000"),
        ("passport", {"type": "real8"}, "1_000.5"),
        ("passport", {"type": "numeric", "precision": 9, "scale": 0}, "\u0661"),
        ("passport", {"type": "numeric", "precision": 3, "scale": 0}, "1234"),
    ],
)
def test_nothing_is_rounded_or_cut_off(column: str, type_: dict[str, Any], value: object) -> None:
    mapped = map_table([rule("change-data-type", column=column, data_type=type_)], TABLE)
    row = list(ROW)
    row[TABLE.column_names.index(column)] = value
    assert mapped.rows is not None
    with pytest.raises(ValueError, match=f"rule change-data-type-{column}: column {column}: a value has no") as caught:
        mapped.rows([tuple(row)])
    assert str(value) not in str(caught.value)


@pytest.mark.parametrize(
    ("native", "type_", "value"),
    [
        ("tinyint", LogicalType(Family.INT16), -128),
        ("tinyint unsigned", LogicalType(Family.INT16), 255),
        ("smallint", LogicalType(Family.INT16), 32_767),
        ("mediumint", LogicalType(Family.INT32), 8_388_607),
        ("mediumint unsigned", LogicalType(Family.INT32), 16_777_215),
        ("int", LogicalType(Family.INT32), -2_147_483_648),
        ("bigint unsigned", LogicalType(Family.UINT64), (1 << 64) - 1),
        ("decimal(3,2)", LogicalType(Family.DECIMAL, 3, 2), 999),
        ("decimal(2,2)", LogicalType(Family.DECIMAL, 2, 2), 99),
        ("numeric", LogicalType(Family.NUMERIC), Decimal("NaN")),
    ],
)
def test_random_numbers_are_of_the_columns_type(native: str, type_: LogicalType, value: Any) -> None:
    table = replace(TABLE, columns=(*TABLE.columns[:-1], Column("passport", type_, native)))
    mapped = map_table([rule("data-masking-digits-randomize", column="passport")], table)
    assert (mapped.table.columns[-1].native, mapped.table.columns[-1].type) == (native, type_)
    assert mapped.rows is not None
    found = [row[-1] for row in mapped.rows([(*ROW[:-1], value)] * 300)]
    if value.__class__ is Decimal:
        assert all(each.is_nan() for each in found)
        return
    bound = value if value > 0 else -value
    assert len(set(found)) > 20
    assert all(0 <= (each if value > 0 else -each) <= bound for each in found)


@pytest.mark.parametrize(
    ("kind", "engine", "native", "type_", "is_meant"),
    [
        ("nclob", "postgresql", "text", Family.STRING, True),
        ("CLOB", "postgresql", "jsonb", Family.JSON, True),
        ("clob", "postgresql", "integer[]", Family.TEXT, True),
        ("clob", "postgresql", "character varying(9)", Family.STRING, False),
        ("wstring", "postgresql", "character varying(9)", Family.STRING, True),
        ("string", "postgresql", "uuid", Family.UUID, True),
        ("blob", "postgresql", "bytea", Family.BYTES, True),
        ("datetime", "postgresql", "timestamp with time zone", Family.TIMESTAMPTZ, True),
        ("numeric", "postgresql", "money", Family.TEXT, True),
        ("numeric", "postgresql", "numeric(38,2)", Family.NUMERIC, True),
        ("string", "postgresql", "numeric(39,2)", Family.NUMERIC, True),
        ("clob", "mysql", "text", Family.STRING, False),
        ("clob", "mysql", "longtext", Family.STRING, True),
        ("bytes", "mysql", "blob", Family.BYTES, True),
        ("blob", "mysql", "longblob", Family.BYTES, True),
        ("int1", "mysql", "tinyint", Family.INT16, True),
        ("int1", "mysql", "tinyint unsigned", Family.INT16, False),
        ("uint1", "mysql", "tinyint unsigned", Family.INT16, True),
        ("boolean", "mysql", "tinyint(1)", Family.BOOLEAN, True),
        ("uint4", "mysql", "int unsigned", Family.UINT32, True),
    ],
)
def test_a_rule_may_mean_the_columns_of_a_type(
    kind: str, engine: str, native: str, type_: Family, is_meant: bool
) -> None:
    """Named as DMS's pages on its sources have them."""
    table = replace(TABLE, columns=(*TABLE.columns[:-1], Column("note", LogicalType(type_), native)), engine=engine)
    locator = {"schema-name": "%", "table-name": "%", "column-name": "no%", "data-type": kind}
    (parsed,) = parse(
        {
            "rules": [
                {
                    "rule-type": "transformation",
                    "rule-id": "1",
                    "rule-target": "column",
                    "rule-action": "remove-column",
                    "object-locator": locator,
                }
            ]
        }
    ).transformations
    assert ("note" not in map_table([parsed], table).table.column_names) is is_meant


def test_masks() -> None:
    def masked(action: str, column: str, **more: Any) -> Any:
        mapped = map_table([rule(action, column=column, **more)], TABLE)
        assert mapped.rows is not None
        return mapped.rows([ROW])[0][TABLE.column_names.index(column)]

    assert masked("data-masking-digits-mask", "passport", value="#") == "C#BGJ#####K"
    assert masked("data-masking-digits-mask", "salary", value="#") == "#####.##"
    assert len(masked("data-masking-hash-mask", "id")) == 64
    random = masked("data-masking-digits-randomize", "passport")
    assert [c for c in random if not c.isdigit()] == list("CBGJK")
    # A mask and another transformation may concern one column.
    both = map_table(
        [rule("data-masking-digits-mask", column="passport", value="0"), rule("rename", column="passport", value="p")],
        TABLE,
    )
    assert both.rows is not None
    assert both.rows([ROW])[0][-1] == "C0BGJ00000K"
    assert both.table.columns[-1].default is None


def test_a_column_that_loses_what_rows_were_filled_with_takes_those_without_it() -> None:
    """They are of versions before it was added, and on their way to a target that is made by the newest."""
    strict = [replace(column, nullable=False, filling="1") for column in TABLE.columns]
    rules = [
        rule("change-data-type", column="id", data_type={"type": "int8"}),
        rule("change-data-type", column="salary", data_type={"type": "string", "length": 20}),
        rule("data-masking-hash-mask", column="passport"),
    ]
    made = map_table(rules, replace(TABLE, columns=tuple(strict))).table
    loose = {column.name for column in made.columns if column.nullable and column.loosened and not column.filling}
    assert loose == {"salary", "passport"}
    assert [column.filling for column in made.columns if not column.nullable] == [None, "1", "1", "1"]
    in_capture = [one.model_copy(update={"at": "capture"}) for one in rules]
    assert not any(
        column.nullable for column in map_table(in_capture, replace(TABLE, columns=tuple(strict))).table.columns
    )
    for column in map_table(rules, TABLE).table.columns:
        assert (column.nullable, column.loosened) == (column.name != "id", False)


def test_rows_that_go_by_all_their_values_are_not_masked_at_random() -> None:
    keyless = replace(TABLE, key=(), primary_key=False, full_before=True)
    rules = [rule("data-masking-digits-randomize", column="passport")]
    with pytest.raises(TailraceError, match="passport identifies rows"):
        map_table(rules, keyless)
    # A target that keeps every change looks for no row; one that finds rows by another key does not need the column.
    assert map_table(rules, keyless, keeps_history=True).rows is not None
    key = TransformationRule.model_validate(
        {
            "rule-type": "transformation",
            "rule-id": "key",
            "rule-target": "table",
            "rule-action": "define-primary-key",
            "object-locator": {"schema-name": "%", "table-name": "%"},
            "primary-key-def": {"columns": ["id"]},
        }
    )
    assert map_table([*rules, key], keyless).gains_key


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([rule("remove-column", column="id")], "removes id, which rows are identified by"),
        ([rule("rename", column="%", value="x")], "two columns the name x"),
        (
            [rule("rename", column="last", value="x"), rule("convert-uppercase", column="last")],
            "both concern the column last",
        ),
        ([rule("change-data-type", column="last", data_type={"type": "strin"})], "did you mean string"),
        ([rule("data-masking-digits-randomize", column="born")], "is for texts, whole numbers and decimals, not date"),
        (
            [
                rule("data-masking-hash-mask", column="last"),
                rule("change-data-type", column="last", data_type={"type": "string", "length": 63}),
            ],
            "last gets 63 characters, and rule data-masking-hash-mask-last makes 64 of it",
        ),
    ],
)
def test_rules_that_cannot_be_followed_name_themselves(rules: list[TransformationRule], message: str) -> None:
    with pytest.raises(TailraceError, match=message):
        map_table(rules, TABLE)
