"""The tables that the suite writes, and partitions that they come from."""

from __future__ import annotations

from dataclasses import replace

from apply.sink import TopicPartition
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

INT64 = LogicalType(Family.INT64)
STRING = LogicalType(Family.STRING)
BOOLEAN = LogicalType(Family.BOOLEAN)

ORDERS = TableSchema(
    name=TableName("public", "orders"),
    columns=(
        Column("id", INT64, "bigint", nullable=False),
        Column("status", STRING, "character varying(20)"),
        Column("paid", BOOLEAN, "boolean"),
    ),
    key=(0,),
)
SEATS = TableSchema(
    name=TableName("public", "seats"),
    columns=(
        Column("hall", STRING, "text", nullable=False),
        Column("guest", STRING, "text"),
        Column("number", INT64, "bigint", nullable=False),
    ),
    key=(2, 0),
)
EVENTS = TableSchema(
    name=TableName("public", "events"),
    columns=(Column("kind", STRING, "text"), Column("weight", INT64, "bigint")),
    key=(),
    primary_key=False,
    full_before=True,
)
ORDERS_2 = replace(
    ORDERS, version=2, columns=(ORDERS.columns[0], ORDERS.columns[2], Column("note", STRING, "text")), key=(0,)
)

P0 = TopicPartition("shop.public.orders", 0)
P1 = TopicPartition("shop.public.orders", 1)
