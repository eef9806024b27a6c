"""The AWS DMS user guide's examples of object mapping for Kinesis and DynamoDB, restated: rules, and what they make of
the customer that its pages have.
"""

from __future__ import annotations

import json
from typing import Any

from tests.kit.guide import Example, take
from tests.kit.guide_objects import ATTRIBUTES, CONTACT, CONTACTED, CUSTOMER, DOCUMENT, SPLIT, objects

_WHOLE = {name: value for name, _, value in CUSTOMER}

STREAM = Example(
    "g_stream",
    [
        take(),
        objects("Plain"),
        objects("Documents", "map-record-to-document", mapping_parameters={"exclude-columns": SPLIT[2:]}),
        objects(
            "Attributes",
            target_table_name="CustomerData",
            mapping_parameters=ATTRIBUTES,
        ),
        objects(
            "Constant",
            "map-record-to-document",
            mapping_parameters=DOCUMENT,
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


def _typed(tree: Any) -> Any:
    """Return a tree as DynamoDB's JSON has it."""
    return {"M": {name: _typed(inner) for name, inner in tree.items()}} if isinstance(tree, dict) else {"S": tree}


_CAPITALS = ["FirstName", "LastName", "HomeAddress", "HomePhone", "WorkAddress", "WorkPhone"]
_STORE = {
    "target-attribute-name": "StoreId",
    "attribute-type": "scalar",
    "attribute-sub-type": "string",
    "value": "${StoreId}",
}


def _customer(table: str, *attributes: dict[str, Any], action: str = "map-record-to-record", **more: str) -> Any:
    named = {"target-attribute-name": "CustomerName", "attribute-type": "scalar", "attribute-sub-type": "string"}
    return objects(
        table,
        action,
        target_table_name="{}-" + table,
        mapping_parameters={
            "partition-key-name": "CustomerName",
            "exclude-columns": _CAPITALS,
            "attribute-mappings": [{**named, "value": "${FirstName},${LastName}"}, *attributes],
            **more,
        },
    )


def _details(kind: str, value: Any, name: str = "ContactDetails") -> dict[str, Any]:
    is_text = isinstance(value, str)
    type_ = "scalar" if is_text else "document"
    return {"target-attribute-name": name, "attribute-type": type_, "attribute-sub-type": kind, "value": value}


_MAP = _details("dynamodb-map", _typed(CONTACT))
_LIST = {"L": [{"S": f"${{{name}}}"} for name in _CAPITALS[1:]]}
ITEMS = Example(
    "g_items",
    [
        take(),
        _customer("records", _MAP),
        _customer("documents", _MAP, action="map-record-to-document"),
        _customer("texts", _STORE, _details("string", json.dumps(CONTACT)), **{"sort-key-name": "StoreId"}),
        _customer("maps", _STORE, _MAP, **{"sort-key-name": "StoreId"}),
        _customer("lists", _details("dynamodb-list", _LIST, "ContactDetailsList")),
    ],
    [],
)
"""Its page on DynamoDB; tables' names begin with what stands for `{}`."""

KEYED = ("FirstName", "LastName", "StoreId")
"""The tables' key: an item's key is made of it."""
_OWN = {"StoreId": {"N": "5"}, "DateOfBirth": {"S": "1988-02-29"}}
_DONE = {"CustomerName": {"S": "Randy,Marsh"}}
_TEXT_STORE = {"StoreId": {"S": "5"}}
KEPT: dict[str, dict[str, Any]] = {
    "records": {**_OWN, **_DONE, "ContactDetails": _typed(CONTACTED)},
    "documents": {"_doc": {"M": _OWN}, **_DONE, "ContactDetails": _typed(CONTACTED)},
    "texts": {**_OWN, **_DONE, **_TEXT_STORE, "ContactDetails": {"S": json.dumps(CONTACTED)}},
    "maps": {**_OWN, **_DONE, **_TEXT_STORE, "ContactDetails": _typed(CONTACTED)},
    "lists": {**_OWN, **_DONE, "ContactDetailsList": {"L": [{"S": _WHOLE[name]} for name in _CAPITALS[1:]]}},
}
"""By table, its item."""
