"""Random changes of definitions: columns, keys, indexes, partitions and whole tables; types and storage beside them."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from tests.kit.random_steps import COLUMNS_MAX, Step, TableSteps
from tests.kit.random_tables import INTEGER, KEYS, Column, Kind, Table, definition, quoted

_SORTABLE = {kind.native for kind in KEYS} - {"text"}


@dataclass
class DefinitionSteps(TableSteps):
    """Steps of a transaction that change definitions; `add_label` and `vacuum` go by themselves."""

    connection: psycopg.Connection

    alone_share = 0.08

    def alone(self) -> list[Step]:
        """Return the steps that go by themselves, outside of transactions."""
        return [self.add_label, self.vacuum]

    def weighted(self) -> list[tuple[Step, int]]:
        """Return the steps of transactions, with their weights."""
        return [
            (self.add_column, 25),
            (self.drop_column, 12),
            (self.rename_column, 12),
            (self.swap_names, 5),
            (self.retype, 16),
            (self.default, 6),
            (self.nullability, 4),
            (self.rename_table, 4),
            (self.drop_table, 3),
            (self.create_table, 8),
            (self.drop_key, 3),
            (self.other_key, 4),
            (self.identity, 4),
            (self.index, 4),
            (self.attach, 5),
            (self.detach, 2),
        ]

    def add_column(self) -> None:
        """Add a column, with every way of a default."""
        table = self.world.table()
        if len(table.columns) >= COLUMNS_MAX:
            return
        taken = [c.name for c in table.columns] + [name for name, _ in table.generated]
        column = Column(self.designer.name(taken), self.designer.kind())
        how = self.world.choose.choice(("null", "constant", "constant", "not null", "volatile", "dropped default"))
        default = f" default {self.world.choose.choice(column.kind.values)}"
        if how == "volatile":
            column.kind = self.volatile()
            default = f" default {column.kind.values[-1]}"
        column.nullable = how != "not null"
        self.world.alter(table, f"add column {definition(column)}{'' if how == 'null' else default}")
        if how == "dropped default":
            self.world.alter(table, f"alter column {quoted(column.name)} drop default")
        table.columns.append(column)

    def volatile(self) -> Kind:
        """Return a type with a default, its last value, that is another one in each row."""
        return self.world.choose.choice(
            (
                Kind("double precision", ("0", "random()")),
                Kind("uuid", ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "gen_random_uuid()")),
                Kind("timestamptz", ("now()", "clock_timestamp()")),
            )
        )

    def retype(self) -> None:
        """Give a column another type: wider, text, or any with `using`."""
        table = self.world.table()
        if len(table.columns) <= len(table.generated):
            return
        based = {base for _, base in table.generated}
        column = self.world.choose.choice([c for c in table.columns if quoted(c.name) not in based])
        if column.identity:
            return
        name = quoted(column.name)
        if column.name in table.key:
            # Keys stay unique.
            wider = {"integer": "bigint", "smallint": "integer", "varchar(12)": "text", "numeric(8,2)": "numeric"}
            native = wider.get(column.kind.native, "text")
            kind = Kind(native, column.kind.values if native != "text" else ("'k1'", "'k2'", "'k3'"))
            self.world.alter(table, f"alter column {name} type {native} using {name}::{native}")
        elif self.world.choose.random() < 0.4:
            kind = Kind("text", ("'w'", "''"), is_large=column.kind.is_large)
            self.world.alter(
                table, f"alter column {name} drop default, alter column {name} type text using {name}::text"
            )
        else:
            kind = self.designer.kind()
            value = self.world.choose.choice(kind.values)
            value = value if not value.startswith("(select") else "'small'"
            using = f"{kind.native} using {value}::{kind.native}"
            self.world.alter(table, f"alter column {name} drop default, alter column {name} type {using}")
        column.kind = kind

    def default(self) -> None:
        """Set or drop a default."""
        table = self.world.table()
        settable = [c for c in table.plain if not c.identity and not c.kind.is_large]
        if settable:
            column = self.world.choose.choice(settable)
            new = self.world.choose.choice(
                (f"set default {self.world.choose.choice(column.kind.values)}", "drop default")
            )
            if column.nullable or new != "drop default":
                self.world.alter(table, f"alter column {quoted(column.name)} {new}")

    def nullability(self) -> None:
        """Set or drop not null."""
        table = self.world.table()
        if table.plain:
            column = self.world.choose.choice(table.plain)
            if column.identity:
                return
            self.world.alter(
                table, f"alter column {quoted(column.name)} {'set' if column.nullable else 'drop'} not null"
            )
            column.nullable = not column.nullable

    def drop_key(self) -> None:
        """Take a table's key away: from here on its rows are told apart by all that they hold."""
        keyed = [t for t in self.world.tables if t.key and not t.partition_by and not t.generated]
        if keyed:
            table = self.world.choose.choice(keyed)
            self.world.alter(table, "replica identity full")
            self.drop_constraint(table)
            table.key = []
            for column in table.columns:
                column.nullable = column.nullable and not column.identity

    def drop_constraint(self, table: Table) -> None:
        """Drop the primary key."""
        query = "select conname from pg_constraint where contype = 'p' and conrelid = %s::regclass"
        for (constraint,) in self.connection.execute(query, [table.sql]).fetchall():
            self.world.alter(table, f"drop constraint {quoted(constraint)}")

    def other_key(self) -> None:
        """Give a table another key: a new column's, perhaps together with one that is there."""
        plain = [t for t in self.world.tables if not t.partition_by and not t.generated]
        if not plain:
            return
        table = self.world.choose.choice(plain)
        taken = [c.name for c in table.columns] + [name for name, _ in table.generated]
        column = Column(self.designer.name(taken), INTEGER, nullable=False, identity=True)
        self.world.alter(table, "replica identity full")
        self.drop_constraint(table)
        for existing in table.columns:
            if existing.identity:
                self.world.alter(table, f"alter column {quoted(existing.name)} drop identity")
                existing.identity = False
        self.world.alter(table, f"add column {definition(column)}")
        key = [column.name, *(name for name in table.key if self.world.choose.random() < 0.3)]
        self.world.alter(table, f"add primary key ({', '.join(map(quoted, key))})")
        if self.world.choose.random() < 0.7:
            self.world.alter(table, "replica identity default")
        table.columns.append(column)
        table.key = key

    def identity(self) -> None:
        """Change the replica identity."""
        table = self.world.table()
        query = "select count(*) from pg_constraint where contype = 'p' and conrelid = %s::regclass"
        if not table.generated and self.connection.execute(query, [table.sql]).fetchone() == (1,):
            self.world.alter(table, f"replica identity {self.world.choose.choice(('full', 'default'))}")

    def index(self) -> None:
        """Make an index."""
        table = self.world.table()
        sortable = [c for c in table.plain if c.kind.native in _SORTABLE]
        if sortable:
            column = self.world.choose.choice(sortable)
            self.world.run(f"create index on {table.sql} ({quoted(column.name)})")

    def attach(self) -> None:
        """Add a partition, made in place or attached with rows of its own."""
        parted = [t for t in self.world.tables if t.partition_by and len(t.partitions) < 6]
        if not parted:
            return
        table = self.world.choose.choice(parted)
        first = max(table.partitions.values(), default=-10) + 10
        name = self.designer.name([*table.partitions, *(t.name for t in self.world.tables)])[:20] + f"_p{first}"
        sql = f"{quoted(table.schema)}.{quoted(name)}"
        bounds = f"for values from ({first}) to ({first + 10})"
        table.partitions[name] = first
        if self.world.choose.random() < 0.5:
            self.world.run(f"create table {sql} partition of {table.sql} {bounds}")
            return
        # With another order of columns, and rows of its own.
        self.world.run(f"create table {sql} (like {table.sql} including all)")
        other = Table(
            table.schema, name, table.columns, table.key, partition_by=table.partition_by, partitions={name: first}
        )
        self.world.tables, tables = [other], self.world.tables
        for _ in range(self.world.choose.randrange(3)):
            self.world.insert()
        self.world.tables = tables
        self.world.alter(table, f"attach partition {sql} {bounds}")

    def detach(self) -> None:
        """Take out a partition, emptied before: rows of a detached one stay at targets."""
        parted = [t for t in self.world.tables if len(t.partitions) > 1]
        if parted:
            table = self.world.choose.choice(parted)
            name = self.world.choose.choice([*table.partitions])
            sql = f"{quoted(table.schema)}.{quoted(name)}"
            self.world.run(f"delete from {sql}")
            self.world.alter(table, f"detach partition {sql}")
            self.world.run(f"drop table {sql}")
            del table.partitions[name]

    def add_label(self) -> None:
        """Add a value to an enum, and rows that have it."""
        found = self.connection.execute("select to_regtype('public.feeling') is null").fetchone()
        if found == (True,):
            self.world.run("create type public.feeling as enum ('one', 'two')")
        labels = [
            label
            for (label,) in self.connection.execute(
                "select enumlabel from pg_enum where enumtypid = 'public.feeling'::regtype order by enumsortorder"
            ).fetchall()
        ]
        label = f"label {len(labels)} 'é'"
        escaped = label.replace("'", "''")
        neighbour = self.world.choose.choice(labels).replace("'", "''")
        side = self.world.choose.choice(("before", "after"))
        self.world.run(f"alter type public.feeling add value '{escaped}' {side} '{neighbour}'")
        kind = Kind("public.feeling", tuple(f"'{one}'::public.feeling".replace("''", "'") for one in ("one", "two")))
        table = self.world.table()
        column = next((c for c in table.columns if c.kind.native == "public.feeling"), None)
        if column is None and len(table.columns) < COLUMNS_MAX:
            taken = [c.name for c in table.columns] + [name for name, _ in table.generated]
            column = Column(self.designer.name(taken), kind)
            self.world.alter(table, f"add column {definition(column)}")
            table.columns.append(column)
        if column is not None:
            self.world.run(f"update {table.sql} set {quoted(column.name)} = '{escaped}'{self.world.some(table, 3)}")

    def vacuum(self) -> None:
        """Vacuum, which may move all rows."""
        table = self.world.table()
        self.world.run(f"{self.world.choose.choice(('vacuum full', 'vacuum', 'analyze'))} {table.sql}")
