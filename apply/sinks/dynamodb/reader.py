"""Reads the items of a table back, for `tailrace verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apply.sink_kinds.folding import fitting
from apply.sinks.dynamodb.client import Client
from apply.sinks.dynamodb.items import Items
from apply.sinks.dynamodb.values import decoder
from schemas.changes import Row
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.objects import check_comparable
from schemas.table import TableSchema


class DynamodbReader:
    """See `apply.row_reader.RowReader`. Items that rules made cannot be told back to rows."""

    def __init__(self, target: DynamodbTarget, rules: Sequence[ObjectMappingRule]) -> None:
        self._target = target
        self._rules = rules
        self._client = Client(target)

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """Yield each row. Raises TARGET_SCHEMA for a table that is not there, or is made by a rule."""
        check_comparable(self._rules, table.name)
        items = Items(table, self._rules, self._target.table_name, self._target.sequence_attribute)
        columns = [(column.name, fitting(decoder(column.type))) for column in table.columns]
        for page in self._client.scan(items.name):
            for item in page:
                yield tuple(decode(item[name]) if name in item else None for name, decode in columns)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
