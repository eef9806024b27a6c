"""Object mapping: what rules make of rows for targets that are no tables."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import UNCHANGED
from schemas.errors import TailraceError
from schemas.mappings.objects import ObjectTable, object_table
from schemas.mappings.rules import parse
from schemas.settings import parse as parse_settings
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

TEXT = LogicalType(Family.STRING)
TABLE = TableSchema(
    TableName("test", "customer"),
    (
        Column("StoreId", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("FirstName", TEXT, "text"),
        Column("LastName", TEXT, "text"),
        Column("Income", LogicalType(Family.DECIMAL, 10, 2), "numeric(10,2)"),
        Column("Member", LogicalType(Family.BOOLEAN), "boolean"),
    ),
    (0,),
)
ROW = (5, "Randy", None, 1_050, True)
PHONE = {"M": {"Phone": {"S": "${LastName}"}, "Tags": {"L": [{"S": "x ${FirstName}"}]}, "Member": "${Member}"}}


def document(action: str = "map-record-to-record", *, table: str = "customer", **parameters: Any) -> dict[str, Any]:
    return {
        "rule-type": "object-mapping",
        "rule-id": "2",
        "rule-action": action,
        "object-locator": {"schema-name": "test", "table-name": table},
        "target-table-name": "customer_t",
        "mapping-parameters": {name.replace("_", "-"): value for name, value in parameters.items()},
    }


def compiled(action: str = "map-record-to-record", **parameters: Any) -> ObjectTable:
    found = object_table(parse({"rules": [document(action, **parameters)]}).object_mappings, TABLE)
    assert found is not None
    return found


def test_columns_that_are_not_excluded_stay_and_attributes_are_made_of_templates() -> None:
    attributes = [
        {"target-attribute-name": "Name", "attribute-type": "scalar", "value": "${FirstName},${LastName} ${Income}"},
        {"attribute-name": "Last", "value": "${LastName}"},
        {"target-attribute-name": "Contact", "attribute-sub-type": "dynamodb-map", "value": PHONE},
    ]
    made = compiled(exclude_columns=["FirstName", "LastName"], attribute_mappings=attributes, sort_key_name="StoreId")
    fields = {"StoreId": 5, "FirstName": "Randy", "LastName": None, "Income": "10.50", "Member": True}
    expected = {
        "Name": "Randy, 10.50",
        "Last": None,
        "Contact": {"M": {"Phone": {"S": None}, "Tags": {"L": [{"S": "x Randy"}]}, "Member": "true"}},
    }
    kept = {"StoreId": 5, "Income": "10.50", "Member": True}
    assert made.shape(fields, ROW) == kept | expected
    assert made.target_name == "customer_t"
    whole = compiled("map-record-to-document", attribute_mappings=attributes[1:2])
    assert whole.shape({"StoreId": 5}, ROW) == {"_doc": {"StoreId": 5}, "Last": None}
    # What the log did not hold is left out, not made up.
    partial = (5, UNCHANGED, None, 1_050, UNCHANGED)
    assert made.shape({"StoreId": 5, "Income": "10.50"}, partial) == {"StoreId": 5, "Income": "10.50", "Last": None}


def test_names_may_have_other_capitals_as_in_the_guide() -> None:
    attributes = [{"attribute-name": "Name", "value": "${lastname}, ${firstname}"}]
    made = compiled(exclude_columns=["firstname", "LASTNAME", "none"], attribute_mappings=attributes)
    fields = {"StoreId": 5, "FirstName": "Randy", "LastName": None, "Income": "10.50", "Member": True}
    assert made.shape(fields, ROW) == {"StoreId": 5, "Income": "10.50", "Member": True, "Name": ", Randy"}
    # Where two columns differ in capitals alone, each is meant by its own name, and none by a third one.
    twins = TableSchema(TABLE.name, (*TABLE.columns[:1], Column("a", TEXT, "text"), Column("A", TEXT, "text")), (0,))
    rules = parse({"rules": [document(exclude_columns=["A"])]}).object_mappings
    found = object_table(rules, twins)
    assert found is not None
    assert found.columns == (0, 1)


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"partition_key": {"value": "Constant"}}, "Constant"),
        ({"partition_key": {"attribute-name": "Name", "value": "${StoreId}/${FirstName}"}}, "5/Randy"),
        ({"partition_key_type": "attribute-name", "partition_key_name": "FirstName"}, "Randy"),
        ({"partition_key_type": "schema-table"}, "test.customer"),
        (
            {"partition_key_name": "Name", "attribute_mappings": [{"attribute-name": "Name", "value": "n${StoreId}"}]},
            "n5",
        ),
    ],
)
def test_partition_keys(parameters: dict[str, Any], key: str) -> None:
    render = compiled(**parameters).partition_key
    assert render is not None
    assert render(ROW) == key
    assert compiled().partition_key is None


def test_what_does_not_fit_is_refused_by_the_rule() -> None:
    with pytest.raises(TailraceError, match=r"rule 2: \$\{FirstNam\} is no column of test.customer; did you mean"):
        compiled(partition_key={"value": "${FirstNam}"})
    with pytest.raises(TailraceError, match=r"rule 2: mapping-parameters.partition-key-nam is unknown; did you mean"):
        compiled(partition_key_nam="x")
    rules = parse({"rules": [document()]}).object_mappings
    with pytest.raises(TailraceError, match=r"rules 2 and 2 both map test.customer"):
        object_table(rules * 2, TABLE)
    assert object_table(parse({"rules": [document(table="other%")]}).object_mappings, TABLE) is None


def test_a_target_that_writes_tables_knows_no_object_mapping() -> None:
    stream = {"engine": "kinesis", "stream_arn": "arn:aws:kinesis:eu-west-1:123456789012:stream/x", "region": "x"}
    replica = {"engine": "postgresql", "database": "a", "user": "b"}
    configuration: dict[str, Any] = {
        "name": "n",
        "kafka": {"bootstrap.servers": "127.0.0.1:1"},
        "source": {"engine": "postgresql", "database": "a", "user": "b", "tables": ["test.*"]},
        "mappings": {"rules": [document()]},
        "targets": {"stream": stream, "replica": replica},
    }
    settings = parse_settings(configuration)
    assert [rule.rule_id for rule in settings.object_mappings("stream")] == ["2"]
    assert settings.object_mappings("replica") == []
    for targets, mappings in (
        ({"replica": replica}, {"rules": [document()]}),
        ({"replica": replica | {"mappings": {"rules": [document()]}}}, None),
    ):
        with pytest.raises(TailraceError, match=r"rule 2: .*object mapping"):
            parse_settings(configuration | {"targets": targets, "mappings": mappings})
