"""What the comparison asks of one of the two databases, whatever its engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.table import TableName, TableSchema

Key = tuple[str | None, ...]
"""The text of the key's columns; for a table without a key, the checksum of the row."""


class Sum(NamedTuple):
    """A bucket: how many rows, and the sum of their checksums."""

    rows: int
    total: int


class Side(Protocol):
    """One database. A shape is a table as this side has it; only the side that made it knows what is in it."""

    def position(self) -> int:
        """Return the end of the server's log: what is committed now is visible in the log below it."""
        ...

    def shape(self, name: TableName, schema: TableSchema) -> Any:
        """Look a table up, by its name here and its columns at the source.

        Raises SOURCE_SCHEMA or TARGET_SCHEMA when it or one of its columns is not there.
        """
        ...

    def buckets(self, shape: Any, count: int, on_piece: Callable[[float], None] | None = None) -> dict[int, Sum]:
        """Return the checksums of the table's `count` buckets; empty ones are left out. Reads the whole table.

        `on_piece` is called with the fraction that each piece was of the whole.
        """
        ...

    def keys(self, shape: Any, count: int, buckets: Sequence[int], rows_max: int) -> dict[Key, tuple[str, ...]]:
        """Return the keys of some buckets, each with the checksums of its rows (one, or as many as equal rows).

        At most `rows_max` rows are returned: the caller asks for buckets that hold fewer.
        """
        ...

    def rows(self, shape: Any, keys: Sequence[Key]) -> dict[Key, tuple[str, ...]]:
        """Return the checksums of the rows with these keys; a key that is not there is left out."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
