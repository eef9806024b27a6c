"""Changes of definitions that every server knows by the same words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.kit.random_tables import Column, Designer, Table, quoted
from tests.kit.random_world import World

TABLES_MAX = 9
COLUMNS_MAX = 16

Step = Callable[[], None]


@dataclass
class TableSteps:
    """Steps that make, rename and drop tables and their columns."""

    world: World
    designer: Designer

    alone_share = 0.0
    """How many of the transactions are one of the steps that go by themselves."""

    def alone(self) -> list[Step]:
        """Return the steps that go by themselves, outside of transactions."""
        return []

    def weighted(self) -> list[tuple[Step, int]]:
        """Return the steps of transactions, with their weights; none where the server commits for each."""
        return []

    def drop_column(self) -> None:
        """Drop a column."""
        table = self.world.table()
        based = {base for _, base in table.generated}
        droppable = [c for c in table.plain if quoted(c.name) not in based]
        if droppable:
            column = self.world.choose.choice(droppable)
            self.world.alter(table, f"drop column {quoted(column.name)}")
            table.columns.remove(column)

    def rename_column(self) -> None:
        """Give a column another name."""
        table = self.world.table()
        if table.columns:
            column = self.world.choose.choice(table.columns)
            taken = [c.name for c in table.columns] + [name for name, _ in table.generated]
            self.rename(table, column, self.designer.name(taken))

    def rename(self, table: Table, column: Column, name: str) -> None:
        """Give a column this name."""
        self.world.alter(table, f"rename column {quoted(column.name)} to {quoted(name)}")
        table.key = [name if key == column.name else key for key in table.key]
        table.generated = [(g, quoted(name) if base == quoted(column.name) else base) for g, base in table.generated]
        if table.partition_by == column.name:
            table.partition_by = name
        column.name = name

    def swap_names(self) -> None:
        """Let two columns change their names."""
        table = self.world.table()
        if len(table.plain) >= 2:
            one, other = self.world.choose.sample(table.plain, 2)
            names = one.name, other.name
            self.rename(table, one, "swapped away")
            self.rename(table, other, names[0])
            self.rename(table, one, names[1])

    def rename_table(self) -> None:
        """Give a table another name."""
        table = self.world.table()
        name = self.designer.name([t.name for t in self.world.tables])
        self.world.alter(table, f"rename to {quoted(name)}")
        table.name = name

    def drop_table(self) -> None:
        """Drop a table."""
        if len(self.world.tables) > 3:
            table = self.world.table()
            self.world.run(f"drop table {table.sql}")
            self.world.tables.remove(table)

    def create_table(self) -> None:
        """Make a table."""
        if len(self.world.tables) < TABLES_MAX:
            table, statements = self.designer.table([(t.schema, t.name) for t in self.world.tables])
            for statement in statements:
                self.world.run(statement)
            self.world.tables.append(table)
