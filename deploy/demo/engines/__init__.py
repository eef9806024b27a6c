"""What a database engine is to the demo: one side's server, and a client that fills, reads and writes the shop there.

The story is the same for every pair. An engine has two files of SQL beside its module: the shop's tables, and their
rows. Each side is read by its driver, and nothing here is shared with `tailrace verify`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

HERE = Path(__file__).parent

DATABASE = {"source": "shop", "target": "replica"}


class Fill(NamedTuple):
    """The statement that fills one table with a number of rows."""

    table: str
    rows: int
    statement: str


class Dialect(NamedTuple):
    """What of the shop's business an engine says in words of its own."""

    merged: str
    """A customer's preferences with a parameter merged into them."""
    forgotten_views: str
    """The deletion of three views of a path, none of which has a key."""


class Column(NamedTuple):
    """A column of the source, and how its values are made alike for a comparison with those of another engine."""

    name: str
    kind: str
    """`plain`, `real` (4 bytes), `char` (without its padding), `json`, `span` (of time), `zoned` (time), or `text` (as
    PostgreSQL prints it)."""


class Client(ABC):
    """A session at one side, in autocommit mode."""

    schema: str
    """Where the shop's tables stand in this side's database."""

    @abstractmethod
    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement with parameters (`%s`)."""

    @abstractmethod
    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""

    @abstractmethod
    def qualified(self, table: str) -> str:
        """Return a table's name with its schema."""

    @abstractmethod
    def existing(self, tables: Sequence[str]) -> list[str]:
        """Return which of the shop's tables are there."""

    @abstractmethod
    def columns(self, table: str) -> list[Column]:
        """Return a table's columns."""

    @abstractmethod
    def images(self, table: str, columns: Sequence[Column]) -> Iterator[bytes]:
        """Yield every row as one text of all columns, as the server prints it: for a side of the same engine."""

    @abstractmethod
    def values(self, table: str, columns: Sequence[Column]) -> Iterator[tuple[Any, ...]]:
        """Yield every row as the driver's values: for a side of another engine."""

    @abstractmethod
    def close(self) -> None:
        """Close the session."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def count_rows(self, tables: Sequence[str]) -> int:
        """Count the rows of the tables that are there."""
        names = self.existing(tables)
        counts = " + ".join(f"(select count(*) from {self.qualified(name)})" for name in names)
        return int(self.rows(f"select {counts}")[0][0]) if names else 0

    def add_marker(self, number: int) -> None:
        """Commit a marker."""
        self.execute(f"insert into {self.qualified('markers')} (id) values (%s)", (number,))

    def has_marker(self, number: int) -> bool:
        """Tell whether a marker is to be seen."""
        return bool(self.rows(f"select 1 from {self.qualified('markers')} where id = %s", (number,)))


class Side(ABC):
    """The server of the source or of the target."""

    engine: str
    """By what a configuration calls it; two sides of one engine have the same values."""
    title: str
    schema: str
    """The source's name of the shop's schema, which the topics carry."""

    @property
    @abstractmethod
    def url(self) -> str:
        """How to reach the database with the engine's own client."""

    @abstractmethod
    def start(self) -> str:
        """Start the server and make the database; return its address."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server."""

    @abstractmethod
    def section(self, schema: str = "") -> str:
        """Return the lines of a `source` section, or those of a target for tables of the source's `schema`."""

    @abstractmethod
    def connect(self, schema: str = "") -> Client:
        """Open a session; at the target for tables of the source's `schema`."""

    @abstractmethod
    def create_shop(self, client: Client) -> None:
        """Make the shop's tables in an empty database."""

    @abstractmethod
    def fill(self, client: Client, step: Fill, *, everywhere: bool) -> None:
        """Fill one table; with `everywhere` only with values that every engine has."""

    @abstractmethod
    def analyze(self, client: Client) -> None:
        """Let the server count: row estimates of the plan and of the progress come from its statistics."""


def schema_text(engine: str) -> str:
    """Return the statements that make the shop's tables."""
    return (HERE / f"{engine}-schema.sql").read_text(encoding="utf-8")


def fills(engine: str) -> tuple[Fill, ...]:
    """Return the statements that fill the shop, in an order that the foreign keys allow."""
    text = (HERE / f"{engine}-fill.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- fill: (\w+) (\d+)$", text, flags=re.MULTILINE)[1:]
    return tuple(
        Fill(table, int(rows), statement.replace("{rows}", rows))
        for table, rows, statement in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    )
