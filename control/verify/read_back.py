"""A target that is no database of rows, as a side: what its own reader gives, each row in the source's types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from apply.sinks import open_reader
from control.verify.canonical import RowsSide, Shape
from schemas.changes import Row
from schemas.settings import Settings
from schemas.table import TableName, TableSchema


class ReadBackSide(RowsSide):
    """The target of a comparison."""

    def __init__(self, settings: Settings, target: str) -> None:
        """Raises CONFIGURATION where the target's engine offers no reader."""
        self._reader = open_reader(settings, target)

    def position(self) -> int:
        """See `Side`. Of a target nobody asks it."""
        raise NotImplementedError

    def shape(self, name: TableName, schema: TableSchema) -> Shape:
        """See `Side`. Whether the table is there shows when it is read."""
        return self._shape(replace(schema, name=name), schema, list(enumerate(schema.columns)))

    def read(self, shape: Shape, on_piece: Callable[[float], None] | None) -> Iterator[Row]:
        """Yield every row. How much of the whole each is nobody knows before the end."""
        yield from self._reader.rows(shape.table)
        if on_piece is not None:
            on_piece(1.0)

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()
