"""Random transactions on random tables: rows and definitions change in every way, savepoints and roll-backs included.

The same seed on an empty server of the same version makes the same statements. Each statement has a savepoint of its
own: where the server refuses it (a key that is taken, a value that does not convert) it is as if it had never been.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from tests.kit.postgresql_samples import NativeSample
from tests.kit.random_tables import INTEGER, KEYS, SCHEMAS, Column, Designer, Kind, Table, definition, quoted

TABLES_MAX = 9
COLUMNS_MAX = 16
_REFUSALS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.DataError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.InvalidTableDefinition,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UndefinedObject,
    # Of a type that cannot be sorted, where the column has an index.
    psycopg.errors.UndefinedFunction,
    # "Unexpected object depending on column": PostgreSQL 13, of generated columns.
    psycopg.errors.InternalError_,
)
"""What a server may refuse of what is written here; anything else is a mistake of the generator."""

_SORTABLE = {kind.native for kind in KEYS} - {"text"}

Step = Callable[[], None]


@dataclass(slots=True)
class Writer:
    """Writes to one database over one connection. `script` is what was done, to be read when something differs."""

    connection: psycopg.Connection
    choose: random.Random
    designer: Designer
    tables: list[Table] = field(default_factory=list)
    script: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, connection: psycopg.Connection, seed: int, samples: Sequence[NativeSample]) -> Writer:
        """Make the schemas and the first tables, with rows."""
        choose = random.Random(seed)
        writer = cls(connection, choose, Designer(choose, samples))
        connection.execute("set client_min_messages = error; set extra_float_digits = 3")
        for schema in SCHEMAS:
            connection.execute(f"create schema if not exists {quoted(schema)}")
        for _ in range(choose.randint(4, 6)):
            writer._try("begin", writer._create_table)
        for _ in range(4):
            writer._transaction(definitions=False)
        return writer

    def write(self, transactions: int, pause_s: float = 0.0) -> None:
        """Write so many transactions, with a pause after each."""
        for _ in range(transactions):
            self._transaction(definitions=True)
            time.sleep(pause_s)

    # Transactions

    def _transaction(self, *, definitions: bool) -> None:
        choose = self.choose
        if definitions and choose.random() < 0.08:
            self._try("begin", choose.choice((self._add_label, self._vacuum)), in_transaction=False)
            return
        before = copy.deepcopy(self.tables)
        self._run("begin")
        for _ in range(choose.choices((1, 4, 12), (40, 45, 15))[0]):
            self._savepoint(definitions=definitions)
        if choose.random() < 0.08:
            self.tables = before
            self._run("rollback")
        else:
            self._run("commit")

    def _savepoint(self, *, definitions: bool) -> None:
        """Take a step, or several of which nothing stays."""
        choose = self.choose
        if choose.random() < 0.06:
            before = copy.deepcopy(self.tables)
            self._run("savepoint outer_one")
            for _ in range(choose.randint(1, 3)):
                self._step(definitions=definitions)
            self.tables = before
            self._run("rollback to savepoint outer_one")
        self._step(definitions=definitions)

    def _step(self, *, definitions: bool) -> None:
        of_rows = (
            self._insert,
            self._update,
            self._update_key,
            self._swap_keys,
            self._delete,
            self._large,
            self._truncate,
        )
        steps: list[Step] = self.choose.choices(of_rows, (40, 32, 10, 6, 14, 3, 1.5))
        if definitions and self.choose.random() < 0.2:
            steps = [self.choose.choices(*zip(*self._definitions(), strict=True))[0]]
        self._try("savepoint s", steps[0])

    def _definitions(self) -> list[tuple[Step, int]]:
        return [
            (self._add_column, 25),
            (self._drop_column, 12),
            (self._rename_column, 12),
            (self._swap_names, 5),
            (self._retype, 16),
            (self._default, 6),
            (self._nullability, 4),
            (self._rename_table, 4),
            (self._drop_table, 3),
            (self._create_table, 8),
            (self._drop_key, 3),
            (self._other_key, 4),
            (self._identity, 4),
            (self._index, 4),
            (self._attach, 5),
            (self._detach, 2),
        ]

    def _try(self, opening: str, step: Step, *, in_transaction: bool = True) -> None:
        before = copy.deepcopy(self.tables)
        is_savepoint = opening.startswith("savepoint")
        if in_transaction:
            self._run(opening)
        try:
            step()
        except _REFUSALS as error:
            self.script.append(f"-- refused: {type(error).__name__}")
            self.tables = before
            if in_transaction:
                self._run("rollback to savepoint s" if is_savepoint else "rollback")
        else:
            if in_transaction:
                self._run("release savepoint s" if is_savepoint else "commit")

    def _run(self, statement: str) -> None:
        self.script.append(f"{statement};")
        self.connection.execute(statement.encode())

    # Rows

    def _table(self) -> Table:
        return self.choose.choice(self.tables)

    def _value(self, column: Column, table: Table) -> str:
        choose = self.choose
        if column.name == table.partition_by:
            return str(choose.choice([*table.partitions.values()]) + choose.randrange(10)) if table.partitions else "0"
        if column.name in table.key and column.kind is INTEGER:
            return str(choose.randrange(60))
        if column.nullable and choose.random() < 0.12:
            return "null"
        return choose.choice(column.kind.values)

    def _insert(self) -> None:
        table = self._table()
        columns = [column for column in table.columns if not (column.identity and self.choose.random() < 0.7)]
        if not columns:
            self._run(f"insert into {table.sql} default values")
            return
        rows = [
            ", ".join(self._or_default(column, table) for column in columns)
            for _ in range(self.choose.choice((1, 1, 2, 6)))
        ]
        names = ", ".join(quoted(column.name) for column in columns)
        conflict = " on conflict do nothing" if table.key else ""
        self._run(f"insert into {table.sql} ({names}) values {', '.join(f'({row})' for row in rows)}{conflict}")

    def _or_default(self, column: Column, table: Table) -> str:
        if column.nullable and self.choose.random() < 0.1:
            return "default"
        return self._value(column, table)

    def _some(self, table: Table, count: int) -> str:
        """Return the condition for rows that the same seed finds again: not by where they lie."""
        salt = self.choose.randrange(1000)
        listed = "md5(the_row::text || '" + str(salt) + "')"
        return (
            f"(tableoid, ctid) in (select the_row.tableoid, the_row.ctid from {table.sql} the_row "
            f"order by {listed}, the_row.ctid limit {count})"
        )

    def _update(self) -> None:
        table = self._table()
        if not table.plain:
            return
        chosen = self.choose.sample(table.plain, min(len(table.plain), self.choose.randint(1, 3)))
        settings = ", ".join(
            f"{quoted(c.name)} = {quoted(c.name) if self.choose.random() < 0.1 else self._value(c, table)}"
            for c in chosen
        )
        self._run(f"update {table.sql} set {settings} where {self._some(table, self.choose.choice((1, 3, 10, 1000)))}")

    def _update_key(self) -> None:
        table = self._table()
        if not table.key:
            return
        column = table.column(self.choose.choice(table.key))
        more = [c for c in table.plain if self.choose.random() < 0.2]
        settings = ", ".join(f"{quoted(c.name)} = {self._value(c, table)}" for c in (column, *more))
        self._run(f"update {table.sql} set {settings} where {self._some(table, 1)}")

    def _swap_keys(self) -> None:
        found = [t for t in self.tables if len(t.key) == 1 and t.column(t.key[0]).kind is INTEGER]
        if not found:
            return
        table = self.choose.choice(found)
        key = quoted(table.key[0])
        keys = self.connection.execute(f"select {key} from {table.sql} order by 1".encode()).fetchall()
        if len(keys) < 2:
            return
        one, other = (row[0] for row in self.choose.sample(keys, 2))
        for before, after in ((one, -1000), (other, one), (-1000, other)):
            self._run(f"update {table.sql} set {key} = {after} where {key} = {before}")

    def _delete(self) -> None:
        table = self._table()
        self._run(f"delete from {table.sql} where {self._some(table, self.choose.choice((1, 1, 3, 10)))}")

    def _large(self) -> None:
        """Insert many rows at once."""
        table = self._table()
        numbers = [column for column in table.columns if column.name in table.key and column.kind is INTEGER]
        if table.key and not [column for column in numbers if column.name != table.partition_by]:
            return
        values = [
            "n" if column in numbers and column.name != table.partition_by else self._value(column, table)
            for column in table.columns
            if not column.kind.is_large
        ]
        names = ", ".join(quoted(column.name) for column in table.columns if not column.kind.is_large)
        rows = f"select {', '.join(values)} from generate_series(100, {self.choose.choice((150, 600, 2600))}) n"
        self._run(f"insert into {table.sql} ({names}) {rows}{' on conflict do nothing' if table.key else ''}")

    def _truncate(self) -> None:
        tables = self.choose.sample(self.tables, self.choose.choice((1, 1, min(2, len(self.tables)))))
        restart = self.choose.choice(("", " restart identity"))
        self._run(f"truncate {', '.join(table.sql for table in tables)}{restart}")

    # Definitions

    def _alter(self, table: Table, what: str) -> None:
        self._run(f"alter table {table.sql} {what}")

    def _add_column(self) -> None:
        table = self._table()
        if len(table.columns) >= COLUMNS_MAX:
            return
        taken = [c.name for c in table.columns] + [name for name, _ in table.generated]
        column = Column(self.designer.name(taken), self.designer.kind(self.connection))
        how = self.choose.choice(("null", "constant", "constant", "not null", "volatile", "dropped default"))
        default = f" default {self.choose.choice(column.kind.values)}"
        if how == "volatile":
            column.kind = self._volatile()
            default = f" default {column.kind.values[-1]}"
        column.nullable = how != "not null"
        self._alter(table, f"add column {definition(column)}{'' if how == 'null' else default}")
        if how == "dropped default":
            self._alter(table, f"alter column {quoted(column.name)} drop default")
        table.columns.append(column)

    def _volatile(self) -> Kind:
        """Return a type with a default, its last value, that is another one in each row."""
        return self.choose.choice(
            (
                Kind("double precision", ("0", "random()")),
                Kind("uuid", ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "gen_random_uuid()")),
                Kind("timestamptz", ("now()", "clock_timestamp()")),
            )
        )

    def _drop_column(self) -> None:
        table = self._table()
        based = {base for _, base in table.generated}
        droppable = [c for c in table.plain if quoted(c.name) not in based]
        if droppable:
            column = self.choose.choice(droppable)
            self._alter(table, f"drop column {quoted(column.name)}")
            table.columns.remove(column)

    def _rename_column(self) -> None:
        table = self._table()
        if table.columns:
            column = self.choose.choice(table.columns)
            taken = [c.name for c in table.columns] + [name for name, _ in table.generated]
            self._rename(table, column, self.designer.name(taken))

    def _rename(self, table: Table, column: Column, name: str) -> None:
        self._alter(table, f"rename column {quoted(column.name)} to {quoted(name)}")
        table.key = [name if key == column.name else key for key in table.key]
        table.generated = [(g, quoted(name) if base == quoted(column.name) else base) for g, base in table.generated]
        if table.partition_by == column.name:
            table.partition_by = name
        column.name = name

    def _swap_names(self) -> None:
        table = self._table()
        if len(table.plain) >= 2:
            one, other = self.choose.sample(table.plain, 2)
            names = one.name, other.name
            self._rename(table, one, "swapped away")
            self._rename(table, other, names[0])
            self._rename(table, one, names[1])

    def _retype(self) -> None:
        table = self._table()
        if len(table.columns) <= len(table.generated):
            return
        based = {base for _, base in table.generated}
        column = self.choose.choice([c for c in table.columns if quoted(c.name) not in based])
        if column.identity:
            return
        name = quoted(column.name)
        if column.name in table.key:
            # Keys stay unique.
            wider = {"integer": "bigint", "smallint": "integer", "varchar(12)": "text", "numeric(8,2)": "numeric"}
            native = wider.get(column.kind.native, "text")
            kind = Kind(native, column.kind.values if native != "text" else ("'k1'", "'k2'", "'k3'"))
            self._alter(table, f"alter column {name} type {native} using {name}::{native}")
        elif self.choose.random() < 0.4:
            kind = Kind("text", ("'w'", "''"), is_large=column.kind.is_large)
            self._alter(table, f"alter column {name} drop default, alter column {name} type text using {name}::text")
        else:
            kind = self.designer.kind(self.connection)
            value = self.choose.choice(kind.values)
            value = value if not value.startswith("(select") else "'small'"
            using = f"{kind.native} using {value}::{kind.native}"
            self._alter(table, f"alter column {name} drop default, alter column {name} type {using}")
        column.kind = kind

    def _default(self) -> None:
        table = self._table()
        settable = [c for c in table.plain if not c.identity and not c.kind.is_large]
        if settable:
            column = self.choose.choice(settable)
            new = self.choose.choice((f"set default {self.choose.choice(column.kind.values)}", "drop default"))
            if column.nullable or new != "drop default":
                self._alter(table, f"alter column {quoted(column.name)} {new}")

    def _nullability(self) -> None:
        table = self._table()
        if table.plain:
            column = self.choose.choice(table.plain)
            if column.identity:
                return
            self._alter(table, f"alter column {quoted(column.name)} {'set' if column.nullable else 'drop'} not null")
            column.nullable = not column.nullable

    def _rename_table(self) -> None:
        table = self._table()
        name = self.designer.name([t.name for t in self.tables])
        self._alter(table, f"rename to {quoted(name)}")
        table.name = name

    def _drop_table(self) -> None:
        if len(self.tables) > 3:
            table = self._table()
            self._run(f"drop table {table.sql}")
            self.tables.remove(table)

    def _create_table(self) -> None:
        if len(self.tables) < TABLES_MAX:
            table, statements = self.designer.table(self.connection, [(t.schema, t.name) for t in self.tables])
            for statement in statements:
                self._run(statement)
            self.tables.append(table)

    def _drop_key(self) -> None:
        """Take a table's key away: from here on its rows are told apart by all that they hold."""
        keyed = [t for t in self.tables if t.key and not t.partition_by and not t.generated]
        if keyed:
            table = self.choose.choice(keyed)
            self._alter(table, "replica identity full")
            self._drop_constraint(table)
            table.key = []
            for column in table.columns:
                column.nullable = column.nullable and not column.identity

    def _drop_constraint(self, table: Table) -> None:
        query = "select conname from pg_constraint where contype = 'p' and conrelid = %s::regclass"
        for (constraint,) in self.connection.execute(query, [table.sql]).fetchall():
            self._alter(table, f"drop constraint {quoted(constraint)}")

    def _other_key(self) -> None:
        """Give a table another key: a new column's, perhaps together with one that is there."""
        plain = [t for t in self.tables if not t.partition_by and not t.generated]
        if not plain:
            return
        table = self.choose.choice(plain)
        taken = [c.name for c in table.columns] + [name for name, _ in table.generated]
        column = Column(self.designer.name(taken), INTEGER, nullable=False, identity=True)
        self._alter(table, "replica identity full")
        self._drop_constraint(table)
        for existing in table.columns:
            if existing.identity:
                self._alter(table, f"alter column {quoted(existing.name)} drop identity")
                existing.identity = False
        self._alter(table, f"add column {definition(column)}")
        key = [column.name, *(name for name in table.key if self.choose.random() < 0.3)]
        self._alter(table, f"add primary key ({', '.join(map(quoted, key))})")
        if self.choose.random() < 0.7:
            self._alter(table, "replica identity default")
        table.columns.append(column)
        table.key = key

    def _identity(self) -> None:
        table = self._table()
        query = "select count(*) from pg_constraint where contype = 'p' and conrelid = %s::regclass"
        if not table.generated and self.connection.execute(query, [table.sql]).fetchone() == (1,):
            self._alter(table, f"replica identity {self.choose.choice(('full', 'default'))}")

    def _index(self) -> None:
        table = self._table()
        sortable = [c for c in table.plain if c.kind.native in _SORTABLE]
        if sortable:
            column = self.choose.choice(sortable)
            self._run(f"create index on {table.sql} ({quoted(column.name)})")

    def _attach(self) -> None:
        parted = [t for t in self.tables if t.partition_by and len(t.partitions) < 6]
        if not parted:
            return
        table = self.choose.choice(parted)
        first = max(table.partitions.values(), default=-10) + 10
        name = self.designer.name([*table.partitions, *(t.name for t in self.tables)])[:20] + f"_p{first}"
        sql = f"{quoted(table.schema)}.{quoted(name)}"
        bounds = f"for values from ({first}) to ({first + 10})"
        table.partitions[name] = first
        if self.choose.random() < 0.5:
            self._run(f"create table {sql} partition of {table.sql} {bounds}")
            return
        # With another order of columns, and rows of its own.
        self._run(f"create table {sql} (like {table.sql} including all)")
        other = Table(
            table.schema, name, table.columns, table.key, partition_by=table.partition_by, partitions={name: first}
        )
        self.tables, tables = [other], self.tables
        for _ in range(self.choose.randrange(3)):
            self._insert()
        self.tables = tables
        self._alter(table, f"attach partition {sql} {bounds}")

    def _detach(self) -> None:
        """Take out a partition, emptied before: rows of a detached one stay at targets."""
        parted = [t for t in self.tables if len(t.partitions) > 1]
        if parted:
            table = self.choose.choice(parted)
            name = self.choose.choice([*table.partitions])
            sql = f"{quoted(table.schema)}.{quoted(name)}"
            self._run(f"delete from {sql}")
            self._alter(table, f"detach partition {sql}")
            self._run(f"drop table {sql}")
            del table.partitions[name]

    # By themselves

    def _add_label(self) -> None:
        """Add a value to an enum, and rows that have it."""
        found = self.connection.execute("select to_regtype('public.feeling') is null").fetchone()
        if found == (True,):
            self._run("create type public.feeling as enum ('one', 'two')")
        labels = [
            label
            for (label,) in self.connection.execute(
                "select enumlabel from pg_enum where enumtypid = 'public.feeling'::regtype order by enumsortorder"
            ).fetchall()
        ]
        label = f"label {len(labels)} 'é'"
        escaped = label.replace("'", "''")
        neighbour = self.choose.choice(labels).replace("'", "''")
        self._run(
            f"alter type public.feeling add value '{escaped}' {self.choose.choice(('before', 'after'))} '{neighbour}'"
        )
        kind = Kind("public.feeling", tuple(f"'{one}'::public.feeling".replace("''", "'") for one in ("one", "two")))
        table = self._table()
        column = next((c for c in table.columns if c.kind.native == "public.feeling"), None)
        if column is None and len(table.columns) < COLUMNS_MAX:
            taken = [c.name for c in table.columns] + [name for name, _ in table.generated]
            column = Column(self.designer.name(taken), kind)
            self._alter(table, f"add column {definition(column)}")
            table.columns.append(column)
        if column is not None:
            self._run(f"update {table.sql} set {quoted(column.name)} = '{escaped}' where {self._some(table, 3)}")

    def _vacuum(self) -> None:
        table = self._table()
        self._run(f"{self.choose.choice(('vacuum full', 'vacuum', 'analyze'))} {table.sql}")
