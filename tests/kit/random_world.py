"""What the parts of the random writer share: a connection, the tables as they are, and the script of what was done."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import psycopg

from tests.kit.random_tables import INTEGER, Column, Designer, Table, quoted


@dataclass(slots=True)
class World:
    """One database, written over one connection."""

    connection: psycopg.Connection
    choose: random.Random
    designer: Designer
    tables: list[Table] = field(default_factory=list)
    script: list[str] = field(default_factory=list)

    def run(self, statement: str) -> None:
        """Run a statement, and note it."""
        self.script.append(f"{statement};")
        self.connection.execute(statement.encode())

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
        """Return the condition for rows that the same seed finds again: not by where they lie."""
        salt = self.choose.randrange(1000)
        listed = "md5(the_row::text || '" + str(salt) + "')"
        return (
            f"(tableoid, ctid) in (select the_row.tableoid, the_row.ctid from {table.sql} the_row "
            f"order by {listed}, the_row.ctid limit {count})"
        )

    def insert(self) -> None:
        """Insert rows into any table."""
        table = self.table()
        columns = [column for column in table.columns if not (column.identity and self.choose.random() < 0.7)]
        if not columns:
            self.run(f"insert into {table.sql} default values")
            return
        rows = [
            ", ".join(self.or_default(column, table) for column in columns)
            for _ in range(self.choose.choice((1, 1, 2, 6)))
        ]
        names = ", ".join(quoted(column.name) for column in columns)
        conflict = " on conflict do nothing" if table.key else ""
        self.run(f"insert into {table.sql} ({names}) values {', '.join(f'({row})' for row in rows)}{conflict}")

    def or_default(self, column: Column, table: Table) -> str:
        """Return the expression of a value, or `default`."""
        if column.nullable and self.choose.random() < 0.1:
            return "default"
        return self.value(column, table)
