"""What the parts of the random writer share: a server, the tables as they are, and the script of what was done."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.kit.random_tables import INTEGER, Column, Table, quoted


class Engine(Protocol):
    """A session at a server, and what its SQL has of its own. Names stand in double quotes."""

    empty_row: str
    """What is inserted to make a row of defaults."""

    def run(self, statement: str) -> None:
        """Run a statement. Raises the driver's errors."""
        ...

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """Return a query's rows."""
        ...

    def is_refusal(self, error: Exception) -> bool:
        """Tell whether a server may answer so to what is written here; else it is a mistake of the generator."""
        ...

    def some(self, table: Table, salt: int, count: int) -> str:
        """Return the end of an update or a delete of so many rows, which the same seed finds again."""
        ...

    def insert(self, table: Table, columns: str, rows: str) -> str:
        """Return the statement that inserts what does not violate a key."""
        ...

    def series(self, count: int) -> str:
        """Return what to select from for rows whose `n` is 100 and more."""
        ...


@dataclass(slots=True)
class World:
    """One database, written over one connection."""

    engine: Engine
    choose: random.Random
    tables: list[Table] = field(default_factory=list)
    script: list[str] = field(default_factory=list)

    def run(self, statement: str) -> None:
        """Run a statement, and note it."""
        self.script.append(f"{statement};")
        self.engine.run(statement)

    def alter(self, table: Table, what: str) -> None:
        """Alter a table."""
        self.run(f"alter table {table.sql} {what}")

    def table(self) -> Table:
        """Return any table."""
        return self.choose.choice(self.tables)

    def value(self, column: Column, table: Table) -> str:
        """Return the expression of a value for a column."""
        choose = self.choose
        if column.name == table.partition_by:
            return str(choose.choice([*table.partitions.values()]) + choose.randrange(10)) if table.partitions else "0"
        if column.name in table.key and column.kind is INTEGER:
            return str(choose.randrange(60))
        if column.nullable and choose.random() < 0.12:
            return "null"
        return choose.choice(column.kind.values)

    def some(self, table: Table, count: int) -> str:
        """Return the end of a statement about rows that the same seed finds again."""
        return self.engine.some(table, self.choose.randrange(1000), count)

    def insert(self) -> None:
        """Insert rows into any table."""
        table = self.table()
        columns = [column for column in table.columns if not (column.identity and self.choose.random() < 0.7)]
        if not columns:
            self.run(f"insert into {table.sql} {self.engine.empty_row}")
            return
        rows = [
            ", ".join(self.or_default(column, table) for column in columns)
            for _ in range(self.choose.choice((1, 1, 2, 6)))
        ]
        names = ", ".join(quoted(column.name) for column in columns)
        self.run(self.engine.insert(table, names, f"values {', '.join(f'({row})' for row in rows)}"))

    def or_default(self, column: Column, table: Table) -> str:
        """Return the expression of a value, or `default`."""
        if column.nullable and self.choose.random() < 0.1:
            return "default"
        return self.value(column, table)
