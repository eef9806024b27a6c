"""Logical types in words: how a consumer of a topic sees them. For `plan` and for the reference pages."""

from __future__ import annotations

from schemas.types import Family, LogicalType
from schemas.types.forms import FORMS

_INTRODUCTION = (
    "Every column has one of these logical types. Avro schemas carry the logical name as `connect.name`, JSON with "
    "schema as `name`; the names are Debezium's and Kafka Connect's, so their consumers know them. All columns may be "
    "null in `before` and `after`; key columns are not null in keys."
)


def wire_type(type_: LogicalType) -> str:
    """Return the wire type of a column: a logical name with its parameters, or a plain type."""
    schema = FORMS[type_.family].connect(type_)
    name = str(schema.get("name") or schema["type"])
    if name == "org.apache.kafka.connect.data.Decimal":
        scale = schema.get("parameters", {}).get("scale", "0")
        return f"Decimal(scale {scale})"
    return name.removeprefix("org.apache.kafka.connect.data.")


def types_page() -> str:
    """Return the Markdown page of all logical types."""
    lines = [
        "# Types on the wire",
        "",
        "Made from `schemas/types` by `tailrace settings types`; do not edit.",
        "",
        _INTRODUCTION,
        "",
        "| logical type | wire type | values | JSON |",
        "|---|---|---|---|",
    ]
    for family in Family:
        form = FORMS[family]
        sample = LogicalType(family, precision=12, scale=2) if family is Family.DECIMAL else LogicalType(family)
        cells = (f"`{family}`", f"`{wire_type(sample)}`", form.range, form.json)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
