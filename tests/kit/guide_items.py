"""The AWS DMS user guide's examples of object mapping for Kinesis, restated: rules, and what they make of
the customer that its pages have.
"""

from __future__ import annotations

from typing import Any

from tests.kit.guide import Example, take
from tests.kit.guide_objects import CONTACT, CONTACTED, CUSTOMER, SPLIT, objects

_WHOLE = {name: value for name, _, value in CUSTOMER}
_NAME = {"attribute-name": "CustomerName", "value": "${FirstName},${LastName}"}

STREAM = Example(
    "g_stream",
    [
        take(),
        objects("Plain"),
        objects("Documents", "map-record-to-document", mapping_parameters={"exclude-columns": SPLIT[2:]}),
        objects(
            "Attributes",
            target_table_name="CustomerData",
            mapping_parameters={
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
            },
        ),
        objects(
            "Constant",
            "map-record-to-document",
            mapping_parameters={
                "partition-key": {"value": "ConstantPartitionKey"},
                "exclude-columns": SPLIT,
                "attribute-mappings": [
                    _NAME,
                    {"attribute-name": "ContactDetails", "value": CONTACT},
                    {"attribute-name": "DateOfBirth", "value": "${DateOfBirth}"},
                ],
            },
        ),
    ],
    [],
)
"""Its page on Kinesis."""

_LEFT = {"StoreId": 5, "DateOfBirth": "1988-02-29"}
STREAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "Plain": ("5", _WHOLE),
    "Documents": ("5", {"_doc": {name: _WHOLE[name] for name in ("StoreId", "FirstName", "LastName", "DateOfBirth")}}),
    "Attributes": ("Marsh, Randy", {**_LEFT, "CustomerName": "Marsh, Randy", "ContactDetails": CONTACTED}),
    "Constant": (
        "ConstantPartitionKey",
        {
            "_doc": _LEFT,
            "CustomerName": "Randy,Marsh",
            "ContactDetails": CONTACTED,
            "DateOfBirth": "1988-02-29",
        },
    ),
}
"""By table, its record's partition key and data."""
