"""Random changes of rows: of all columns and some, of keys, of many rows at once."""

from __future__ import annotations

from dataclasses import dataclass

from tests.kit.random_steps import Step
from tests.kit.random_tables import INTEGER, quoted
from tests.kit.random_world import World


@dataclass(slots=True)
class RowSteps:
    """Steps of a transaction that change rows."""

    world: World

    def weighted(self) -> list[tuple[Step, float]]:
        """Return the steps, with their weights; `truncate` goes by itself where it commits."""
        return [
            (self.world.insert, 40),
            (self.update, 32),
            (self.update_key, 10),
            (self.swap_keys, 6),
            (self.delete, 14),
            (self.large, 3),
        ]

    def update(self) -> None:
        """Update some columns of some rows."""
        table = self.world.table()
        if not table.plain:
            return
        chosen = self.world.choose.sample(table.plain, min(len(table.plain), self.world.choose.randint(1, 3)))
        settings = ", ".join(
            f"{quoted(c.name)} = {quoted(c.name) if self.world.choose.random() < 0.1 else self.world.value(c, table)}"
            for c in chosen
        )
        some = self.world.some(table, self.world.choose.choice((1, 3, 10, 1000)))
        self.world.run(f"update {table.sql} set {settings}{some}")

    def update_key(self) -> None:
        """Give a row another key."""
        table = self.world.table()
        if not table.key:
            return
        column = table.column(self.world.choose.choice(table.key))
        more = [c for c in table.plain if self.world.choose.random() < 0.2]
        settings = ", ".join(f"{quoted(c.name)} = {self.world.value(c, table)}" for c in (column, *more))
        self.world.run(f"update {table.sql} set {settings}{self.world.some(table, 1)}")

    def swap_keys(self) -> None:
        """Let two rows change their keys."""
        found = [t for t in self.world.tables if len(t.key) == 1 and t.column(t.key[0]).kind is INTEGER]
        if not found:
            return
        table = self.world.choose.choice(found)
        key = quoted(table.key[0])
        keys = self.world.engine.rows(f"select {key} from {table.sql} order by 1")
        if len(keys) < 2:
            return
        one, other = (row[0] for row in self.world.choose.sample(keys, 2))
        for before, after in ((one, -1000), (other, one), (-1000, other)):
            self.world.run(f"update {table.sql} set {key} = {after} where {key} = {before}")

    def delete(self) -> None:
        """Delete rows."""
        table = self.world.table()
        self.world.run(f"delete from {table.sql}{self.world.some(table, self.world.choose.choice((1, 1, 3, 10)))}")

    def large(self) -> None:
        """Insert many rows at once."""
        table = self.world.table()
        numbers = [column for column in table.columns if column.name in table.key and column.kind is INTEGER]
        if table.key and not [column for column in numbers if column.name != table.partition_by]:
            return
        values = [
            "n" if column in numbers and column.name != table.partition_by else self.world.value(column, table)
            for column in table.columns
            if not column.kind.is_large
        ]
        names = ", ".join(quoted(column.name) for column in table.columns if not column.kind.is_large)
        rows = f"select {', '.join(values)} from {self.world.engine.series(self.world.choose.choice((50, 500, 2500)))}"
        self.world.run(self.world.engine.insert(table, names, rows))

    def truncate(self) -> None:
        """Truncate one table or two, perhaps restarting identities."""
        tables = self.world.choose.sample(
            self.world.tables, self.world.choose.choice((1, 1, min(2, len(self.world.tables))))
        )
        restart = self.world.choose.choice(("", " restart identity"))
        self.world.run(f"truncate {', '.join(table.sql for table in tables)}{restart}")
