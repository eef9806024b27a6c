"""The AWS DMS user guide's examples of object mapping for Kafka, restated: rules, a row, and its records."""

from __future__ import annotations

from typing import Any

from tests.kit.guide import Example, Rule, hyphens, take

CONTACT = {
    "Home": {"Address": "${homeaddress}", "Phone": "${homephone}"},
    "Work": {"Address": "${workaddress}", "Phone": "${workphone}"},
}
"""A document made of the customer's columns."""
SPLIT = ["firstname", "lastname", "homeaddress", "homephone", "workaddress", "workphone"]
"""The columns that go into it, and into the name."""
CUSTOMER = (
    ("StoreId", "int primary key", 5),
    ("FirstName", "text", "Randy"),
    ("LastName", "text", "Marsh"),
    ("HomeAddress", "text", "221B Baker Street"),
    ("HomePhone", "text", "1234567890"),
    ("WorkAddress", "text", "31 Spooner Street, Quahog"),
    ("WorkPhone", "text", "9876543210"),
    ("DateOfBirth", "date", "1988-02-29"),
)
"""The guide's customer: columns, types and values. Its rules name some of the columns in other capitals."""
CONTACTED = {
    "Home": {"Address": "221B Baker Street", "Phone": "1234567890"},
    "Work": {"Address": "31 Spooner Street, Quahog", "Phone": "9876543210"},
}
"""What `CONTACT` becomes."""
ATTRIBUTES: dict[str, Any] = {
    "partition-key-type": "attribute-name",
    "partition-key-name": "CustomerName",
    "exclude-columns": SPLIT,
    "attribute-mappings": [
        {
            "target-attribute-name": "CustomerName",
            "attribute-type": "scalar",
            "attribute-sub-type": "string",
            "value": "${lastname}, ${firstname}",
        },
        {
            "target-attribute-name": "ContactDetails",
            "attribute-type": "document",
            "attribute-sub-type": "json",
            "value": CONTACT,
        },
    ],
}
"""Parameters of a rule: a name made of two columns, by which records are spread, and a document."""
DOCUMENT: dict[str, Any] = {
    "partition-key": {"value": "ConstantPartitionKey"},
    "exclude-columns": SPLIT,
    "attribute-mappings": [
        {"attribute-name": "CustomerName", "value": "${FirstName},${LastName}"},
        {"attribute-name": "ContactDetails", "value": CONTACT},
        {"attribute-name": "DateOfBirth", "value": "${DateOfBirth}"},
    ],
}
"""Parameters of a rule: one document, and all records in one partition."""


def objects(table: str, action: str = "map-record-to-record", **more: Any) -> Rule:
    """Return a rule of object mapping."""
    rule = {"rule-type": "object-mapping", "rule-action": action, "object-locator": {"table-name": table}}
    return rule | hyphens(more)


OBJECTS = Example(
    "g_objects",
    [
        take(),
        objects(
            "Customers",
            target_table_name="CustomerData",
            mapping_parameters=ATTRIBUTES,
        ),
        objects(
            "Customer",
            "map-record-to-document",
            kafka_target_topic="{}_customer_topic",
            mapping_parameters=DOCUMENT,
        ),
        objects("Address", kafka_target_topic="{}_address_topic", partition_key={"value": "HomeAddress"}),
        objects("Bills"),
    ],
    [],
)
"""Its page on Kafka. Topics begin with what stands for `{}`."""

WRITTEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Customers": (
        "{}",
        "Marsh, Randy",
        {
            "StoreId": 5,
            "DateOfBirth": "1988-02-29",
            "CustomerName": "Marsh, Randy",
            "ContactDetails": CONTACTED,
        },
    ),
    "Customer": (
        "{}_customer_topic",
        "ConstantPartitionKey",
        {
            "_doc": {"StoreId": 5, "DateOfBirth": "1988-02-29"},
            "CustomerName": "Randy,Marsh",
            "ContactDetails": CONTACTED,
            "DateOfBirth": "1988-02-29",
        },
    ),
    "Address": ("{}_address_topic", "HomeAddress", {name: value for name, _, value in CUSTOMER}),
    "Bills": ("{}", "5", {name: value for name, _, value in CUSTOMER}),
}
"""By table, which topic its record is in, its key and its data."""
